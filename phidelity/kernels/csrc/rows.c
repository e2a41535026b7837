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

/* a = rint(x * inverse) and sums of a block; returns the largest sum of magnitudes among its groups. */
static int32_t round_block(const float *x, float inverse, int8_t *a, int16_t *sum) {
    int32_t most = 0;
    for (int g = 0; g < GROUPS; g++, x += GROUP, a += GROUP) {
        int32_t total = 0, size = 0;
        for (int i = 0; i < GROUP; i++) {
            int32_t value = bits_of(x[i] * inverse + TO_INTEGER) - bits_of(TO_INTEGER);
            a[i] = (int8_t)value;
            total += value;
            size += value < 0 ? -value : value;
        }
        sum[g] = (int16_t)total;
        most = size > most ? size : most;
    }
    return most;
}

/* Magnitudes compare as integers, NaN above infinity; such a block becomes zeros with a NaN scale. Rounding moves a
   group's sum by 16 at most, so a second rounding with a scale of ROOM / sum always fits. */
static void quantise_block(const float *x, int8_t *a, float *scale, int16_t *sum) {
    static const float ROOM = MOST_SIZE - 40;
    int32_t largest = 0;
    for (int i = 0; i < COLUMNS; i++) {
        int32_t size = bits_of(x[i]) & 0x7fffffff;
        largest = size > largest ? size : largest;
    }
    if (largest >= INFINITE) {
        memset(a, 0, COLUMNS);
        memset(sum, 0, sizeof(int16_t) * GROUPS);
        *scale = NAN;
        return;
    }
    float inverse = largest ? 127.0f / float_of(largest) : 0;
    if (bits_of(inverse) >= INFINITE) inverse = 0;
    *scale = float_of(largest) / 127.0f;
    int32_t most = round_block(x, inverse, a, sum);
    if (most <= MOST_SIZE) return;
    float wider = (float)most / ROOM;
    *scale *= wider;
    round_block(x, inverse / wider, a, sum);
}

static void quantise(const float *x, long n, struct rounded to) {
    long whole = n / COLUMNS;
    for (long b = 0; b < to.n_blocks; b++) {
        float rest[COLUMNS] = {0};
        if (b >= whole) memcpy(rest, x + b * COLUMNS, sizeof(float) * (n - b * COLUMNS));
        quantise_block(b < whole ? x + b * COLUMNS : rest, to.a + b * COLUMNS, to.scale + b, to.sum + b * GROUPS);
    }
}

static void finish(const struct sums *sums, const float *D, const float *M, int n, int adds, float *y) {
    float value[ROWS];
    for (int r = 0; r < ROWS; r++) value[r] = fmaf(D[r], sums->acc[r], M ? -(M[r] * sums->low[r]) : -0.0f);
    for (int r = 0; r < n; r++) y[r] = adds ? y[r] + value[r] : value[r];
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
const struct row_kernels NAMED(rows, ISA) = {quantise, finish, norm, swiglu, rotate, total};
