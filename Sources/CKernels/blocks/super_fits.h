// The searches for a scale that ggml's quantizers make (ggml-quants.c of llama.cpp), sixteen at a time, one per lane.
//
// Sums, products and comparisons have ggml's order, so each lane computes ggml's numbers.

#ifndef INGOT_BLOCKS_SUPER_FITS_H
#define INGOT_BLOCKS_SUPER_FITS_H

#include "../common/lanes.h"

enum { FIT_MAX_LENGTH = 32 };

// ggml's smallest magnitude; smaller numbers count as zero.
#define FIT_TINY 1e-15f

INLINE f32x16 root(f32x16 a) { return __builtin_elementwise_sqrt(a); }
// As F16. NaN gets the bits that ggml's code gives on x86-64; processors differ in the sign of NaN.
INLINE u16x16 unit_half(f32x16 unit) {
    return half_from_float(unit == unit ? unit : (f32x16)(u32x16)0xffc00000u);
}

INLINE f32x16 as_half(f32x16 a) { return float_from_half(half_from_float(a)); }
INLINE int any(i32x16 mask) { return __builtin_reduce_or(mask) != 0; }

// ggml's rounding, the low 23 bits of a + 1.5 * 2^23. It wraps around where |a| > 2^22. NaN gives 0, infinity -2^22.
INLINE i32x16 wrapped_integer(f32x16 a) { return ((i32x16)(a + 12582912.0f) & 0x7fffff) - 0x400000; }

INLINE i32x16 clamped(i32x16 a, int32_t low, int32_t high) {
    a = a < high ? a : (i32x16)high;
    return a > low ? a : (i32x16)low;
}

// The code at a position. `wrapped` 0 is faster, and right if |position| < 2^22.
INLINE f32x16 code_at(f32x16 position, float low, float high, int wrapped) {
    if (wrapped) { return CONVERT(f32x16, clamped(wrapped_integer(position), (int32_t)low, (int32_t)high)); }
    return rounded(lesser(greater(position, low), high));
}

// The scales that ggml tries: (first + step * k + highest code) / range of the weights, for k = 0 to last.
struct fit_trials {
    float first, step;
    int32_t last;
    int absolute;  // whether the error is the sum of magnitudes, not of squares
};

struct affine_fit {
    f32x16 scale, minimum;  // a weight is scale * code - minimum
    f32x16 low, inverse;    // the code of x is (x - low) * inverse, rounded
};

struct code_sums {
    f32x16 codes, squares, products;  // weighted sums of codes, their squares and their products with the weights
};

INLINE struct code_sums codes_for(
    const f32x16 *x, const f32x16 *w, size_t n, float top, f32x16 low, f32x16 inverse, int wrapped, f32x16 *codes) {
    struct code_sums sums = {0.0f, 0.0f, 0.0f};
    for (size_t i = 0; i < n; i += 1) {
        f32x16 code = code_at(inverse * (x[i] - low), 0, top, wrapped);
        codes[i] = code;
        f32x16 weighted = w[i] * code;
        sums.codes += weighted;
        sums.squares += weighted * code;
        sums.products += weighted * x[i];
    }
    return sums;
}

INLINE f32x16 affine_error(
    const f32x16 *x, const f32x16 *w, const f32x16 *codes, size_t n, f32x16 scale, f32x16 low, int absolute) {
    f32x16 error = 0.0f;
    for (size_t i = 0; i < n; i += 1) {
        f32x16 difference = scale * codes[i] + low - x[i];
        error += w[i] * (absolute ? magnitude(difference) : difference * difference);
    }
    return error;
}

// Scale and minimum of n weights x with the importance w, for codes 0 to top.
static __attribute__((noinline)) struct affine_fit fit_affine(
    const f32x16 *x, const f32x16 *w, size_t n, float top, struct fit_trials trials) {
    f32x16 low = x[0], high = x[0], w_sum = w[0], x_sum = w[0] * x[0], codes[FIT_MAX_LENGTH];
    for (size_t i = 1; i < n; i += 1) {
        low = lesser(x[i], low);
        high = greater(x[i], high);
        w_sum += w[i];
        x_sum += w[i] * x[i];
    }
    f32x16 lowest = low;
    low = low > 0.0f ? (f32x16)0.0f : low;
    i32x16 flat = high == low;
    struct affine_fit fit = {0.0f, flat ? low : (f32x16)0.0f, low, 0.0f};
    f32x16 scale = 0.0f, best_error = 0.0f;
    for (int32_t k = -1; k <= trials.last; k += 1) {
        // Every trial starts from the minimum of the best one before.
        f32x16 inverse = (k < 0 ? top : trials.first + trials.step * (float)k + top) / (high - low);
        // Positions of all weights lie between these two.
        f32x16 first = inverse * (lowest - low), last = inverse * (high - low);
        i32x16 usual = flat | ((magnitude(first) < 4e6f) & (magnitude(last) < 4e6f));
        struct code_sums sums = any(~usual) ? codes_for(x, w, n, top, low, inverse, 1, codes)
                                            : codes_for(x, w, n, top, low, inverse, 0, codes);
        f32x16 this_scale, this_low;
        i32x16 solvable;
        if (k < 0) {
            this_scale = 1.0f / inverse, this_low = low;
            solvable = ~0;
        } else {
            f32x16 determinant = w_sum * sums.squares - sums.codes * sums.codes;
            solvable = determinant > 0.0f;
            this_scale = (w_sum * sums.products - x_sum * sums.codes) / determinant;
            this_low = (sums.squares * x_sum - sums.codes * sums.products) / determinant;
            i32x16 positive = this_low > 0.0f;
            if (any(positive)) {
                this_scale = positive ? sums.products / sums.squares : this_scale;
                this_low = positive ? (f32x16)0.0f : this_low;
            }
        }
        f32x16 error = trials.absolute ? affine_error(x, w, codes, n, this_scale, this_low, 1)
                                       : affine_error(x, w, codes, n, this_scale, this_low, 0);
        i32x16 better = k < 0 ? solvable : solvable & (error < best_error);
        best_error = better ? error : best_error;
        scale = better ? this_scale : scale;
        fit.inverse = better ? inverse : fit.inverse;
        fit.low = better ? low : fit.low;
        low = better ? this_low : low;
    }
    fit.scale = flat ? (f32x16)0.0f : scale;
    fit.minimum = -(flat ? fit.minimum : low);
    fit.inverse = flat ? (f32x16)0.0f : fit.inverse;
    return fit;
}

struct symmetric_fit {
    f32x16 scale;    // a weight is scale * code
    f32x16 inverse;  // the code of x is x * inverse, rounded
    i32x16 empty;    // all ones where all weights count as zero
};

INLINE void largest_magnitude(const f32x16 *x, size_t n, f32x16 *largest, f32x16 *with_sign) {
    *largest = 0.0f, *with_sign = 0.0f;
    for (size_t i = 0; i < n; i += 1) {
        i32x16 larger = magnitude(x[i]) > *largest;
        *largest = larger ? magnitude(x[i]) : *largest;
        *with_sign = larger ? x[i] : *with_sign;
    }
}

// The scale of n weights x with the importance w, for codes -half to half - 1. `wrapped`: see code_at.
static __attribute__((noinline)) struct symmetric_fit fit_symmetric(
    const f32x16 *x, const f32x16 *w, size_t n, float half, int wrapped) {
    f32x16 wx[FIT_MAX_LENGTH], largest, extreme;
    largest_magnitude(x, n, &largest, &extreme);
    for (size_t i = 0; i < n; i += 1) { wx[i] = w[i] * x[i]; }
    f32x16 scale = 0.0f, best = 0.0f, best_inverse = 0.0f;
    for (int32_t k = 0; k <= 18; k += 1) {
        // First the scale that maps the extreme to -half; then -9 to 9 tenths of a code away from it, without 0.
        int32_t tenths = k <= 9 ? k - 10 : k - 9;
        f32x16 inverse = k == 0 ? -half / extreme : -(half + 0.1f * (float)tenths) / extreme;
        f32x16 product_sum = 0.0f, square_sum = 0.0f;
        for (size_t i = 0; i < n; i += 1) {
            f32x16 code = code_at(inverse * x[i], -half, half - 1, wrapped);
            product_sum += wx[i] * code;
            square_sum += w[i] * code * code;
        }
        i32x16 better;
        if (k == 0) {
            better = (i32x16)~0;
        } else {
            better = (square_sum > 0.0f) & (product_sum * product_sum > best * square_sum);
            if (!any(better)) { continue; }
        }
        f32x16 this_scale = product_sum / square_sum;
        if (k == 0) { this_scale = square_sum == 0.0f ? (f32x16)0.0f : this_scale; }
        scale = better ? this_scale : scale;
        best = better ? this_scale * product_sum : best;
        best_inverse = better ? inverse : best_inverse;
    }
    i32x16 empty = largest < FIT_TINY;
    return (struct symmetric_fit){empty ? (f32x16)0.0f : scale, best_inverse, empty};
}

// As fit_symmetric with the importance x^2, but moves one code at a time while that lowers the error. Writes codes plus half, and
// 0 where all weights count as zero.
static __attribute__((noinline)) f32x16 fit_descending(const f32x16 *x, size_t n, float half, u8x16 *stored_codes) {
    f32x16 codes[FIT_MAX_LENGTH], largest, extreme;
    largest_magnitude(x, n, &largest, &extreme);
    f32x16 inverse = -half / extreme, product_sum = 0.0f, square_sum = 0.0f;
    for (size_t i = 0; i < n; i += 1) {
        codes[i] = code_at(inverse * x[i], -half, half - 1, 1);
        f32x16 w = x[i] * x[i];
        product_sum += w * x[i] * codes[i];
        square_sum += w * codes[i] * codes[i];
    }
    for (int round = 0; round < 5; round += 1) {
        i32x16 changed = 0;
        for (size_t i = 0; i < n; i += 1) {
            f32x16 w = x[i] * x[i], wx = w * x[i];
            f32x16 products = product_sum - wx * codes[i];
            i32x16 open = products > 0.0f;
            if (!any(open)) { continue; }
            f32x16 squares = square_sum - w * codes[i] * codes[i];
            f32x16 code = code_at(x[i] * squares / products, -half, half - 1, 1);
            products += wx * code;
            squares += w * code * code;
            i32x16 better = open & (code != codes[i]) & (squares > 0.0f)
                & (products * products * square_sum > product_sum * product_sum * squares);
            codes[i] = better ? code : codes[i];
            product_sum = better ? products : product_sum;
            square_sum = better ? squares : square_sum;
            changed |= better;
        }
        if (!any(changed)) { break; }
    }
    i32x16 empty = largest < FIT_TINY;
    for (size_t i = 0; i < n; i += 1) {
        i32x16 code = CONVERT(i32x16, codes[i] + half);
        stored_codes[i] = CONVERT(u8x16, empty ? (i32x16)0 : code);
    }
    return empty | ~(square_sum > 0.0f) ? (f32x16)0.0f : product_sum / square_sum;
}

// The scale of n numbers x of 0 or more with the importance w, for codes 0 to top. Codes are bytes, as in ggml.
static __attribute__((noinline)) f32x16 fit_positive(
    const f32x16 *x, const f32x16 *w, size_t n, float top, i32x16 *codes) {
    f32x16 high = 0.0f;
    for (size_t i = 0; i < n; i += 1) { high = greater(high, x[i]); }
    f32x16 best_inverse = top / high, best_error = 0.0f;
    for (int32_t k = -1; k <= 8; k += 1) {
        // First the scale that maps the largest number to `top`; then -4 to 4 tenths of a code away from it, without 0.
        int32_t tenths = k - 4;
        if (tenths == 0) { continue; }
        f32x16 inverse = k < 0 ? best_inverse : (0.1f * (float)tenths + top) / high;
        f32x16 scale = 1.0f / inverse, error = 0.0f;
        for (size_t i = 0; i < n; i += 1) {
            i32x16 code = wrapped_integer(inverse * x[i]);
            code = k < 0 ? code & 255 : code < (int32_t)top ? code : (i32x16)(int32_t)top;
            f32x16 difference = x[i] - scale * CONVERT(f32x16, code);
            error += w[i] * difference * difference;
        }
        i32x16 better = k < 0 ? (i32x16)~0 : error < best_error;
        best_error = better ? error : best_error;
        best_inverse = better ? inverse : best_inverse;
    }
    f32x16 product_sum = 0.0f, square_sum = 0.0f;
    for (size_t i = 0; i < n; i += 1) {
        i32x16 code = wrapped_integer(best_inverse * x[i]);
        code = code < (int32_t)top ? code : (i32x16)(int32_t)top;
        codes[i] = code & 255;
        f32x16 number = CONVERT(f32x16, code);
        product_sum += w[i] * x[i] * number;
        square_sum += w[i] * number * number;
    }
    for (int round = 0; round < 5; round += 1) {
        i32x16 changed = 0;
        for (size_t i = 0; i < n; i += 1) {
            f32x16 old = CONVERT(f32x16, codes[i]), wx = w[i] * x[i];
            f32x16 products = product_sum - wx * old, squares = square_sum - w[i] * old * old;
            i32x16 open = (products > 0.0f) & (squares > 0.0f);
            i32x16 code = wrapped_integer(x[i] * squares / products);
            code = code < (int32_t)top ? code : (i32x16)(int32_t)top;
            f32x16 number = CONVERT(f32x16, code);
            products += wx * number;
            squares += w[i] * number * number;
            i32x16 better = open & (code != codes[i])
                & (products * products * square_sum > product_sum * product_sum * squares);
            codes[i] = better ? code & 255 : codes[i];
            product_sum = better ? products : product_sum;
            square_sum = better ? squares : square_sum;
            changed |= better;
        }
        if (!any(changed)) { break; }
    }
    i32x16 empty = high < FIT_TINY;
    for (size_t i = 0; i < n; i += 1) { codes[i] = empty ? (i32x16)0 : codes[i]; }
    return empty | ~(square_sum > 0.0f) ? (f32x16)0.0f : product_sum / square_sum;
}

#endif
