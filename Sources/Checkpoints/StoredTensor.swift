package import TensorModel

/// A tensor as a file holds it: what it is called, what it is, and where its bytes are.
package struct StoredTensor: Sendable, Hashable {
    /// The name.
    package let name: TensorName
    /// The type of the elements.
    package let elementType: ElementType
    /// The dimensions.
    package let shape: Shape
    /// Where the bytes are, row by row, counted from the start of the file; as long as type and shape demand.
    ///
    /// Of a tensor that the file holds in another form, the range of its derived bytes (`MappedFile.addDerived`).
    package let range: ByteRange
    /// The bytes of the file that hold the tensor.
    package let storedRange: ByteRange
    /// The name of the blocks of codes it is stored in, such as `Q4_K`; nil where the elements are stored themselves.
    package let encoding: String?

    /// Makes a tensor of its parts.
    package init(
        name: TensorName, elementType: ElementType, shape: Shape, range: ByteRange, storedRange: ByteRange? = nil,
        encoding: String? = nil
    ) {
        self.name = name
        self.elementType = elementType
        self.shape = shape
        self.range = range
        self.storedRange = storedRange ?? range
        self.encoding = encoding
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
