/* The two halves of a transformer block around attention, each one call: tokens are normed and rounded in one pass,
   multiplied, and what comes out is rounded for the next product while it is in the cache. */
#include <stdint.h>

#include "phi.h"
#include "pool.h"
#include "rows.h"

/* Room for n rounded tokens of `columns`. */
long phi_activation_bytes(int n, long columns) {
    long wide = phi_padded(columns, COLUMNS);
    return n * (wide + wide / COLUMNS * 4 + wide / GROUP * 2);
}

struct rounding {
    const float *x, *weight; /* weight: RMSNorm first */
    const float *up;         /* SwiGLU of x and up first */
    float eps;
    long columns, stride; /* from token to token of x */
    struct tokens to;
};

static void round_token(void *data, int t) {
    const struct rounding *job = data;
    const struct row_kernels *rows = phi_rows();
    const float *x = job->x + t * job->stride;
    struct tokens to = job->to;
    struct rounded place = {(int8_t *)to.a + t * to.columns, (float *)to.scale + t * to.n_blocks,
                            (int16_t *)to.sum + t * to.n_blocks * GROUPS, to.n_blocks};
    if (job->weight || job->up) {
        float *made = pool_scratch(sizeof(float) * job->columns);
        if (job->weight) rows->norm(x, job->weight, job->eps, job->columns, made);
        else rows->swiglu(x, job->up + t * job->stride, job->columns, made);
        x = made;
    }
    rows->quantise(x, job->columns, place);
}

void phi_quantise(const float *x, int n, long columns, void *activations) {
    struct rounding job = {x, 0, 0, 0, columns, columns, phi_tokens(activations, n, columns)};
    pool_run(round_token, &job, n);
}

void phi_norm_quantise(const float *x, const float *weight, float eps, int n, long columns, void *activations) {
    struct rounding job = {x, weight, 0, eps, columns, columns, phi_tokens(activations, n, columns)};
    pool_run(round_token, &job, n);
}

/* gate_up [n, 2 * columns] -> silu(gate) * up, rounded. */
void phi_swiglu_quantise(const float *gate_up, int n, long columns, void *activations) {
    struct rounding job = {gate_up, 0, gate_up + columns, 0, columns, 2 * columns, phi_tokens(activations, n, columns)};
    pool_run(round_token, &job, n);
}

struct rotation {
    float *x;
    const float *cos, *sin;
    int n_heads;
    long head_dim, stride;
};

static void rotate_token(void *data, int t) {
    const struct rotation *job = data;
    phi_rows()->rotate(job->x + t * job->stride, job->cos + t * job->head_dim / 2, job->sin + t * job->head_dim / 2,
                       job->n_heads, job->head_dim);
}

/* Before attention: x [n, M] -> qkv [n, rows of w], the first n_rotated heads of it rotated by cos, sin [n, D / 2]. */
void phi_block_qkv(const float *x, int n, const float *weight, float eps, const struct phi_matrix *w, const float *cos,
                   const float *sin, int n_rotated, int head_dim, float *qkv, void *room) {
    phi_norm_quantise(x, weight, eps, n, w->columns, room);
    phi_matmul(w, room, n, qkv, w->rows, 0);
    struct rotation job = {qkv, cos, sin, n_rotated, head_dim, w->rows};
    pool_run(rotate_token, &job, n);
}

/* After attention: x [n, M] += out(y), then x += down(swiglu(gate_up(norm(x)))); hidden is room for [n, 2F]. */
void phi_block_rest(float *x, int n, const float *y, const struct phi_matrix *out, const float *weight, float eps,
                    const struct phi_matrix *gate_up, const struct phi_matrix *down, float *hidden, void *room) {
    phi_quantise(y, n, out->columns, room);
    phi_matmul(out, room, n, x, out->rows, 1);
    phi_norm_quantise(x, weight, eps, n, gate_up->columns, room);
    phi_matmul(gate_up, room, n, hidden, gate_up->rows, 0);
    phi_swiglu_quantise(hidden, n, down->columns, room);
    phi_matmul(down, room, n, x, down->rows, 1);
}
