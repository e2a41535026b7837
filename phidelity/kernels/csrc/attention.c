/* Attention of a batch: tokens of many sequences, decoding or prefilled, shared among the threads by tiles. */
#include <stdint.h>

#include "phi.h"
#include "pool.h"

struct attention {
    const struct phi_cache *cache;
    const float *q;
    float *y;
    long q_stride, y_stride;
    const struct phi_span *spans;
    int n_spans, n_groups;
};

/* Tasks go KV head by KV head through the tiles of each span, the last tile first: it has most to read. */
static void attend_task(void *data, int task) {
    const struct attention *job = data;
    const struct phi_span *span = job->spans;
    const int heads = job->cache->n_kv_heads;
    for (;; span++) {
        int n_tasks = (int)((span->n + ATTEND_TOKENS - 1) / ATTEND_TOKENS) * heads;
        if (task < n_tasks) break;
        task -= n_tasks;
    }
    const long n_tiles = (span->n + ATTEND_TOKENS - 1) / ATTEND_TOKENS, at = (n_tiles - 1 - task / heads) * ATTEND_TOKENS;
    const long head = task % heads, D = job->cache->head_dim, row = span->first + at, column = head * job->n_groups * D;
    const struct attend_tile tile = {
        job->cache, job->q + row * job->q_stride + column, job->y + row * job->y_stride + column, job->q_stride,
        job->y_stride, span->table, span->start + at, (int)(span->n - at < ATTEND_TOKENS ? span->n - at : ATTEND_TOKENS),
        (int)head, job->n_groups};
    phi_attention()->attend(&tile, pool_scratch(sizeof(float) * attend_room(D, job->n_groups)));
}

/* q [n, n_heads, D] of rows `q_stride` apart -> y; what the rows attend to, themselves included, is in the cache. */
void phi_attend(const struct phi_cache *cache, const float *q, long q_stride, float *y, long y_stride, int n_heads,
                const struct phi_span *spans, int n_spans) {
    struct attention job = {cache, q, y, q_stride, y_stride, spans, n_spans, n_heads / cache->n_kv_heads};
    long n_tasks = 0;
    for (int i = 0; i < n_spans; i++) n_tasks += (spans[i].n + ATTEND_TOKENS - 1) / ATTEND_TOKENS * cache->n_kv_heads;
    pool_run(attend_task, &job, (int)n_tasks);
}

struct storing {
    const struct phi_cache *cache;
    const float *k, *v;
    long stride;
    const int64_t *cells;
};

static void store_token(void *data, int t) {
    const struct storing *job = data;
    const struct phi_cache *cache = job->cache;
    const long D = cache->head_dim, heads = cache->n_kv_heads, block = job->cells[t] / BLOCK;
    const int at = (int)(job->cells[t] % BLOCK);
    for (long i = 0; i < 2 * heads; i++) {
        const int is_key = i < heads;
        const float *x = (is_key ? job->k : job->v) + t * job->stride + i % heads * D;
        const long place = block * 2 * heads + i;
        if (cache->scales)
            phi_attention()->store(x, D, is_key, at, (int8_t *)cache->data + place * BLOCK * D, cache->scales + place * BLOCK);
        else
            for (long d = 0; d < D; d++) ((float *)cache->data)[(place * BLOCK + at) * D + d] = x[d];
    }
}

/* Keys and values [n, n_kv_heads, D] of rows `stride` apart into cells[n] = block * 32 + place in it, all distinct. */
void phi_store(const struct phi_cache *cache, const float *k, const float *v, long stride, const int64_t *cells, int n) {
    struct storing job = {cache, k, v, stride, cells};
    pool_run(store_token, &job, n);
}
