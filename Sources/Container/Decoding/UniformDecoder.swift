import Quantization
import TensorModel

/// Decodes chunks of scheme `uniform` (Specs/uniform.md).
struct UniformDecoder {
    private var stream: [UInt8] = [], aligned: [UInt8] = []

    /// Decodes the streams of a chunk into `chunk.groups` and `chunk.weights`.
    ///
    /// - Throws: `StreamCodec.Failure`, `DecodingFailure`.
    mutating func decode(
        _ streams: consuming StreamReader, _ entry: ChunkEntry, _ place: ChunkPlace, _ parameters: UniformParameters,
        _ format: FloatFormat, into chunk: inout DecodedChunk
    ) throws {
        let layout: BitPacking.Layout = entry.streams[0].codec == .zstd ? .aligned : .dense
        let (bits, count) = (parameters.bits, place.count)
        try streams.read(
            byteCount: BitPacking.byteCount(layout, bits: bits, count: count),
            plainBytes: BitPacking.byteCount(.dense, bits: bits, count: count), into: &stream)
        chunk.groups.prepare(rows: place.rows, columns: place.columns, parameters)
        try BitPacking.unpack(stream, count: count, layout, bits: bits, into: &chunk.groups.codes)
        let groups = chunk.groups.groupCount
        try readValues(&streams, groups, format, into: &chunk.groups.scales)
        if !parameters.symmetric { try readValues(&streams, groups, format, into: &chunk.groups.biases) }
        try chunk.groups.validate(parameters)
        chunk.weights.grow(to: count)
        UniformQuantizer.decode(
            chunk.groups, rows: place.rows, columns: place.columns, parameters, into: &chunk.weights)
        guard chunk.groups.isBounded(parameters) || chunk.weights[..<count].allSatisfy(\.isFinite) else {
            throw DecodingFailure.weightNotFinite
        }
    }

    /// Reads `count` scales or biases, which are stored as byte planes.
    private mutating func readValues(
        _ streams: inout StreamReader, _ count: Int, _ format: FloatFormat, into values: inout [Float]
    ) throws {
        let width = format.byteWidth
        try streams.readPlanes(width, of: count, into: &stream, &aligned)
        aligned.grow(to: count * width)
        BytePlanes.join(stream, count: count, width: width, into: &aligned)
        FloatConversion.expand(aligned.span.extracting(0..<count * width), format, into: &values)
    }
}
