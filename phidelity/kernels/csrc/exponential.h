/* e^x to about 1e-7 of it, for x clamped to +-87: 2^n times a polynomial on |rest| <= ln(2) / 2. */
#pragma once
#include <stdint.h>
#include <string.h>

static inline int32_t bits_of(float x) {
    int32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

static inline float float_of(int32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* Added to |x| < 2^22 it leaves no bits for a fraction: rounds to the nearest integer, ties to even. */
static const float TO_INTEGER = 12582912.0f;

static inline float exponential(float x) {
    x = x > 87.0f ? 87.0f : x;
    x = x < -87.0f ? -87.0f : x;
    float shifted = x * 1.44269504f + TO_INTEGER, n = shifted - TO_INTEGER;
    float rest = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * rest + 1.3981999507e-3f;
    p = p * rest + 8.3334519073e-3f;
    p = p * rest + 4.1665795894e-2f;
    p = p * rest + 1.6666665459e-1f;
    p = p * rest + 5.0000001201e-1f;
    p = p * rest * rest + rest + 1.0f;
    return p * float_of((int32_t)((uint32_t)(bits_of(shifted) - bits_of(TO_INTEGER) + 127) << 23));
}
