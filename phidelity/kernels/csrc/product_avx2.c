/* Products with AVX2: unsigned times signed bytes added in pairs to 16 bits, eight such sums before they are widened.

   A nibble is at most 15, so eight sums of two products are at most 8 * 2 * 15 * 127 = 30,480 and fit 16 bits; the
   multiplication that widens them to 32 multiplies by the group's scale as well. Eight-bit weights leave no such room:
   their sign moves to the token (|w| a' with a' = sign(w) a), and each sum of two is widened at once. */
#include <immintrin.h>

#include "product.h"

#define INLINE static inline __attribute__((always_inline))
enum { MOST = 4, AHEAD = 16 * 1152, EIGHT = 8 };

INLINE __m256i broadcast(const int8_t *a) {
    int32_t four;
    __builtin_memcpy(&four, a, 4);
    return _mm256_set1_epi32(four);
}

INLINE __m256i widened(const uint8_t *bytes) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)bytes)); }

/* Rows `first` .. first + 7 of block `c` of a strip. */
INLINE void q4_eight(const uint8_t *block, int c, struct tokens x, const int n, struct sums *sums, int first) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256 acc[MOST], low[MOST];
    for (int t = 0; t < n; t++) acc[t] = _mm256_loadu_ps(sums[t].acc + first), low[t] = _mm256_loadu_ps(sums[t].low + first);
    for (int g = 0; g < GROUPS; g++) {
        const uint8_t *at = block + 256 * g + 4 * first;
        const int8_t *a = x.a + c * COLUMNS + g * GROUP;
        const long group = c * GROUPS + g;
        __m256i pairs[MOST];
        for (int i = 0; i < 4 && !first; i++) _mm_prefetch((const char *)at + AHEAD + 64 * i, _MM_HINT_T1);
        for (int j = 0; j < 4; j++) {
            __m256i two = _mm256_loadu_si256((const __m256i *)(at + 64 * j));
            __m256i even = _mm256_and_si256(two, nibble);
            __m256i odd = _mm256_and_si256(_mm256_srli_epi16(two, 4), nibble);
            for (int t = 0; t < n; t++) {
                __m256i one = _mm256_maddubs_epi16(even, broadcast(a + t * x.columns + 8 * j));
                __m256i other = _mm256_maddubs_epi16(odd, broadcast(a + t * x.columns + 8 * j + 4));
                pairs[t] = _mm256_add_epi16(j ? _mm256_add_epi16(pairs[t], one) : one, other);
            }
        }
        __m256i s = widened(block + Q4_SCALES + ROWS * g + first);
        s = _mm256_or_si256(s, _mm256_slli_epi32(s, 16));
        __m256 m = _mm256_cvtepi32_ps(widened(block + Q4_LOWS + ROWS * g + first));
        for (int t = 0; t < n; t++) {
            __m256 scaled = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs[t], s));
            acc[t] = _mm256_fmadd_ps(scaled, _mm256_set1_ps(x.scale[t * x.groups + group]), acc[t]);
            low[t] = _mm256_fmadd_ps(m, _mm256_set1_ps(x.weighted[t * x.groups + group]), low[t]);
        }
    }
    for (int t = 0; t < n; t++) _mm256_storeu_ps(sums[t].acc + first, acc[t]), _mm256_storeu_ps(sums[t].low + first, low[t]);
}

INLINE void q8_eight(const uint8_t *block, int c, struct tokens x, const int n, struct sums *sums, int first) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256 acc[MOST];
    for (int t = 0; t < n; t++) acc[t] = _mm256_loadu_ps(sums[t].acc + first);
    for (int g = 0; g < GROUPS; g++) {
        const uint8_t *at = block + 512 * g + 4 * first;
        const int8_t *a = x.a + c * COLUMNS + g * GROUP;
        const long group = c * GROUPS + g;
        __m256i dot[MOST];
        for (int t = 0; t < n; t++) dot[t] = _mm256_setzero_si256();
        for (int i = 0; i < 8 && !first; i++) _mm_prefetch((const char *)at + AHEAD + 64 * i, _MM_HINT_T1);
        for (int j = 0; j < 8; j++) {
            __m256i w = _mm256_loadu_si256((const __m256i *)(at + 64 * j)), size = _mm256_abs_epi8(w);
            for (int t = 0; t < n; t++) {
                __m256i signed_a = _mm256_sign_epi8(broadcast(a + t * x.columns + 4 * j), w);
                dot[t] = _mm256_add_epi32(dot[t], _mm256_madd_epi16(_mm256_maddubs_epi16(size, signed_a), ones));
            }
        }
        __m256i s = widened(block + Q8_SCALES + ROWS * g + first);
        for (int t = 0; t < n; t++) {
            __m256 scaled = _mm256_cvtepi32_ps(_mm256_mullo_epi32(dot[t], s));
            acc[t] = _mm256_fmadd_ps(scaled, _mm256_set1_ps(x.scale[t * x.groups + group]), acc[t]);
        }
    }
    for (int t = 0; t < n; t++) _mm256_storeu_ps(sums[t].acc + first, acc[t]);
}

/* The two eights of a block take turns, so that its lines are in the first cache for the second. */
#define EACH(n, kind, bytes) \
    case n: \
        for (int c = 0; c < n_blocks; c++, block += bytes) { \
            kind##_eight(block, c, x, n, sums, 0); \
            kind##_eight(block, c, x, n, sums, EIGHT); \
        } \
        break;
#define ALL(kind, bytes) EACH(1, kind, bytes) EACH(2, kind, bytes) EACH(3, kind, bytes) EACH(4, kind, bytes)

static void q4(const uint8_t *block, int n_blocks, struct tokens x, int n, struct sums *sums) {
    switch (n) { ALL(q4, Q4_BYTES) }
}

static void q8(const uint8_t *block, int n_blocks, struct tokens x, int n, struct sums *sums) {
    switch (n) { ALL(q8, Q8_BYTES) }
}

const struct products products_avx2 = {"avx2", MOST, q4, q8};
