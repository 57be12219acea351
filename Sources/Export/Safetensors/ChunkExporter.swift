import Container
import FileAccess
import Quantization
import TensorModel

/// Elements of a chunk as exported, in reusable buffers.
struct ExportedChunk: Sendable {
    /// Row by row, in the first `byteCount` bytes.
    fileprivate(set) var elements: [UInt8] = []
    fileprivate(set) var byteCount = 0
    /// Decoded elements of a lossless chunk that is exported as another type; otherwise empty.
    fileprivate var decoded: [UInt8] = []
    fileprivate var decodedCount = 0

    /// Adds the decoded elements of a lossless chunk to a hash.
    func hashDecoded(into hasher: ContentHasher) {
        if decodedCount > 0 {
            hasher.update(decoded.span.extracting(0..<decodedCount))
        } else {
            hasher.update(elements.span.extracting(0..<byteCount))
        }
    }
}

/// Decodes chunks and converts them to an element type; the buffers of one worker.
struct ChunkExporter {
    private var decoder = ChunkDecoder()
    private var chunk = DecodedChunk()
    private var widened: [Float] = []

    /// Decodes a chunk to elements of `target`, rounded to nearest even. Codes are exported as they are.
    ///
    /// - Parameter target: the tensor's own type, or F16, BF16 or F32 for a tensor of such a type.
    /// - Throws: `valueOutOfRange` if a finite value would become infinite.
    mutating func export(
        _ number: Int, _ entry: ChunkEntry, of payload: SealedShard.Payload, in file: MappedFile,
        as target: ElementType, into output: inout ExportedChunk
    ) throws {
        try decoder.decode(number, entry, of: payload, in: file, into: &chunk)
        let own = payload.descriptor.elementType
        output.byteCount = chunk.count * target.byteWidth
        output.decodedCount = 0
        output.elements.grow(to: output.byteCount)
        if payload.descriptor.scheme == .lossless {
            if target == own {
                output.elements.replaceSubrange(0..<output.byteCount, with: chunk.elements[..<output.byteCount])
                return
            }
            output.decodedCount = chunk.elementBytes
            output.decoded.grow(to: chunk.elementBytes)
            output.decoded.replaceSubrange(0..<chunk.elementBytes, with: chunk.elements[..<chunk.elementBytes])
        }
        guard let format = own.quantizable, let target = target.quantizable else {
            preconditionFailure("codes are exported as they are")
        }
        let weights = chunk.floats(format, widenedInto: &widened)
        let overflows = FloatConversion.narrow(weights, count: chunk.count, target, into: &output.elements)
        guard overflows == 0 else { throw FloatRecoding.failure(overflows, target, payload.name, file.path) }
    }
}
