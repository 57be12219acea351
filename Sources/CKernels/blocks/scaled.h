// Blocks with a scale and no offset: Q4_0, Q5_0, Q8_0 and IQ4_NL.
//
// A weight is restored as scale * level. The levels are the integers from -half to half - 1, or the codebook of IQ4_NL.

#ifndef INGOT_BLOCKS_SCALED_H
#define INGOT_BLOCKS_SCALED_H

#include "batch.h"
#include "codebook.h"

// The least level, negated.
INLINE float scaled_half(int32_t type) { return type == SMALL_Q8_0 ? 128.0f : type == SMALL_Q5_0 ? 16.0f : 8.0f; }

// The level nearest to `position`, which is in units of the scale.
INLINE f32x16 scaled_level(int32_t type, f32x16 position) {
    if (type == SMALL_IQ4_NL) { return codebook_level(position); }
    float half = scaled_half(type);
    return rounded(lesser(greater(position, -half), half - 1.0f));
}

INLINE i32x16 scaled_code(int32_t type, f32x16 position) {
    if (type == SMALL_IQ4_NL) { return codebook_index(position); }
    i32x16 level = CONVERT(i32x16, scaled_level(type, position));
    return type == SMALL_Q8_0 ? level : level + (int32_t)scaled_half(type);
}

INLINE f32x16 scaled_restored(int32_t type, i32x16 code) {
    if (type == SMALL_IQ4_NL) { return codebook_value(code); }
    return CONVERT(f32x16, type == SMALL_Q8_0 ? code : code - (int32_t)scaled_half(type));
}

// ggml without importance: the extreme gets the code 0, and the others are rounded by truncation after adding one half.
INLINE void scaled_plain(int32_t type, const f32x16 *weights, struct batch_codes *block) {
    f32x16 largest;
    f32x16 extreme = batch_extreme(weights, SMALL_WEIGHTS, &largest);
    float half = scaled_half(type);
    f32x16 scale = type == SMALL_Q8_0 ? largest / 127.0f : extreme * (-1.0f / half);
    f32x16 inverse = batch_inverse(scale);
    // The inverse of a scale below 2^-128 is infinite. Then ggml converts infinity and NaN to integers, and x86-64 gives the code 0.
    i32x16 infinite = magnitude(inverse) == __builtin_inff();
    inverse = infinite ? (f32x16)0.0f : inverse;
    f32x16 centre = infinite ? (f32x16)0.5f : (f32x16)(half + 0.5f);
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        f32x16 position = weights[i] * inverse;
        if (type == SMALL_Q8_0) {
            // Truncating after adding the largest number below one half, with the sign, rounds half away from zero.
            u32x16 sign = (u32x16)position & 0x80000000u;
            position += (f32x16)(sign | (u32x16)(f32x16)0x1.fffffep-2f);
        } else {
            position = lesser(position + centre, 2.0f * half - 0.5f);
        }
        block->codes[i] = CONVERT(i32x16, position);
    }
    block->scale = batch_half(scale);
}

// The sums of importance * weight * level and importance * level^2 over a block.
struct scaled_sums {
    f32x16 product, square;
};

INLINE struct scaled_sums scaled_sum(
    int32_t type, const f32x16 *weights, const f32x16 *importance, const f32x16 *products, f32x16 inverse) {
    struct scaled_sums sums = {0.0f, 0.0f};
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        f32x16 level = scaled_level(type, weights[i] * inverse);
        f32x16 weighted = importance[i] * level;
        // The two orders of ggml's make_qx_quants and quantize_row_iq4_nl_impl.
        sums.product += type == SMALL_IQ4_NL ? weighted * weights[i] : products[i] * level;
        sums.square += weighted * level;
    }
    return sums;
}

// ggml's search of a scale for Q4_0 and Q5_0 with importance (make_qx_quants), and for IQ4_NL. Returns the scale and the inverse
// scale that gave the codes of Q4_0 and Q5_0.
INLINE f32x16 scaled_scale(int32_t type, const f32x16 *weights, const f32x16 *importance, f32x16 *inverse) {
    f32x16 largest, products[SMALL_WEIGHTS];
    f32x16 extreme = batch_extreme(weights, SMALL_WEIGHTS, &largest);
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) { products[i] = importance[i] * weights[i]; }
    float half = scaled_half(type);
    f32x16 first = type == SMALL_IQ4_NL ? 1.0f / (extreme / 127.0f) : -half / extreme;
    struct scaled_sums sums = scaled_sum(type, weights, importance, products, first);
    i32x16 solvable = type == SMALL_IQ4_NL ? sums.square > 0.0f : sums.square != 0.0f;
    f32x16 scale = solvable ? sums.product / sums.square : (f32x16)0.0f;
    f32x16 best = scale * sums.product;
    *inverse = first;
    int tries = type == SMALL_IQ4_NL ? 7 : 9;
    for (int try = -tries; try <= tries; try += 1) {
        f32x16 next;
        if (type == SMALL_IQ4_NL) {
            next = (float)(try - 127) / extreme;
        } else {
            if (try == 0) { continue; }
            next = -(half + 0.1f * (float)try) / extreme;
        }
        sums = scaled_sum(type, weights, importance, products, next);
        i32x16 better = (sums.square > 0.0f) & (sums.product * sums.product > best * sums.square);
        f32x16 solved = sums.product / sums.square;
        scale = better ? solved : scale;
        best = better ? solved * sums.product : best;
        *inverse = better ? next : *inverse;
    }
    return largest < batch_least ? (f32x16)0.0f : scale;
}

// ggml with importance; IQ4_NL also without, where importance is the square of the weight.
INLINE void scaled_weighted(
    int32_t type, const f32x16 *weights, const f32x16 *importance, struct batch_codes *block) {
    f32x16 inverse, largest;
    f32x16 scale = scaled_scale(type, weights, importance, &inverse);
    batch_extreme(weights, SMALL_WEIGHTS, &largest);
    i32x16 zero = largest < batch_least;
    if (type == SMALL_IQ4_NL) { inverse = batch_inverse(scale); }
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        i32x16 code = scaled_code(type, weights[i] * inverse);
        block->codes[i] = type == SMALL_IQ4_NL ? code : zero ? (i32x16)0 : code;
    }
    block->scale = batch_half(scale);
}

// The inverse scales of a search, in units of 1 / extreme: count from `first` by `step`.
struct scaled_range {
    int32_t count;
    float first, step;
};

struct scaled_grid {
    struct scaled_range ranges[2];
    int32_t trials;
};

// Found by measurement on Gaussian and heavy-tailed weights, with and without importance. Errors of 8 bits depend more on chance, so
// Q8_0 has more candidates; larger steps than 1 / 0.84 of the reference's do not pay.
INLINE struct scaled_grid scaled_grid(int32_t type) {
    switch (type) {
    case SMALL_Q4_0: return (struct scaled_grid){{{21, -11.25f, 0.25f}, {6, 6.5f, 0.75f}}, 2};
    case SMALL_Q5_0: return (struct scaled_grid){{{20, -19.5f, 0.375f}, {10, 12.0f, 0.7f}}, 2};
    case SMALL_Q8_0: return (struct scaled_grid){{{24, -128.5f, 0.83333333f}, {24, 108.0f, 0.83333333f}}, 2};
    default: return (struct scaled_grid){{{12, -152.0f, 5.5f}, {12, 80.0f, 5.5f}}, 2};
    }
}

// Of the inverse scales of a grid, takes the one whose levels explain most of the weights. Returns the scale that fits these levels
// by weighted least squares; 0 where none fits.
INLINE f32x16 scaled_start(int32_t type, const struct batch_search *search, struct scaled_grid grid) {
    f32x16 unit = batch_inverse(search->extreme), best = -1.0f, scale = 0.0f;
    for (int side = 0; side < 2; side += 1) {
        struct scaled_range range = grid.ranges[side];
        for (int32_t k = 0; k < range.count; k += 1) {
            f32x16 inverse = unit * (range.first + range.step * (float)k);
            struct scaled_sums sums =
                scaled_sum(type, search->values, search->importance, search->products, inverse);
            f32x16 solved = sums.product / sums.square;
            f32x16 score = sums.square > 0.0f ? solved * sums.product : (f32x16)-1.0f;
            i32x16 better = score > best;
            best = better ? score : best;
            scale = better ? solved : scale;
        }
    }
    return scale;
}

// The weighted squared error of levels of `scale`, which is in units of the scaled weights, and the sums of those levels.
INLINE f32x16 scaled_error(
    int32_t type, const struct batch_search *search, f32x16 scale, struct scaled_sums *sums) {
    f32x16 error = 0.0f, inverse = batch_inverse(scale);
    *sums = (struct scaled_sums){0.0f, 0.0f};
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        f32x16 level = scaled_level(type, search->values[i] * inverse);
        f32x16 difference = search->values[i] - level * scale;
        error += search->importance[i] * (difference * difference);
        sums->product += search->products[i] * level;
        sums->square += search->importance[i] * level * level;
    }
    return error;
}

// Replaces the codes of the blocks where a searched scale has a smaller error. `block` has the reference's codes.
INLINE void scaled_search(int32_t type, const struct batch_search *search, struct batch_codes *block) {
    f32x16 unit = float_from_half(block->scale) * search->up[0] * search->up[1];
    f32x16 reference = 0.0f;
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        f32x16 difference = search->values[i] - scaled_restored(type, block->codes[i]) * unit;
        reference += search->importance[i] * (difference * difference);
    }
    struct scaled_grid grid = scaled_grid(type);
    f32x16 scale = scaled_start(type, search, grid);
    f32x16 best = __builtin_inff(), chosen = 0.0f;
    for (int32_t k = 0; k < grid.trials; k += 1) {
        f32x16 stored = batch_stored(search->down, scale);
        struct scaled_sums sums;
        f32x16 error = scaled_error(type, search, stored * search->up[0] * search->up[1], &sums);
        i32x16 better = error < best;
        best = better ? error : best;
        chosen = better ? stored : chosen;
        scale = sums.square > 0.0f ? sums.product / sums.square : scale;
    }
    i32x16 better = batch_better(best, reference);
    f32x16 inverse = batch_inverse(chosen * search->up[0] * search->up[1]);
    for (size_t i = 0; i < SMALL_WEIGHTS; i += 1) {
        i32x16 code = scaled_code(type, search->values[i] * inverse);
        block->codes[i] = better ? code : block->codes[i];
    }
    block->scale = batch_chosen(better, half_from_float(chosen), block->scale);
}

#endif
