/* Products with AVX-512 VNNI: one instruction multiplies 4 columns of 16 rows and adds them up in 32-bit lanes.

   Few tokens (decode) read a strip as it lies; memory is fetched into the second cache far ahead, which took decode
   from 0.80 to 0.92 of the rate at which one thread can read. For many, the blocks of two strips are opened once, a
   byte a weight, and stay in the first cache while all tokens pass, six by two strips: 24 sums in registers, each
   token's four bytes fetched once for 32 rows, 42 instructions of the two vector ports for 2,048 weights. That was
   measured faster than 1 x 12, 1 x 8, 2 x 5 and 2 x 4. `n` is a constant wherever these are inlined.

   A sum of q4 fits 16 bits, so one instruction multiplies it by its group's scale and adds it up; 32-bit lanes hold it
   in their lower half, and the scale's upper half is zero. */
#include <immintrin.h>

#include "product.h"

#define INLINE static inline __attribute__((always_inline))
enum { FEW = 8, SIX = 6, LINES = 32, AHEAD = 16 * 1152 };

/* A block ready for many tokens: a byte a weight (unsigned, in q8 too), scales widened, minima of two groups beside each other. */
struct open {
    uint8_t q[LINES][64];
    int32_t s[GROUPS][ROWS];
    int32_t m[GROUPS / 2][ROWS];
} __attribute__((aligned(64)));

INLINE __m512i broadcast(const void *a) {
    int32_t four;
    __builtin_memcpy(&four, a, 4);
    return _mm512_set1_epi32(four);
}

INLINE __m512i widened(const uint8_t *bytes) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)bytes)); }

INLINE __m512i minima(const uint8_t *m) { return _mm512_or_si512(widened(m), _mm512_slli_epi32(widened(m + ROWS), 16)); }

INLINE void prefetch(const uint8_t *at, int n_lines) {
    for (int i = 0; i < n_lines; i++) _mm_prefetch((const char *)at + 64 * i, _MM_HINT_T1);
}

INLINE void add(__m512i sum, float scale, float *to) {
    _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale), _mm512_loadu_ps(to)));
}

INLINE void add_low(__m512i first, __m512i second, const int16_t *sum, float scale, float *to) {
    __m512i low = _mm512_dpwssd_epi32(_mm512_setzero_si512(), first, broadcast(sum));
    add(_mm512_dpwssd_epi32(low, second, broadcast(sum + 2)), scale, to);
}

/* With one token or two the unpacking counts: high nibbles then stay where they are, sixteen times too large, and are
   summed apart. */
INLINE void q4_tokens(const uint8_t *block, int n_blocks, struct tokens x, const int n, struct sums *sums) {
    const __m512i nibble = _mm512_set1_epi8(15);
    const int is_apart = n <= 2;
    for (int c = 0; c < n_blocks; c++, block += Q4_BYTES) {
        __m512i acc[FEW];
        for (int t = 0; t < n; t++) acc[t] = _mm512_setzero_si512();
        for (int g = 0; g < GROUPS; g++) {
            const uint8_t *at = block + 256 * g;
            const int8_t *a = x.a + c * COLUMNS + g * GROUP;
            __m512i dot[FEW], high[2];
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
            __m512i s = widened(block + Q4_SCALES + ROWS * g);
            for (int t = 0; t < n; t++) {
                if (is_apart) dot[t] = _mm512_add_epi32(dot[t], _mm512_srai_epi32(high[t], 4));
                acc[t] = _mm512_dpwssd_epi32(acc[t], dot[t], s);
            }
        }
        __m512i first = minima(block + Q4_LOWS), second = minima(block + Q4_LOWS + 2 * ROWS);
        for (int t = 0; t < n; t++) {
            const long at = t * x.n_blocks + c;
            add(acc[t], x.scale[at], sums[t].acc);
            add_low(first, second, x.sum + at * GROUPS, x.scale[at], sums[t].low);
        }
    }
}

/* Signed weights become unsigned by adding 128, which a first summand of -128 * sum(a) takes back. */
INLINE __m512i unsigned_bytes(const uint8_t *at) {
    return _mm512_xor_si512(_mm512_loadu_si512(at), _mm512_set1_epi8((char)128));
}

INLINE void q8_tokens(const uint8_t *block, int n_blocks, struct tokens x, const int n, struct sums *sums) {
    for (int c = 0; c < n_blocks; c++, block += Q8_BYTES) {
        __m512i acc[FEW];
        for (int t = 0; t < n; t++) acc[t] = _mm512_setzero_si512();
        for (int g = 0; g < GROUPS; g++) {
            const uint8_t *at = block + 512 * g;
            const int8_t *a = x.a + c * COLUMNS + g * GROUP;
            __m512i dot[FEW];
            for (int t = 0; t < n; t++) dot[t] = _mm512_set1_epi32(-128 * x.sum[(t * x.n_blocks + c) * GROUPS + g]);
            prefetch(at + AHEAD, 8);
            for (int j = 0; j < 8; j++) {
                __m512i w = unsigned_bytes(at + 64 * j);
                for (int t = 0; t < n; t++) dot[t] = _mm512_dpbusd_epi32(dot[t], w, broadcast(a + t * x.columns + 4 * j));
            }
            __m512i s = widened(block + Q8_SCALES + ROWS * g);
            for (int t = 0; t < n; t++) acc[t] = _mm512_add_epi32(acc[t], _mm512_mullo_epi32(dot[t], s));
        }
        for (int t = 0; t < n; t++) add(acc[t], x.scale[t * x.n_blocks + c], sums[t].acc);
    }
}

static void open_q4(const uint8_t *block, struct open *to) {
    const __m512i nibble = _mm512_set1_epi8(15);
    for (int i = 0; i < LINES / 2; i++) {
        __m512i two = _mm512_loadu_si512(block + 64 * i);
        _mm512_store_si512(to->q[2 * i], _mm512_and_si512(two, nibble));
        _mm512_store_si512(to->q[2 * i + 1], _mm512_and_si512(_mm512_srli_epi16(two, 4), nibble));
    }
    for (int g = 0; g < GROUPS; g++) _mm512_store_si512(to->s[g], widened(block + Q4_SCALES + ROWS * g));
    for (int h = 0; h < GROUPS / 2; h++) _mm512_store_si512(to->m[h], minima(block + Q4_LOWS + 2 * ROWS * h));
}

static void open_q8(const uint8_t *block, struct open *to) {
    for (int i = 0; i < LINES; i++) _mm512_store_si512(to->q[i], unsigned_bytes(block + 64 * i));
    for (int g = 0; g < GROUPS; g++) _mm512_store_si512(to->s[g], widened(block + Q8_SCALES + ROWS * g));
}

/* n tokens times the same blocks of two strips, whose sums lie `apart`. */
INLINE void tile(const struct open (*strips)[WIDE], int n_blocks, struct tokens x, const int n, const int is_q4,
                 struct sums *sums, long apart) {
    for (int c = 0; c < n_blocks; c++) {
        __m512i acc[2][SIX];
        for (int i = 0; i < 2; i++)
            for (int t = 0; t < n; t++) acc[i][t] = _mm512_setzero_si512();
        for (int g = 0; g < GROUPS; g++) {
            const int8_t *a = x.a + c * COLUMNS + g * GROUP;
            __m512i dot[2][SIX];
            for (int i = 0; i < 2; i++)
                for (int t = 0; t < n; t++)
                    dot[i][t] = _mm512_set1_epi32(is_q4 ? 0 : -128 * x.sum[(t * x.n_blocks + c) * GROUPS + g]);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) {
                __m512i w[2];
                for (int i = 0; i < 2; i++) w[i] = _mm512_load_si512(strips[i][c].q[8 * g + j]);
                for (int t = 0; t < n; t++) {
                    __m512i four = broadcast(a + t * x.columns + 4 * j);
                    for (int i = 0; i < 2; i++) dot[i][t] = _mm512_dpbusd_epi32(dot[i][t], w[i], four);
                }
            }
            for (int i = 0; i < 2; i++) {
                __m512i s = _mm512_load_si512(strips[i][c].s[g]);
                for (int t = 0; t < n; t++)
                    acc[i][t] = is_q4 ? _mm512_dpwssd_epi32(acc[i][t], dot[i][t], s)
                                      : _mm512_add_epi32(acc[i][t], _mm512_mullo_epi32(dot[i][t], s));
            }
        }
        for (int i = 0; i < 2; i++) {
            const int32_t(*m)[ROWS] = strips[i][c].m;
            __m512i first = _mm512_load_si512(m[0]), second = _mm512_load_si512(m[1]);
            for (int t = 0; t < n; t++) {
                const long at = t * x.n_blocks + c;
                struct sums *to = sums + i * apart + t;
                add(acc[i][t], x.scale[at], to->acc);
                if (is_q4) add_low(first, second, x.sum + at * GROUPS, x.scale[at], to->low);
            }
        }
    }
}

#define EACH(n, kind) case n: kind##_tokens(blocks, n_blocks, x, n, sums); break;
#define ALL(kind) EACH(1, kind) EACH(2, kind) EACH(3, kind) EACH(4, kind) EACH(5, kind) EACH(6, kind) EACH(7, kind) EACH(8, kind)
#define TILE(n, is_q4) case n: tile(strips, n_blocks, x, n, is_q4, sums, apart); break;
#define TILES(is_q4) TILE(1, is_q4) TILE(2, is_q4) TILE(3, is_q4) TILE(4, is_q4) TILE(5, is_q4) TILE(6, is_q4)

#define KIND(kind, bytes, is_q4) \
    static void kind(const uint8_t *blocks, int n_blocks, struct tokens x, int n, struct sums *sums) { \
        switch (n) { ALL(kind) } \
    } \
    static void kind##_tile(const struct open (*strips)[WIDE], int n_blocks, struct tokens x, int n, struct sums *sums, \
                            long apart) { \
        switch (n) { TILES(is_q4) } \
    } \
    static void kind##_pair(const uint8_t *blocks, long strip_bytes, int n_blocks, struct tokens x, int n, \
                            struct sums *sums) { \
        struct open strips[2][WIDE]; \
        for (int i = 0; i < 2; i++) \
            for (int c = 0; c < n_blocks; c++) { \
                const uint8_t *block = blocks + i * strip_bytes + c * bytes; \
                prefetch(block + WIDE * bytes, bytes / 64); \
                open_##kind(block, &strips[i][c]); \
            } \
        for (int t = 0; t < n; t += SIX) \
            kind##_tile(strips, n_blocks, tokens_from(x, t, 0), n - t < SIX ? n - t : SIX, sums + t, n); \
    }

KIND(q4, Q4_BYTES, 1)
KIND(q8, Q8_BYTES, 0)

const struct products products_avx512 = {"avx512", FEW, q4, q8, q4_pair, q8_pair};
