// The search for blocks of Q3_K and Q6_K with the least weighted squared error.

#ifndef INGOT_BLOCKS_SUPER_SYMMETRIC_H
#define INGOT_BLOCKS_SUPER_SYMMETRIC_H

#include "super_fits.h"
#include "super_layouts.h"

// How much a search tries; found by measurement.
struct symmetric_effort {
    int32_t ratio_count;
    float ratios[8];              // steps of the first codes, as parts of the step that spans all weights
    int32_t unit_count;           // units that are tried
    float unit_first, unit_step;  // the largest scale is unit_first + unit_step * k units
    int32_t rounds;               // of scales, with the unit of the codes before
    int32_t radius, later_radius; // distance of the scales that the first round and the others try
};

INLINE struct symmetric_effort symmetric_effort(int32_t type, int has_importance) {
    if (type == TYPE_Q3_K && has_importance) {
        return (struct symmetric_effort){
            8, {1.04f, 0.96f, 0.88f, 0.80f, 0.72f, 0.64f, 0.56f, 0.48f}, 40, 32.5f, -0.35f, 2, 16, 2};
    }
    if (type == TYPE_Q3_K) {
        return (struct symmetric_effort){
            8, {1.04f, 0.98f, 0.92f, 0.86f, 0.80f, 0.74f, 0.68f, 0.62f}, 40, 32.5f, -0.35f, 2, 2, 1};
    }
    return (struct symmetric_effort){2, {1.00f, 0.96f}, 8, 128.5f, -2.0f, 2, 32, 2};
}

// A sub-block's best positive and best negative scale. Codes have one value more below 0 than above, so these differ.
struct symmetric_part {
    f32x16 scales[2];
    f32x16 product_sums[2], square_sums[2];  // of w * code * x, w * code^2
    f32x16 energy;                           // sum of w * x^2
};

// Scales of sixteen super-blocks.
struct symmetric_choice {
    f32x16 unit;  // a value of F16
    f32x16 scales[KQUANT_PARTS];
    f32x16 error;
};

struct symmetric_sums {
    f32x16 product, square;
};

INLINE struct symmetric_sums symmetric_sums(
    const f32x16 *x, const f32x16 *w, struct super_rule rule, f32x16 inverse) {
    struct symmetric_sums sums = {0.0f, 0.0f};
    for (size_t i = 0; i < rule.length; i += 1) {
        f32x16 code = code_at(x[i] * inverse, rule.code_low, rule.code_high, 0);
        f32x16 weighted = w[i] * code;
        sums.product += weighted * x[i];
        sums.square += weighted * code;
    }
    return sums;
}

INLINE f32x16 signed_inverse(f32x16 scale) { return scale != 0.0f ? 1.0f / scale : (f32x16)0.0f; }

static __attribute__((noinline)) void symmetric_start(
    struct symmetric_part *part, const f32x16 *x, const f32x16 *w, struct super_rule rule,
    struct symmetric_effort effort) {
    f32x16 low = 0.0f, high = 0.0f;
    part->energy = 0.0f;
    for (size_t i = 0; i < rule.length; i += 1) {
        low = lesser(x[i], low);
        high = greater(x[i], high);
        part->energy += w[i] * x[i] * x[i];
    }
    for (int sign = 0; sign < 2; sign += 1) {
        f32x16 above = sign == 0 ? high : -low, below = sign == 0 ? -low : high;
        f32x16 range = greater(above * (1.0f / rule.code_high), below * (-1.0f / rule.code_low));
        f32x16 best = 0.0f, square = 0.0f, product = 0.0f;
        for (int32_t k = 0; k < effort.ratio_count; k += 1) {
            f32x16 inverse = signed_inverse(range * (sign == 0 ? effort.ratios[k] : -effort.ratios[k]));
            struct symmetric_sums sums = symmetric_sums(x, w, rule, inverse);
            f32x16 score = sums.product * sums.product / sums.square;
            i32x16 better = (sums.square > 0.0f) & (score > best);
            best = better ? score : best;
            square = better ? sums.square : square;
            product = better ? sums.product : product;
        }
        f32x16 scale = square > 0.0f ? product / square : (f32x16)0.0f;
        struct symmetric_sums sums = symmetric_sums(x, w, rule, signed_inverse(scale));
        i32x16 solvable = sums.square > 0.0f;
        square = solvable ? sums.square : square;
        product = solvable ? sums.product : product;
        scale = solvable ? sums.product / sums.square : scale;
        part->scales[sign] = scale;
        part->square_sums[sign] = square;
        part->product_sums[sign] = product;
    }
}

// The unit with the least error, as far as the codes of the parts stay the same.
INLINE f32x16 symmetric_unit(
    const struct symmetric_part *parts, struct super_rule rule, struct symmetric_effort effort) {
    f32x16 extreme = 0.0f;
    for (size_t j = 0; j < rule.parts; j += 1) {
        const struct symmetric_part *part = parts + j;
        i32x16 negative = part->product_sums[1] * part->scales[1] > part->product_sums[0] * part->scales[0];
        f32x16 scale = negative ? part->scales[1] : part->scales[0];
        extreme = magnitude(scale) > magnitude(extreme) ? scale : extreme;
    }
    f32x16 best = __builtin_inff(), unit = extreme / rule.scale_low;
    for (int32_t k = 0; k < effort.unit_count; k += 1) {
        f32x16 try = extreme / -(effort.unit_first + effort.unit_step * (float)k), inverse = signed_inverse(try), sum = 0.0f;
        for (size_t j = 0; j < rule.parts; j += 1) {
            const struct symmetric_part *part = parts + j;
            f32x16 errors[2];
            for (int sign = 0; sign < 2; sign += 1) {
                f32x16 code = code_at(part->scales[sign] * inverse, rule.scale_low, rule.scale_high, 0);
                f32x16 off = code * try - part->scales[sign];
                errors[sign] = part->square_sums[sign] * off * off - part->product_sums[sign] * part->scales[sign];
            }
            sum += lesser(errors[0], errors[1]);
        }
        i32x16 better = sum < best;
        best = better ? sum : best;
        unit = better ? try : unit;
    }
    return unit;
}

// Error of the codes for x * inverse, in steps. `weighted` 0 is faster, and right if all weights w are 1.
INLINE f32x16 scaled_rounding_error(
    const f32x16 *x, const f32x16 *w, struct super_rule rule, f32x16 inverse, int weighted) {
    f32x16 error = 0.0f;
    for (size_t i = 0; i < rule.length; i += 1) {
        f32x16 position = x[i] * inverse;
        f32x16 off = position - code_at(position, rule.code_low, rule.code_high, 0);
        error += weighted ? w[i] * off * off : off * off;
    }
    return error;
}

// The best scale of sub-block j near those of `part`, for the unit of `choice`. Returns the error.
static __attribute__((noinline)) f32x16 symmetric_choose(
    struct symmetric_choice *choice, size_t j, const struct symmetric_part *part, const f32x16 *x, const f32x16 *w,
    struct super_rule rule, int weighted, int32_t radius) {
    f32x16 inverse_unit = signed_inverse(choice->unit), best = part->energy, best_scale = 0.0f;
    for (int sign = 0; sign < 2; sign += 1) {
        f32x16 centre = rounded(lesser(greater(part->scales[sign] * inverse_unit, rule.scale_low), rule.scale_high));
        for (int32_t a = -radius; a <= radius; a += 1) {
            f32x16 scale = lesser(greater(centre + (float)a, rule.scale_low), rule.scale_high);
            f32x16 step = choice->unit * scale, inverse = 1.0f / step;
            f32x16 error = weighted ? scaled_rounding_error(x, w, rule, inverse, 1)
                                    : scaled_rounding_error(x, w, rule, inverse, 0);
            error *= step * step;
            i32x16 better = error < best;
            best = better ? error : best;
            best_scale = better ? scale : best_scale;
        }
    }
    choice->scales[j] = best_scale;
    return best;
}

// The best unit for the codes of `choice`, and the best scales of the sub-blocks for these codes.
INLINE void symmetric_solve(
    struct symmetric_choice *choice, struct symmetric_part *parts, const f32x16 *x, const f32x16 *w,
    struct super_rule rule) {
    f32x16 squares = 0.0f, products = 0.0f;
    for (size_t j = 0; j < rule.parts; j += 1) {
        f32x16 scale = choice->unit * choice->scales[j];
        struct symmetric_sums sums =
            symmetric_sums(x + j * rule.length, w + j * rule.length, rule, signed_inverse(scale));
        f32x16 own = sums.product / sums.square;
        i32x16 solvable = sums.square > 0.0f;
        for (int sign = 0; sign < 2; sign += 1) {
            i32x16 same = solvable & (sign == 0 ? scale > 0.0f : scale < 0.0f);
            parts[j].scales[sign] = same ? own : parts[j].scales[sign];
        }
        squares += choice->scales[j] * choice->scales[j] * sums.square;
        products += choice->scales[j] * sums.product;
    }
    f32x16 unit = products / squares;
    choice->unit = as_half(((squares > 0.0f) & (unit != 0.0f)) ? unit : choice->unit);
}

// Searches scales and codes for the weights x with the importance w. 
INLINE void improve_symmetric(
    struct super_rule rule, int has_importance, const f32x16 *x, const f32x16 *w, struct super_codes *block) {
    struct symmetric_effort effort = symmetric_effort(rule.type, has_importance);
    struct symmetric_part parts[KQUANT_PARTS];
    struct symmetric_choice best = {.error = __builtin_inff()}, choice;
    for (size_t j = 0; j < rule.parts; j += 1) {
        symmetric_start(parts + j, x + j * rule.length, w + j * rule.length, rule, effort);
    }
    choice.unit = as_half(symmetric_unit(parts, rule, effort));
    for (int32_t round = 0; round < effort.rounds; round += 1) {
        if (round > 0) { symmetric_solve(&choice, parts, x, w, rule); }
        choice.error = 0.0f;
        for (size_t j = 0; j < rule.parts; j += 1) {
            choice.error += symmetric_choose(
                &choice, j, parts + j, x + j * rule.length, w + j * rule.length, rule, has_importance,
                round == 0 ? effort.radius : effort.later_radius);
        }
        i32x16 better = choice.error < best.error;
        best.error = better ? choice.error : best.error;
        best.unit = better ? choice.unit : best.unit;
        for (size_t j = 0; j < rule.parts; j += 1) { best.scales[j] = better ? choice.scales[j] : best.scales[j]; }
    }
    block->scale_unit = half_from_float(best.unit);
    for (size_t j = 0; j < rule.parts; j += 1) {
        f32x16 inverse = signed_inverse(best.unit * best.scales[j]);
        block->scales[j] = CONVERT(i32x16, best.scales[j]);
        for (size_t i = j * rule.length; i < (j + 1) * rule.length; i += 1) {
            f32x16 code = code_at(x[i] * inverse, rule.code_low, rule.code_high, 0) - rule.code_low;
            block->codes[i] = CONVERT(u8x16, CONVERT(i32x16, code));
        }
    }
}

#endif
