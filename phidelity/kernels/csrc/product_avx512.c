/* Products with AVX-512 VNNI: one instruction multiplies 4 columns of 16 rows and adds them up in 32-bit lanes.

   A block's registers are unpacked once for all tokens of the call; a token's 4 bytes are broadcast from memory by
   the multiplication itself. `n` is a constant wherever these are inlined, so the sums stay in registers. Eight tokens
   were measured faster than six or twelve; memory is fetched into the second cache far ahead, which took decode from
   0.80 to 0.92 of the rate at which one thread can read. */
#include <immintrin.h>

#include "product.h"

#define INLINE static inline __attribute__((always_inline))
enum { MOST = 8, AHEAD = 16 * 1152 };

INLINE __m512i broadcast(const int8_t *a) {
    int32_t four;
    __builtin_memcpy(&four, a, 4);
    return _mm512_set1_epi32(four);
}

INLINE __m512 widened(const uint8_t *bytes) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)bytes)));
}

INLINE void prefetch(const uint8_t *at, int n_lines) {
    for (int i = 0; i < n_lines; i++) _mm_prefetch((const char *)at + 64 * i, _MM_HINT_T1);
}

/* With one token or two the unpacking counts: high nibbles then stay where they are, sixteen times too large, and are
   summed apart. */
INLINE void q4_tokens(const uint8_t *block, int n_blocks, struct tokens x, const int n, struct sums *sums) {
    const __m512i nibble = _mm512_set1_epi8(15);
    const int is_apart = n <= 2;
    __m512 acc[MOST], low[MOST];
    for (int t = 0; t < n; t++) acc[t] = _mm512_loadu_ps(sums[t].acc), low[t] = _mm512_loadu_ps(sums[t].low);
    for (int c = 0; c < n_blocks; c++, block += Q4_BYTES)
        for (int g = 0; g < GROUPS; g++) {
            const uint8_t *at = block + 256 * g;
            const int8_t *a = x.a + c * COLUMNS + g * GROUP;
            const long group = c * GROUPS + g;
            __m512i dot[MOST], high[2];
            for (int t = 0; t < n; t++) dot[t] = _mm512_setzero_si512();
            if (is_apart) high[0] = high[1] = _mm512_setzero_si512();
            prefetch(at + AHEAD, 4);
            for (int j = 0; j < 4; j++) {
                __m512i two = _mm512_loadu_si512(at + 64 * j);
                __m512i first = _mm512_and_si512(two, nibble), second = _mm512_andnot_si512(nibble, two);
                if (!is_apart) second = _mm512_and_si512(_mm512_srli_epi16(two, 4), nibble);
                for (int t = 0; t < n; t++) {
                    __m512i *sum = is_apart ? &high[t] : &dot[t];
                    dot[t] = _mm512_dpbusd_epi32(dot[t], first, broadcast(a + t * x.columns + 8 * j));
                    *sum = _mm512_dpbusd_epi32(*sum, second, broadcast(a + t * x.columns + 8 * j + 4));
                }
            }
            __m512 s = widened(block + Q4_SCALES + ROWS * g), m = widened(block + Q4_LOWS + ROWS * g);
            for (int t = 0; t < n; t++) {
                if (is_apart) dot[t] = _mm512_add_epi32(dot[t], _mm512_srai_epi32(high[t], 4));
                __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[t]), s);
                acc[t] = _mm512_fmadd_ps(scaled, _mm512_set1_ps(x.scale[t * x.groups + group]), acc[t]);
                low[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(x.weighted[t * x.groups + group]), low[t]);
            }
        }
    for (int t = 0; t < n; t++) _mm512_storeu_ps(sums[t].acc, acc[t]), _mm512_storeu_ps(sums[t].low, low[t]);
}

/* Signed weights become unsigned by adding 128, which a first summand of -128 * sum(a) takes back. */
INLINE void q8_tokens(const uint8_t *block, int n_blocks, struct tokens x, const int n, struct sums *sums) {
    const __m512i flip = _mm512_set1_epi8((char)128);
    __m512 acc[MOST];
    for (int t = 0; t < n; t++) acc[t] = _mm512_loadu_ps(sums[t].acc);
    for (int c = 0; c < n_blocks; c++, block += Q8_BYTES)
        for (int g = 0; g < GROUPS; g++) {
            const uint8_t *at = block + 512 * g;
            const int8_t *a = x.a + c * COLUMNS + g * GROUP;
            const long group = c * GROUPS + g;
            __m512i dot[MOST];
            for (int t = 0; t < n; t++) dot[t] = _mm512_set1_epi32(-128 * x.sum[t * x.groups + group]);
            prefetch(at + AHEAD, 8);
            for (int j = 0; j < 8; j++) {
                __m512i w = _mm512_xor_si512(_mm512_loadu_si512(at + 64 * j), flip);
                for (int t = 0; t < n; t++) dot[t] = _mm512_dpbusd_epi32(dot[t], w, broadcast(a + t * x.columns + 4 * j));
            }
            __m512 s = widened(block + Q8_SCALES + ROWS * g);
            for (int t = 0; t < n; t++) {
                __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[t]), s);
                acc[t] = _mm512_fmadd_ps(scaled, _mm512_set1_ps(x.scale[t * x.groups + group]), acc[t]);
            }
        }
    for (int t = 0; t < n; t++) _mm512_storeu_ps(sums[t].acc, acc[t]);
}

#define EACH(n, kind) case n: kind##_tokens(blocks, n_blocks, x, n, sums); break;
#define ALL(kind) EACH(1, kind) EACH(2, kind) EACH(3, kind) EACH(4, kind) \
                  EACH(5, kind) EACH(6, kind) EACH(7, kind) EACH(8, kind)

static void q4(const uint8_t *blocks, int n_blocks, struct tokens x, int n, struct sums *sums) {
    switch (n) { ALL(q4) }
}

static void q8(const uint8_t *blocks, int n_blocks, struct tokens x, int n, struct sums *sums) {
    switch (n) { ALL(q8) }
}

const struct products products_avx512 = {"avx512", MOST, q4, q8};
