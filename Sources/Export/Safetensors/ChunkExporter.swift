import Container
import FileAccess
import Quantization
import TensorModel

/// The elements of a chunk as they are exported, in buffers that are reused.
struct ExportedChunk: Sendable {
    /// Row by row, in the first `byteCount` bytes.
    fileprivate(set) var elements: [UInt8] = []
    fileprivate(set) var byteCount = 0
    /// The elements of a lossless chunk as they were decoded, where they are exported as another type.
    fileprivate var decoded: [UInt8] = []
    fileprivate var decodedCount = 0

    /// Adds the elements of a lossless chunk, as they were decoded, to a hash.
    func hashDecoded(into hasher: ContentHasher) {
        if decodedCount > 0 {
            hasher.update(decoded.span.extracting(0..<decodedCount))
        } else {
            hasher.update(elements.span.extracting(0..<byteCount))
        }
    }
}

/// Decodes chunks and turns them into elements: what one worker needs.
struct ChunkExporter {
    private var decoder = ChunkDecoder()
    private var chunk = DecodedChunk()
    private var widened: [Float] = []

    /// Decodes a chunk to elements of `target`, rounded to nearest even.
    ///
    /// - Throws: `valueOutOfRange` where a finite value would become infinite.
    mutating func export(
        _ number: Int, _ entry: ChunkEntry, of payload: SealedShard.Payload, in file: MappedFile,
        as target: FloatFormat, into output: inout ExportedChunk
    ) throws {
        try decoder.decode(number, entry, of: payload, in: file, into: &chunk)
        let format = payload.descriptor.format
        output.byteCount = chunk.count * target.byteWidth
        output.decodedCount = 0
        output.elements.grow(to: output.byteCount)
        if payload.descriptor.scheme == .lossless {
            if target == format {
                output.elements.replaceSubrange(0..<output.byteCount, with: chunk.elements[..<output.byteCount])
                return
            }
            output.decodedCount = chunk.elementBytes
            output.decoded.grow(to: chunk.elementBytes)
            output.decoded.replaceSubrange(0..<chunk.elementBytes, with: chunk.elements[..<chunk.elementBytes])
        }
        let weights = chunk.floats(format, widenedInto: &widened)
        let overflows = FloatConversion.narrow(weights, count: chunk.count, target, into: &output.elements)
        guard overflows == 0 else { throw FloatRecoding.failure(overflows, target, payload.name, file.path) }
    }
}
