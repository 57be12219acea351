// The product that carries errors of earlier columns into a panel (Specs/trellis.md, "Error feedback"). All matrices of weights are
// column-major here, so that a vector holds neighbouring rows.

#ifndef INGOT_FEEDBACK_PRODUCT_H
#define INGOT_FEEDBACK_PRODUCT_H

#include "../common/lanes.h"

// Vectors of rows, and columns, that the product keeps in registers.
#if LEVEL_HAS_AVX512
enum { PRODUCT_VECTORS = 2, PRODUCT_COLUMNS = 8 };
#else
enum { PRODUCT_VECTORS = 1, PRODUCT_COLUMNS = 4 };
#endif

// Adds to `vectors` vectors of rows of `columns` columns.
INLINE void product_block(
    float *targets, const float *errors, size_t stride, const float *factors, size_t factor_stride, size_t depth,
    int vectors, int columns, int is_fused) {
    f32x16 sums[PRODUCT_VECTORS][PRODUCT_COLUMNS];
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v += 1) {
#pragma clang loop unroll(full)
        for (int c = 0; c < columns; c += 1) { sums[v][c] = LOAD(f32x16, targets + (size_t)c * stride + v * LANES); }
    }
    for (size_t i = 0; i < depth; i += 1) {
        f32x16 error[PRODUCT_VECTORS];
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v += 1) { error[v] = LOAD(f32x16, errors + i * stride + v * LANES); }
#pragma clang loop unroll(full)
        for (int c = 0; c < columns; c += 1) {
            f32x16 factor = factors[i * factor_stride + c];
#pragma clang loop unroll(full)
            for (int v = 0; v < vectors; v += 1) {
                sums[v][c] = is_fused ? fused(error[v], factor, sums[v][c]) : sums[v][c] + error[v] * factor;
            }
        }
    }
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v += 1) {
#pragma clang loop unroll(full)
        for (int c = 0; c < columns; c += 1) { STORE(targets + (size_t)c * stride + v * LANES, sums[v][c]); }
    }
}

INLINE void product_rows(
    float *targets, const float *errors, size_t stride, const float *factors, size_t factor_stride, size_t depth,
    size_t columns, int vectors, int is_fused) {
    size_t column = 0;
    for (; column + PRODUCT_COLUMNS <= columns; column += PRODUCT_COLUMNS) {
        product_block(
            targets + column * stride, errors, stride, factors + column, factor_stride, depth, vectors,
            PRODUCT_COLUMNS, is_fused);
    }
    for (; column < columns; column += 1) {
        product_block(
            targets + column * stride, errors, stride, factors + column, factor_stride, depth, vectors, 1, is_fused);
    }
}

// Depths are cut into pieces of this many columns, whose errors of some rows then stay in the first-level cache. Factors of a piece are
// copied, PRODUCT_PANEL columns at a time: in the matrix, rows a power of two apart share a set of the cache.
enum { PRODUCT_DEPTH = 128, PRODUCT_PANEL = 64 };

// One piece of a product: at most PRODUCT_DEPTH columns into at most PRODUCT_PANEL.
INLINE void product_piece(
    float *targets, const float *errors, size_t rows, size_t stride, const float *factors, size_t factor_stride,
    size_t depth, size_t columns, int is_fused) {
    float copy[PRODUCT_DEPTH * PRODUCT_PANEL];
    if (columns > 1) {
        for (size_t i = 0; i < depth; i += 1) {
            memcpy(copy + i * PRODUCT_PANEL, factors + i * factor_stride, columns * sizeof(float));
        }
        factors = copy;
        factor_stride = PRODUCT_PANEL;
    }
    size_t row = 0;
    for (; row + PRODUCT_VECTORS * LANES <= rows; row += PRODUCT_VECTORS * LANES) {
        product_rows(
            targets + row, errors + row, stride, factors, factor_stride, depth, columns, PRODUCT_VECTORS, is_fused);
    }
    for (; row < rows; row += LANES) {
        product_rows(targets + row, errors + row, stride, factors, factor_stride, depth, columns, 1, is_fused);
    }
}

// targets[c] += sum over i of errors[i] * factors[i][c], in rising i.
INLINE void product_pieces(
    float *targets, const float *errors, size_t rows, size_t stride, const float *factors, size_t factor_stride,
    size_t depth, size_t columns, int is_fused) {
    for (size_t first = 0; first < columns; first += PRODUCT_PANEL) {
        size_t width = columns - first < PRODUCT_PANEL ? columns - first : PRODUCT_PANEL;
        for (size_t start = 0; start < depth; start += PRODUCT_DEPTH) {
            size_t count = depth - start < PRODUCT_DEPTH ? depth - start : PRODUCT_DEPTH;
            product_piece(
                targets + first * stride, errors + start * stride, rows, stride,
                factors + start * factor_stride + first, factor_stride, count, width, is_fused);
        }
    }
}

// Each product and its sum are rounded once, together.
static void feedback_product(
    float *targets, const float *errors, size_t rows, size_t stride, const float *factors, size_t factor_stride,
    size_t depth, size_t columns) {
    product_pieces(targets, errors, rows, stride, factors, factor_stride, depth, columns, 1);
}

// Each product and each sum is rounded: the certificate of calibrated tensors is defined so.
static void feedback_form(
    float *targets, const float *numbers, size_t rows, size_t stride, const float *factors, size_t factor_stride,
    size_t depth, size_t columns) {
    product_pieces(targets, numbers, rows, stride, factors, factor_stride, depth, columns, 0);
}

// Sum of the products of two column-major matrices, in binary64.
static double feedback_dot(const float *a, const float *b, size_t rows, size_t stride, size_t columns) {
    f64x16 sums = 0.0;
    for (size_t column = 0; column < columns; column += 1) {
        for (size_t row = 0; row < rows; row += LANES) {
            f64x16 left = CONVERT(f64x16, LOAD(f32x16, a + column * stride + row));
            sums += left * CONVERT(f64x16, LOAD(f32x16, b + column * stride + row));
        }
    }
    return added_doubles(sums);
}

#endif
