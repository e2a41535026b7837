/* Products and attention in float32: what dense.c implements, once for each instruction set.

   Every number is a function of its own row alone: a sum over k is one chain of multiply-adds from the first k to the
   last, whatever the other rows are and however many. So companions, chunks and threads change no bit. */
#pragma once

enum {
    STRIP = 32, /* outputs that are computed together: a matrix [N, K] is packed as [N / STRIP, K, STRIP] */
    PAGE = 32   /* tokens of a block of the cache */
};

struct dense_kernels {
    /* y[r, j] = or += sum over k of x[r, k] * strip[k, j], for n rows and the first n_columns of the strip. */
    void (*product)(const float *x, long x_stride, int n, const float *strip, long k, float *y, long y_stride,
                    int n_columns, int adds);
    /* One token's n_queries heads q [n_queries, D] that share a head of keys and values: softmax(q k / sqrt(D)) v over
       positions 0 .. n - 1. Page i lies at pages + table[i] * page_stride, keys [D, PAGE], then at `values` floats
       behind them values [PAGE, D]. scores is room for n_queries * n rounded up to pages. */
    void (*attend)(const float *q, int n_queries, int head_dim, const float *pages, const long *table, long page_stride,
                   long values, long n, float *scores, float *y);
    /* The first of the largest among logits[n_known], and the logarithm of the sum of all n exponentials: NaN where one
       is NaN or +inf, or all are -inf. */
    long (*best)(const float *logits, long n_known, long n, float *total);
};

extern const struct dense_kernels dense_portable, dense_avx2, dense_avx512;
