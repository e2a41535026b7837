/* What is done to one token at a time: implemented in rows.c, which is compiled for every instruction set. */
#pragma once
#include <stdint.h>

/* Where a token is rounded to; as many groups as whole blocks hold. */
struct rounded {
    int8_t *a;
    float *scale, *weighted;
    int32_t *sum;
    long groups;
};

struct row_kernels {
    /* x[n] rounded by groups of 32. */
    void (*quantise)(const float *x, long n, struct rounded to);
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
