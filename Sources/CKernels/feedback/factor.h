// The triangular factor of the moments (Specs/trellis.md, "The factor"): R upper triangular with R R^T = A, in binary64.
//
// Row j of the matrix has column j of A, and later of R: elements 0 to j. So vectors run along columns of R.

#ifndef INGOT_FEEDBACK_FACTOR_H
#define INGOT_FEEDBACK_FACTOR_H

#include "../common/lanes.h"

typedef double f64x8 __attribute__((ext_vector_type(8)));

// Columns that are factored at a time, and elements of a vector.
enum { FACTOR_BLOCK = 64, FACTOR_LANES = 8 };
// Vectors of rows, and columns, that an update keeps in registers.
#if LEVEL_HAS_AVX512
enum { FACTOR_VECTORS = 2, FACTOR_COLUMNS = 8 };
#else
enum { FACTOR_VECTORS = 1, FACTOR_COLUMNS = 4 };
#endif
// Rows that a block is applied to at a time. They are copied: in the matrix, columns a power of two apart share a set of the cache.
enum { FACTOR_TILE = FACTOR_VECTORS * FACTOR_LANES };

// The part of columns first ... end - 1 in their own rows. Returns false if a pivot is not positive or not finite.
static int factor_diagonal(double *matrix, size_t stride, size_t first, size_t end) {
    for (size_t j = end; j-- > first;) {
        double *column = matrix + j * stride;
        double pivot = column[j];
        if (!(pivot > 0) || pivot > DBL_MAX) { return 0; }
        double root = __builtin_sqrt(pivot);
        for (size_t i = first; i < j; i += 1) { column[i] = column[i] / root; }
        column[j] = root;
        for (size_t k = j; k-- > first;) {
            double *target = matrix + k * stride;
            for (size_t row = first; row <= k; row += FACTOR_LANES) {
                f64x8 own = LOAD(f64x8, column + row);
                STORE(target + row, LOAD(f64x8, target + row) - own * column[k]);
            }
        }
    }
    return 1;
}

// Subtracts from a tile of columns k to k + FACTOR_COLUMNS - 1 what `depth` columns of R contribute, in falling order. Each product and each
// difference is rounded. tile: those columns in the rows of the tile; factors: the first of them, at row k.
INLINE void factor_update(double *target, size_t stride, const double *tile, const double *factors, size_t depth) {
    f64x8 values[FACTOR_VECTORS][FACTOR_COLUMNS];
#pragma clang loop unroll(full)
    for (int v = 0; v < FACTOR_VECTORS; v += 1) {
#pragma clang loop unroll(full)
        for (int c = 0; c < FACTOR_COLUMNS; c += 1) {
            values[v][c] = LOAD(f64x8, target + (size_t)c * stride + v * FACTOR_LANES);
        }
    }
    for (size_t j = depth; j-- > 0;) {
        f64x8 own[FACTOR_VECTORS];
#pragma clang loop unroll(full)
        for (int v = 0; v < FACTOR_VECTORS; v += 1) { own[v] = LOAD(f64x8, tile + j * FACTOR_TILE + v * FACTOR_LANES); }
#pragma clang loop unroll(full)
        for (int c = 0; c < FACTOR_COLUMNS; c += 1) {
            f64x8 factor = factors[j * stride + (size_t)c];
#pragma clang loop unroll(full)
            for (int v = 0; v < FACTOR_VECTORS; v += 1) { values[v][c] = values[v][c] - own[v] * factor; }
        }
    }
#pragma clang loop unroll(full)
    for (int v = 0; v < FACTOR_VECTORS; v += 1) {
#pragma clang loop unroll(full)
        for (int c = 0; c < FACTOR_COLUMNS; c += 1) {
            STORE(target + (size_t)c * stride + v * FACTOR_LANES, values[v][c]);
        }
    }
}

// Columns first ... end - 1 in the rows of a tile above their own, and what they contribute to the columns before them.
static void factor_rows(double *matrix, size_t stride, size_t first, size_t end, size_t row) {
    double tile[FACTOR_BLOCK * FACTOR_TILE];
    size_t depth = end - first;
    double *block = matrix + first * stride;
    for (size_t j = 0; j < depth; j += 1) {
        memcpy(tile + j * FACTOR_TILE, block + j * stride + row, FACTOR_TILE * sizeof(double));
    }
    for (size_t j = depth; j-- > 0;) {
        const double *factors = block + j * stride + first;
        for (int v = 0; v < FACTOR_TILE; v += FACTOR_LANES) {
            f64x8 own = LOAD(f64x8, tile + j * FACTOR_TILE + v) / factors[j];
            STORE(tile + j * FACTOR_TILE + v, own);
            for (size_t k = j; k-- > 0;) {
                double *target = tile + k * FACTOR_TILE + v;
                STORE(target, LOAD(f64x8, target) - own * factors[k]);
            }
        }
        memcpy(block + j * stride + row, tile + j * FACTOR_TILE, FACTOR_TILE * sizeof(double));
    }
    // Rows of a tile are a whole number of FACTOR_COLUMNS.
    for (size_t k = row; k < first; k += FACTOR_COLUMNS) {
        factor_update(matrix + k * stride + row, stride, tile, block + k, depth);
    }
}

static int32_t feedback_factor(double *matrix, size_t count, size_t stride) {
    for (size_t end = count; end > 0;) {
        size_t first = (end - 1) / FACTOR_BLOCK * FACTOR_BLOCK;
        if (!factor_diagonal(matrix, stride, first, end)) { return 1; }
        // From the last tile up: the factors of a tile are in the rows below it.
        for (size_t row = first; row > 0;) { factor_rows(matrix, stride, first, end, row -= FACTOR_TILE); }
        end = first;
    }
    return 0;
}

#endif
