/* Rows of a packed matrix as floats: an embedding looks up a few of them. */
#include <stdint.h>

#include "phi.h"
#include "pool.h"

struct taking {
    const struct phi_matrix *w;
    const int64_t *rows;
    float *y;
};

static void take_row(void *data, int task) {
    const struct taking *job = data;
    const struct phi_matrix *w = job->w;
    const long row = job->rows[task], r = row % ROWS, n_blocks = phi_padded(w->columns, COLUMNS) / COLUMNS;
    const int is_q4 = w->kind == PHI_Q4;
    const long bytes = is_q4 ? Q4_BYTES : Q8_BYTES;
    const uint8_t *strip = w->data + row / ROWS * n_blocks * bytes;
    const float *D = (const float *)(w->data + phi_blocks_bytes(w)), *M = D + phi_padded(w->rows, ROWS);
    float *y = job->y + (long)task * w->columns;
    for (long c = 0; c < w->columns; c++) {
        const uint8_t *block = strip + c / COLUMNS * bytes;
        const long g = c % COLUMNS / GROUP, k = c % GROUP;
        if (is_q4) {
            uint8_t two = block[256 * g + 64 * (k / 8) + 4 * r + k % 4], q = k % 8 < 4 ? two & 15 : two >> 4;
            y[c] = D[row] * block[Q4_SCALES + ROWS * g + r] * q - M[row] * block[Q4_LOWS + ROWS * g + r];
        } else {
            int8_t q = (int8_t)block[512 * g + 64 * (k / 4) + 4 * r + k % 4];
            y[c] = D[row] * block[Q8_SCALES + ROWS * g + r] * q;
        }
    }
}

/* y [n, columns] = the rows of w numbered in rows [n]. */
void phi_take(const struct phi_matrix *w, const int64_t *rows, int n, float *y) {
    struct taking job = {w, rows, y};
    pool_run(take_row, &job, n);
}
