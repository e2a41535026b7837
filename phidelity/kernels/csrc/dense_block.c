/* A transformer block in float32, as Python calls it: the two halves around attention, and attention over the pages of
   the cache. Work is shared by strips of outputs, by tokens, and by tokens and heads; see dense.h for why no bit depends
   on it. */
#include <stdint.h>
#include <string.h>

#include "phi.h"
#include "pool.h"

enum { ROWS_A_TASK = 192, ROWS_A_SWEEP = 12, PART_BYTES = 1 << 19, TOKENS_A_TASK = 4 }; /* (ours) */

static long least(long a, long b) { return a < b ? a : b; }
static int tasks_of(long n, long each) { return (int)((n + each - 1) / each); }

struct dense_job {
    const struct phi_dense *w;
    const float *x;
    float *y;
    long n, y_stride;
    int adds, n_parts, strips_a_part;
};

/* A few strips stay in the second cache while rows pass by; what is written goes on from strip to strip. */
static void some_products(void *data, int task) {
    const struct dense_job *job = data;
    const struct phi_dense *w = job->w;
    const long k = w->columns, first = (long)(task / job->n_parts) * ROWS_A_TASK, end = least(job->n, first + ROWS_A_TASK);
    const long strip = (long)(task % job->n_parts) * job->strips_a_part;
    const long last = least(strip + job->strips_a_part, tasks_of(w->rows, STRIP));
    for (long r = first; r < end; r += ROWS_A_SWEEP)
        for (long s = strip; s < last; s++)
            phi_dense()->product(job->x + r * k, k, (int)least(ROWS_A_SWEEP, end - r), w->data + s * k * STRIP, k,
                                 job->y + r * job->y_stride + s * STRIP, job->y_stride,
                                 (int)least(STRIP, w->rows - s * STRIP), job->adds);
}

/* Parts fit the second cache, and there are about four a thread, so that threads which come late find work. */
void phi_dense_product(const struct phi_dense *w, const float *x, int n, float *y, long stride, int adds) {
    const int n_strips = tasks_of(w->rows, STRIP);
    const long fit = PART_BYTES / (long)sizeof(float) / STRIP / w->columns, fair = n_strips / (4 * pool_threads());
    const int each = (int)(least(fit, fair) < 1 ? 1 : least(fit, fair));
    struct dense_job job = {w, x, y, n, stride, adds, tasks_of(n_strips, each), each};
    pool_run(some_products, &job, tasks_of(n, ROWS_A_TASK) * job.n_parts);
}

struct token_job {
    const float *x, *weight, *cos, *sin;
    float *y, eps;
    long n, columns, stride;
    int n_heads, head_dim;
};

#define FOR_TOKENS(job, task, t) \
    for (long t = (long)(task) * TOKENS_A_TASK; t < least((job)->n, ((long)(task) + 1) * TOKENS_A_TASK); t++)

static void norm_tokens(void *data, int task) {
    const struct token_job *job = data;
    FOR_TOKENS(job, task, t)
    phi_rows()->norm(job->x + t * job->columns, job->weight, job->eps, job->columns, job->y + t * job->columns);
}

static void rotate_tokens(void *data, int task) {
    const struct token_job *job = data;
    const long half = job->head_dim / 2;
    FOR_TOKENS(job, task, t)
    phi_rows()->rotate(job->y + t * job->stride, job->cos + t * half, job->sin + t * half, job->n_heads, job->head_dim);
}

/* silu(gate) * up of x [n, 2 * columns]. */
static void swiglu_tokens(void *data, int task) {
    const struct token_job *job = data;
    FOR_TOKENS(job, task, t) {
        const float *gate = job->x + t * 2 * job->columns;
        phi_rows()->swiglu(gate, gate + job->columns, job->columns, job->y + t * job->columns);
    }
}

/* y[n, columns] = RMSNorm of x. */
void phi_dense_norm(const float *x, int n, const float *weight, float eps, long columns, float *y) {
    struct token_job job = {.x = x, .weight = weight, .y = y, .eps = eps, .n = n, .columns = columns};
    pool_run(norm_tokens, &job, tasks_of(n, TOKENS_A_TASK));
}

/* Before attention: x [n, M] -> qkv [n, rows of w], its first n_rotated heads rotated by cos, sin [n, D / 2]; room for
   [n, M]. */
void phi_dense_qkv(const float *x, int n, const float *weight, float eps, const struct phi_dense *w, const float *cos,
                   const float *sin, int n_rotated, int head_dim, float *qkv, float *room) {
    phi_dense_norm(x, n, weight, eps, w->columns, room);
    phi_dense_product(w, room, n, qkv, w->rows, 0);
    struct token_job job = {.y = qkv, .cos = cos, .sin = sin, .n = n, .stride = w->rows, .n_heads = n_rotated,
                            .head_dim = head_dim};
    pool_run(rotate_tokens, &job, tasks_of(n, TOKENS_A_TASK));
}

/* After attention: x [n, M] += out(y), then x += down(swiglu(gate_up(norm(x)))); room for [n, M + 3F]. */
void phi_dense_rest(float *x, int n, const float *y, const struct phi_dense *out, const float *weight, float eps,
                    const struct phi_dense *gate_up, const struct phi_dense *down, float *room) {
    const long width = gate_up->columns, columns = down->columns;
    float *hidden = room + n * width, *mixed = hidden + 2 * n * columns;
    phi_dense_product(out, y, n, x, width, 1);
    phi_dense_norm(x, n, weight, eps, width, room);
    phi_dense_product(gate_up, room, n, hidden, gate_up->rows, 0);
    struct token_job job = {.x = hidden, .y = mixed, .n = n, .columns = columns};
    pool_run(swiglu_tokens, &job, tasks_of(n, TOKENS_A_TASK));
    phi_dense_product(down, mixed, n, x, width, 1);
}

/* Keys and values of one layer in pages, and what n tokens ask of them: qkv [n, (H + 2K) * D], the page table of each
   token's sequence and its position; y [n, H * D]. */
struct attention {
    float *pages;
    const float *qkv;
    const long *tables, *rows, *positions;
    float *y;
    long table_stride, n;
    int n_heads, n_kv_heads, head_dim;
};

static long page_floats(const struct attention *a) { return 2L * a->n_kv_heads * PAGE * a->head_dim; }
static const long *table_of(const struct attention *a, long t) { return a->tables + a->rows[t] * a->table_stride; }

/* A token's keys go into a column of its page each, its values into a row. */
static void store_tokens(void *data, int task) {
    const struct attention *a = data;
    const long size = a->head_dim, head = PAGE * size;
    for (long t = (long)task * TOKENS_A_TASK; t < least(a->n, ((long)task + 1) * TOKENS_A_TASK); t++) {
        const long place = a->positions[t] % PAGE;
        const float *k = a->qkv + (t * (a->n_heads + 2 * a->n_kv_heads) + a->n_heads) * size;
        float *page = a->pages + table_of(a, t)[a->positions[t] / PAGE] * page_floats(a);
        for (int h = 0; h < a->n_kv_heads; h++, k += size, page += head) {
            for (long d = 0; d < size; d++) page[d * PAGE + place] = k[d];
            memcpy(page + a->n_kv_heads * head + place * size, k + a->n_kv_heads * size, sizeof(float) * size);
        }
    }
}

static void attend_head(void *data, int task) {
    const struct attention *a = data;
    const long t = task / a->n_kv_heads, h = task % a->n_kv_heads, size = a->head_dim, head = PAGE * size;
    const long group = a->n_heads / a->n_kv_heads, n = a->positions[t] + 1;
    float *scores = pool_scratch(sizeof(float) * 4 * (n + PAGE));
    phi_dense()->attend(a->qkv + (t * (a->n_heads + 2 * a->n_kv_heads) + h * group) * size, (int)group, (int)size,
                        a->pages + h * head, table_of(a, t), page_floats(a), a->n_kv_heads * head, n, scores,
                        a->y + (t * a->n_heads + h * group) * size);
}

void phi_dense_attend(float *pages, const float *qkv, const long *tables, long table_stride, const long *rows,
                      const long *positions, int n, int n_heads, int n_kv_heads, int head_dim, float *y) {
    struct attention a = {pages, qkv, tables, rows, positions, y, table_stride, n, n_heads, n_kv_heads, head_dim};
    pool_run(store_tokens, &a, tasks_of(n, TOKENS_A_TASK));
    pool_run(attend_head, &a, n * n_kv_heads);
}

struct choosing {
    const float *logits;
    long n_known, n_columns;
    int64_t *tokens;
    float *totals;
};

static void choose_row(void *data, int r) {
    const struct choosing *job = data;
    job->tokens[r] = phi_dense()->best(job->logits + r * job->n_columns, job->n_known, job->n_columns, job->totals + r);
}

/* For each row of logits [n, V]: the best of its first n_known tokens, and the logarithm of the sum of exponentials. */
void phi_dense_best(const float *logits, int n, long n_known, long n_columns, int64_t *tokens, float *totals) {
    struct choosing job = {logits, n_known, n_columns, tokens, totals};
    pool_run(choose_row, &job, n);
}
