/// The dimensions of a tensor, slowest first, as safetensors orders them.
package struct Shape: Sendable, Hashable, CustomStringConvertible {
    /// The dimensions; empty for a scalar.
    package let dimensions: [Int]
    /// The product of the dimensions, 1 for a scalar; known not to overflow.
    package let elementCount: Int

    /// Makes a shape; nil where the product of the dimensions does not fit 63 bits.
    ///
    /// A zero count comes only from a literal zero dimension: the others are multiplied checked, whatever their order.
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

    /// The tensor seen as a matrix: the last dimension. 1 for a scalar.
    package var columns: Int { dimensions.last ?? 1 }

    /// The tensor seen as a matrix: the product of all dimensions but the last.
    package var rows: Int { columns == 0 ? 0 : elementCount / columns }

    /// Whether the tensor counts as a matrix: rank 2 or more, and not empty.
    package var isMatrix: Bool { dimensions.count >= 2 && elementCount > 0 }

    /// The dimensions as `4096x11008`; `scalar` for rank 0.
    package var description: String {
        dimensions.isEmpty ? "scalar" : dimensions.map(String.init).joined(separator: "x")
    }
}
