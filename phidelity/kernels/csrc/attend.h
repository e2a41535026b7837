/* Attention over keys and values that lie in blocks of 32 tokens: what attend.c implements. */
#pragma once
#include <stdint.h>

enum { BLOCK = 32 };

/* One layer: [n_blocks, keys and values, n_kv_heads, 32 x head_dim]. Floats lie token after token. Bytes are rounded to
   one scale for each token and head, scales [n_blocks, 2, n_kv_heads, 32]; their keys lie dimension after dimension. */
struct phi_cache {
    void *data;
    float *scales; /* NULL: floats */
    int32_t n_kv_heads, head_dim;
};

/* n query tokens of one sequence, the first at position `start`; rows first .. first + n - 1 of the batch. */
struct phi_span {
    int64_t first, n, start;
    const int64_t *table; /* the sequence's blocks */
};

/* Query heads of one KV head for `n` tokens of a span: q and y have `stride` floats from token to token. */
struct attend_tile {
    const struct phi_cache *cache;
    const float *q;
    float *y;
    long q_stride, y_stride;
    const int64_t *table;
    long start; /* position of the first token */
    int n, kv_head, n_groups;
};

enum { ATTEND_TOKENS = 32 }; /* query tokens of a tile (ours) */

struct attend_kernels {
    /* `room` holds attend_room() floats. */
    void (*attend)(const struct attend_tile *tile, float *room);
    /* One token of one head into cell `at` of a block of bytes. */
    void (*store)(const float *x, long head_dim, int is_key, int at, int8_t *block, float *scales);
};

static inline long attend_room(long head_dim, long n_groups) {
    return ATTEND_TOKENS * n_groups * (2 * head_dim + BLOCK + 2) + 2 * BLOCK * head_dim + 64;
}

extern const struct attend_kernels attend_portable, attend_avx2, attend_avx512;
