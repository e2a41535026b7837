/* What Python calls (see library.py), and what the files here share. */
#pragma once
#include <stdint.h>

#include "attend.h"
#include "dense.h"
#include "product.h"
#include "rows.h"

enum phi_kind { PHI_Q4 = 0, PHI_Q8 = 1 };

/* A packed matrix: blocks, then D, then M (q4), as layout.py describes. */
struct phi_matrix {
    const uint8_t *data;
    int32_t kind, rows, columns;
};

/* A float32 matrix [rows, columns], packed as dense.h describes. */
struct phi_dense {
    const float *data;
    int32_t rows, columns;
};

static inline long phi_padded(long n, long step) { return (n + step - 1) / step * step; }

static inline long phi_blocks_bytes(const struct phi_matrix *w) {
    return phi_padded(w->rows, ROWS) / ROWS * (phi_padded(w->columns, COLUMNS) / COLUMNS) *
           (w->kind == PHI_Q4 ? Q4_BYTES : Q8_BYTES);
}

/* n quantised tokens: a int8 [n, C], then scale [n, C / 128] and sum [n, C / 32]; C filled up to whole blocks. */
static inline struct tokens phi_tokens(const void *activations, int n, long columns) {
    const long wide = phi_padded(columns, COLUMNS), n_blocks = wide / COLUMNS;
    const int8_t *a = activations;
    const float *scale = (const float *)(a + n * wide);
    return (struct tokens){a, scale, (const int16_t *)(scale + n * n_blocks), wide, n_blocks};
}

/* The kernels of the chosen instruction set. */
const struct products *phi_products(void);
const struct row_kernels *phi_rows(void);
const struct attend_kernels *phi_attention(void);
const struct dense_kernels *phi_dense(void);

/* y[t, r] = or += row r of w times token t; y has `stride` floats from token to token. */
void phi_matmul(const struct phi_matrix *w, const void *activations, int n, float *y, long stride, int adds);
