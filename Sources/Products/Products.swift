internal import CBLAS
internal import TensorModel

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

    /// c = a b^T, or c += a b^T if `adds`.
    ///
    /// - Parameters:
    ///   - a: rows x inner, row-major.
    ///   - b: columns x inner, row-major.
    ///   - c: rows x columns, row-major, `stride` numbers from row to row.
    package static func multiply(
        _ a: Span<Float>, _ b: Span<Float>, rows: Int, columns: Int, inner: Int, into c: inout MutableSpan<Float>,
        stride: Int, adds: Bool = false
    ) {
        precondition(
            a.count >= rows * inner && b.count >= columns * inner && stride >= columns
                && (rows == 0 || c.count >= (rows - 1) * stride + columns), "multiply: sizes differ")
        guard rows > 0, columns > 0, inner > 0 else { return }
        unsafe a.withUnsafeBufferPointer { a in
            unsafe b.withUnsafeBufferPointer { b in
                unsafe c.withUnsafeMutableBufferPointer { c in
                    unsafe ingot_blas_product(
                        Int32(rows), Int32(columns), Int32(inner), a.baseAddress, Int32(inner), b.baseAddress,
                        Int32(inner), adds ? 1 : 0, c.baseAddress, Int32(stride))
                }
            }
        }
    }
}
