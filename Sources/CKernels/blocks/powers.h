// MXFP4: a scale that is a power of two, and weights of one sign bit, two bits of exponent and one of fraction (E2M1).

#ifndef INGOT_BLOCKS_POWERS_H
#define INGOT_BLOCKS_POWERS_H

#include "batch.h"

// The magnitudes of E2M1, doubled, as ggml has them.
static const float e2m1_doubled[8] = {0, 1, 2, 3, 4, 6, 8, 12};

// Half of the scale 2^(exponent - 127) of the E8M0 number `exponent`, 0 to 254. The two smallest are subnormal.
INLINE f32x16 powers_unit(i32x16 exponent) {
    return (f32x16)(exponent < 2 ? (i32x16)0x00200000 << exponent : (exponent - 1) << 23);
}

// The E8M0 number that ggml chooses for a block with this largest magnitude: floor(log2f(largest)) + 125. The logarithm of a
// number just below 2^n rounds to n if n is not 0; (largest / 2^n - 1) / log(2) is close enough to it to round to n too.
// Below 2^-125, where ggml converts a negative number to an unsigned one, this is 0.
INLINE i32x16 powers_exponent(f32x16 largest) {
    i32x16 bits = (i32x16)largest;
    i32x16 exponent = (bits >> 23) - 126;  // 2^exponent is the power above
    f32x16 power = CONVERT(f32x16, exponent);
    f32x16 below = (f32x16)((bits & 0x007fffff) | 0x3f000000) - 1.0f;
    i32x16 rounds_up = power + below * 1.44269504f == power;
    i32x16 result = exponent - 1 + 125 - rounds_up;
    return result < 0 ? (i32x16)0 : result;
}

// Halfway between neighbouring magnitudes. Infinite if the larger one is, because then ggml chooses the smaller one.
INLINE void powers_thresholds(f32x16 unit, f32x16 *thresholds) {
    for (int k = 0; k < 7; k += 1) {
        i32x16 infinite = unit * e2m1_doubled[k + 1] == __builtin_inff();
        f32x16 middle = unit * ((e2m1_doubled[k] + e2m1_doubled[k + 1]) * 0.5f);
        thresholds[k] = infinite ? (f32x16)__builtin_inff() : middle;
    }
}

// The codes of the values nearest to the weights; halfway between two, of the smaller magnitude. `unit` is half the scale.
INLINE void powers_codes(const f32x16 *weights, f32x16 unit, i32x16 *codes) {
    f32x16 thresholds[7];
    powers_thresholds(unit, thresholds);
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        i32x16 code = 0;
        for (int k = 0; k < 7; k += 1) { code -= magnitude(weights[i]) > thresholds[k]; }
        // No negative zero: ggml's first value of least error is the positive one.
        codes[i] = code | ((weights[i] < 0.0f) & (code > 0) & 8);
    }
}

INLINE void powers_plain(const f32x16 *weights, struct batch_codes *block) {
    f32x16 largest;
    batch_extreme(weights, SMALL_WEIGHTS, &largest);
    i32x16 exponent = powers_exponent(largest);
    f32x16 unit = powers_unit(exponent);
    powers_codes(weights, unit, block->codes);
    block->scale = CONVERT(u16x16, exponent);
}

// The E8M0 number that MLX chooses for a block with this largest magnitude: that of the least power of two that is not below a sixth of it,
// which binary32 rounds; 2^0 for a block of zeros. (MLX wraps numbers below 2^-127 around.)
INLINE i32x16 powers_ceiling(f32x16 largest) {
    i32x16 bits = (i32x16)(largest / 6.0f);
    i32x16 exponent = bits > 0x00400000 ? (bits + 0x007fffff) >> 23 : (i32x16)0;
    return largest == 0.0f ? (i32x16)127 : exponent;
}

INLINE void powers_mlx(const f32x16 *weights, struct batch_codes *block) {
    f32x16 largest;
    batch_extreme(weights, SMALL_WEIGHTS, &largest);
    i32x16 exponent = powers_ceiling(largest);
    powers_codes(weights, powers_unit(exponent), block->codes);
    block->scale = CONVERT(u16x16, exponent);
}

// The weighted squared error of a block whose scaled weights are restored with a scaled `unit`.
INLINE f32x16 powers_error(const struct batch_search *search, f32x16 unit) {
    f32x16 thresholds[7], error = 0.0f;
    powers_thresholds(unit, thresholds);
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        f32x16 size = magnitude(search->values[i]), level = 0.0f;
        for (int k = 0; k < 7; k += 1) { level = size > thresholds[k] ? (f32x16)e2m1_doubled[k + 1] : level; }
        f32x16 difference = size - level * unit;
        error += search->importance[i] * (difference * difference);
    }
    return error;
}

// Tries the two powers of two next to the reference's, up to the largest one whose values are finite.
INLINE void powers_search(const f32x16 *weights, const struct batch_search *search, struct batch_codes *block) {
    i32x16 first = CONVERT(i32x16, block->scale), chosen = first;
    f32x16 reference = powers_error(search, powers_unit(first) * search->up[0] * search->up[1]), best = reference;
    for (int step = -1; step <= 1; step += 2) {
        i32x16 exponent = first + step;
        exponent = exponent < 0 ? (i32x16)0 : exponent > 252 ? (i32x16)252 : exponent;
        f32x16 error = powers_error(search, powers_unit(exponent) * search->up[0] * search->up[1]);
        i32x16 better = (error < best) & batch_better(error, reference);
        best = better ? error : best;
        chosen = better ? exponent : chosen;
    }
    f32x16 unit = powers_unit(chosen);
    powers_codes(weights, unit, block->codes);
    block->scale = CONVERT(u16x16, chosen);
}

#endif
