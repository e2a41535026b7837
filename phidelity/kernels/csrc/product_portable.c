/* Products in plain C: what every processor can do, and the plainest statement of the order of operations. */
#include <math.h>

#include "product.h"

static void add_group(const int32_t dot[ROWS], const uint8_t *s, const uint8_t *m, float scale, float weighted,
                      struct sums *sums) {
    for (int r = 0; r < ROWS; r++) {
        sums->acc[r] = fmaf((float)(dot[r] * s[r]), scale, sums->acc[r]);
        if (m) sums->low[r] = fmaf((float)m[r], weighted, sums->low[r]);
    }
}

static void q4(const uint8_t *block, int n_blocks, struct tokens x, int n, struct sums *sums) {
    for (int c = 0; c < n_blocks; c++, block += Q4_BYTES)
        for (int g = 0; g < GROUPS; g++)
            for (int t = 0; t < n; t++) {
                const int8_t *a = x.a + t * x.columns + c * COLUMNS + g * GROUP;
                int32_t dot[ROWS] = {0};
                for (int j = 0; j < 4; j++, a += 8)
                    for (int r = 0; r < ROWS; r++)
                        for (int b = 0; b < 4; b++) {
                            uint8_t two = block[256 * g + 64 * j + 4 * r + b];
                            dot[r] += (two & 15) * a[b] + (two >> 4) * a[4 + b];
                        }
                long group = t * x.groups + c * GROUPS + g;
                add_group(dot, block + Q4_SCALES + ROWS * g, block + Q4_LOWS + ROWS * g, x.scale[group],
                          x.weighted[group], sums + t);
            }
}

static void q8(const uint8_t *block, int n_blocks, struct tokens x, int n, struct sums *sums) {
    for (int c = 0; c < n_blocks; c++, block += Q8_BYTES)
        for (int g = 0; g < GROUPS; g++)
            for (int t = 0; t < n; t++) {
                const int8_t *a = x.a + t * x.columns + c * COLUMNS + g * GROUP;
                int32_t dot[ROWS] = {0};
                for (int j = 0; j < 8; j++, a += 4)
                    for (int r = 0; r < ROWS; r++)
                        for (int b = 0; b < 4; b++) dot[r] += (int8_t)block[512 * g + 64 * j + 4 * r + b] * a[b];
                add_group(dot, block + Q8_SCALES + ROWS * g, 0, x.scale[t * x.groups + c * GROUPS + g], 0, sums + t);
            }
}

const struct products products_portable = {"portable", 12, q4, q8};
