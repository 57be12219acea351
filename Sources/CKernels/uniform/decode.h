// Restores weights from codes, scales and biases.

#ifndef INGOT_UNIFORM_DECODE_H
#define INGOT_UNIFORM_DECODE_H

#include "codes.h"

// Restores the n weights of a group. `middle` is the code of zero: 0, or 2^(bits-1) in a symmetric group.
INLINE void decode_group(
    const uint8_t *codes, size_t n, float scale, float bias, int32_t middle, int affine, float *weights) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        i32x16 code = CONVERT(i32x16, LOAD(u8x16, codes + i)) - middle;
        STORE(weights + i, restored(CONVERT(f32x16, code), scale, bias, affine));
    }
    if (i < n) {
        uint8_t padded[LANES] = {0};
        float wide[LANES];
        memcpy(padded, codes + i, n - i);
        i32x16 code = CONVERT(i32x16, LOAD(u8x16, padded)) - middle;
        STORE(wide, restored(CONVERT(f32x16, code), scale, bias, affine));
        memcpy(weights + i, wide, (n - i) * sizeof(float));
    }
}

static void uniform_decode(
    const uint8_t *codes, const float *scales, const float *biases, size_t rows, size_t columns,
    size_t group_size, int32_t bits, float *weights) {
    int32_t middle = biases ? 0 : 1 << (bits - 1);
    for (size_t row = 0; row < rows; row += 1) {
        for (size_t column = 0; column < columns; column += group_size) {
            size_t n = columns - column < group_size ? columns - column : group_size;
            if (biases) {
                decode_group(codes, n, *scales, *biases, middle, 1, weights);
                biases += 1;
            } else {
                decode_group(codes, n, *scales, 0, middle, 0, weights);
            }
            codes += n;
            weights += n;
            scales += 1;
        }
    }
}

#endif
