// The search for scales and biases: sixteen groups at a time, one group per lane.
//
// The rules are in the order of Specs/uniform.md, section 5. No operation mixes lanes, so the result of a group does not
// depend on the other groups in its batch.

#ifndef INGOT_UNIFORM_ENCODE_H
#define INGOT_UNIFORM_ENCODE_H

#include "CKernels.h"
#include "codes.h"
#include "search.h"

struct batch {
    size_t length;                      // weights in each group
    f32x16 *values;                     // weights; after normalise: scaled, minus `middle` if affine
    f32x16 lowest, highest;             // of `values`
    f32x16 middle;                      // half the sum of the scaled extremes; zero if symmetric
    f32x16 sum;                         // of `values`
    f32x16 up[2], down[2];              // powers of two: value = weight * up[0] * up[1]; down reverses it
    i32x16 constant;                    // all ones where all weights of the group are equal
};

struct rules {
    int affine;
    int any_sign;               // symmetric groups: whether scales may be negative; then the scale that spans the whole group is tried too
    int32_t format;
    float code_low, code_high;  // 0 ... 2^bits-1, or -2^(bits-1) ... 2^(bits-1)-1
    float largest;              // largest finite value of the storage format
    float scale_limit;          // a larger scale could overflow in scale * code
};

// One assignment of codes to a group, and the scale that fits it best.
struct fit {
    f32x16 code_sum;
    f32x16 scale;  // least squares
    f32x16 score;  // the part of the sum of squares that it explains; -1 if no scale fits
    f32x16 error;  // squared error of the codes; set by `trial` only
};

// Scales the largest magnitude to [1, 2), or below 1 if it is subnormal. Then computes extremes, middle and sum.
INLINE void normalise(struct batch *batch, struct rules rules) {
    f32x16 low = batch->values[0], high = batch->values[0];
    for (size_t i = 1; i < batch->length; i += 1) {
        low = lesser(batch->values[i], low);
        high = greater(batch->values[i], high);
    }
    batch->constant = low == high;
    i32x16 exponent = (i32x16)((u32x16)greater(magnitude(low), magnitude(high)) >> 23);
    i32x16 shift = 127 - (exponent > 1 ? exponent : (i32x16)1);
    batch->up[0] = power_of_two(shift >> 1);
    batch->up[1] = power_of_two(shift - (shift >> 1));
    batch->down[0] = power_of_two(-(shift >> 1));
    batch->down[1] = power_of_two((shift >> 1) - shift);
    low = low * batch->up[0] * batch->up[1];
    high = high * batch->up[0] * batch->up[1];
    f32x16 middle = rules.affine ? (low + high) * 0.5f : (f32x16)0.0f;
    f32x16 sum = 0.0f;
    for (size_t i = 0; i < batch->length; i += 1) {
        f32x16 value = batch->values[i] * batch->up[0] * batch->up[1] - middle;
        batch->values[i] = value;
        sum += value;
    }
    batch->middle = middle;
    batch->lowest = low - middle;
    batch->highest = high - middle;
    batch->sum = sum;
}

// The nearest code to `position`, in units of the scale.
INLINE f32x16 nearest_code(struct rules rules, f32x16 position) {
    return rounded(lesser(greater(position, rules.code_low), rules.code_high));
}

INLINE struct fit solved(
    const struct batch *batch, int affine, f32x16 code_sum, f32x16 square_sum, f32x16 product_sum) {
    struct fit fit;
    f32x16 numerator = product_sum, denominator = square_sum;
    if (affine) {
        float length = (float)batch->length;
        numerator = length * product_sum - code_sum * batch->sum;
        denominator = length * square_sum - code_sum * code_sum;
    }
    fit.code_sum = code_sum;
    fit.scale = numerator / denominator;
    fit.score = numerator * fit.scale;
    i32x16 solvable = (numerator > 0.0f) & (denominator > 0.0f);
    fit.score = solvable ? fit.score : (f32x16)-1.0f;
    return fit;
}

// Codes for an unrounded step, centred on the middle and moved by `shift` steps. Returns the best scale for these codes.
INLINE struct fit start(const struct batch *batch, struct rules rules, f32x16 inverse, float shift) {
    f32x16 code_sum = 0.0f, square_sum = 0.0f, product_sum = 0.0f;
    float centre = rules.affine ? rules.code_high * 0.5f + shift : 0.0f;
    for (size_t i = 0; i < batch->length; i += 1) {
        f32x16 value = batch->values[i];
        f32x16 code = nearest_code(rules, rules.affine ? value * inverse + centre : value * inverse);
        if (rules.affine) { code_sum += code; }
        square_sum += code * code;
        product_sum += code * value;
    }
    return solved(batch, rules.affine, code_sum, square_sum, product_sum);
}

// Codes for a stored scale and bias. Returns their error and the best scale for these codes.
INLINE struct fit trial(const struct batch *batch, struct rules rules, f32x16 scale, f32x16 bias) {
    f32x16 code_sum = 0.0f, square_sum = 0.0f, product_sum = 0.0f, error = 0.0f;
    f32x16 inverse = scale > 0.0f ? 1.0f / scale : (f32x16)0.0f;
    for (size_t i = 0; i < batch->length; i += 1) {
        f32x16 value = batch->values[i];
        f32x16 code = nearest_code(rules, rules.affine ? (value - bias) * inverse : value * inverse);
        f32x16 difference = value - restored(code, scale, bias, rules.affine);
        error += difference * difference;
        if (rules.affine) { code_sum += code; }
        square_sum += code * code;
        product_sum += code * value;
    }
    struct fit fit = solved(batch, rules.affine, code_sum, square_sum, product_sum);
    fit.error = error;
    return fit;
}

// Whether the restored `value` is finite in the storage format.
INLINE i32x16 is_restorable(
    const struct batch *batch, struct rules rules, f32x16 value, f32x16 scale, f32x16 bias) {
    f32x16 unit = scale * batch->up[0] * batch->up[1];
    f32x16 inverse = unit > 0.0f ? 1.0f / unit : (f32x16)0.0f;
    f32x16 offset = rules.affine ? bias * batch->up[0] * batch->up[1] - batch->middle : (f32x16)0.0f;
    f32x16 code = nearest_code(rules, (value - offset) * inverse);
    return magnitude(restored(code, scale, bias, rules.affine)) <= rules.largest;
}

// Clamps to -limit...limit, then rounds to the storage format. Never returns -0.
INLINE f32x16 stored_within(struct rules rules, f32x16 value, float limit) {
    f32x16 clamped = lesser(greater(value, -limit), limit);
    return stored(rules.format, clamped) + 0.0f;
}

// What the search keeps for each group.
struct choice {
    f32x16 error, scale, bias;
};

// The best scale and bias of normalised values. Scales are 0 or more.
INLINE struct choice search_values(const struct batch *batch, struct rules rules, struct search search) {
    f32x16 largest = greater(magnitude(batch->lowest), magnitude(batch->highest));
    f32x16 span = rules.affine ? batch->highest - batch->lowest : largest;
    float steps = rules.affine ? rules.code_high : rules.code_high + 0.5f;
    f32x16 widest = steps / (batch->constant ? (f32x16)1.0f : span);

    struct fit fit = {.code_sum = 0.0f, .scale = 0.0f, .score = -1.0f};
    for (int32_t k = 0; k < search.ratio_count; k += 1) {
        f32x16 inverse = widest * (1.0f / search.ratios[k]);
        for (int32_t j = 0; j < search.shift_count; j += 1) {
            struct fit other = start(batch, rules, inverse, search_shifts[j]);
            i32x16 better = other.score > fit.score;
            fit.score = better ? other.score : fit.score;
            fit.scale = better ? other.scale : fit.scale;
            fit.code_sum = better ? other.code_sum : fit.code_sum;
        }
    }

    f32x16 centre = batch->middle * batch->down[0] * batch->down[1];
    struct choice best = {__builtin_inff(), 0.0f, stored_within(rules, centre, rules.largest)};
    if (rules.any_sign) {
        f32x16 scale =
            stored_within(rules, largest / steps * batch->down[0] * batch->down[1], rules.scale_limit);
        f32x16 error = trial(batch, rules, scale * batch->up[0] * batch->up[1], 0.0f).error;
        i32x16 valid = is_restorable(batch, rules, batch->lowest, scale, 0.0f)
            & is_restorable(batch, rules, batch->highest, scale, 0.0f);
        best.error = valid ? error : best.error;
        best.scale = valid ? scale : best.scale;
    }
    for (int32_t k = 0; k < search.trial_count; k += 1) {
        f32x16 scale =
            stored_within(rules, fit.scale * batch->down[0] * batch->down[1], rules.scale_limit);
        f32x16 unit = scale * batch->up[0] * batch->up[1];
        f32x16 bias = 0.0f, offset = 0.0f;
        if (rules.affine) {
            f32x16 wanted = (batch->sum - unit * fit.code_sum) / (float)batch->length + batch->middle;
            bias = stored_within(rules, wanted * batch->down[0] * batch->down[1], rules.largest);
            offset = bias * batch->up[0] * batch->up[1] - batch->middle;
        }
        struct fit next = trial(batch, rules, unit, offset);
        i32x16 valid = is_restorable(batch, rules, batch->lowest, scale, bias)
            & is_restorable(batch, rules, batch->highest, scale, bias);
        i32x16 accepted = valid & (next.error < best.error);
        best.error = accepted ? next.error : best.error;
        best.scale = accepted ? scale : best.scale;
        best.bias = accepted ? bias : best.bias;
        // If the scale is invalid or no scale fits its codes, try a smaller one.
        i32x16 successor = valid & (next.score > 0.0f);
        fit.scale = successor ? next.scale : unit * 0.96875f;
        fit.code_sum = next.code_sum;
    }
    return best;
}

// Changes the sign of the values of a symmetric batch.
INLINE void negate(struct batch *batch) {
    for (size_t i = 0; i < batch->length; i += 1) { batch->values[i] = -batch->values[i]; }
    f32x16 lowest = batch->lowest;
    batch->lowest = -batch->highest;
    batch->highest = -lowest;
}

// Scale and bias of each group, as stored. Replaces the batch's weights by normalised values.
INLINE void choose(
    struct batch *batch, struct rules rules, struct search search, f32x16 *chosen_scale, f32x16 *chosen_bias) {
    normalise(batch, rules);
    f32x16 constant = (batch->middle + batch->lowest) * batch->down[0] * batch->down[1];
    struct choice best = search_values(batch, rules, search);
    if (rules.any_sign) {
        // Codes reach one step further below zero than above: a group may fit better with its signs changed, and a negative scale.
        negate(batch);
        struct choice other = search_values(batch, rules, search);
        negate(batch);
        i32x16 better = other.error < best.error;
        best.scale = better ? 0.0f - other.scale : best.scale;
    }
    if (rules.affine) {
        best.scale = batch->constant ? (f32x16)0.0f : best.scale;
        best.bias = batch->constant ? stored_within(rules, constant, rules.largest) : best.bias;
    } else {
        f32x16 alone = stored_within(rules, magnitude(constant), rules.largest);
        best.scale = batch->constant ? alone : best.scale;
    }
    *chosen_scale = best.scale;
    *chosen_bias = best.bias;
}

// Encodes `count` (1 to 16) groups of equal length. Group k starts at weights + offsets[k]; its scale and bias have the index
// scale_index[k].
INLINE void encode_batch(
    const float *weights, const size_t *offsets, const size_t *scale_index, size_t count, size_t length,
    struct rules rules, struct search search, f32x16 *values, uint8_t *codes, float *scales, float *biases) {
    struct batch batch;
    batch.length = length;
    batch.values = values;
    for (size_t lane = 0; lane < LANES; lane += 1) {
        const float *group = weights + offsets[lane < count ? lane : 0];
        for (size_t i = 0; i < length; i += 1) { batch.values[i][lane] = group[i]; }
    }
    f32x16 scale, bias;
    choose(&batch, rules, search, &scale, &bias);
    for (size_t lane = 0; lane < count; lane += 1) {
        scales[scale_index[lane]] = scale[lane];
        if (rules.affine) { biases[scale_index[lane]] = bias[lane]; }
    }
    f32x16 unit = scale * batch.up[0] * batch.up[1];
    f32x16 inverse = unit != 0.0f ? 1.0f / unit : (f32x16)0.0f;
    f32x16 offset = rules.affine ? bias * batch.up[0] * batch.up[1] - batch.middle : (f32x16)0.0f;
    uint8_t transposed[INGOT_MAX_GROUP_SIZE][LANES];
    for (size_t first = 0; first < length; first += INGOT_MAX_GROUP_SIZE) {
        size_t part = length - first < INGOT_MAX_GROUP_SIZE ? length - first : INGOT_MAX_GROUP_SIZE;
        for (size_t i = 0; i < part; i += 1) {
            f32x16 value = batch.values[first + i];
            f32x16 position = (rules.affine ? value - offset : value) * inverse;
            f32x16 code = nearest_code(rules, position) - rules.code_low;
            STORE(transposed[i], CONVERT(u8x16, CONVERT(i32x16, code)));
        }
        for (size_t lane = 0; lane < count; lane += 1) {
            uint8_t *group = codes + offsets[lane] + first;
            for (size_t i = 0; i < part; i += 1) { group[i] = transposed[i][lane]; }
        }
    }
}

// Encodes groups of equal length: `per_row` groups of each row, from group `first_group` of the row on.
INLINE void encode_groups(
    const float *weights, size_t rows, size_t columns, size_t group_size, size_t groups_per_row,
    size_t first_group, size_t per_row, size_t length, struct rules rules, struct search search, f32x16 *values,
    uint8_t *codes, float *scales, float *biases) {
    size_t offsets[LANES], scale_index[LANES];
    size_t count = 0;
    for (size_t row = 0; row < rows; row += 1) {
        for (size_t k = first_group; k < first_group + per_row; k += 1) {
            offsets[count] = row * columns + k * group_size;
            scale_index[count] = row * groups_per_row + k;
            count += 1;
            int last = row + 1 == rows && k + 1 == first_group + per_row;
            if (count == LANES || last) {
                encode_batch(
                    weights, offsets, scale_index, count, length, rules, search, values, codes, scales, biases);
                count = 0;
            }
        }
    }
}

INLINE void encode_all(
    const float *weights, size_t rows, size_t columns, size_t group_size, struct rules rules,
    struct search search, f32x16 *values, uint8_t *codes, float *scales, float *biases) {
    size_t whole = columns / group_size;
    size_t rest = columns % group_size;
    size_t groups_per_row = whole + (rest != 0);
    // Whole groups first, then the shorter last groups of the rows: all groups of a batch have equal length.
    for (int tails = 0; tails < 2; tails += 1) {
        encode_groups(
            weights, rows, columns, group_size, groups_per_row, tails ? whole : 0, tails ? rest != 0 : whole,
            tails ? rest : group_size, rules, search, values, codes, scales, biases);
    }
}

// `scratch`: group_size values of each lane; null for groups of at most INGOT_MAX_GROUP_SIZE.
static void uniform_encode(
    const float *weights, size_t rows, size_t columns, size_t group_size, int32_t bits, int32_t kind,
    int32_t scale_format, void *scratch, uint8_t *codes, float *scales, float *biases) {
    float half = (float)(1 << (bits - 1));
    f32x16 own[INGOT_MAX_GROUP_SIZE];
    int is_long = group_size > INGOT_MAX_GROUP_SIZE;
    f32x16 *values = is_long ? scratch : own;
    struct rules rules = {.format = scale_format, .largest = largest_finite(scale_format)};
    if (kind == INGOT_UNIFORM_AFFINE) {
        rules.affine = 1;
        rules.code_low = 0.0f;
        rules.code_high = 2.0f * half - 1.0f;
        rules.scale_limit = scale_limit(rules.largest, rules.code_high);
        encode_all(
            weights, rows, columns, group_size, rules, affine_search(bits), values, codes, scales, biases);
        return;
    }
    rules.code_low = -half;
    rules.code_high = half - 1.0f;
    rules.scale_limit = scale_limit(rules.largest, half);
    if (kind == INGOT_UNIFORM_SIGNED) {
        rules.any_sign = 1;
        struct search search = is_long ? long_search(bits) : symmetric_search(bits);
        encode_all(weights, rows, columns, group_size, rules, search, values, codes, scales, biases);
    } else {
        encode_all(
            weights, rows, columns, group_size, rules, symmetric_search(bits), values, codes, scales, biases);
    }
}

#endif
