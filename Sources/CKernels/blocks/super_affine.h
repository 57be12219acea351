// The search for blocks of Q2_K, Q4_K and Q5_K with the least weighted squared error.

#ifndef INGOT_BLOCKS_SUPER_AFFINE_H
#define INGOT_BLOCKS_SUPER_AFFINE_H

#include "super_fits.h"
#include "super_layouts.h"

// How much a search tries; found by measurement.
struct affine_effort {
    int32_t ratio_count;
    float ratios[8];              // steps of the first codes, as parts of the step that spans all weights
    int32_t unit_count;           // units of scales and of minimums that are tried
    float unit_first, unit_step;  // the largest scale is unit_first + unit_step * k units
    int32_t rounds;               // of scales and minimums, with the units of the codes before
    int32_t scale_radius, minimum_radius;              // distance of the scales and minimums that the first round tries
    int32_t later_scale_radius, later_minimum_radius;  // and the other rounds
};

// Shifts of the first codes, as parts of a step.
static const float affine_shifts[5] = {0.0f, -0.2f, 0.2f, -0.4f, 0.4f};

INLINE struct affine_effort affine_effort(int32_t type, int has_importance) {
    switch (type) {
    case TYPE_Q2_K:
        return has_importance
            ? (struct affine_effort){4, {1.00f, 0.82f, 0.64f, 0.46f}, 20, 15.5f, -0.35f, 2, 4, 4, 1, 1}
            : (struct affine_effort){3, {0.95f, 0.80f, 0.65f}, 20, 15.5f, -0.35f, 2, 2, 2, 1, 1};
    case TYPE_Q4_K:
        return has_importance
            ? (struct affine_effort){5, {1.02f, 0.95f, 0.88f, 0.81f, 0.74f}, 4, 63.5f, -2.0f, 2, 10, 5, 2, 2}
            : (struct affine_effort){5, {1.02f, 0.98f, 0.94f, 0.90f, 0.86f}, 4, 63.5f, -2.0f, 2, 6, 3, 2, 2};
    default:
        return has_importance
            ? (struct affine_effort){5, {1.02f, 0.96f, 0.90f, 0.84f, 0.78f}, 4, 63.5f, -2.0f, 2, 10, 5, 2, 2}
            : (struct affine_effort){4, {1.02f, 0.99f, 0.96f, 0.93f}, 4, 63.5f, -2.0f, 2, 6, 3, 2, 2};
    }
}

// A sub-block's best scale and minimum for its codes, and sums of its codes.
struct affine_part {
    f32x16 scale, minimum;
    f32x16 weight_sum, value_sum;              // of w and w * x
    f32x16 code_sum, square_sum, product_sum;  // of w * code, w * code^2, w * code * x
};

// Scales and minimums of sixteen super-blocks.
struct affine_choice {
    f32x16 unit, minimum_unit;  // values of F16
    f32x16 scales[KQUANT_PARTS], minimums[KQUANT_PARTS];
    f32x16 error;
};

// Sums of codes for positions x * inverse + offset.
INLINE void sum_codes(
    struct affine_part *part, const f32x16 *x, const f32x16 *w, size_t n, float top, f32x16 inverse, f32x16 offset) {
    f32x16 code_sum = 0.0f, square_sum = 0.0f, product_sum = 0.0f;
    for (size_t i = 0; i < n; i += 1) {
        f32x16 code = code_at(x[i] * inverse + offset, 0, top, 0);
        f32x16 weighted = w[i] * code;
        code_sum += weighted;
        square_sum += weighted * code;
        product_sum += weighted * x[i];
    }
    part->code_sum = code_sum, part->square_sum = square_sum, part->product_sum = product_sum;
}

// Least squares of scale and minimum for the codes. Leaves them where no positive scale fits.
INLINE void solve_part(struct affine_part *part) {
    f32x16 numerator = part->weight_sum * part->product_sum - part->code_sum * part->value_sum;
    f32x16 determinant = part->weight_sum * part->square_sum - part->code_sum * part->code_sum;
    f32x16 scale = numerator / determinant;
    f32x16 minimum = (scale * part->code_sum - part->value_sum) / part->weight_sum;
    i32x16 negative = minimum < 0.0f;
    scale = negative ? part->product_sum / part->square_sum : scale;
    minimum = negative ? (f32x16)0.0f : minimum;
    i32x16 solvable = (numerator > 0.0f) & (determinant > 0.0f) & (scale > 0.0f);
    part->scale = solvable ? scale : part->scale;
    part->minimum = solvable ? minimum : part->minimum;
}

INLINE f32x16 inverse_of(f32x16 scale) { return scale > 0.0f ? 1.0f / scale : (f32x16)0.0f; }

// Scale and minimum of a sub-block, not rounded yet.
static __attribute__((noinline)) void start_part(
    struct affine_part *part, const f32x16 *x, const f32x16 *w, size_t n, float top, struct affine_effort effort) {
    f32x16 low = 0.0f, high = x[0], weight_sum = 0.0f, value_sum = 0.0f;
    for (size_t i = 0; i < n; i += 1) {
        low = lesser(x[i], low);
        high = greater(x[i], high);
        weight_sum += w[i];
        value_sum += w[i] * x[i];
    }
    part->weight_sum = weight_sum, part->value_sum = value_sum;
    f32x16 span = high - low, middle = (low + high) * 0.5f, best = -1.0f;
    part->scale = span * (1.0f / top);
    part->minimum = -low;
    struct affine_part found = *part;
    for (int32_t k = 0; k < effort.ratio_count; k += 1) {
        f32x16 inverse = inverse_of(span * (effort.ratios[k] / top));
        for (int32_t j = 0; j < 5; j += 1) {
            sum_codes(part, x, w, n, top, inverse, top * 0.5f + affine_shifts[j] - middle * inverse);
            f32x16 numerator = weight_sum * part->product_sum - part->code_sum * value_sum;
            f32x16 determinant = weight_sum * part->square_sum - part->code_sum * part->code_sum;
            f32x16 score = numerator * (numerator / determinant);
            i32x16 better = (score > best) & (numerator > 0.0f) & (determinant > 0.0f);
            best = better ? score : best;
            found.code_sum = better ? part->code_sum : found.code_sum;
            found.square_sum = better ? part->square_sum : found.square_sum;
            found.product_sum = better ? part->product_sum : found.product_sum;
        }
    }
    i32x16 none = best < 0.0f;
    part->code_sum = none ? (f32x16)0.0f : found.code_sum;
    part->square_sum = none ? (f32x16)0.0f : found.square_sum;
    part->product_sum = none ? (f32x16)0.0f : found.product_sum;
    solve_part(part);
    for (int round = 0; round < 2; round += 1) {
        f32x16 inverse = inverse_of(part->scale);
        sum_codes(part, x, w, n, top, inverse, part->minimum * inverse);
        solve_part(part);
    }
}

// Units of scales and minimums with the least error, as far as the codes of the parts stay the same.
INLINE void choose_units(
    const struct affine_part *parts, struct super_rule rule, struct affine_effort effort, f32x16 *unit,
    f32x16 *minimum_unit) {
    f32x16 largest = 0.0f, largest_minimum = 0.0f, slopes[KQUANT_PARTS], curvatures[KQUANT_PARTS];
    for (size_t j = 0; j < rule.parts; j += 1) {
        largest = greater(parts[j].scale, largest);
        largest_minimum = greater(parts[j].minimum, largest_minimum);
        slopes[j] = parts[j].code_sum / parts[j].weight_sum;
        curvatures[j] = parts[j].square_sum - slopes[j] * parts[j].code_sum;
    }
    f32x16 best = __builtin_inff();
    *unit = largest / rule.scale_high;
    *minimum_unit = largest_minimum / rule.scale_high;
    for (int32_t a = 0; a < effort.unit_count; a += 1) {
        f32x16 try = largest / (effort.unit_first + effort.unit_step * (float)a), inverse = inverse_of(try);
        f32x16 centres[KQUANT_PARTS], error = 0.0f;
        for (size_t j = 0; j < rule.parts; j += 1) {
            f32x16 off = code_at(parts[j].scale * inverse, 0, rule.scale_high, 0) * try - parts[j].scale;
            error += curvatures[j] * off * off;
            centres[j] = parts[j].minimum + slopes[j] * off;
        }
        for (int32_t b = 0; b < effort.unit_count; b += 1) {
            f32x16 try_minimum = largest_minimum / (effort.unit_first + effort.unit_step * (float)b);
            f32x16 minimum_inverse = inverse_of(try_minimum), sum = error;
            for (size_t j = 0; j < rule.parts; j += 1) {
                f32x16 code = code_at(centres[j] * minimum_inverse, 0, rule.scale_high, 0);
                f32x16 off = code * try_minimum - centres[j];
                sum += parts[j].weight_sum * off * off;
            }
            i32x16 better = sum < best;
            best = better ? sum : best;
            *unit = better ? try : *unit;
            *minimum_unit = better ? try_minimum : *minimum_unit;
        }
    }
}

// Error of the codes for positions plus offset, in steps. `weighted` 0 is faster, and right if all weights w are 1.
INLINE f32x16 rounding_error(
    const f32x16 *positions, const f32x16 *w, size_t n, float top, f32x16 offset, int weighted) {
    f32x16 error = 0.0f;
    for (size_t i = 0; i < n; i += 1) {
        f32x16 position = positions[i] + offset;
        f32x16 off = position - code_at(position, 0, top, 0);
        error += weighted ? w[i] * off * off : off * off;
    }
    return error;
}

// The best scale and minimum of sub-block j near those of `part`, for the units of `choice`. Returns the error.
static __attribute__((noinline)) f32x16 choose_part(
    struct affine_choice *choice, size_t j, const struct affine_part *part, const f32x16 *x, const f32x16 *w,
    struct super_rule rule, int weighted, int32_t scale_radius, int32_t minimum_radius) {
    f32x16 unit = choice->unit, minimum_unit = choice->minimum_unit;
    f32x16 inverse = inverse_of(unit), minimum_inverse = inverse_of(minimum_unit);
    f32x16 slope = part->code_sum / part->weight_sum;
    // A scale of 0: all weights become -minimum.
    f32x16 best_scale = 0.0f, square_sum = 0.0f;
    f32x16 best_minimum = code_at(-part->value_sum / part->weight_sum * minimum_inverse, 0, rule.scale_high, 0);
    for (size_t i = 0; i < rule.length; i += 1) {
        f32x16 off = x[i] + minimum_unit * best_minimum;
        square_sum += w[i] * off * off;
    }
    f32x16 best = square_sum;
    f32x16 centre = code_at(part->scale * inverse, 0, rule.scale_high, 0);
    for (int32_t a = -scale_radius; a <= scale_radius; a += 1) {
        f32x16 scale = lesser(greater(centre + (float)a, 1.0f), rule.scale_high);
        f32x16 shifted = part->minimum + slope * (unit * scale - part->scale);
        f32x16 minimum_centre = code_at(shifted * minimum_inverse, 0, rule.scale_high, 0);
        f32x16 step = unit * scale, step_inverse = 1.0f / step, positions[FIT_MAX_LENGTH];
        for (size_t i = 0; i < rule.length; i += 1) { positions[i] = x[i] * step_inverse; }
        for (int32_t b = -minimum_radius; b <= minimum_radius; b += 1) {
            f32x16 minimum = lesser(greater(minimum_centre + (float)b, 0.0f), rule.scale_high);
            f32x16 offset = minimum_unit * minimum * step_inverse;
            f32x16 error = weighted ? rounding_error(positions, w, rule.length, rule.code_high, offset, 1)
                                    : rounding_error(positions, w, rule.length, rule.code_high, offset, 0);
            error *= step * step;
            i32x16 better = error < best;
            best = better ? error : best;
            best_scale = better ? scale : best_scale;
            best_minimum = better ? minimum : best_minimum;
        }
    }
    choice->scales[j] = best_scale;
    choice->minimums[j] = best_minimum;
    return best;
}

// Sums of the parts for the scales of `choice`, their own best scales, and the best units for all.
INLINE void solve_units(
    struct affine_choice *choice, struct affine_part *parts, const f32x16 *x, const f32x16 *w, struct super_rule rule) {
    f32x16 aa = 0.0f, ab = 0.0f, bb = 0.0f, ax = 0.0f, bx = 0.0f;
    for (size_t j = 0; j < rule.parts; j += 1) {
        f32x16 scale = choice->unit * choice->scales[j], minimum = choice->minimum_unit * choice->minimums[j];
        f32x16 inverse = inverse_of(scale);
        sum_codes(parts + j, x + j * rule.length, w + j * rule.length, rule.length, rule.code_high, inverse, minimum * inverse);
        parts[j].scale = scale, parts[j].minimum = minimum;
        solve_part(parts + j);
        f32x16 a = choice->scales[j], b = choice->minimums[j];
        aa += a * a * parts[j].square_sum;
        ab += a * b * parts[j].code_sum;
        bb += b * b * parts[j].weight_sum;
        ax += a * parts[j].product_sum;
        bx += b * parts[j].value_sum;
    }
    f32x16 determinant = aa * bb - ab * ab;
    f32x16 unit = (ax * bb - ab * bx) / determinant, minimum_unit = (ab * ax - aa * bx) / determinant;
    i32x16 both = (determinant > 0.0f) & (unit > 0.0f) & (minimum_unit > 0.0f);
    f32x16 alone = (ax + choice->minimum_unit * ab) / aa;
    i32x16 one = (aa > 0.0f) & (alone > 0.0f);
    choice->unit = as_half(both ? unit : one ? alone : choice->unit);
    choice->minimum_unit = as_half(both ? minimum_unit : choice->minimum_unit);
}

INLINE void keep_better(struct affine_choice *best, const struct affine_choice *other, size_t parts) {
    i32x16 better = other->error < best->error;
    best->error = better ? other->error : best->error;
    best->unit = better ? other->unit : best->unit;
    best->minimum_unit = better ? other->minimum_unit : best->minimum_unit;
    for (size_t j = 0; j < parts; j += 1) {
        best->scales[j] = better ? other->scales[j] : best->scales[j];
        best->minimums[j] = better ? other->minimums[j] : best->minimums[j];
    }
}

// Codes of `choice`.
INLINE void choice_codes(
    const struct affine_choice *choice, const f32x16 *x, struct super_rule rule, struct super_codes *block) {
    block->scale_unit = half_from_float(choice->unit);
    block->minimum_unit = half_from_float(choice->minimum_unit);
    for (size_t j = 0; j < rule.parts; j += 1) {
        f32x16 scale = choice->unit * choice->scales[j], minimum = choice->minimum_unit * choice->minimums[j];
        f32x16 inverse = inverse_of(scale);
        block->scales[j] = CONVERT(i32x16, choice->scales[j]);
        block->minimums[j] = CONVERT(i32x16, choice->minimums[j]);
        for (size_t i = j * rule.length; i < (j + 1) * rule.length; i += 1) {
            f32x16 code = code_at((x[i] + minimum) * inverse, 0, rule.code_high, 0);
            block->codes[i] = CONVERT(u8x16, CONVERT(i32x16, code));
        }
    }
}

// Searches scales and codes for the weights x with the importance w.
INLINE void improve_affine(
    struct super_rule rule, int has_importance, const f32x16 *x, const f32x16 *w, struct super_codes *block) {
    struct affine_effort effort = affine_effort(rule.type, has_importance);
    struct affine_part parts[KQUANT_PARTS];
    struct affine_choice best = {.error = __builtin_inff()}, choice;
    for (size_t j = 0; j < rule.parts; j += 1) {
        start_part(parts + j, x + j * rule.length, w + j * rule.length, rule.length, rule.code_high, effort);
    }
    choose_units(parts, rule, effort, &choice.unit, &choice.minimum_unit);
    choice.unit = as_half(choice.unit);
    choice.minimum_unit = as_half(choice.minimum_unit);
    for (int32_t round = 0; round < effort.rounds; round += 1) {
        if (round > 0) { solve_units(&choice, parts, x, w, rule); }
        choice.error = 0.0f;
        for (size_t j = 0; j < rule.parts; j += 1) {
            choice.error += choose_part(
                &choice, j, parts + j, x + j * rule.length, w + j * rule.length, rule, has_importance,
                round == 0 ? effort.scale_radius : effort.later_scale_radius,
                round == 0 ? effort.minimum_radius : effort.later_minimum_radius);
        }
        keep_better(&best, &choice, rule.parts);
    }
    choice_codes(&best, x, rule, block);
}

#endif
