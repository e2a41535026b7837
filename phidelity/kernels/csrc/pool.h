/* A pool of threads that share the tasks of one job at a time; see pool.c. */
#pragma once

typedef void (*pool_task)(void *job, int task);

/* Run task 0 .. n_tasks - 1, shared among the threads; returns when all are done. */
void pool_run(pool_task run, void *job, int n_tasks);
int pool_threads(void);

/* Memory of this thread alone, good until its next call; at least `bytes`, aligned to 64. */
void *pool_scratch(unsigned long bytes);
