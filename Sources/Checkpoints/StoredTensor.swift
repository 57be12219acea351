package import TensorModel

/// A tensor in a file: its name, element type, shape and place.
package struct StoredTensor: Sendable, Hashable {
    /// The name.
    package let name: TensorName
    /// The type of the elements. It means nothing if `isReadable` is false.
    package let elementType: ElementType
    /// The dimensions.
    package let shape: Shape
    /// The bytes of the file that hold the tensor. Without `decoder` they are its elements, row by row.
    package let range: ByteRange
    /// The type of the blocks that it is stored in, such as `Q4_K`; nil if its elements are stored directly.
    package let encoding: String?
    /// Derives the elements from the stored bytes; nil if the elements are stored directly.
    package let decoder: (any DerivedBytes)?
    /// How another quantizer stores it, in several tensors; nil for any other tensor. Its first part has the bytes `range`.
    package let form: QuantizedForm?

    /// Makes a tensor from its parts.
    package init(
        name: TensorName, elementType: ElementType, shape: Shape, range: ByteRange,
        decoder: (any DerivedBytes)? = nil, encoding: String? = nil, form: QuantizedForm? = nil
    ) {
        self.name = name
        self.elementType = elementType
        self.shape = shape
        self.range = range
        self.decoder = decoder
        self.encoding = encoding
        self.form = form
    }

    /// Whether quantizing it again needs the user's consent. Tensors in codes need it, except FP8, MXFP4 and NVFP4, in which authors publish
    /// weights.
    package var needsConsent: Bool {
        form?.needsConsent ?? (encoding.map { !["MXFP4", "NVFP4"].contains($0) } ?? false)
    }

    /// Bytes that it takes in files: those of its codes and of the tensors beside them, or of its elements.
    package var storedByteCount: UInt64 { form?.byteCount ?? range.count }

    /// Bytes of its elements, after decoding.
    package var byteCount: UInt64 { decoder?.byteCount ?? range.count }

    /// Whether name, type, shape, place and encoding are equal. The decoder follows from them.
    package static func == (a: StoredTensor, b: StoredTensor) -> Bool {
        a.name == b.name && a.elementType == b.elementType && a.shape == b.shape && a.range == b.range
            && a.encoding == b.encoding
    }

    /// Hashes name and range.
    package func hash(into hasher: inout Hasher) {
        hasher.combine(name)
        hasher.combine(range)
    }
}

extension ElementType {
    /// Bytes of a tensor of this type and shape; nil if the number of bits overflows or is not a multiple of 8.
    package func byteCount(of shape: Shape) -> UInt64? {
        guard let bits = Checked.multiply(UInt64(shape.elementCount), UInt64(bitWidth)), bits & 7 == 0 else {
            return nil
        }
        return bits / 8
    }
}
