import TensorModel

extension LogicalTensor {
    /// What is said about a logical tensor.
    struct Description {
        let method: QuantizationMethod
        let shortName: String
        let summary: String
        let codeBits: Int
        let levels: Int
        let needsConsent: Bool
    }

    /// A logical tensor whose decoder is a matrix of codes with scales.
    ///
    /// - Throws: `unsupportedSource` if the shape overflows.
    init(
        _ name: TensorName, _ dimensions: [Int], _ decoder: QuantizedBytes, _ builder: LogicalTensorBuilder,
        _ description: Description, _ codes: FoundTensor
    ) throws {
        guard let shape = Shape(dimensions) else {
            throw StoredTensors.refusal(codes, "a shape that overflows", "fewer than 2^63 weights")
        }
        self.init(
            name: name, shape: shape, format: decoder.format, decoder: decoder,
            form: QuantizedForm(
                method: description.method, shortName: description.shortName, summary: description.summary,
                parts: builder.parts, codeBits: description.codeBits, levels: description.levels,
                needsConsent: description.needsConsent,
                matrix: .init(
                    rows: decoder.rows, columns: decoder.columns, layout: decoder.layout, scales: decoder.scales,
                    isDense: UInt64(decoder.rows) * UInt64(decoder.columns) * UInt64(decoder.layout.bits)
                        == codes.tensor.range.count * 8)),
            dropped: builder.dropped, warning: builder.warning)
    }
}
