// Sixteen blocks of 32 weights at a time, one block per lane: loading, scaling, and packing of codes.
//
// No operation mixes lanes. So a lane computes in the order of a scalar loop over its block, and the bytes of a block do not
// depend on the other blocks of its batch.

#ifndef INGOT_BLOCKS_BATCH_H
#define INGOT_BLOCKS_BATCH_H

#include "CKernels.h"
#include "../common/lanes.h"

enum { SMALL_WEIGHTS = 32 };

enum {
    SMALL_Q4_0 = 2,
    SMALL_Q4_1 = 3,
    SMALL_Q5_0 = 6,
    SMALL_Q5_1 = 7,
    SMALL_Q8_0 = 8,
    SMALL_IQ4_NL = 20,
    SMALL_IQ4_XS = 23,
    SMALL_MXFP4 = 39,
};

// ggml stores zeros for a block whose magnitudes are all smaller than this (GROUP_MAX_EPS in ggml-quants.c).
static const float batch_least = 1e-15f;

// A searched block must have an error smaller than the reference's by this factor: the float sums that are compared have a
// relative error below 2^-17.
static const float batch_margin = 1 - 0x1p-16f;

// The codes of a batch as they are packed, and the bits of binary16 of each block's scale and offset.
struct batch_codes {
    i32x16 codes[SMALL_WEIGHTS];
    u16x16 scale, offset;
};

// A batch whose magnitudes are scaled by powers of two to [1, 2), so that no product of the search overflows.
struct batch_search {
    f32x16 values[SMALL_WEIGHTS], importance[SMALL_WEIGHTS];
    f32x16 products[SMALL_WEIGHTS];  // importance * value
    f32x16 extreme;                  // the first value of largest magnitude
    f32x16 up[2], down[2];           // powers of two: value = weight * up[0] * up[1]; down reverses it
};

typedef float f32x4 __attribute__((ext_vector_type(4)));
typedef float f32x8 __attribute__((ext_vector_type(8)));

// Interleavings within each 128 bits of two vectors.
#define BATCH_LOW32(a, b) \
    __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define BATCH_HIGH32(a, b) \
    __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define BATCH_LOW64(a, b) \
    __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define BATCH_HIGH64(a, b) \
    __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)

// Four vectors of four numbers of four lanes each, transposed: to[k] has number k of lanes 0 to 15. from[r] has the numbers of
// lanes r, r + 4, r + 8 and r + 12. It is its own inverse.
#define BATCH_TRANSPOSE(from, to)                                             \
    do {                                                                      \
        __typeof__((from)[0]) low0_ = BATCH_LOW32((from)[0], (from)[1]);      \
        __typeof__((from)[0]) high0_ = BATCH_HIGH32((from)[0], (from)[1]);    \
        __typeof__((from)[0]) low1_ = BATCH_LOW32((from)[2], (from)[3]);      \
        __typeof__((from)[0]) high1_ = BATCH_HIGH32((from)[2], (from)[3]);    \
        (to)[0] = BATCH_LOW64(low0_, low1_);                                  \
        (to)[1] = BATCH_HIGH64(low0_, low1_);                                 \
        (to)[2] = BATCH_LOW64(high0_, high1_);                                \
        (to)[3] = BATCH_HIGH64(high0_, high1_);                               \
    } while (0)

// Number k of every lane's 32 numbers, from its number `first` on, as to[k].
INLINE void batch_load(const float *const *lanes, size_t first, f32x16 *to) {
    for (size_t k = 0; k < SMALL_WEIGHTS; k += 4) {
        f32x16 rows[4];
        for (size_t r = 0; r < 4; r += 1) {
            f32x4 parts[4];
            for (size_t g = 0; g < 4; g += 1) { parts[g] = LOAD(f32x4, lanes[r + 4 * g] + first + k); }
            f32x8 low = __builtin_shufflevector(parts[0], parts[1], 0, 1, 2, 3, 4, 5, 6, 7);
            f32x8 high = __builtin_shufflevector(parts[2], parts[3], 0, 1, 2, 3, 4, 5, 6, 7);
            rows[r] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        }
        BATCH_TRANSPOSE(rows, to + k);
    }
}

// Bytes 4 * k to 4 * k + 3 of a lane are words[k][lane]. Writes 16 bytes for each lane.
INLINE void batch_bytes(const u32x16 *words, uint8_t (*bytes)[16]) {
    u32x16 lanes[4];
    BATCH_TRANSPOSE(words, lanes);
    for (size_t r = 0; r < 4; r += 1) {
        uint8_t parts[64];
        STORE(parts, lanes[r]);
        for (size_t g = 0; g < 4; g += 1) { memcpy(bytes[r + 4 * g], parts + 16 * g, 16); }
    }
}

// Byte j of a lane: the low four bits of code j, and those of code j + 16 above them.
INLINE void batch_nibbles(const i32x16 *codes, uint8_t (*bytes)[16]) {
    u32x16 words[4];
    for (int k = 0; k < 4; k += 1) {
        words[k] = 0u;
        for (int b = 0; b < 4; b += 1) {
            u32x16 low = (u32x16)codes[4 * k + b] & 15u, high = (u32x16)codes[4 * k + b + 16] & 15u;
            words[k] |= (low | high << 4) << (8 * b);
        }
    }
    batch_bytes(words, bytes);
}

// The bits of binary16, rounded to nearest even. NaN becomes 0xfe00, which is what ggml stores on x86-64.
INLINE u16x16 batch_half(f32x16 value) {
    return half_from_float(value == value ? value : (f32x16)(u32x16)0xffc00000u);
}

// 1 / value, and 0 where value is 0.
INLINE f32x16 batch_inverse(f32x16 value) { return value != 0.0f ? 1.0f / value : (f32x16)0.0f; }

INLINE f32x16 batch_root(f32x16 value) { return __builtin_elementwise_sqrt(value); }

// The first value of largest magnitude, 0 if all are 0, and its magnitude.
INLINE f32x16 batch_extreme(const f32x16 *values, size_t count, f32x16 *largest) {
    f32x16 size = 0.0f, extreme = 0.0f;
    for (size_t i = 0; i < count; i += 1) {
        i32x16 larger = size < magnitude(values[i]);
        size = larger ? magnitude(values[i]) : size;
        extreme = larger ? values[i] : extreme;
    }
    *largest = size;
    return extreme;
}

// Powers of two that scale `size` to [1, 2), or below 1 if it is subnormal, and back.
INLINE void batch_powers(f32x16 size, f32x16 *up, f32x16 *down) {
    i32x16 exponent = (i32x16)((u32x16)size >> 23);
    i32x16 shift = 127 - (exponent > 1 ? exponent : (i32x16)1);
    up[0] = power_of_two(shift >> 1);
    up[1] = power_of_two(shift - (shift >> 1));
    down[0] = power_of_two(-(shift >> 1));
    down[1] = power_of_two((shift >> 1) - shift);
}

// Scales weights and importance for the search: `parts` blocks of each lane together. `importance` may be null: 1 for every weight.
INLINE void batch_normalise(
    const f32x16 *weights, const f32x16 *importance, size_t parts, struct batch_search *search) {
    f32x16 largest, up[2], down[2], importance_up[2] = {1.0f, 1.0f};
    batch_extreme(weights, parts * SMALL_WEIGHTS, &largest);
    batch_powers(largest, up, down);
    if (importance) {
        f32x16 unused[2];
        batch_extreme(importance, parts * SMALL_WEIGHTS, &largest);
        batch_powers(largest, importance_up, unused);
    }
    for (size_t part = 0; part < parts; part += 1, search += 1) {
        memcpy(search->up, up, sizeof up);
        memcpy(search->down, down, sizeof down);
        for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
            size_t k = part * SMALL_WEIGHTS + i;
            search->values[i] = weights[k] * up[0] * up[1];
            search->importance[i] = importance ? importance[k] * importance_up[0] * importance_up[1] : (f32x16)1.0f;
            search->products[i] = search->importance[i] * search->values[i];
        }
        search->extreme = batch_extreme(search->values, SMALL_WEIGHTS, &largest);
    }
}

// `value`, which is in units of the scaled weights, as the nearest binary16 number in units of the weights. Never returns -0.
INLINE f32x16 batch_stored(const f32x16 *down, f32x16 value) {
    f32x16 clamped = lesser(greater(value * down[0] * down[1], -65504.0f), 65504.0f);
    return float_from_half(half_from_float(clamped)) + 0.0f;
}

// The bits of binary16 from `yes` where `mask` is set, otherwise from `no`.
INLINE u16x16 batch_chosen(i32x16 mask, u16x16 yes, u16x16 no) {
    return CONVERT(u16x16, mask ? CONVERT(i32x16, yes) : CONVERT(i32x16, no));
}

// Where the searched error beats the reference's, which may be infinite or NaN.
INLINE i32x16 batch_better(f32x16 searched, f32x16 reference) {
    return searched < lesser(reference, __builtin_inff()) * batch_margin;
}

#endif
