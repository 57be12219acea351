// The triangular factor of the moments (Specs/trellis.md, "The factor"): R upper triangular with R R^T = A, in binary64.
//
// Row j of the matrix has column j of A, and later of R: elements 0 to j. So vectors run along columns of R.

#ifndef INGOT_FEEDBACK_FACTOR_H
#define INGOT_FEEDBACK_FACTOR_H

#include "../common/lanes.h"

typedef double f64x8 __attribute__((ext_vector_type(8)));

// Columns that are factored at a time, elements of a vector, and columns that an update keeps in registers.
enum { FACTOR_BLOCK = 64, FACTOR_LANES = 8, FACTOR_COLUMNS = 4 };

// Subtracts from `columns` columns, k to k + columns - 1, what columns first ... end - 1 of R contribute, in falling order. Each product and
// each difference is rounded.
INLINE void factor_update(double *matrix, size_t stride, size_t k, size_t first, size_t end, int columns) {
    size_t length = k + (size_t)columns;
    for (size_t row = 0; row < length; row += FACTOR_LANES) {
        f64x8 values[FACTOR_COLUMNS];
#pragma clang loop unroll(full)
        for (int c = 0; c < columns; c += 1) { values[c] = LOAD(f64x8, matrix + (k + (size_t)c) * stride + row); }
        for (size_t j = end; j-- > first;) {
            const double *column = matrix + j * stride;
            f64x8 own = LOAD(f64x8, column + row);
#pragma clang loop unroll(full)
            for (int c = 0; c < columns; c += 1) { values[c] = values[c] - own * column[k + (size_t)c]; }
        }
#pragma clang loop unroll(full)
        for (int c = 0; c < columns; c += 1) { STORE(matrix + (k + (size_t)c) * stride + row, values[c]); }
    }
}

static int32_t feedback_factor(double *matrix, size_t count, size_t stride) {
    for (size_t end = count; end > 0;) {
        size_t first = (end - 1) / FACTOR_BLOCK * FACTOR_BLOCK;
        for (size_t j = end; j-- > first;) {
            double *column = matrix + j * stride;
            double pivot = column[j];
            if (!(pivot > 0) || pivot > DBL_MAX) { return 1; }
            double root = __builtin_sqrt(pivot);
            for (size_t i = 0; i < j; i += 1) { column[i] = column[i] / root; }
            column[j] = root;
            // The other columns of the block.
            for (size_t k = j; k-- > first;) { factor_update(matrix, stride, k, j, j + 1, 1); }
        }
        size_t k = 0;
        for (; k + FACTOR_COLUMNS <= first; k += FACTOR_COLUMNS) {
            factor_update(matrix, stride, k, first, end, FACTOR_COLUMNS);
        }
        for (; k < first; k += 1) { factor_update(matrix, stride, k, first, end, 1); }
        end = first;
    }
    return 0;
}

#endif
