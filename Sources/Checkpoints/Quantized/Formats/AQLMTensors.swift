import TensorModel

/// Weights of AQLM: sums of vectors of codebooks.
///
/// Layout: aqlm 1.1 (`_dequantize_weight`). A block of weights is the sum of one vector of each codebook in binary32, in their order, rounded
/// to the type of the codebooks, times the scale of its rows, rounded again.
enum AQLMTensors {
    static func match(_ codes: FoundTensor, _ tensors: StoredTensors) throws -> LogicalTensor? {
        let module = TensorName.dropSuffix(codes.tensor.name.text, ".codes")
        guard let books = tensors.find(module + ".codebooks"), books.dimensions.count == 4, codes.dimensions.count == 3
        else { return nil }
        let width: Int
        switch codes.type {
        case .i8, .u8: width = 1
        case .i16, .u16: width = 2
        default: throw StoredTensors.refusal(codes, "codes of type \(codes.type.rawValue)", "I8 or I16")
        }
        let scale = try tensors.require(module + ".scales", for: codes, .aqlm)
        guard codes.count > 0, books.count > 0, books.dimensions[0] == codes.dimensions[2] else {
            throw StoredTensors.wrongShape(
                books, "codebooks x vectors x rows x columns, for codes of block rows x block columns x codebooks",
                beside: codes)
        }
        let vectors = books.dimensions[1]
        let (blockRows, blockColumns) = (books.dimensions[2], books.dimensions[3])
        let bits = Int.bitWidth - (vectors - 1).leadingZeroBitCount
        guard vectors.nonzeroBitCount == 1, vectors > 1, bits <= width * 8, blockRows * blockColumns <= 1 << 10 else {
            throw StoredTensors.refusal(
                books, "\(vectors) vectors of \(blockRows)x\(blockColumns) weights",
                "a power of two that codes of \(width * 8) bits can name")
        }
        guard let shape = Shape([codes.dimensions[0], blockRows, codes.dimensions[1], blockColumns]),
            shape.elementCount < 1 << 48
        else { throw StoredTensors.refusal(codes, "a shape that overflows", "fewer than 2^48 weights") }
        let format = try books.floatFormat()
        guard scale.count == codes.dimensions[0] else {
            throw StoredTensors.wrongShape(scale, "one scale for each row of blocks", beside: codes)
        }
        var builder = LogicalTensorBuilder(codes: codes)
        _ = builder.add(.codebooks, books)
        _ = builder.add(.scales, scale)
        let decoder = AdditiveBytes(
            blocks: (codes.dimensions[0], codes.dimensions[1]), block: (blockRows, blockColumns),
            codebooks: codes.dimensions[2], vectors: vectors, codeWidth: width, format: format,
            scaleFormat: try scale.floatFormat())
        let dimensions = [codes.dimensions[0] * blockRows, codes.dimensions[1] * blockColumns]
        guard let weights = Shape(dimensions) else { return nil }
        let size = "\(codes.dimensions[2])x\(bits)"
        return LogicalTensor(
            name: TensorName(module + ".weight"), shape: weights, format: format, decoder: decoder,
            form: QuantizedForm(
                method: .aqlm, shortName: "aqlm \(size)",
                summary:
                    "\(codes.dimensions[2]) codebooks of \(bits) bits for \(blockRows)x\(blockColumns) weights, codes stored in \(width * 8) bits",
                parts: builder.parts, codeBits: width * 8, levels: vectors, needsConsent: true, matrix: nil),
            dropped: [])
    }
}
