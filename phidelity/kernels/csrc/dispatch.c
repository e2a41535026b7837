/* Which instruction set serves: the best one that this processor has, or one asked for by name. */
#include <string.h>

#include "phi.h"

static struct {
    const struct products *products;
    const struct row_kernels *rows;
    const struct attend_kernels *attend;
    const struct dense_kernels *dense;
} chosen = {&products_portable, &rows_portable, &attend_portable, &dense_portable};

const struct products *phi_products(void) { return chosen.products; }
const struct row_kernels *phi_rows(void) { return chosen.rows; }
const struct attend_kernels *phi_attention(void) { return chosen.attend; }
const struct dense_kernels *phi_dense(void) { return chosen.dense; }

static int can_avx2(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

static int can_avx512(void) {
#if defined(__x86_64__)
    return can_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
#else
    return 0;
#endif
}

/* Choose by name, or with "" the best; returns the name of what serves, or NULL if this processor cannot. */
const char *phi_choose(const char *name) {
    int is_any = !*name, serves = 0;
    if (is_any || !strcmp(name, "portable")) {
        chosen.products = &products_portable, chosen.rows = &rows_portable, chosen.attend = &attend_portable;
        chosen.dense = &dense_portable;
        serves = 1;
    }
#if defined(__x86_64__)
    if ((is_any || !strcmp(name, "avx2")) && can_avx2()) {
        chosen.products = &products_avx2, chosen.rows = &rows_avx2, chosen.attend = &attend_avx2;
        chosen.dense = &dense_avx2;
        serves = 1;
    }
    if ((is_any || !strcmp(name, "avx512")) && can_avx512()) {
        chosen.products = &products_avx512, chosen.rows = &rows_avx512, chosen.attend = &attend_avx512;
        chosen.dense = &dense_avx512;
        serves = 1;
    }
#endif
    return serves ? chosen.products->name : 0;
}
