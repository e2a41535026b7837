/* What is done to one token at a time: implemented in rows.c, which is compiled for every instruction set. */
#pragma once
#include <stdint.h>

#include "product.h"

/* Where a token is rounded to: whole blocks. */
struct rounded {
    int8_t *a;
    float *scale;
    int16_t *sum;
    long n_blocks;
};

struct row_kernels {
    /* x[n] rounded by blocks of 128. */
    void (*quantise)(const float *x, long n, struct rounded to);
    /* y[n] = or += D acc - M low, of n rows of a strip; M is NULL in q8. */
    void (*finish)(const struct sums *sums, const float *D, const float *M, int n, int adds, float *y);
    /* y = x / sqrt(mean(x^2) + eps) * weight */
    void (*norm)(const float *x, const float *weight, float eps, long n, float *y);
    /* y = silu(gate) * up */
    void (*swiglu)(const float *gate, const float *up, long n, float *y);
    /* The two halves of each of n_heads heads rotate by the angles of this token, cos and sin [n / 2]. */
    void (*rotate)(float *x, const float *cos, const float *sin, int n_heads, long n);
    /* The sum of the 64-bit words of `bytes` bytes, a multiple of 512. */
    uint64_t (*total)(const uint8_t *at, long bytes);
};

extern const struct row_kernels rows_portable, rows_avx2, rows_avx512;
