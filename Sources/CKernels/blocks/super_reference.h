// The bytes of ggml's own K-quantizers (quantize_row_q*_K_ref and quantize_row_q*_K_impl in ggml-quants.c of llama.cpp).

#ifndef INGOT_BLOCKS_SUPER_REFERENCE_H
#define INGOT_BLOCKS_SUPER_REFERENCE_H

#include "super_fits.h"
#include "super_layouts.h"

INLINE f32x16 square_sum(const f32x16 *x, size_t n) {
    f32x16 sum = 0.0f;
    for (size_t i = 0; i < n; i += 1) { sum += x[i] * x[i]; }
    return sum;
}

// The largest of n numbers, or 0.
INLINE f32x16 largest_above_zero(const f32x16 *x, size_t n) {
    f32x16 largest = 0.0f;
    for (size_t i = 0; i < n; i += 1) { largest = greater(x[i], largest); }
    return largest;
}

// The mean square that ggml adds to each weight's square, for weights of the search with an importance matrix.
INLINE f32x16 mean_square(struct super_rule rule, const struct super_batch *batch) {
    f32x16 sum = square_sum(batch->weights, KQUANT_WEIGHTS);
    return (rule.type == TYPE_Q2_K ? sum : 2.0f * sum) * (1.0f / KQUANT_WEIGHTS);
}

// What the searches minimize in sub-block `part`: the weights of its squared (Q2_K without importance: absolute) errors.
INLINE void search_weights(
    struct super_rule rule, const struct super_batch *batch, size_t part, f32x16 mean, f32x16 *w) {
    const f32x16 *x = batch->weights + part * rule.length, *importance = batch->importance + part * rule.length;
    if (batch->has_importance && rule.type == TYPE_Q6_K) {
        memcpy(w, importance, rule.length * sizeof *w);
    } else if (batch->has_importance) {
        for (size_t i = 0; i < rule.length; i += 1) { w[i] = importance[i] * root(mean + x[i] * x[i]); }
    } else if (rule.type == TYPE_Q6_K) {
        for (size_t i = 0; i < rule.length; i += 1) { w[i] = x[i] * x[i]; }
    } else {
        f32x16 level = rule.type == TYPE_Q2_K ? (f32x16)0.0f : root(square_sum(x, rule.length) * (1.0f / 32));
        for (size_t i = 0; i < rule.length; i += 1) { w[i] = level + magnitude(x[i]); }
    }
}

INLINE struct fit_trials affine_trials(struct super_rule rule, int has_importance) {
    if (has_importance) { return (struct fit_trials){-0.9f, 0.05f, 36, 0}; }
    switch (rule.type) {
    case TYPE_Q2_K: return (struct fit_trials){-0.5f, 0.1f, 15, 1};
    case TYPE_Q4_K: return (struct fit_trials){-1.0f, 0.1f, 20, 0};
    default: return (struct fit_trials){-0.5f, 0.1f, 15, 0};
    }
}

// Rounds scales or minimums of the sub-blocks to multiples of a unit that maps the largest to the highest code. Returns the unit.
INLINE f32x16 rounded_to_unit(struct super_rule rule, const f32x16 *numbers, i32x16 *codes) {
    f32x16 largest = largest_above_zero(numbers, rule.parts);
    i32x16 some = largest > 0.0f;
    f32x16 inverse = some ? rule.scale_high / largest : (f32x16)0.0f;
    for (size_t part = 0; part < rule.parts; part += 1) {
        i32x16 code = wrapped_integer(inverse * numbers[part]);
        if (rule.type == TYPE_Q2_K) {
            codes[part] = some ? code & 255 : (i32x16)0;
        } else {
            codes[part] = clamped(code & 255, 0, 63);
        }
    }
    return some ? largest / rule.scale_high : (f32x16)0.0f;
}

// Codes for the stored scales. Where a scale is zero, the codes stay those of the fit.
INLINE void affine_codes(
    struct super_rule rule, const f32x16 *weights, const struct affine_fit *fits, struct super_codes *block) {
    f32x16 unit = float_from_half(block->scale_unit), minimum_unit = float_from_half(block->minimum_unit);
    int32_t top = (int32_t)rule.code_high;
    for (size_t part = 0; part < rule.parts; part += 1) {
        f32x16 scale = unit * CONVERT(f32x16, block->scales[part]);
        f32x16 minimum = minimum_unit * CONVERT(f32x16, block->minimums[part]);
        i32x16 zero = scale == 0.0f;
        const f32x16 *x = weights + part * rule.length;
        u8x16 *codes = block->codes + part * rule.length;
        for (size_t i = 0; i < rule.length; i += 1) {
            codes[i] = CONVERT(u8x16, clamped(wrapped_integer((x[i] + minimum) / scale), 0, top));
        }
        if (!any(zero)) { continue; }
        for (size_t i = 0; i < rule.length; i += 1) {
            i32x16 code = clamped(wrapped_integer(fits[part].inverse * (x[i] - fits[part].low)), 0, top);
            codes[i] = CONVERT(u8x16, zero ? code : CONVERT(i32x16, codes[i]));
        }
    }
}

// ggml stores the codes of scales and minimums as bytes. Rounding errors can give a negative scale, whose byte exceeds the
// highest code. This is what ggml's packing makes of it; other codes stay as they are.
INLINE void pack_as_bytes(struct super_rule rule, struct super_codes *block) {
    i32x16 *scales = block->scales, *minimums = block->minimums;
    for (size_t part = 0; part < rule.parts; part += 1) {
        if (rule.type == TYPE_Q2_K) {
            minimums[part] = (minimums[part] | scales[part] >> 4) & 15;
            scales[part] &= 15;
        } else if (rule.type == TYPE_Q5_K) {
            scales[part] = clamped(scales[part], 0, 63);
            minimums[part] = clamped(minimums[part], 0, 63);
        } else if (part < 4) {
            scales[part + 4] = (scales[part + 4] & 63) | scales[part] >> 6 << 4;
            minimums[part + 4] = (minimums[part + 4] & 63) | minimums[part] >> 6 << 4;
            scales[part] &= 63;
            minimums[part] &= 63;
        }
    }
}

// Q2_K, Q4_K and Q5_K.
INLINE void affine_reference(struct super_rule rule, const struct super_batch *batch, struct super_codes *block) {
    struct affine_fit fits[KQUANT_PARTS];
    f32x16 scales[KQUANT_PARTS], minimums[KQUANT_PARTS], sums[KQUANT_PARTS], w[FIT_MAX_LENGTH];
    struct fit_trials trials = affine_trials(rule, batch->has_importance);
    f32x16 mean = batch->has_importance ? mean_square(rule, batch) : (f32x16)0.0f;
    for (size_t part = 0; part < rule.parts; part += 1) {
        search_weights(rule, batch, part, mean, w);
        sums[part] = 0.0f;
        for (size_t i = 0; i < rule.length; i += 1) { sums[part] += w[i]; }
        fits[part] = fit_affine(batch->weights + part * rule.length, w, rule.length, rule.code_high, trials);
        scales[part] = fits[part].scale;
        minimums[part] = fits[part].minimum;
    }
    f32x16 unit, minimum_unit;
    if (batch->has_importance) {
        unit = fit_positive(scales, sums, rule.parts, rule.scale_high, block->scales);
        minimum_unit = fit_positive(minimums, sums, rule.parts, rule.scale_high, block->minimums);
    } else {
        unit = rounded_to_unit(rule, scales, block->scales);
        minimum_unit = rounded_to_unit(rule, minimums, block->minimums);
    }
    pack_as_bytes(rule, block);
    block->scale_unit = unit_half(unit);
    block->minimum_unit = unit_half(minimum_unit);
    affine_codes(rule, batch->weights, fits, block);
}

// Codes for the stored scales, where these are not zero.
INLINE void symmetric_codes(struct super_rule rule, const f32x16 *weights, struct super_codes *block) {
    f32x16 unit = float_from_half(block->scale_unit);
    int32_t low = (int32_t)rule.code_low, high = (int32_t)rule.code_high;
    for (size_t part = 0; part < rule.parts; part += 1) {
        f32x16 scale = unit * CONVERT(f32x16, block->scales[part]);
        i32x16 zero = scale == 0.0f;
        const f32x16 *x = weights + part * rule.length;
        u8x16 *codes = block->codes + part * rule.length;
        for (size_t i = 0; i < rule.length; i += 1) {
            i32x16 code = clamped(wrapped_integer(x[i] / scale), low, high) - low;
            codes[i] = CONVERT(u8x16, zero ? CONVERT(i32x16, codes[i]) : code);
        }
    }
}

// Of the scales of sub-blocks, the first of the largest magnitude. Returns that magnitude.
INLINE f32x16 extreme_scale(const f32x16 *scales, size_t parts, f32x16 *with_sign) {
    f32x16 largest;
    largest_magnitude(scales, parts, &largest, with_sign);
    return largest;
}

// The codes of fits, for sub-blocks whose stored scale is zero.
INLINE void codes_of_fit(struct super_rule rule, const f32x16 *x, struct symmetric_fit fit, u8x16 *codes) {
    for (size_t i = 0; i < rule.length; i += 1) {
        f32x16 code = code_at(fit.inverse * x[i], rule.code_low, rule.code_high, 1) - rule.code_low;
        codes[i] = CONVERT(u8x16, fit.empty ? (i32x16)0 : CONVERT(i32x16, code));
    }
}

INLINE void q3_reference(struct super_rule rule, const struct super_batch *batch, struct super_codes *block) {
    f32x16 scales[KQUANT_PARTS], sums[KQUANT_PARTS], w[FIT_MAX_LENGTH], unit;
    f32x16 mean = batch->has_importance ? mean_square(rule, batch) : (f32x16)0.0f;
    for (size_t part = 0; part < rule.parts; part += 1) {
        const f32x16 *x = batch->weights + part * rule.length;
        u8x16 *codes = block->codes + part * rule.length;
        if (!batch->has_importance) {
            scales[part] = fit_descending(x, rule.length, 4, codes);
            continue;
        }
        search_weights(rule, batch, part, mean, w);
        sums[part] = 0.0f;
        for (size_t i = 0; i < rule.length; i += 1) { sums[part] += w[i]; }
        struct symmetric_fit fit = fit_symmetric(x, w, rule.length, 4, 0);
        scales[part] = fit.scale;
        codes_of_fit(rule, x, fit, codes);
    }
    if (batch->has_importance) {
        struct symmetric_fit fit = fit_symmetric(scales, sums, rule.parts, 32, 1);
        for (size_t part = 0; part < rule.parts; part += 1) {
            i32x16 code = clamped(wrapped_integer(fit.inverse * scales[part]), -32, 31);
            block->scales[part] = fit.empty ? (i32x16)-32 : code;
        }
        unit = fit.scale;
    } else {
        f32x16 extreme, largest = extreme_scale(scales, rule.parts, &extreme), inverse = -32.0f / extreme;
        i32x16 none = largest == 0.0f;
        for (size_t part = 0; part < rule.parts; part += 1) {
            i32x16 code = wrapped_integer(inverse * scales[part]) << 24 >> 24;  // a signed byte in ggml
            block->scales[part] = none ? (i32x16)-32 : clamped(code, -32, 31);
        }
        unit = none ? (f32x16)0.0f : 1.0f / inverse;
    }
    block->scale_unit = unit_half(unit);
    symmetric_codes(rule, batch->weights, block);
}

INLINE void q6_reference(struct super_rule rule, const struct super_batch *batch, struct super_codes *block) {
    f32x16 scales[KQUANT_PARTS], w[FIT_MAX_LENGTH], extreme;
    for (size_t part = 0; part < rule.parts; part += 1) {
        const f32x16 *x = batch->weights + part * rule.length;
        search_weights(rule, batch, part, (f32x16)0.0f, w);
        struct symmetric_fit fit = fit_symmetric(x, w, rule.length, 32, 0);
        scales[part] = fit.scale;
        codes_of_fit(rule, x, fit, block->codes + part * rule.length);
    }
    f32x16 largest = extreme_scale(scales, rule.parts, &extreme), inverse = -128.0f / extreme;
    i32x16 none = largest < FIT_TINY;
    for (size_t part = 0; part < rule.parts; part += 1) {
        i32x16 code = wrapped_integer(inverse * scales[part]);
        code = (code < 127 ? code : (i32x16)127) << 24 >> 24;  // a signed byte in ggml
        block->scales[part] = none ? (i32x16)0 : code;
    }
    block->scale_unit = unit_half(none ? (f32x16)0.0f : 1.0f / inverse);
    symmetric_codes(rule, batch->weights, block);
    if (!any(none)) { return; }
    for (size_t i = 0; i < KQUANT_WEIGHTS; i += 1) {
        block->codes[i] = CONVERT(u8x16, none ? (i32x16)0 : CONVERT(i32x16, block->codes[i]));
    }
}

INLINE void super_reference(struct super_rule rule, const struct super_batch *batch, struct super_codes *block) {
    switch (rule.type) {
    case TYPE_Q3_K: q3_reference(rule, batch, block); break;
    case TYPE_Q6_K: q6_reference(rule, batch, block); break;
    default: affine_reference(rule, batch, block); break;
    }
}

#endif
