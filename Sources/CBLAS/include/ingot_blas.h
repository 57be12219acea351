// Matrix products in binary32 by the system's BLAS: OpenBLAS on Linux, Accelerate on macOS.
//
// On Linux the library is loaded on first use, so that commands without products neither need it nor start its threads. Each call runs in the
// calling thread only. Calls from several threads at the same time are safe.

#ifndef INGOT_BLAS_H
#define INGOT_BLAS_H

#include <stdbool.h>

/// Loads the library. Returns false if it is not there or lacks a function. Further calls return the first result.
bool ingot_blas_load(void);

/// C = beta C + A B^T, row-major: A is m x k with lda floats a row, B is n x k with ldb, C is m x n with ldc. The library must be loaded.
void ingot_blas_product(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

/// C = beta C + A B, row-major: A is m x k with lda floats a row, B is k x n with ldb, C is m x n with ldc. The library must be loaded.
void ingot_blas_product_plain(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

/// C = beta C + A^T B, row-major: A is k x m with lda floats a row, B is k x n with ldb, C is m x n with ldc. The library must be loaded.
void ingot_blas_product_transposed(int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

/// The upper triangle of C = C + X^T X, row-major: X is rows x n with ldx floats a row, C is n x n with ldc. The library must be loaded.
void ingot_blas_moments(int n, int rows, const float *x, int ldx, float *c, int ldc);

#endif
