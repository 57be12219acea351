// Scales from the extremes of each group and codes by plain rounding: one pass over the source, without a search.
//
// The rules are in the order of Specs/uniform.md, section 6. Sixteen groups at a time: vectors run along a group for its
// extremes and its codes, and across the groups (one per lane) for the scales.

#ifndef INGOT_UNIFORM_ROUND_H
#define INGOT_UNIFORM_ROUND_H

#include "CKernels.h"
#include "../common/floats.h"
#include "../statistics/errors.h"
#include "codes.h"

struct rounding {
    int affine;
    int32_t format;
    size_t width;               // bytes per element
    float code_low, code_high;  // 0 ... 2^bits-1, or -2^(bits-1) ... 2^(bits-1)-1
    float largest, least;       // largest and smallest positive value of the storage format
    float scale_limit;          // a larger scale could overflow in scale * code
};

// Scales and biases of sixteen groups, and the numbers for their codes: code = (weight * up - offset) * inverse, rounded.
struct steps {
    f32x16 scale, bias, up, offset, inverse;
};

// Weights of sixteen groups and the weights restored from their codes. In front of them stand `waiting` (0 to 15) weights of
// the groups before, which did not fill a vector of the error sums. One vector beyond the last weight may be read and written.
struct run {
    size_t waiting;
    float weights[LANES * (INGOT_MAX_GROUP_SIZE + 2)], restored[LANES * (INGOT_MAX_GROUP_SIZE + 2)];
};

INLINE f32x16 extreme(int greatest, f32x16 a, f32x16 b) { return greatest ? greater(a, b) : lesser(a, b); }

// Lane k of the result is the smallest (or largest, with `greatest`) lane of rows[k]. Destroys `rows`.
INLINE f32x16 lane_extremes(int greatest, f32x16 *rows) {
    // Four rounds: each reduces neighbouring lanes to one and merges two rows into one.
    for (int count = LANES / 2; count > 0; count /= 2) {
        for (int k = 0; k < count; k += 1) {
            f32x16 a = rows[2 * k], b = rows[2 * k + 1];
            f32x16 even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            f32x16 odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            rows[k] = extreme(greatest, even, odd);
        }
    }
    return rows[0];
}

// Extremes of the n weights of a group. They may be in any lane of `low` and `high`.
INLINE void group_extremes(const float *weights, size_t n, f32x16 *low, f32x16 *high) {
    if (n < LANES) {
        *low = weights[0];
        *high = weights[0];
        for (size_t i = 1; i < n; i += 1) {
            *low = lesser(weights[i], *low);
            *high = greater(weights[i], *high);
        }
        return;
    }
    *low = LOAD(f32x16, weights);
    *high = *low;
    for (size_t i = LANES; i < n; i += LANES) {
        // The last vector ends with the group and may overlap the one before. round_group does the same.
        f32x16 some = LOAD(f32x16, weights + (i + LANES <= n ? i : n - LANES));
        *low = lesser(some, *low);
        *high = greater(some, *high);
    }
}

// The scale as the format stores it, at most `limit` and never zero.
INLINE f32x16 rounded_scale(struct rounding rules, f32x16 step, f32x16 limit) {
    f32x16 scale = stored(rules.format, lesser(step, limit));
    return greater(scale, rules.least);
}

// Scales and biases of sixteen groups with these extremes.
INLINE struct steps steps_of(struct rounding rules, f32x16 low, f32x16 high) {
    struct steps steps;
    // Adding +0 turns -0 into +0: which zero is found first depends on the order of the lanes.
    low += 0.0f;
    high += 0.0f;
    i32x16 constant = low == high;
    f32x16 size = greater(magnitude(low), magnitude(high));
    f32x16 down = 1.0f;
    steps.up = 1.0f;
    // Weights in F16 need no scaling: no operation below leaves the range of binary32, so a power of two changes no bit.
    if (rules.format != FORMAT_F16) {
        i32x16 exponent = (i32x16)((u32x16)size >> 23);
        i32x16 shift = 127 - (exponent > 1 ? exponent : (i32x16)1);
        shift = shift > -126 ? shift : (i32x16)-126;
        steps.up = power_of_two(shift);
        down = power_of_two(-shift);
    }
    if (rules.affine) {
        i32x16 from_low = magnitude(low) > magnitude(high);
        f32x16 edge = from_low ? low : high;
        f32x16 reach = magnitude(edge) * steps.up;
        f32x16 step = (high * steps.up - low * steps.up) / rules.code_high;
        step = constant ? (f32x16)1.0f : step;
        f32x16 zero_code = reach / step;
        f32x16 aligned = reach / rounded(zero_code);
        step = zero_code < rules.code_high + 0.5f ? aligned : step;
        f32x16 limit = (rules.largest / rules.code_high + magnitude(edge) / rules.code_high) * 0.984375f;
        f32x16 scale = rounded_scale(rules, step * down, lesser(limit, rules.scale_limit));
        scale = from_low ? scale : -scale;
        steps.scale = constant ? (f32x16)0.0f : scale;
        steps.bias = edge;
    } else {
        f32x16 step = size * steps.up / (rules.code_high + 0.5f) * down;
        f32x16 scale = rounded_scale(rules, step, rules.scale_limit);
        steps.scale = constant ? size : scale;
        steps.bias = 0.0f;
    }
    f32x16 unit = steps.scale * steps.up;
    steps.offset = steps.bias * steps.up;
    steps.inverse = unit != 0.0f ? 1.0f / unit : (f32x16)0.0f;
    return steps;
}

// Encodes sixteen weights. Returns the restored weights.
INLINE f32x16 round_block(
    struct rounding rules, f32x16 weights, float scale, float bias, float up, float offset, float inverse, u8x16 *codes) {
    f32x16 position = rules.format == FORMAT_F16 ? weights : weights * up;
    position = (rules.affine ? position - offset : position) * inverse;
    // Adding 1.5 * 2^23 rounds to an integer, whose bits are the lowest bits of the sum.
    f32x16 sum = lesser(greater(position, rules.code_low), rules.code_high) + 12582912.0f;
    *codes = CONVERT(u8x16, (u32x16)sum - (uint32_t)(int32_t)rules.code_low);
    return restored(sum - 12582912.0f, scale, bias, rules.affine);
}

// Encodes the n weights of a group. With n < 16, a whole vector is written to `restored`.
INLINE void round_group(
    struct rounding rules, const float *weights, size_t n, const struct steps *steps, size_t lane, uint8_t *codes,
    float *restored) {
    float scale = steps->scale[lane], bias = steps->bias[lane];
    float up = steps->up[lane], offset = steps->offset[lane], inverse = steps->inverse[lane];
    u8x16 block;
    if (n < LANES) {
        f32x16 some = LOAD(f32x16, weights);
        STORE(restored, round_block(rules, some, scale, bias, up, offset, inverse, &block));
        memcpy(codes, &block, n);
        return;
    }
    for (size_t i = 0; i < n; i += LANES) {
        size_t at = i + LANES <= n ? i : n - LANES;
        f32x16 some = LOAD(f32x16, weights + at);
        STORE(restored + at, round_block(rules, some, scale, bias, up, offset, inverse, &block));
        STORE(codes + at, block);
    }
}

// Adds the errors of a run with `count` new weights. The last weights, if they fill no vector, move to the front and wait.
INLINE void add_run(struct run *run, size_t count, struct lane_sums *sums) {
    size_t all = run->waiting + count;
    size_t whole = all / LANES * LANES;
    add_lanes(run->weights, run->restored, whole, sums);
    run->waiting = all - whole;
    STORE(run->weights, LOAD(f32x16, run->weights + whole));
    STORE(run->restored, LOAD(f32x16, run->restored + whole));
}

INLINE struct ingot_error_sums round_chunk(
    struct rounding rules, const uint8_t *source, size_t rows, size_t columns, size_t group_size, uint8_t *codes,
    float *scales, float *biases) {
    struct lane_sums sums = {0};
    struct run run;
    run.waiting = 0;
    size_t per_row = columns / group_size + (columns % group_size != 0);
    size_t left = rows * per_row;
    size_t group_in_row = 0;
    while (left > 0) {
        size_t count = left < LANES ? left : LANES;
        size_t ends[LANES + 1] = {0};
        for (size_t k = 0; k < count; k += 1) {
            int last = group_in_row + 1 == per_row;
            ends[k + 1] = ends[k] + (last ? columns - group_in_row * group_size : group_size);
            group_in_row = last ? 0 : group_in_row + 1;
        }
        float *weights = run.weights + run.waiting, *restored = run.restored + run.waiting;
        expand_all(rules.format, rules.width, source, weights, ends[count]);
        f32x16 lows[LANES], highs[LANES];
        for (size_t k = 0; k < LANES; k += 1) {
            size_t group = k < count ? k : 0;
            group_extremes(weights + ends[group], ends[group + 1] - ends[group], &lows[k], &highs[k]);
        }
        struct steps steps = steps_of(rules, lane_extremes(0, lows), lane_extremes(1, highs));
        for (size_t k = 0; k < count; k += 1) {
            round_group(
                rules, weights + ends[k], ends[k + 1] - ends[k], &steps, k, codes + ends[k], restored + ends[k]);
        }
        add_run(&run, ends[count], &sums);
        memcpy(scales, &steps.scale, count * sizeof(float));
        scales += count;
        if (rules.affine) {
            memcpy(biases, &steps.bias, count * sizeof(float));
            biases += count;
        }
        source += ends[count] * rules.width;
        codes += ends[count];
        left -= count;
    }
    add_tail(run.weights, run.restored, run.waiting, &sums);
    return added_lanes(sums);
}

INLINE struct ingot_error_sums round_format(
    int32_t format, size_t width, const uint8_t *source, size_t rows, size_t columns, size_t group_size, int32_t bits,
    int32_t symmetric, uint8_t *codes, float *scales, float *biases) {
    float half = (float)(1 << (bits - 1));
    struct rounding rules;
    rules.format = format;
    rules.width = width;
    rules.largest = largest_finite(format);
    rules.least = format == FORMAT_F16 ? 0x1p-24f : format == FORMAT_BF16 ? 0x1p-133f : 0x1p-149f;
    if (symmetric) {
        rules.affine = 0;
        rules.code_low = -half;
        rules.code_high = half - 1.0f;
        rules.scale_limit = scale_limit(rules.largest / half * 0.984375f, half);
        return round_chunk(rules, source, rows, columns, group_size, codes, scales, biases);
    }
    rules.affine = 1;
    rules.code_low = 0.0f;
    rules.code_high = 2.0f * half - 1.0f;
    rules.scale_limit = scale_limit(rules.largest, rules.code_high);
    return round_chunk(rules, source, rows, columns, group_size, codes, scales, biases);
}

static struct ingot_error_sums uniform_round(
    int32_t format, const void *source, size_t rows, size_t columns, size_t group_size, int32_t bits,
    int32_t symmetric, uint8_t *codes, float *scales, float *biases) {
    switch (format) {
    case FORMAT_F16:
        return round_format(
            FORMAT_F16, 2, source, rows, columns, group_size, bits, symmetric, codes, scales, biases);
    case FORMAT_BF16:
        return round_format(
            FORMAT_BF16, 2, source, rows, columns, group_size, bits, symmetric, codes, scales, biases);
    default:
        return round_format(
            FORMAT_F32, 4, source, rows, columns, group_size, bits, symmetric, codes, scales, biases);
    }
}

#endif
