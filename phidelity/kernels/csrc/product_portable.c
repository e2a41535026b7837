/* Products in plain C: what every processor can do, and the plainest statement of the order of operations. */
#include <math.h>

#include "product.h"

static void add_block(const int32_t scaled[ROWS], const int32_t low[ROWS], float scale, struct sums *sums) {
    for (int r = 0; r < ROWS; r++) {
        sums->acc[r] = fmaf((float)scaled[r], scale, sums->acc[r]);
        sums->low[r] = fmaf((float)low[r], scale, sums->low[r]);
    }
}

static void q4(const uint8_t *block, int n_blocks, struct tokens x, int n, struct sums *sums) {
    for (int c = 0; c < n_blocks; c++, block += Q4_BYTES)
        for (int t = 0; t < n; t++) {
            const int8_t *a = x.a + t * x.columns + c * COLUMNS;
            const long at = t * x.n_blocks + c;
            int32_t scaled[ROWS] = {0}, low[ROWS] = {0};
            for (int g = 0; g < GROUPS; g++) {
                int32_t dot[ROWS] = {0};
                for (int j = 0; j < 4; j++, a += 8)
                    for (int r = 0; r < ROWS; r++)
                        for (int b = 0; b < 4; b++) {
                            uint8_t two = block[256 * g + 64 * j + 4 * r + b];
                            dot[r] += (two & 15) * a[b] + (two >> 4) * a[4 + b];
                        }
                for (int r = 0; r < ROWS; r++) {
                    scaled[r] += dot[r] * block[Q4_SCALES + ROWS * g + r];
                    low[r] += x.sum[at * GROUPS + g] * block[Q4_LOWS + ROWS * g + r];
                }
            }
            add_block(scaled, low, x.scale[at], sums + t);
        }
}

static void q8(const uint8_t *block, int n_blocks, struct tokens x, int n, struct sums *sums) {
    for (int c = 0; c < n_blocks; c++, block += Q8_BYTES)
        for (int t = 0; t < n; t++) {
            const int8_t *a = x.a + t * x.columns + c * COLUMNS;
            int32_t scaled[ROWS] = {0}, none[ROWS] = {0};
            for (int g = 0; g < GROUPS; g++) {
                int32_t dot[ROWS] = {0};
                for (int j = 0; j < 8; j++, a += 4)
                    for (int r = 0; r < ROWS; r++)
                        for (int b = 0; b < 4; b++) dot[r] += (int8_t)block[512 * g + 64 * j + 4 * r + b] * a[b];
                for (int r = 0; r < ROWS; r++) scaled[r] += dot[r] * block[Q8_SCALES + ROWS * g + r];
            }
            add_block(scaled, none, x.scale[t * x.n_blocks + c], sums + t);
        }
}

const struct products products_portable = {"portable", 12, q4, q8, 0, 0};
