/* Products and attention in float32, in the registers of the instruction set this is compiled for (see dense.h).

   A tile is ROWS_MOST rows by two registers of outputs: as many sums as there are registers for, so that each weight
   that is loaded meets all rows of the tile, and each value of x both registers. */
#include "dense.h"

#include <math.h>
#include <string.h>

#include "exponential.h"

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include <immintrin.h>
enum { LANES = 16, ROWS_MOST = 12 };
typedef __m512 vec;
INLINE vec load(const float *at) { return _mm512_loadu_ps(at); }
INLINE void store(float *at, vec x) { _mm512_storeu_ps(at, x); }
INLINE vec all(float x) { return _mm512_set1_ps(x); }
INLINE vec fma_of(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__)
#include <immintrin.h>
enum { LANES = 8, ROWS_MOST = 6 };
typedef __m256 vec;
INLINE vec load(const float *at) { return _mm256_loadu_ps(at); }
INLINE void store(float *at, vec x) { _mm256_storeu_ps(at, x); }
INLINE vec all(float x) { return _mm256_set1_ps(x); }
INLINE vec fma_of(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
#else
enum { LANES = 4, ROWS_MOST = 6 };
typedef float vec __attribute__((vector_size(16)));
INLINE vec load(const float *at) {
    vec x;
    memcpy(&x, at, sizeof x);
    return x;
}
INLINE void store(float *at, vec x) { memcpy(at, &x, sizeof x); }
INLINE vec all(float x) { return (vec){x, x, x, x}; }
INLINE vec fma_of(vec a, vec b, vec c) { return a * b + c; }
#endif

enum { PAIR = 2 * LANES, AHEAD = 64 }; /* steps of k that weights are fetched ahead (ours) */

/* m rows by one pair of registers; m is a constant wherever this is inlined. */
INLINE void tile(const float *x, long x_stride, const int m, const float *strip, long k, float *sums) {
    vec low[ROWS_MOST], high[ROWS_MOST];
    for (int r = 0; r < m; r++) low[r] = high[r] = all(0);
    for (long i = 0; i < k; i++) {
        vec first = load(strip + i * STRIP), second = load(strip + i * STRIP + LANES);
        for (int at = 0; at < PAIR; at += 16) __builtin_prefetch(strip + (i + AHEAD) * STRIP + at);
        for (int r = 0; r < m; r++) {
            vec value = all(x[r * x_stride + i]);
            low[r] = fma_of(value, first, low[r]);
            high[r] = fma_of(value, second, high[r]);
        }
    }
    for (int r = 0; r < m; r++) store(sums + r * STRIP, low[r]), store(sums + r * STRIP + LANES, high[r]);
}

static void rows_of(const float *x, long x_stride, int m, const float *strip, long k, float *sums) {
#define CASE(n) \
    case n: tile(x, x_stride, n, strip, k, sums); break;
    switch (m) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if defined(__AVX512F__)
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
#undef CASE
}

static void product(const float *x, long x_stride, int n, const float *strip, long k, float *y, long y_stride,
                    int n_columns, int adds) {
    float sums[ROWS_MOST * STRIP];
    int n_tiles = (n + ROWS_MOST - 1) / ROWS_MOST;
    for (int i = 0, first = 0; i < n_tiles; i++) {
        int m = (n - first) / (n_tiles - i);
        for (int r = 0; r < m; r++)
            for (int j = 0; j < n_columns; j += 16) __builtin_prefetch(y + (first + r) * y_stride + j, 1);
        for (int at = 0; at < STRIP; at += PAIR) rows_of(x + first * x_stride, x_stride, m, strip + at, k, sums + at);
        for (int r = 0; r < m; r++) {
            float *to = y + (first + r) * y_stride;
            const float *from = sums + r * STRIP;
            if (n_columns == STRIP && adds)
                for (int j = 0; j < STRIP; j++) to[j] += from[j];
            else if (n_columns == STRIP) memcpy(to, from, sizeof(float) * STRIP);
            else
                for (int j = 0; j < n_columns; j++) to[j] = adds ? to[j] + from[j] : from[j];
        }
        first += m;
    }
}

enum { QUERIES = 4, SUMS = 4 }; /* heads, and registers of values, that are computed together (ours) */

/* Scores of g queries with the keys of one page; g is a constant wherever this is inlined. */
INLINE void page_scores(const float *q, const int g, int head_dim, const float *keys, float *scores, long width) {
    for (int at = 0; at < PAGE; at += PAIR) {
        vec low[QUERIES], high[QUERIES];
        for (int h = 0; h < g; h++) low[h] = high[h] = all(0);
        for (int d = 0; d < head_dim; d++) {
            vec first = load(keys + d * PAGE + at), second = load(keys + d * PAGE + at + LANES);
            for (int h = 0; h < g; h++) {
                vec value = all(q[h * head_dim + d]);
                low[h] = fma_of(value, first, low[h]);
                high[h] = fma_of(value, second, high[h]);
            }
        }
        for (int h = 0; h < g; h++) {
            store(scores + h * width + at, low[h]);
            store(scores + h * width + at + LANES, high[h]);
        }
    }
}

/* Scores to weights e^(scale * score - most), -inf and beyond n becoming zeros; returns their sum. */
static float exponentials(float *scores, long n, long width, float scale) {
    float most[16], sum[16] = {0};
    for (int l = 0; l < 16; l++) most[l] = -INFINITY;
    for (long i = n; i < width; i++) scores[i] = -INFINITY;
    for (long i = 0; i < width; i += 16)
        for (int l = 0; l < 16; l++) most[l] = scores[i + l] > most[l] ? scores[i + l] : most[l];
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) most[l] = most[l + half] > most[l] ? most[l + half] : most[l];
    const float top = most[0];
    for (long i = 0; i < width; i++) scores[i] = exponential((scores[i] - top) * scale);
    for (long i = n; i < width; i++) scores[i] = 0;
    for (long i = 0; i < width; i += 16)
        for (int l = 0; l < 16; l++) sum[l] += scores[i + l];
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) sum[l] += sum[l + half];
    return sum[0];
}

/* y[g, c * LANES] of g heads and c registers: the weighted sum of values [n, head_dim] that lie in pages. */
INLINE void mix(const float *weights, long width, const int g, const int c, int head_dim, const float *values,
                const long *table, long page_stride, long n, const float *inverse, float *y) {
    vec sum[QUERIES][SUMS];
    for (int h = 0; h < g; h++)
        for (int i = 0; i < c; i++) sum[h][i] = all(0);
    for (long first = 0; first < n; first += PAGE) {
        const float *page = values + table[first / PAGE] * page_stride;
        long end = n - first < PAGE ? n - first : PAGE;
        for (long t = 0; t < end; t++)
            for (int i = 0; i < c; i++) {
                vec value = load(page + t * head_dim + i * LANES);
                for (int h = 0; h < g; h++) sum[h][i] = fma_of(all(weights[h * width + first + t]), value, sum[h][i]);
            }
    }
    for (int h = 0; h < g; h++)
        for (int i = 0; i < c; i++) store(y + h * head_dim + i * LANES, sum[h][i] * all(inverse[h]));
}

/* What is left of a head whose size LANES does not divide: one number at a time. */
static void mix_rest(const float *weights, long width, int g, int from, int head_dim, const float *values,
                     const long *table, long page_stride, long n, const float *inverse, float *y) {
    for (int h = 0; h < g; h++)
        for (int d = from; d < head_dim; d++) {
            float sum = 0;
            for (long t = 0; t < n; t++)
                sum += weights[h * width + t] * values[table[t / PAGE] * page_stride + t % PAGE * head_dim + d];
            y[h * head_dim + d] = sum * inverse[h];
        }
}

INLINE void attend_some(const float *q, const int g, int head_dim, const float *pages, const long *table,
                        long page_stride, long values, long n, float *scores, float *y) {
    const long width = (n + PAGE - 1) / PAGE * PAGE;
    const float scale = 1.0f / sqrtf((float)head_dim);
    float inverse[QUERIES];
    for (long at = 0; at < width; at += PAGE)
        page_scores(q, g, head_dim, pages + table[at / PAGE] * page_stride, scores + at, width);
    for (int h = 0; h < g; h++) inverse[h] = 1.0f / exponentials(scores + h * width, n, width, scale);
    int d = 0;
    for (; d + SUMS * LANES <= head_dim; d += SUMS * LANES)
        mix(scores, width, g, SUMS, head_dim, pages + values + d, table, page_stride, n, inverse, y + d);
    for (; d + LANES <= head_dim; d += LANES)
        mix(scores, width, g, 1, head_dim, pages + values + d, table, page_stride, n, inverse, y + d);
    if (d < head_dim) mix_rest(scores, width, g, d, head_dim, pages + values, table, page_stride, n, inverse, y);
}

static void attend(const float *q, int n_queries, int head_dim, const float *pages, const long *table, long page_stride,
                   long values, long n, float *scores, float *y) {
#define ATTEND(g) attend_some(q, g, head_dim, pages, table, page_stride, values, n, scores, y)
    for (; n_queries >= QUERIES; n_queries -= QUERIES, q += QUERIES * head_dim, y += QUERIES * head_dim) ATTEND(QUERIES);
    for (; n_queries >= 2; n_queries -= 2, q += 2 * head_dim, y += 2 * head_dim) ATTEND(2);
    if (n_queries) ATTEND(1);
#undef ATTEND
}

static float largest(const float *x, long n) {
    float most[16];
    long i = 0;
    for (int l = 0; l < 16; l++) most[l] = -INFINITY;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) most[l] = x[i + l] > most[l] ? x[i + l] : most[l];
    for (; i < n; i++) most[0] = x[i] > most[0] ? x[i] : most[0];
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) most[l] = most[l + half] > most[l] ? most[l + half] : most[l];
    return most[0];
}

static long best(const float *logits, long n_known, long n, float *total) {
    const float known = largest(logits, n_known), rest = largest(logits + n_known, n - n_known);
    const float top = known > rest ? known : rest;
    float sum[16] = {0};
    long i = 0, at = 0;
    for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; l++) sum[l] += exponential(logits[i + l] - top);
    for (; i < n; i++) sum[0] += exponential(logits[i] - top);
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) sum[l] += sum[l + half];
    while (at < n_known - 1 && logits[at] != known) at++;
    *total = top < INFINITY && top > -INFINITY ? logf(sum[0]) + top : NAN;
    return at;
}

#define JOIN(a, b) a##_##b
#define NAMED(a, b) JOIN(a, b)
const struct dense_kernels NAMED(dense, ISA) = {product, attend, best};
