/* Attention of a tile of query tokens with one KV head, block after block, with a running maximum (as in flash
   attention). All query heads of the KV head are rows of the same small products, so keys and values are read once.

   What is done to a row does not depend on the other rows: a score is a sum over dimensions in order, a result is a
   sum over tokens in order. So a token has the same bits in decode, in prefill and in every batch. Written with
   the compiler's vectors, as wide as the registers, and compiled once for each instruction set. */
#include <math.h>
#include <string.h>

#include "attend.h"
#include "exponential.h"

#if defined(__AVX512F__)
enum { LANES = 16, AT_ONCE = 4 };
#elif defined(__AVX2__)
enum { LANES = 8, AT_ONCE = 4 };
#else
enum { LANES = 4, AT_ONCE = 2 };
#endif
enum { WIDTH = BLOCK / LANES, MIXED = 16 / AT_ONCE };

/* AT_ONCE rows have their sums in registers at once. */
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));

#define INLINE static inline __attribute__((always_inline))
INLINE lanes load(const float *x) { return *(const lanes *)x; }
INLINE void save(float *x, lanes value) { *(lanes *)x = value; }

/* LANES rows become as many columns: rounds that each interleave the first half of the rows with the second. */
INLINE void transpose(const float *from, long from_step, float *to, long to_step) {
    lanes row[LANES], next[LANES];
    integers first, second;
    for (int i = 0; i < LANES; i++) {
        first[i] = i / 2 + i % 2 * LANES;
        second[i] = first[i] + LANES / 2;
        row[i] = load(from + i * from_step);
    }
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = __builtin_shuffle(row[i], row[i + LANES / 2], first);
            next[2 * i + 1] = __builtin_shuffle(row[i], row[i + LANES / 2], second);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) row[i] = next[i];
    }
    for (int i = 0; i < LANES; i++) save(to + i * to_step, row[i]);
}

static void widen(const int8_t *from, long n, float *to) {
    for (long i = 0; i < n; i++) to[i] = (float)from[i];
}

/* scores[r][32] = q[r] . keys, for n rows; keys [D][32]. */
INLINE void score_rows(const float *q, const float *keys, long head_dim, float *scores, const int n) {
    for (int first = 0; first < WIDTH; first += 2) {
        lanes sum[AT_ONCE][2];
        for (int r = 0; r < n; r++) sum[r][0] = sum[r][1] = (lanes){0};
        for (long d = 0; d < head_dim; d++) {
            const float *key = keys + d * BLOCK + first * LANES;
            lanes one = load(key), other = load(key + LANES);
            for (int r = 0; r < n; r++) sum[r][0] += q[r * head_dim + d] * one, sum[r][1] += q[r * head_dim + d] * other;
        }
        for (int r = 0; r < n; r++)
            for (int i = 0; i < 2; i++) save(scores + r * BLOCK + (first + i) * LANES, sum[r][i]);
    }
}

/* y[r] += weights[r] values, for n rows and n_lanes * 16 dimensions. */
INLINE void mix_rows(const float *weights, const float *values, int n_tokens, long head_dim, float *y, const int n,
                     const int n_lanes) {
    lanes sum[AT_ONCE][MIXED];
    for (int r = 0; r < n; r++)
        for (int i = 0; i < n_lanes; i++) sum[r][i] = load(y + r * head_dim + i * LANES);
    for (int token = 0; token < n_tokens; token++)
        for (int i = 0; i < n_lanes; i++) {
            lanes value = load(values + token * head_dim + i * LANES);
            for (int r = 0; r < n; r++) sum[r][i] += weights[r * BLOCK + token] * value;
        }
    for (int r = 0; r < n; r++)
        for (int i = 0; i < n_lanes; i++) save(y + r * head_dim + i * LANES, sum[r][i]);
}

INLINE void mix(const float *weights, const float *values, int n_tokens, long head_dim, float *y, const int n) {
    long d = 0;
    for (; d + MIXED * LANES <= head_dim; d += MIXED * LANES)
        mix_rows(weights, values + d, n_tokens, head_dim, y + d, n, MIXED);
    for (; d < head_dim; d += LANES) mix_rows(weights, values + d, n_tokens, head_dim, y + d, n, 1);
}

/* 32 numbers become one in pairs, half by half, so that there is one order whatever the registers; the halves change
   places within one vector, never through memory. */
typedef float sixteen __attribute__((vector_size(64), aligned(4)));
typedef int32_t places __attribute__((vector_size(64)));
#define TURNED(x, by) __builtin_shuffle(x, (((places){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15} + by) & 15))

INLINE sixteen greater(sixteen a, sixteen b) {
    places is_a = a > b;
    return (sixteen)(((places)a & is_a) | ((places)b & ~is_a));
}

INLINE float greatest(const float *x) {
    sixteen lane = greater(*(const sixteen *)x, *(const sixteen *)(x + 16));
    lane = greater(lane, TURNED(lane, 8));
    lane = greater(lane, TURNED(lane, 4));
    lane = greater(lane, TURNED(lane, 2));
    return greater(lane, TURNED(lane, 1))[0];
}

INLINE float total(const float *x) {
    sixteen lane = *(const sixteen *)x + *(const sixteen *)(x + 16);
    lane += TURNED(lane, 8);
    lane += TURNED(lane, 4);
    lane += TURNED(lane, 2);
    lane += TURNED(lane, 1);
    return lane[0];
}

/* Scores of the first `n_seen` tokens become weights in place; the row's maximum, sum and result are brought along. */
INLINE void soften(float *scores, int n_seen, float *largest, float *sum, float *y, long head_dim) {
    if (n_seen <= 0) {
        memset(scores, 0, BLOCK * sizeof(float));
        return;
    }
    for (int i = n_seen; i < BLOCK; i++) scores[i] = -INFINITY;
    float here = greatest(scores), top = here > *largest ? here : *largest;
    for (int i = 0; i < BLOCK; i++) scores[i] = exponential(scores[i] - top);
    for (int i = n_seen; i < BLOCK; i++) scores[i] = 0;
    if (top != *largest) {
        float shrink = exponential(*largest - top);
        *sum *= shrink;
        for (long d = 0; d < head_dim; d++) y[d] *= shrink;
        *largest = top;
    }
    *sum += total(scores);
}

static void attend(const struct attend_tile *tile, float *room) {
    const struct phi_cache *cache = tile->cache;
    const long D = cache->head_dim, cells = BLOCK * D, heads = cache->n_kv_heads;
    const int n_rows = tile->n * tile->n_groups;
    float *q = room, *y = q + n_rows * D, *weights = y + n_rows * D, *largest = weights + n_rows * BLOCK;
    float *sum = largest + n_rows, *keys = sum + n_rows, *wide = keys + cells;
    const float scale = 1.0f / sqrtf((float)D);

    for (int r = 0; r < n_rows; r++) {
        const float *row = tile->q + r / tile->n_groups * tile->q_stride + r % tile->n_groups * D;
        for (long d = 0; d < D; d++) q[r * D + d] = row[d] * scale, y[r * D + d] = 0;
        largest[r] = -INFINITY, sum[r] = 0;
    }
    for (long first = 0; first < tile->start + tile->n; first += BLOCK) {
        const long place = tile->table[first / BLOCK] * 2 * heads + tile->kv_head, end = tile->start + tile->n - first;
        const int n_tokens = end < BLOCK ? (int)end : BLOCK;
        const float *values, *key_scales = 0, *value_scales = 0;
        if (cache->scales) {
            const int8_t *block = (const int8_t *)cache->data + place * cells;
            key_scales = cache->scales + place * BLOCK, value_scales = key_scales + heads * BLOCK;
            widen(block, cells, keys);
            widen(block + heads * cells, n_tokens * D, wide);
            values = wide;
        } else {
            const float *block = (const float *)cache->data + place * cells;
            for (int i = 0; i < BLOCK; i += LANES)
                for (long d = 0; d < D; d += LANES) transpose(block + i * D + d, D, keys + d * BLOCK + i, BLOCK);
            values = block + heads * cells;
        }
        for (int r = 0; r < n_rows; r += AT_ONCE) {
            float *some = weights + r * BLOCK;
            if (n_rows - r >= AT_ONCE) score_rows(q + r * D, keys, D, some, AT_ONCE);
            else
                for (int i = r; i < n_rows; i++) score_rows(q + i * D, keys, D, weights + i * BLOCK, 1);
        }
        for (int r = 0; r < n_rows; r++) {
            float *row = weights + r * BLOCK;
            if (key_scales)
                for (int i = 0; i < BLOCK; i++) row[i] *= key_scales[i];
            soften(row, (int)(tile->start + r / tile->n_groups + 1 - first), largest + r, sum + r, y + r * D, D);
            if (value_scales)
                for (int i = 0; i < BLOCK; i++) row[i] *= value_scales[i];
        }
        for (int r = 0; r < n_rows; r += AT_ONCE) {
            if (n_rows - r >= AT_ONCE) mix(weights + r * BLOCK, values, n_tokens, D, y + r * D, AT_ONCE);
            else
                for (int i = r; i < n_rows; i++) mix(weights + i * BLOCK, values, n_tokens, D, y + i * D, 1);
        }
    }
    for (int r = 0; r < n_rows; r++) {
        float *row = tile->y + r / tile->n_groups * tile->y_stride + r % tile->n_groups * D;
        for (long d = 0; d < D; d++) row[d] = y[r * D + d] / sum[r];
    }
}

static void store(const float *x, long head_dim, int is_key, int at, int8_t *block, float *scales) {
    int32_t largest = 0;
    for (long d = 0; d < head_dim; d++) {
        int32_t size = bits_of(x[d]) & 0x7fffffff;
        largest = size > largest ? size : largest;
    }
    const int is_finite = largest < 0x7f800000;
    float inverse = largest && is_finite ? 127.0f / float_of(largest) : 0;
    if (bits_of(inverse) >= 0x7f800000) inverse = 0;
    for (long d = 0; d < head_dim; d++) {
        float scaled = (is_finite ? x[d] : 0) * inverse;
        block[is_key ? d * BLOCK + at : at * head_dim + d] = (int8_t)(bits_of(scaled + TO_INTEGER) - bits_of(TO_INTEGER));
    }
    scales[at] = is_finite ? float_of(largest) / 127.0f : NAN;
}

#define JOIN(a, b) a##_##b
#define NAMED(a, b) JOIN(a, b)
const struct attend_kernels NAMED(attend, ISA) = {attend, store};
