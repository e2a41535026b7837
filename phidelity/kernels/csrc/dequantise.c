/* Rows of a packed matrix as floats, a strip of 16 at a time: what a gradient with respect to the input multiplies. */
#include <stdint.h>

#include "phi.h"
#include "pool.h"

struct opening {
    const struct phi_matrix *w;
    long first, n;
    float *y;
};

/* 32 columns of one row of a q4 block: four columns in low nibbles, the next four in high ones, and so on. */
static void open_q4(const uint8_t *q, float scale, float low, float *y) {
    for (int j = 0; j < 4; j++)
        for (int b = 0; b < 4; b++) {
            y[8 * j + b] = scale * (float)(q[64 * j + b] & 15) - low;
            y[8 * j + 4 + b] = scale * (float)(q[64 * j + b] >> 4) - low;
        }
}

static void open_q8(const int8_t *q, float scale, float *y) {
    for (int j = 0; j < 8; j++)
        for (int b = 0; b < 4; b++) y[4 * j + b] = scale * (float)q[64 * j + b];
}

static void open_strip(void *data, int task) {
    const struct opening *job = data;
    const struct phi_matrix *w = job->w;
    const long strip = job->first / ROWS + task, n_blocks = phi_padded(w->columns, COLUMNS) / COLUMNS;
    const long bytes = w->kind == PHI_Q4 ? Q4_BYTES : Q8_BYTES;
    const float *D = (const float *)(w->data + phi_blocks_bytes(w)), *M = D + phi_padded(w->rows, ROWS);
    for (int r = 0; r < ROWS; r++) {
        const long row = strip * ROWS + r;
        if (row < job->first || row >= job->first + job->n) continue;
        float *y = job->y + (row - job->first) * w->columns, part[GROUP];
        for (long c = 0; c < w->columns; c += GROUP) {
            const uint8_t *block = w->data + (strip * n_blocks + c / COLUMNS) * bytes;
            const long g = c % COLUMNS / GROUP, n = w->columns - c < GROUP ? w->columns - c : GROUP;
            float *to = n < GROUP ? part : y + c;
            if (w->kind == PHI_Q4)
                open_q4(block + 256 * g + 4 * r, D[row] * block[Q4_SCALES + ROWS * g + r],
                        M[row] * block[Q4_LOWS + ROWS * g + r], to);
            else
                open_q8((const int8_t *)block + 512 * g + 4 * r, D[row] * block[Q8_SCALES + ROWS * g + r], to);
            if (n < GROUP)
                for (long k = 0; k < n; k++) y[c + k] = part[k];
        }
    }
}

/* y [n, columns] = rows first, first + 1, ... of w. */
void phi_dequantise(const struct phi_matrix *w, long first, long n, float *y) {
    struct opening job = {w, first, n, y};
    pool_run(open_strip, &job, (int)((first + n + ROWS - 1) / ROWS - first / ROWS));
}
