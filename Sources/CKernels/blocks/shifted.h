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

// The starts of the search. A start is a step and the code on which the middle of the weights lies. The first ones have steps of
// ratio * span / top, for ratios evenly spaced, and move the middle of the codes by parts of a step. Later ones surround the best fit.
struct shifted_starts {
    int32_t ratio_count, shift_count;
    float ratio, ratio_step, shift_step;
};

struct shifted_grid {
    struct shifted_starts first, later;
    int32_t rounds, trials;
};

// Found by measurement on Gaussian and heavy-tailed weights, with and without importance.
INLINE struct shifted_grid shifted_grid(int32_t type) {
    struct shifted_starts first = {7, 5, 1.03f, -0.0383333f, 0.3f};
    return type == SMALL_Q4_1 ? (struct shifted_grid){first, {5, 3, 1.04f, -0.02f, 0.1f}, 1, 2}
                              : (struct shifted_grid){first, {7, 5, 1.06f, -0.02f, 0.1f}, 1, 2};
}

// One assignment of codes, and the scale that fits it best by weighted least squares.
struct shifted_fit {
    f32x16 code_sum, scale;
    f32x16 score;  // the part of the weighted sum of squares that it explains; -1 where no scale fits
};

// What every start uses.
struct shifted_sums {
    f32x16 weight_sum, sum;  // of importance, and of importance * value
    f32x16 middle, widest;   // half the sum of the extremes; the inverse step that spans them
};

INLINE struct shifted_fit shifted_solved(
    const struct shifted_sums *sums, f32x16 code_sum, f32x16 square_sum, f32x16 product_sum) {
    f32x16 numerator = sums->weight_sum * product_sum - code_sum * sums->sum;
    f32x16 denominator = sums->weight_sum * square_sum - code_sum * code_sum;
    struct shifted_fit fit = {code_sum, numerator / denominator, -1.0f};
    fit.score = ((numerator > 0.0f) & (denominator > 0.0f)) ? numerator * fit.scale : (f32x16)-1.0f;
    return fit;
}

// Tries starts around an inverse step and the code of the middle. Replaces `fit` where one is better.
INLINE void shifted_try(
    float top, const struct batch_search *search, const struct shifted_sums *sums, struct shifted_starts starts,
    f32x16 around, f32x16 centre, struct shifted_fit *fit) {
    for (int32_t k = 0; k < starts.ratio_count; k += 1) {
        f32x16 inverse = around * (1.0f / (starts.ratio + starts.ratio_step * (float)k));
        for (int32_t j = 0; j < starts.shift_count; j += 1) {
            float shift = starts.shift_step * ((float)j - 0.5f * (float)(starts.shift_count - 1));
            f32x16 begin = centre + shift - sums->middle * inverse;
            f32x16 code_sum = 0.0f, square_sum = 0.0f, product_sum = 0.0f;
            for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
                f32x16 code = shifted_code(top, search->values[i] * inverse + begin);
                f32x16 weighted = search->importance[i] * code;
                code_sum += weighted;
                square_sum += weighted * code;
                product_sum += search->products[i] * code;
            }
            struct shifted_fit next = shifted_solved(sums, code_sum, square_sum, product_sum);
            i32x16 better = next.score > fit->score;
            fit->score = better ? next.score : fit->score;
            fit->scale = better ? next.scale : fit->scale;
            fit->code_sum = better ? next.code_sum : fit->code_sum;
        }
    }
}

// Replaces the codes of the blocks where a searched scale and offset have a smaller error. `block` has the reference's codes.
INLINE void shifted_search(int32_t type, const struct batch_search *search, struct batch_codes *block) {
    float top = shifted_top(type);
    const f32x16 *values = search->values, *importance = search->importance, *products = search->products;
    f32x16 low, high, reference = 0.0f;
    struct shifted_sums sums = {.weight_sum = 0.0f, .sum = 0.0f};
    shifted_extremes(values, &low, &high);
    sums.middle = (low + high) * 0.5f;
    sums.widest = batch_inverse(high - low) * top;
    f32x16 unit = float_from_half(block->scale) * search->up[0] * search->up[1];
    f32x16 bias = float_from_half(block->offset) * search->up[0] * search->up[1];
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        sums.weight_sum += importance[i];
        sums.sum += products[i];
        f32x16 difference = values[i] - (CONVERT(f32x16, block->codes[i]) * unit + bias);
        reference += importance[i] * (difference * difference);
    }
    f32x16 share = batch_inverse(sums.weight_sum);
    struct shifted_grid grid = shifted_grid(type);
    struct shifted_fit fit = {0.0f, 0.0f, -1.0f};
    shifted_try(top, search, &sums, grid.first, sums.widest, top * 0.5f, &fit);
    for (int32_t round = 0; round < grid.rounds; round += 1) {
        f32x16 inverse = batch_inverse(fit.scale), offset = (sums.sum - fit.scale * fit.code_sum) * share;
        shifted_try(top, search, &sums, grid.later, inverse, (sums.middle - offset) * inverse, &fit);
    }
    f32x16 best = __builtin_inff(), chosen_scale = 0.0f, chosen_offset = 0.0f;
    for (int32_t k = 0; k < grid.trials; k += 1) {
        f32x16 scale = batch_stored(search->down, fit.scale);
        unit = scale * search->up[0] * search->up[1];
        f32x16 offset = batch_stored(search->down, (sums.sum - unit * fit.code_sum) * share);
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
        struct shifted_fit next = shifted_solved(&sums, code_sum, square_sum, product_sum);
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
