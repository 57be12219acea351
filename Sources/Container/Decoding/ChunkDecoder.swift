package import FileAccess
import Quantization
import SystemPackage
import TensorModel

/// Reads and decodes chunks of any scheme. Its buffers are reused from chunk to chunk.
package struct ChunkDecoder {
    /// Upper bound of a decoder's memory in bytes: stored bytes, streams, levels, compression contexts. The decoded chunk is extra.
    package static let maximumBytes = 8 << 20
    /// Upper bound of the stored bytes of a chunk.
    private static let maximumStoredBytes: UInt64 = 20 << 20

    private var stored: [UInt8] = []
    private var planes: [UInt8] = [], plane: [UInt8] = []
    private var uniform = UniformDecoder()
    private var trellis = TrellisDecoder()
    private let codec = StreamCodec()

    /// Makes a decoder; buffers grow when first used.
    package init() {}

    /// Reads and decodes a chunk.
    ///
    /// - Parameters:
    ///   - number: index of the chunk in its payload.
    ///   - entry: the chunk's entry in the chunk table.
    ///   - file: the shard that holds the payload.
    ///   - chunk: receives the decoded chunk.
    /// - Throws: `checksum` if the stored bytes do not match the entry's checksum; `chunkInvalid` if they cannot be decoded.
    package mutating func decode(
        _ number: Int, _ entry: ChunkEntry, of payload: SealedShard.Payload, in file: MappedFile,
        into chunk: inout DecodedChunk
    ) throws {
        let prologue = payload.prologue
        let place = prologue.grid.place(of: number)
        func failure(_ code: IngotError.Code, _ found: String) -> IngotError {
            IngotError(
                code, file: file.path.string, tensor: payload.name, offset: payload.range.start + entry.offset,
                found: "chunk \(number): \(found)")
        }
        guard let range = ByteRange(start: payload.range.start + entry.offset, count: entry.byteCount),
            range.end <= payload.range.end, entry.byteCount <= ChunkDecoder.maximumStoredBytes
        else { throw failure(.chunkInvalid, "\(entry.byteCount) bytes, more than its payload has") }
        let byteCount = Int(range.count)
        stored.grow(to: byteCount)
        file.prefetch(behind: range)
        try file.read(range, into: &stored)
        guard ContentHash.checksum64(stored.span.extracting(0..<byteCount)) == entry.checksum else {
            throw failure(.checksum, "bytes whose checksum differs from the chunk table's")
        }
        chunk.count = place.count
        chunk.elementBytes = 0
        do {
            var streams = StreamReader(stored, entry, codec)
            switch prologue.scheme {
            case .lossless:
                let width = prologue.elementType.byteWidth
                try streams.readPlanes(width, of: place.count, into: &planes, &plane)
                chunk.elementBytes = place.count * width
                chunk.elements.grow(to: chunk.elementBytes)
                LosslessCodec.join(planes, count: place.count, prologue.elementType, into: &chunk.elements)
            case .uniform(let parameters):
                try uniform.decode(streams, entry, place, parameters, prologue.format, into: &chunk)
            case .trellis(let parameters):
                let scales = try SealedShard.scaleBytes(of: place, payload, in: file)
                try trellis.decode(stored, streams, entry, place, parameters, scales, prologue.format, into: &chunk)
            }
        } catch let error as StreamCodec.Failure {
            throw failure(.chunkInvalid, error.found)
        } catch let error as DecodingFailure {
            throw failure(.chunkInvalid, error.description)
        }
    }
}
