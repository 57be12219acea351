// Blocks with a small weighted squared error: the better of what the searches find and of the reference.

#ifndef INGOT_BLOCKS_SUPER_SEARCHED_H
#define INGOT_BLOCKS_SUPER_SEARCHED_H

#include "super_reference.h"
#include "super_affine.h"
#include "super_symmetric.h"

// The weighted squared error of the decoded weights. importance: null for 1.
static __attribute__((noinline)) f64x16 block_error(
    struct super_rule rule, const struct super_batch *batch, const struct super_codes *block) {
    f32x16 unit = float_from_half(block->scale_unit), minimum_unit = float_from_half(block->minimum_unit);
    f64x16 error = 0.0;
    for (size_t j = 0; j < rule.parts; j += 1) {
        f32x16 scale = unit * CONVERT(f32x16, block->scales[j]);
        f32x16 minimum = rule.affine ? minimum_unit * CONVERT(f32x16, block->minimums[j]) : (f32x16)0.0f;
        for (size_t i = j * rule.length; i < (j + 1) * rule.length; i += 1) {
            f32x16 value = scale * (CONVERT(f32x16, block->codes[i]) + rule.code_low);
            if (rule.affine) { value -= minimum; }
            f64x16 off = CONVERT(f64x16, batch->weights[i]) - CONVERT(f64x16, value);
            f64x16 square = off * off;
            error += batch->has_importance ? CONVERT(f64x16, batch->importance[i]) * square : square;
        }
    }
    return error;
}

// Importance for the searches: at most 1 in each super-block, and never 0, so that unimportant weights get sensible codes too.
INLINE void relative_importance(const struct super_batch *batch, f32x16 *w) {
    f32x16 largest = 0.0f;
    for (size_t i = 0; i < KQUANT_WEIGHTS && batch->has_importance; i += 1) {
        largest = greater(batch->importance[i], largest);
    }
    f32x16 inverse = 1.0f / largest;
    for (size_t i = 0; i < KQUANT_WEIGHTS; i += 1) {
        w[i] = batch->has_importance ? batch->importance[i] * inverse + 0x1p-20f : (f32x16)1.0f;
    }
}

INLINE u8x16 either(i32x16 mask, u8x16 a, u8x16 b) {
    return CONVERT(u8x16, mask ? CONVERT(i32x16, a) : CONVERT(i32x16, b));
}

// Replaces the reference's blocks where the search finds better ones.
static __attribute__((noinline)) void super_searched(
    struct super_rule rule, const struct super_batch *batch, struct super_codes *block) {
    struct super_codes found = *block;
    f32x16 w[KQUANT_WEIGHTS];
    relative_importance(batch, w);
    if (rule.affine) {
        improve_affine(rule, batch->has_importance, batch->weights, w, &found);
    } else {
        improve_symmetric(rule, batch->has_importance, batch->weights, w, &found);
    }
    f64x16 error = block_error(rule, batch, block), found_error = block_error(rule, batch, &found);
    i32x16 better = CONVERT(i32x16, (found_error < error) | ((error != error) & (found_error == found_error)));
    for (size_t i = 0; i < KQUANT_WEIGHTS; i += 1) {
        block->codes[i] = either(better, found.codes[i], block->codes[i]);
    }
    for (size_t j = 0; j < rule.parts; j += 1) {
        block->scales[j] = better ? found.scales[j] : block->scales[j];
        block->minimums[j] = better ? found.minimums[j] : block->minimums[j];
    }
    i32x16 unit = CONVERT(i32x16, block->scale_unit), minimum_unit = CONVERT(i32x16, block->minimum_unit);
    block->scale_unit = CONVERT(u16x16, better ? CONVERT(i32x16, found.scale_unit) : unit);
    block->minimum_unit = CONVERT(u16x16, better ? CONVERT(i32x16, found.minimum_unit) : minimum_unit);
}

#endif
