/* One token at a time: rounding, RMSNorm, SwiGLU, rotation. Plain loops that the compiler turns into whatever registers
   there are; compiled once for each instruction set, ISA(name) being name_avx2 and so on. Sums run in 16 lanes that are
   added in pairs, so they have one order. */
#include <math.h>
#include <string.h>

#include "exponential.h"
#include "product.h"
#include "rows.h"

enum { LANES = 16 };

static const int32_t INFINITE = 0x7f800000;

/* Magnitudes compare as integers, NaN above infinity; such a group becomes zeros with a NaN scale. */
static void quantise_group(const float *x, struct rounded to, long g) {
    int32_t largest = 0, total = 0;
    for (int i = 0; i < GROUP; i++) {
        int32_t size = bits_of(x[i]) & 0x7fffffff;
        largest = size > largest ? size : largest;
    }
    int8_t *a = to.a + g * GROUP;
    float inverse = largest ? 127.0f / float_of(largest) : 0;
    if (largest >= INFINITE || bits_of(inverse) >= INFINITE) inverse = 0;
    if (largest >= INFINITE) memset(a, 0, GROUP);
    else
        for (int i = 0; i < GROUP; i++) {
            int32_t value = bits_of(x[i] * inverse + TO_INTEGER) - bits_of(TO_INTEGER);
            a[i] = (int8_t)value;
            total += value;
        }
    to.scale[g] = largest >= INFINITE ? NAN : float_of(largest) / 127.0f;
    to.weighted[g] = to.scale[g] * (float)total;
    to.sum[g] = total;
}

static void quantise(const float *x, long n, struct rounded to) {
    long whole = n / GROUP;
    for (long g = 0; g < whole; g++) quantise_group(x + g * GROUP, to, g);
    for (long g = whole; g < to.groups; g++) {
        float rest[GROUP] = {0};
        if (g == whole) memcpy(rest, x + g * GROUP, sizeof(float) * (n - g * GROUP));
        quantise_group(rest, to, g);
    }
}

static float sum_of_squares(const float *x, long n) {
    float lane[LANES] = {0};
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += x[i + l] * x[i + l];
    for (int l = 0; i < n; i++, l++) lane[l] += x[i] * x[i];
    for (int half = LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

static void norm(const float *x, const float *weight, float eps, long n, float *y) {
    float r = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps);
    for (long i = 0; i < n; i++) y[i] = x[i] * r * weight[i];
}

static void swiglu(const float *gate, const float *up, long n, float *y) {
    for (long i = 0; i < n; i++) y[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

static void rotate(float *x, const float *cos, const float *sin, int n_heads, long n) {
    for (int h = 0; h < n_heads; h++, x += n)
        for (long i = 0; i < n / 2; i++) {
            float first = x[i], second = x[i + n / 2];
            x[i] = first * cos[i] - second * sin[i];
            x[i + n / 2] = second * cos[i] + first * sin[i];
        }
}

static uint64_t total(const uint8_t *at, long bytes) {
    enum { WORDS = 64 };
    uint64_t lane[WORDS] = {0}, sum = 0;
    for (long i = 0; i < bytes; i += sizeof lane)
        for (int l = 0; l < WORDS; l++) {
            uint64_t word;
            memcpy(&word, at + i + 8 * l, 8);
            lane[l] += word;
        }
    for (int l = 0; l < WORDS; l++) sum += lane[l];
    return sum;
}

#define JOIN(a, b) a##_##b
#define NAMED(a, b) JOIN(a, b)
const struct row_kernels NAMED(rows, ISA) = {quantise, norm, swiglu, rotate, total};
