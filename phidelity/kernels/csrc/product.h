/* Products of quantised matrices with quantised tokens: what the files product_*.c implement, one for each instruction
   set. The layout, and the order of every rounding, is described in layout.py. */
#pragma once
#include <stdint.h>

enum { GROUP = 32, ROWS = 16, COLUMNS = 128, GROUPS = COLUMNS / GROUP };

/* Tokens of one product, all in step: token t starts t * columns bytes, t * n_blocks scales and t * n_blocks * GROUPS
   sums after the first. */
struct tokens {
    const int8_t *a;
    const float *scale;  /* of each block of columns */
    const int16_t *sum;  /* of a, of each group */
    long columns, n_blocks; /* from one token to the next */
};

static inline struct tokens tokens_from(struct tokens x, long token, long block) {
    x.a += token * x.columns + block * COLUMNS;
    x.scale += token * x.n_blocks + block;
    x.sum += (token * x.n_blocks + block) * GROUPS;
    return x;
}

/* The magnitudes of a group's a add up to at most this, so 15 times a sum of them fits 16 bits (ours). */
enum { MOST_SIZE = 2184 };

/* Sums of one token with 16 rows, carried from one stretch of columns to the next. */
struct sums {
    float acc[ROWS], low[ROWS];
};

/* Add `n_blocks` blocks of one strip, times n tokens, to sums[n]. n is at most `most_tokens`. */
typedef void (*strip_product)(const uint8_t *blocks, int n_blocks, struct tokens x, int n, struct sums *sums);

/* The same for two strips, `strip_bytes` and n sums apart, and any n; n_blocks is at most WIDE. */
typedef void (*pair_product)(const uint8_t *blocks, long strip_bytes, int n_blocks, struct tokens x, int n,
                             struct sums *sums);

enum { WIDE = 8 }; /* blocks of columns that pass all tokens before the next (ours) */

struct products {
    const char *name;
    int most_tokens;
    strip_product q4, q8;
    pair_product q4_pair, q8_pair; /* for more tokens, or none */
};

extern const struct products products_portable, products_avx2, products_avx512;

static const long Q4_BYTES = 1152, Q8_BYTES = 2112, Q4_SCALES = 1024, Q4_LOWS = 1088, Q8_SCALES = 2048;
