/* Products with AVX2: unsigned times signed bytes added in pairs to 16 bits, eight such sums before they are widened.

   A nibble is at most 15, so eight sums of two products are at most 8 * 2 * 15 * 127 = 30,480 and fit 16 bits; the
   multiplication that widens them to 32 multiplies by the group's scale as well. Eight-bit weights leave no such room:
   their sign moves to the token (|w| a' with a' = sign(w) a), and each sum of two is widened at once. */
#include <immintrin.h>

#include "product.h"

#define INLINE static inline __attribute__((always_inline))
enum { MOST = 4, AHEAD = 16 * 1152, EIGHT = 8 };

INLINE __m256i broadcast(const void *a) {
    int32_t four;
    __builtin_memcpy(&four, a, 4);
    return _mm256_set1_epi32(four);
}

INLINE __m256i widened(const uint8_t *bytes) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)bytes)); }

/* m of two groups beside each other, 16 bits each, as the sums of a token lie. */
INLINE __m256i minima(const uint8_t *m) {
    __m128i two = _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)m), _mm_loadl_epi64((const __m128i *)(m + ROWS)));
    return _mm256_cvtepu8_epi16(two);
}

INLINE void add(__m256i sum, float scale, float *to) {
    _mm256_storeu_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(scale), _mm256_loadu_ps(to)));
}

/* Rows `first` .. first + 7 of block `c` of a strip. */
INLINE void q4_eight(const uint8_t *block, int c, struct tokens x, const int n, struct sums *sums, int first) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i acc[MOST];
    for (int t = 0; t < n; t++) acc[t] = _mm256_setzero_si256();
    for (int g = 0; g < GROUPS; g++) {
        const uint8_t *at = block + 256 * g + 4 * first;
        const int8_t *a = x.a + c * COLUMNS + g * GROUP;
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
        for (int t = 0; t < n; t++) acc[t] = _mm256_add_epi32(acc[t], _mm256_madd_epi16(pairs[t], s));
    }
    __m256i m[2] = {minima(block + Q4_LOWS + first), minima(block + Q4_LOWS + 2 * ROWS + first)};
    for (int t = 0; t < n; t++) {
        const int16_t *sum = x.sum + (t * x.n_blocks + c) * GROUPS;
        __m256i low = _mm256_add_epi32(_mm256_madd_epi16(m[0], broadcast(sum)), _mm256_madd_epi16(m[1], broadcast(sum + 2)));
        add(acc[t], x.scale[t * x.n_blocks + c], sums[t].acc + first);
        add(low, x.scale[t * x.n_blocks + c], sums[t].low + first);
    }
}

INLINE void q8_eight(const uint8_t *block, int c, struct tokens x, const int n, struct sums *sums, int first) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i acc[MOST];
    for (int t = 0; t < n; t++) acc[t] = _mm256_setzero_si256();
    for (int g = 0; g < GROUPS; g++) {
        const uint8_t *at = block + 512 * g + 4 * first;
        const int8_t *a = x.a + c * COLUMNS + g * GROUP;
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
        for (int t = 0; t < n; t++) acc[t] = _mm256_add_epi32(acc[t], _mm256_mullo_epi32(dot[t], s));
    }
    for (int t = 0; t < n; t++) add(acc[t], x.scale[t * x.n_blocks + c], sums[t].acc + first);
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

const struct products products_avx2 = {"avx2", MOST, q4, q8, 0, 0};
