/// The dimensions of a tensor, the slowest varying first, as in safetensors.
package struct Shape: Sendable, Hashable, CustomStringConvertible {
    /// The dimensions; empty for a scalar.
    package let dimensions: [Int]
    /// The product of the dimensions, 1 for a scalar. It fits 63 bits.
    package let elementCount: Int

    /// Makes a shape; nil if a dimension is negative, or if the product of the nonzero dimensions does not fit 63 bits.
    ///
    /// `elementCount` is 0 only if a dimension is 0. The other dimensions must not overflow either, in any order.
    package init?(_ dimensions: [Int]) {
        var product: UInt64 = 1
        for dimension in dimensions where dimension != 0 {
            guard dimension > 0, let next = Checked.multiply(product, UInt64(dimension)), next < 1 << 63 else {
                return nil
            }
            product = next
        }
        self.dimensions = dimensions
        elementCount = dimensions.contains(0) ? 0 : Int(product)
    }

    /// Columns of the tensor as a matrix: the last dimension; 1 for a scalar.
    package var columns: Int { dimensions.last ?? 1 }

    /// Rows of the tensor as a matrix: the product of all dimensions except the last; 0 if `columns` is 0.
    package var rows: Int { columns == 0 ? 0 : elementCount / columns }

    /// Whether the tensor has rank 2 or more and is not empty.
    package var isMatrix: Bool { dimensions.count >= 2 && elementCount > 0 }

    /// The dimensions as `4096x11008`; `scalar` for rank 0.
    package var description: String {
        dimensions.isEmpty ? "scalar" : dimensions.map(String.init).joined(separator: "x")
    }
}
