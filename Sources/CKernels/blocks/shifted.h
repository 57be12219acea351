// Blocks with a scale and an offset: Q4_1 and Q5_1.
//
// A weight is restored as scale * code + offset, for codes from 0 to `top`.

#ifndef INGOT_BLOCKS_SHIFTED_H
#define INGOT_BLOCKS_SHIFTED_H

#include "batch.h"

INLINE float shifted_top(int32_t type) { return type == SMALL_Q5_1 ? 31.0f : 15.0f; }

// 0 for NaN.
INLINE f32x16 shifted_code(float top, f32x16 position) { return rounded(lesser(greater(position, 0.0f), top)); }

INLINE void shifted_extremes(const f32x16 *weights, f32x16 *low, f32x16 *high) {
    *low = weights[0];
    *high = weights[0];
    for (size_t i = 1; i < SMALL_WEIGHTS; i += 1) {
        *low = lesser(weights[i], *low);
        *high = greater(weights[i], *high);
    }
}

// ggml without importance: the offset is the smallest weight, and the largest gets the last code.
INLINE void shifted_plain(int32_t type, const f32x16 *weights, struct batch_codes *block) {
    float top = shifted_top(type);
    f32x16 low, high;
    shifted_extremes(weights, &low, &high);
    f32x16 scale = (high - low) / top;
    f32x16 inverse = batch_inverse(scale);
    // The inverse of a scale below 2^-128 is infinite. Then ggml converts infinity and NaN to integers, and x86-64 gives the code 0.
    inverse = inverse == __builtin_inff() ? (f32x16)0.0f : inverse;
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        // A difference may be infinite, and its product with an inverse of 0 NaN: the code 0 too.
        f32x16 position = greater((weights[i] - low) * inverse + 0.5f, 0.0f);
        block->codes[i] = CONVERT(i32x16, lesser(position, top + 0.5f));
    }
    block->scale = batch_half(scale);
    block->offset = batch_half(low);
}

// ggml with importance (make_qkx3_quants): scales and offsets that fit the codes of 37 steps by least squares. As in ggml, each step
// begins from the offset that won last, and offsets are not positive.
INLINE void shifted_weighted(
    int32_t type, const f32x16 *weights, const f32x16 *importance, struct batch_codes *block) {
    float top = shifted_top(type);
    f32x16 low, high, codes[SMALL_WEIGHTS];
    shifted_extremes(weights, &low, &high);
    f32x16 weight_sum = importance[0], sum = weight_sum * weights[0];
    for (size_t i = 1; i < SMALL_WEIGHTS; i += 1) {
        weight_sum += importance[i];
        sum += importance[i] * weights[i];
    }
    low = low > 0.0f ? (f32x16)0.0f : low;
    i32x16 flat = high <= low;
    f32x16 inverse = top / (high - low), scale = 1.0f / inverse;
    // ggml's rounding gives the code 0 where the position is infinite or NaN.
    inverse = magnitude(inverse) == __builtin_inff() ? (f32x16)0.0f : inverse;
    f32x16 chosen_inverse = inverse, chosen_low = low, offset = low, least = 0.0f;
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        f32x16 code = shifted_code(top, inverse * (weights[i] - low));
        f32x16 difference = scale * code + low - weights[i];
        least += importance[i] * (difference * difference);
    }
    for (int step = 0; step <= 36; step += 1) {
        inverse = (-0.9f + 0.05f * (float)step + top) / (high - offset);
        inverse = magnitude(inverse) == __builtin_inff() ? (f32x16)0.0f : inverse;
        f32x16 code_sum = 0.0f, square_sum = 0.0f, product_sum = 0.0f;
        for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
            f32x16 code = shifted_code(top, inverse * (weights[i] - offset));
            codes[i] = code;
            f32x16 weighted = importance[i] * code;
            code_sum += weighted;
            square_sum += weighted * code;
            product_sum += weighted * weights[i];
        }
        f32x16 determinant = weight_sum * square_sum - code_sum * code_sum;
        f32x16 next_scale = (weight_sum * product_sum - sum * code_sum) / determinant;
        f32x16 next_offset = (square_sum * sum - code_sum * product_sum) / determinant;
        i32x16 positive = next_offset > 0.0f;
        next_scale = positive ? product_sum / square_sum : next_scale;
        next_offset = positive ? (f32x16)0.0f : next_offset;
        f32x16 error = 0.0f;
        for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
            f32x16 difference = next_scale * codes[i] + next_offset - weights[i];
            error += importance[i] * (difference * difference);
        }
        i32x16 better = (determinant > 0.0f) & (error < least);
        least = better ? error : least;
        scale = better ? next_scale : scale;
        chosen_inverse = better ? inverse : chosen_inverse;
        chosen_low = better ? offset : chosen_low;
        offset = better ? next_offset : offset;
    }
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        i32x16 code = CONVERT(i32x16, shifted_code(top, chosen_inverse * (weights[i] - chosen_low)));
        block->codes[i] = flat ? (i32x16)0 : code;
    }
    block->scale = batch_half(flat ? (f32x16)0.0f : scale);
    block->offset = batch_half(flat ? low : offset);
}

// Starts of the search: steps of ratio * span / top, with the middle of the codes on the middle of the weights, moved by parts of
// a step.
struct shifted_grid {
    int32_t ratio_count, shift_count, trials;
    float ratio, ratio_step, shift_step;
};

#ifndef SHIFTED_TUNED
INLINE struct shifted_grid shifted_grid(int32_t type) {
    switch (type) {
    case SMALL_Q4_1: return (struct shifted_grid){7, 5, 3, 1.04f, -0.04f, 0.2f};
    default: return (struct shifted_grid){7, 5, 3, 1.02f, -0.02f, 0.2f};
    }
}
#endif

// One assignment of codes, and the scale that fits it best by weighted least squares.
struct shifted_fit {
    f32x16 code_sum, scale;
    f32x16 score;  // the part of the weighted sum of squares that it explains; -1 where no scale fits
};

INLINE struct shifted_fit shifted_solved(
    f32x16 weight_sum, f32x16 sum, f32x16 code_sum, f32x16 square_sum, f32x16 product_sum) {
    f32x16 numerator = weight_sum * product_sum - code_sum * sum;
    f32x16 denominator = weight_sum * square_sum - code_sum * code_sum;
    struct shifted_fit fit = {code_sum, numerator / denominator, -1.0f};
    fit.score = ((numerator > 0.0f) & (denominator > 0.0f)) ? numerator * fit.scale : (f32x16)-1.0f;
    return fit;
}

INLINE void shifted_search(int32_t type, const struct batch_search *search, struct batch_codes *block) {
    float top = shifted_top(type);
    const f32x16 *values = search->values, *importance = search->importance, *products = search->products;
    f32x16 low, high, weight_sum = 0.0f, sum = 0.0f, reference = 0.0f;
    shifted_extremes(values, &low, &high);
    f32x16 unit = float_from_half(block->scale) * search->up[0] * search->up[1];
    f32x16 bias = float_from_half(block->offset) * search->up[0] * search->up[1];
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        weight_sum += importance[i];
        sum += products[i];
        f32x16 difference = values[i] - (CONVERT(f32x16, block->codes[i]) * unit + bias);
        reference += importance[i] * (difference * difference);
    }
    struct shifted_grid grid = shifted_grid(type);
    struct shifted_fit fit = {0.0f, 0.0f, -1.0f};
    f32x16 widest = batch_inverse(high - low) * top, middle = (low + high) * 0.5f;
    for (int32_t k = 0; k < grid.ratio_count; k += 1) {
        f32x16 inverse = widest * (1.0f / (grid.ratio + grid.ratio_step * (float)k));
        for (int32_t j = 0; j < grid.shift_count; j += 1) {
            float shift = grid.shift_step * (float)(j - grid.shift_count / 2);
            f32x16 begin = top * 0.5f + shift - middle * inverse;
            f32x16 code_sum = 0.0f, square_sum = 0.0f, product_sum = 0.0f;
            for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
                f32x16 code = shifted_code(top, values[i] * inverse + begin);
                f32x16 weighted = importance[i] * code;
                code_sum += weighted;
                square_sum += weighted * code;
                product_sum += products[i] * code;
            }
            struct shifted_fit next = shifted_solved(weight_sum, sum, code_sum, square_sum, product_sum);
            i32x16 better = next.score > fit.score;
            fit.score = better ? next.score : fit.score;
            fit.scale = better ? next.scale : fit.scale;
            fit.code_sum = better ? next.code_sum : fit.code_sum;
        }
    }
    f32x16 best = __builtin_inff(), chosen_scale = 0.0f, chosen_offset = 0.0f;
    for (int32_t k = 0; k < grid.trials; k += 1) {
        f32x16 scale = batch_stored(search->down, fit.scale);
        unit = scale * search->up[0] * search->up[1];
        f32x16 offset = batch_stored(search->down, (sum - unit * fit.code_sum) * batch_inverse(weight_sum));
        bias = offset * search->up[0] * search->up[1];
        f32x16 inverse = batch_inverse(unit);
        f32x16 error = 0.0f, code_sum = 0.0f, square_sum = 0.0f, product_sum = 0.0f;
        for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
            f32x16 code = shifted_code(top, (values[i] - bias) * inverse);
            f32x16 difference = values[i] - (code * unit + bias);
            f32x16 weighted = importance[i] * code;
            error += importance[i] * (difference * difference);
            code_sum += weighted;
            square_sum += weighted * code;
            product_sum += products[i] * code;
        }
        i32x16 better = error < best;
        best = better ? error : best;
        chosen_scale = better ? scale : chosen_scale;
        chosen_offset = better ? offset : chosen_offset;
        struct shifted_fit next = shifted_solved(weight_sum, sum, code_sum, square_sum, product_sum);
        fit.scale = next.score > 0.0f ? next.scale : fit.scale;
        fit.code_sum = code_sum;
    }
    i32x16 better = batch_better(best, reference);
    unit = chosen_scale * search->up[0] * search->up[1];
    bias = chosen_offset * search->up[0] * search->up[1];
    f32x16 inverse = batch_inverse(unit);
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        i32x16 code = CONVERT(i32x16, shifted_code(top, (values[i] - bias) * inverse));
        block->codes[i] = better ? code : block->codes[i];
    }
    block->scale = batch_chosen(better, half_from_float(chosen_scale), block->scale);
    block->offset = batch_chosen(better, half_from_float(chosen_offset), block->offset);
}

#endif
