// Scales and offsets by least squares on rounded levels, without feedback. A lane is a row; `importance` has a number for each value.

#ifndef INGOT_FEEDBACK_BLOCK_FIT_H
#define INGOT_FEEDBACK_BLOCK_FIT_H

#include "block_rules.h"

// Trials of the open-loop searches: offsets -HALF ... HALF of the inverse scale.
enum { FEEDBACK_LINE_HALF = 9, FEEDBACK_RAY_HALF = 9, FEEDBACK_STEP_HALF = 6 };

struct feedback_fit {
    f32x16 scale, offset;
    f32x16 gain;  // the part of the weighted sum of squares that it explains; -FLT_MAX if there is no solution
};

// The value of largest magnitude; the first of several.
INLINE f32x16 feedback_extreme(const f32x16 *values, size_t count) {
    f32x16 largest = 0.0f, extreme = 0.0f;
    for (size_t j = 0; j < count; j += 1) {
        f32x16 size = magnitude(values[j]);
        extreme = size > largest ? values[j] : extreme;
        largest = size > largest ? size : largest;
    }
    return extreme;
}

// value = scale * level, for the levels nearest to value * inverse.
INLINE struct feedback_fit feedback_ray(
    const f32x16 *values, const float *importance, size_t count, int codebook, float lowest, float highest,
    f32x16 inverse) {
    f32x16 products = 0.0f, squares = 0.0f;
    for (size_t j = 0; j < count; j += 1) {
        f32x16 level = feedback_level(codebook, lowest, highest, values[j] * inverse);
        f32x16 weighted = level * importance[j];
        products += weighted * values[j];
        squares += weighted * level;
    }
    f32x16 scale = products / squares;
    f32x16 gain = scale * products;
    return (struct feedback_fit){scale, 0.0f, squares > 0.0f ? gain : (f32x16)-FLT_MAX};
}

// The best of 2 * half + 1 rays, whose inverse scales are (base + unit * k) / extreme, k = -half ... half.
static __attribute__((noinline)) void feedback_best_ray(
    const f32x16 *values, const float *importance, size_t count, int codebook, float lowest, float highest, float base,
    float unit, int half, f32x16 *scale) {
    f32x16 extreme = feedback_extreme(values, count), inverse = feedback_inverse(extreme);
    f32x16 chosen = extreme * (1.0f / base), best = -FLT_MAX;
    for (int k = -half; k <= half; k += 1) {
        struct feedback_fit fit =
            feedback_ray(values, importance, count, codebook, lowest, highest, inverse * (base + unit * (float)k));
        i32x16 better = fit.gain > best;
        best = better ? fit.gain : best;
        chosen = better ? fit.scale : chosen;
    }
    *scale = chosen;
}

// The values of a sub-block from the lowest on, and their sums. (Numbers near 0 lose less in the sums of products.)
struct feedback_lines {
    size_t count;
    const float *importance;
    f32x16 lowest, range;
    f32x16 total, sum;                // of the importances, and of importance * (value - lowest)
    f32x16 above[FEEDBACK_SUPER];     // value - lowest
    f32x16 products[FEEDBACK_SUPER];  // importance * (value - lowest)
};

// With `floor`, the lowest value counts as 0 if it is above.
INLINE void feedback_lines_of(
    struct feedback_lines *lines, const f32x16 *values, const float *importance, size_t count, int floor) {
    f32x16 low = values[0], high = values[0], sum = 0.0f;
    float total = 0;
    for (size_t j = 1; j < count; j += 1) {
        low = lesser(values[j], low);
        high = greater(values[j], high);
    }
    if (floor) { low = lesser(low, (f32x16)0.0f); }
    for (size_t j = 0; j < count; j += 1) {
        f32x16 above = values[j] - low, product = above * importance[j];
        total += importance[j];
        sum += product;
        lines->above[j] = above;
        lines->products[j] = product;
    }
    lines->count = count;
    lines->importance = importance;
    lines->lowest = low;
    lines->range = high - low;
    lines->total = total;
    lines->sum = sum;
}

// value = scale * level - offset, for the levels 0 ... highest nearest to (value - lowest) * inverse. With `floor`, offset is 0 or more.
// The gain is that of value - lowest.
INLINE struct feedback_fit feedback_line(
    const struct feedback_lines *lines, float highest, f32x16 inverse, int floor) {
    f32x16 levels = 0.0f, squares = 0.0f, products = 0.0f;
    for (size_t j = 0; j < lines->count; j += 1) {
        f32x16 level = rounded(lesser(lines->above[j] * inverse, (f32x16)highest));
        f32x16 weighted = level * lines->importance[j];
        levels += weighted;
        squares += weighted * level;
        products += level * lines->products[j];
    }
    f32x16 most = lines->total * squares, determinant = most - levels * levels, divisor = 1.0f / determinant;
    i32x16 solved = determinant > most * 1e-5f;
    f32x16 scale = (lines->total * products - lines->sum * levels) * divisor;
    f32x16 offset = (levels * products - squares * lines->sum) * divisor;
    f32x16 gain = scale * products - offset * lines->sum;
    offset = offset - lines->lowest;
    if (floor) {
        // A line through 0, whose gain is that of the values. It is counted from what `lowest` alone explains.
        i32x16 below = (offset < 0.0f) | ~solved;
        f32x16 moved = products + lines->lowest * levels, slope = moved / squares;
        f32x16 explained = lines->lowest * (lines->sum + lines->sum + lines->lowest * lines->total);
        scale = below ? slope : scale;
        gain = below ? slope * moved - explained : gain;
        offset = below ? (f32x16)0.0f : offset;
        solved = squares > 0.0f;
    }
    return (struct feedback_fit){scale, offset, solved ? gain : (f32x16)-FLT_MAX};
}

// The best of the lines with offsets of 0 or more. Their inverse scales are (highest + .1 k) / range, k = -half ... half.
static __attribute__((noinline)) void feedback_best_line(
    struct feedback_lines *lines, const f32x16 *values, const float *importance, size_t count, float highest,
    f32x16 *scale, f32x16 *offset) {
    feedback_lines_of(lines, values, importance, count, 1);
    f32x16 inverse = feedback_inverse(lines->range), best = -FLT_MAX;
    f32x16 chosen = lines->range * (1.0f / highest), beside = -lines->lowest;
    for (int k = -FEEDBACK_LINE_HALF; k <= FEEDBACK_LINE_HALF; k += 1) {
        struct feedback_fit fit = feedback_line(lines, highest, inverse * (highest + 0.1f * (float)k), 1);
        i32x16 better = fit.gain > best;
        best = better ? fit.gain : best;
        chosen = better ? fit.scale : chosen;
        beside = better ? fit.offset : beside;
    }
    *scale = chosen;
    *offset = beside;
}

#endif
