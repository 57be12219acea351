package import TensorModel

/// A tensor as a file holds it: what it is called, what it is, and where its bytes are.
package struct StoredTensor: Sendable, Hashable {
    /// The name.
    package let name: TensorName
    /// The type of the elements.
    package let elementType: ElementType
    /// The dimensions.
    package let shape: Shape
    /// The bytes of the file that hold the tensor: its elements row by row, unless `decoder` makes them.
    package let range: ByteRange
    /// The name of the blocks of codes it is stored in, such as `Q4_K`; nil where the elements are stored themselves.
    package let encoding: String?
    /// Makes the elements of what the file holds; nil where the file holds them as they are.
    package let decoder: (any DerivedBytes)?

    /// Makes a tensor of its parts.
    package init(
        name: TensorName, elementType: ElementType, shape: Shape, range: ByteRange,
        decoder: (any DerivedBytes)? = nil, encoding: String? = nil
    ) {
        self.name = name
        self.elementType = elementType
        self.shape = shape
        self.range = range
        self.decoder = decoder
        self.encoding = encoding
    }

    /// Bytes of its elements.
    package var byteCount: UInt64 { decoder?.byteCount ?? range.count }

    /// Whether name, type, shape, place and encoding are the same; a decoder follows from these.
    package static func == (a: StoredTensor, b: StoredTensor) -> Bool {
        a.name == b.name && a.elementType == b.elementType && a.shape == b.shape && a.range == b.range
            && a.encoding == b.encoding
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(name)
        hasher.combine(range)
    }
}

extension ElementType {
    /// Bytes a tensor of this type and shape takes; nil where the bits overflow or fill no whole number of bytes.
    package func byteCount(of shape: Shape) -> UInt64? {
        guard let bits = Checked.multiply(UInt64(shape.elementCount), UInt64(bitWidth)), bits & 7 == 0 else {
            return nil
        }
        return bits / 8
    }
}
