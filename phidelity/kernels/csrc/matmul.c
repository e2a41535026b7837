/* y = x W^T for a packed matrix and any number of tokens: who computes which strip, and in which order.

   Few tokens (decode) go through a strip in one sweep. Many (prefill) go by stretches of columns, so that a stretch of
   TALL strips and of the tokens of one call stay in the first two caches; sums are carried in float32 between them, so
   the order of operations, and every bit, is the same. */
#include <math.h>
#include <stdint.h>

#include "pool.h"
#include "phi.h"

enum { TALL = 4, WIDE = 8 }; /* strips, and blocks of columns, of a stretch (ours) */

struct job {
    const struct phi_matrix *w;
    struct tokens x;
    int n;
    float *y;
    long stride;
    int adds, strips_a_task;
};

static struct tokens from(struct tokens x, long token, long block) {
    x.a += token * x.columns + block * COLUMNS;
    x.scale += token * x.groups + block * GROUPS;
    x.weighted += token * x.groups + block * GROUPS;
    x.sum += token * x.groups + block * GROUPS;
    return x;
}

static void write_rows(const struct job *job, int strip, const struct sums *sums) {
    const struct phi_matrix *w = job->w;
    const float *D = (const float *)(w->data + phi_blocks_bytes(w)), *M = D + phi_padded(w->rows, ROWS);
    int first = strip * ROWS, n_rows = w->rows - first < ROWS ? w->rows - first : ROWS;
    for (int t = 0; t < job->n; t++) {
        float *y = job->y + t * job->stride + first;
        for (int r = 0; r < n_rows; r++) {
            float low = w->kind == PHI_Q4 ? M[first + r] * sums[t].low[r] : 0;
            float value = fmaf(D[first + r], sums[t].acc[r], -low);
            y[r] = job->adds ? y[r] + value : value;
        }
    }
}

static void some_strips(void *data, int task) {
    const struct job *job = data;
    const struct phi_matrix *w = job->w;
    const struct products *products = phi_products();
    const strip_product product = w->kind == PHI_Q4 ? products->q4 : products->q8;
    const long block_bytes = w->kind == PHI_Q4 ? Q4_BYTES : Q8_BYTES, n_blocks = phi_padded(w->columns, COLUMNS) / COLUMNS;
    const int n_strips = (int)(phi_padded(w->rows, ROWS) / ROWS), first = task * job->strips_a_task;
    const int end = first + job->strips_a_task < n_strips ? first + job->strips_a_task : n_strips;
    const int wide = job->n > products->most_tokens ? WIDE : (int)n_blocks;
    struct sums *sums = pool_scratch(sizeof(struct sums) * (end - first) * job->n);

    for (long i = 0; i < (long)(end - first) * job->n; i++) sums[i] = (struct sums){{0}, {0}};
    for (long c = 0; c < n_blocks; c += wide)
        for (int t = 0; t < job->n; t += products->most_tokens)
            for (int strip = first; strip < end; strip++) {
                int n = job->n - t < products->most_tokens ? job->n - t : products->most_tokens;
                int blocks = (int)(n_blocks - c < wide ? n_blocks - c : wide);
                product(w->data + (strip * n_blocks + c) * block_bytes, blocks, from(job->x, t, c), n,
                        sums + (long)(strip - first) * job->n + t);
            }
    for (int strip = first; strip < end; strip++) write_rows(job, strip, sums + (long)(strip - first) * job->n);
}

void phi_matmul(const struct phi_matrix *w, const void *activations, int n, float *y, long stride, int adds) {
    int n_strips = (int)(phi_padded(w->rows, ROWS) / ROWS);
    struct job job = {w, phi_tokens(activations, n, w->columns), n, y, stride, adds, TALL};
    pool_run(some_strips, &job, (n_strips + TALL - 1) / TALL);
}
