/* Products of quantised matrices with quantised tokens: what the files product_*.c implement, one for each instruction
   set. The layout, and the order of every rounding, is described in layout.py. */
#pragma once
#include <stdint.h>

enum { GROUP = 32, ROWS = 16, COLUMNS = 128, GROUPS = COLUMNS / GROUP };

/* Tokens of one product, all in step: token t starts t * columns bytes and t * groups numbers after the first. */
struct tokens {
    const int8_t *a;
    const float *scale;    /* of each group */
    const float *weighted; /* scale * sum of a */
    const int32_t *sum;    /* of a */
    long columns, groups;  /* from one token to the next */
};

/* Sums of one token with 16 rows, carried from one stretch of columns to the next. */
struct sums {
    float acc[ROWS], low[ROWS];
};

/* Add `n_blocks` blocks of one strip, times n tokens, to sums[n]. n is at most `most_tokens`. */
typedef void (*strip_product)(const uint8_t *blocks, int n_blocks, struct tokens x, int n, struct sums *sums);

struct products {
    const char *name;
    int most_tokens;
    strip_product q4, q8;
};

extern const struct products products_portable, products_avx2, products_avx512;

static const long Q4_BYTES = 1152, Q8_BYTES = 2112, Q4_SCALES = 1024, Q4_LOWS = 1088, Q8_SCALES = 2048;
