/* y = x W^T for a packed matrix and any number of tokens: who computes which strip, and in which order.

   Few tokens (decode) go through a strip in one sweep. Many (prefill) go by stretches of columns, so that a stretch of
   TALL strips and of the tokens of one call stay in the first two caches; sums are carried in float32 between them, so
   the order of operations, and every bit, is the same. */
#include <stdint.h>

#include "phi.h"
#include "pool.h"

enum { TALL = 4, SOON = 8 }; /* strips of a task; tokens that writing is ahead (ours) */

struct job {
    const struct phi_matrix *w;
    struct tokens x;
    int n;
    float *y;
    long stride;
    int adds;
};

/* Strips first .. end - 1 of every token; where a token's rows go is fetched some tokens before. */
static void write_rows(const struct job *job, int first, int end, const struct sums *sums) {
    const struct phi_matrix *w = job->w;
    const float *D = (const float *)(w->data + phi_blocks_bytes(w)), *M = D + phi_padded(w->rows, ROWS);
    for (int t = 0; t < job->n; t++)
        for (int strip = first; strip < end; strip++) {
            int row = strip * ROWS, n_rows = w->rows - row < ROWS ? w->rows - row : ROWS;
            float *y = job->y + t * job->stride + row;
            if (t + SOON < job->n) __builtin_prefetch(y + SOON * job->stride, 1);
            phi_rows()->finish(sums + (long)(strip - first) * job->n + t, D + row, w->kind == PHI_Q4 ? M + row : 0, n_rows,
                               job->adds, y);
        }
}

static void some_strips(void *data, int task) {
    const struct job *job = data;
    const struct phi_matrix *w = job->w;
    const struct products *products = phi_products();
    const strip_product product = w->kind == PHI_Q4 ? products->q4 : products->q8;
    const pair_product pair = w->kind == PHI_Q4 ? products->q4_pair : products->q8_pair;
    const long block_bytes = w->kind == PHI_Q4 ? Q4_BYTES : Q8_BYTES, n_blocks = job->x.n_blocks;
    const int n_strips = (int)(phi_padded(w->rows, ROWS) / ROWS), first = task * TALL;
    const int end = first + TALL < n_strips ? first + TALL : n_strips, most = products->most_tokens;
    const int wide = job->n > most ? WIDE : (int)n_blocks;
    struct sums *sums = pool_scratch(sizeof(struct sums) * (end - first) * job->n);

    for (long i = 0; i < (long)(end - first) * job->n; i++) sums[i] = (struct sums){{0}, {0}};
    for (long c = 0; c < n_blocks; c += wide) {
        const int blocks = (int)(n_blocks - c < wide ? n_blocks - c : wide);
        int single = first; /* the first strip that has no pair */
        if (job->n > most && pair)
            for (; single + 1 < end; single += 2)
                pair(w->data + (single * n_blocks + c) * block_bytes, n_blocks * block_bytes, blocks,
                     tokens_from(job->x, 0, c), job->n, sums + (long)(single - first) * job->n);
        for (int t = 0; t < job->n; t += most)
            for (int strip = single; strip < end; strip++)
                product(w->data + (strip * n_blocks + c) * block_bytes, blocks, tokens_from(job->x, t, c),
                        job->n - t < most ? job->n - t : most, sums + (long)(strip - first) * job->n + t);
    }
    write_rows(job, first, end, sums);
}

void phi_matmul(const struct phi_matrix *w, const void *activations, int n, float *y, long stride, int adds) {
    int n_strips = (int)(phi_padded(w->rows, ROWS) / ROWS);
    struct job job = {w, phi_tokens(activations, n, w->columns), n, y, stride, adds};
    pool_run(some_strips, &job, (n_strips + TALL - 1) / TALL);
}
