internal import CBLAS
internal import TensorModel

/// A matrix in a span of binary32 numbers: rows of `columns` numbers, `stride` numbers from row to row.
package struct MatrixShape: Sendable, Hashable {
    /// Number of rows, of columns, and of numbers from one row to the next.
    package let rows: Int, columns: Int, stride: Int

    /// A shape. Without a stride, rows follow each other.
    package init(rows: Int, columns: Int, stride: Int? = nil) {
        (self.rows, self.columns, self.stride) = (rows, columns, stride ?? columns)
    }

    /// Whether the matrix fits into `count` numbers.
    func fits(_ count: Int) -> Bool {
        stride >= columns && (rows == 0 || columns == 0 || count >= (rows - 1) * stride + columns)
    }
}

/// Matrix products in binary32, by the system's BLAS. They have other bits on other processors, so no output of a conversion depends on them.
package enum Products {
    /// Requires that the library of matrix products is installed. Call it before any product.
    ///
    /// - Throws: `libraryMissing`, which names the package to install.
    package static func requireLibrary() throws {
        guard ingot_blas_load() else {
            throw IngotError(
                .libraryMissing, found: "no OpenBLAS on this machine, which computes matrix products",
                expected: "libopenblas.so.0", remedy: "install it: apt-get install libopenblas0")
        }
    }

    /// c = a b^T, or c += a b^T if `adds`. All matrices are row-major.
    ///
    /// - Parameters:
    ///   - aShape: rows x inner.
    ///   - bShape: columns x inner.
    ///   - cShape: rows x columns.
    package static func multiply(
        _ a: Span<Float>, _ aShape: MatrixShape, transposed b: Span<Float>, _ bShape: MatrixShape,
        into c: inout MutableSpan<Float>, _ cShape: MatrixShape, adds: Bool = false
    ) {
        precondition(
            aShape.columns == bShape.columns && cShape.rows == aShape.rows && cShape.columns == bShape.rows
                && aShape.fits(a.count) && bShape.fits(b.count) && cShape.fits(c.count), "multiply: sizes differ")
        guard cShape.rows > 0, cShape.columns > 0, aShape.columns > 0 else { return }
        unsafe a.withUnsafeBufferPointer { a in
            unsafe b.withUnsafeBufferPointer { b in
                unsafe c.withUnsafeMutableBufferPointer { c in
                    unsafe ingot_blas_product(
                        Int32(cShape.rows), Int32(cShape.columns), Int32(aShape.columns), a.baseAddress,
                        Int32(aShape.stride), b.baseAddress, Int32(bShape.stride), adds ? 1 : 0, c.baseAddress,
                        Int32(cShape.stride))
                }
            }
        }
    }

    /// c = a b, or c += a b if `adds`. All matrices are row-major.
    ///
    /// - Parameters:
    ///   - aShape: rows x inner.
    ///   - bShape: inner x columns.
    ///   - cShape: rows x columns.
    ///   - start: index of the first number of c.
    package static func multiply(
        _ a: Span<Float>, _ aShape: MatrixShape, by b: Span<Float>, _ bShape: MatrixShape,
        into c: inout MutableSpan<Float>, from start: Int, _ cShape: MatrixShape, adds: Bool = false
    ) {
        precondition(
            aShape.columns == bShape.rows && cShape.rows == aShape.rows && cShape.columns == bShape.columns
                && aShape.fits(a.count) && bShape.fits(b.count) && start >= 0 && cShape.fits(c.count - start),
            "multiply: sizes differ")
        guard cShape.rows > 0, cShape.columns > 0, aShape.columns > 0 else { return }
        unsafe a.withUnsafeBufferPointer { a in
            unsafe b.withUnsafeBufferPointer { b in
                unsafe c.withUnsafeMutableBufferPointer { c in
                    unsafe ingot_blas_product_plain(
                        Int32(cShape.rows), Int32(cShape.columns), Int32(aShape.columns), a.baseAddress,
                        Int32(aShape.stride), b.baseAddress, Int32(bShape.stride), adds ? 1 : 0,
                        c.baseAddress.map { unsafe $0 + start }, Int32(cShape.stride))
                }
            }
        }
    }

    /// c = a^T b, or c += a^T b if `adds`. All matrices are row-major.
    ///
    /// - Parameters:
    ///   - aShape: inner x rows.
    ///   - bShape: inner x columns.
    ///   - cShape: rows x columns.
    package static func multiply(
        transposed a: Span<Float>, _ aShape: MatrixShape, by b: Span<Float>, _ bShape: MatrixShape,
        into c: inout MutableSpan<Float>, _ cShape: MatrixShape, adds: Bool = false
    ) {
        precondition(
            aShape.rows == bShape.rows && cShape.rows == aShape.columns && cShape.columns == bShape.columns
                && aShape.fits(a.count) && bShape.fits(b.count) && cShape.fits(c.count), "multiply: sizes differ")
        guard cShape.rows > 0, cShape.columns > 0, aShape.rows > 0 else { return }
        unsafe a.withUnsafeBufferPointer { a in
            unsafe b.withUnsafeBufferPointer { b in
                unsafe c.withUnsafeMutableBufferPointer { c in
                    unsafe ingot_blas_product_transposed(
                        Int32(cShape.rows), Int32(cShape.columns), Int32(aShape.rows), a.baseAddress,
                        Int32(aShape.stride), b.baseAddress, Int32(bShape.stride), adds ? 1 : 0, c.baseAddress,
                        Int32(cShape.stride))
                }
            }
        }
    }

    /// Adds x^T x to the upper triangle of c.
    ///
    /// - Parameters:
    ///   - xShape: rows x columns.
    ///   - c: columns x columns, row-major, without gaps.
    ///   - start: index of the first number of c.
    package static func addMoments(
        _ x: Span<Float>, _ xShape: MatrixShape, to c: inout MutableSpan<Float>, from start: Int
    ) {
        precondition(
            xShape.fits(x.count) && start >= 0 && c.count - start >= xShape.columns * xShape.columns,
            "addMoments: sizes differ")
        guard xShape.rows > 0, xShape.columns > 0 else { return }
        unsafe x.withUnsafeBufferPointer { x in
            unsafe c.withUnsafeMutableBufferPointer { c in
                unsafe ingot_blas_moments(
                    Int32(xShape.columns), Int32(xShape.rows), x.baseAddress, Int32(xShape.stride),
                    c.baseAddress.map { unsafe $0 + start }, Int32(xShape.columns))
            }
        }
    }
}
