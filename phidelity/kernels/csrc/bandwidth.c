/* How fast memory can be read: what decode is measured against. */
#include <stdatomic.h>
#include <stdint.h>

#include "phi.h"
#include "pool.h"

enum { PART = 1 << 18 }; /* bytes of a task (ours) */

struct reading {
    const uint8_t *at;
    long bytes;
    _Atomic uint64_t total;
};

static void read_part(void *data, int task) {
    struct reading *job = data;
    long start = (long)task * PART, end = start + PART < job->bytes ? start + PART : job->bytes;
    atomic_fetch_add(&job->total, phi_rows()->total(job->at + start, end - start));
}

/* The sum of the 64-bit words of `bytes` (a multiple of 512) bytes, read once by all threads. */
uint64_t phi_read(const uint8_t *at, long bytes) {
    struct reading job = {at, bytes, 0};
    pool_run(read_part, &job, (int)((bytes + PART - 1) / PART));
    return job.total;
}
