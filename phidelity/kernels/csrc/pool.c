/* The pool: tasks are taken by a ticket, so no thread waits for one that has not woken.

   `tickets` holds the number of tasks in its upper half and the next one in its lower. Whoever adds one to it and
   reads a task below the number owns that task, and the job cannot change before it is done; whoever reads more
   touches nothing. The caller works too, and waits only for tasks that others took. An idle worker spins for
   SPIN_NS, then sleeps until a job comes. A second caller while a job runs does its tasks alone: kernels may be called
   from many threads. After fork() the child starts workers of its own. */
#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_THREADS = 256, SPIN_NS = 50000, SPINS_A_LOOK = 64 };

static struct {
    pthread_mutex_t caller, sleep;
    pthread_cond_t wake;
    _Atomic uint64_t tickets;
    _Atomic int done, n_sleeping, n_threads;
    int n_workers; /* started, guarded by caller */
    pool_task run;
    void *job;
} pool = {.caller = PTHREAD_MUTEX_INITIALIZER, .sleep = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER, .n_threads = 1};

static void pause_once(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int has_task(void) {
    uint64_t t = atomic_load(&pool.tickets);
    return (uint32_t)t < t >> 32;
}

static void work(void) {
    while (has_task()) {
        uint64_t t = atomic_fetch_add(&pool.tickets, 1);
        if ((uint32_t)t >= t >> 32) return;
        pool.run(pool.job, (int)(uint32_t)t);
        atomic_fetch_add(&pool.done, 1);
    }
}

static int is_wanted(int worker) { return worker < atomic_load(&pool.n_threads) && has_task(); }

static void *worker_loop(void *number) {
    int worker = (int)(intptr_t)number;
    for (;;) {
        int64_t until = now_ns() + SPIN_NS;
        while (!is_wanted(worker) && now_ns() < until)
            for (int i = 0; i < SPINS_A_LOOK && !is_wanted(worker); i++) pause_once();
        if (!is_wanted(worker)) {
            pthread_mutex_lock(&pool.sleep);
            atomic_fetch_add(&pool.n_sleeping, 1);
            while (!is_wanted(worker)) pthread_cond_wait(&pool.wake, &pool.sleep);
            atomic_fetch_sub(&pool.n_sleeping, 1);
            pthread_mutex_unlock(&pool.sleep);
        }
        work();
    }
    return NULL;
}

static void forget_workers(void) {
    pthread_mutex_init(&pool.caller, NULL);
    pthread_mutex_init(&pool.sleep, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.n_workers = 0;
    atomic_store(&pool.n_sleeping, 0);
    atomic_store(&pool.tickets, 0);
}

static void at_load(void) __attribute__((constructor));
static void at_load(void) { pthread_atfork(NULL, NULL, forget_workers); }

/* The caller is one of the threads. */
static void start_workers(void) {
    while (pool.n_workers < atomic_load(&pool.n_threads) - 1) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker_loop, (void *)(intptr_t)(pool.n_workers + 1))) return;
        pthread_detach(thread);
        pool.n_workers++;
    }
}

void phi_set_threads(int n) { atomic_store(&pool.n_threads, n < 1 ? 1 : n > MOST_THREADS ? MOST_THREADS : n); }

int pool_threads(void) { return atomic_load(&pool.n_threads); }

void pool_run(pool_task run, void *job, int n_tasks) {
    if (n_tasks < 2 || pool_threads() < 2 || pthread_mutex_trylock(&pool.caller)) {
        for (int i = 0; i < n_tasks; i++) run(job, i);
        return;
    }
    start_workers();
    pool.run = run;
    pool.job = job;
    atomic_store(&pool.done, 0);
    atomic_store(&pool.tickets, (uint64_t)n_tasks << 32);
    if (atomic_load(&pool.n_sleeping)) {
        pthread_mutex_lock(&pool.sleep);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep);
    }
    work();
    for (int64_t until = now_ns() + SPIN_NS; atomic_load(&pool.done) < n_tasks;)
        if (now_ns() < until) pause_once();
        else sched_yield();
    pthread_mutex_unlock(&pool.caller);
}

void *pool_scratch(unsigned long bytes) {
    static _Thread_local struct { void *at; unsigned long bytes; } mine;
    if (mine.bytes < bytes) {
        free(mine.at);
        mine.bytes = 0;
        if (posix_memalign(&mine.at, 64, bytes)) abort();
        mine.bytes = bytes;
    }
    return mine.at;
}

/* For tests: each task adds its number to its own cell, `rounds` jobs in a row. */
static void count(void *job, int task) { ((long *)job)[task] += task; }
void phi_pool_count(long *cells, int n_tasks, int rounds) {
    for (int i = 0; i < rounds; i++) pool_run(count, cells, n_tasks);
}
