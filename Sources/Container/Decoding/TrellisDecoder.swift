import FileAccess
import Quantization
import TensorModel

/// Decodes chunks of scheme `trellis` (Specs/trellis.md, Specs/rans.md).
struct TrellisDecoder {
    private var levels = TrellisChunk()
    private var stream: [UInt8] = []

    /// Decodes the streams of a chunk into `chunk.step`, `chunk.steps` and `chunk.weights`.
    ///
    /// - Parameter scales: the scale bytes of its rows, which may be empty, and columns; nil if the tensor has none.
    /// - Throws: `StreamCodec.Failure`, `DecodingFailure`.
    mutating func decode(
        _ stored: [UInt8], _ streams: consuming StreamReader, _ entry: ChunkEntry, _ place: ChunkPlace,
        _ parameters: TrellisParameters, _ scales: (rows: [UInt8], columns: [UInt8])?, _ format: FloatFormat,
        into chunk: inout DecodedChunk
    ) throws {
        guard let step = entry.step else { throw DecodingFailure.stepInvalid }
        let steps = scales.map {
            ChunkSteps(step: step, rowCount: place.rows, rows: $0.rows, columns: $0.columns)
        }
        chunk.step = step
        chunk.steps = steps
        chunk.weights.grow(to: place.count)
        if entry.streams[0].codec == .rans {
            let coded = streams.skip()
            let extras = Int(entry.streams[1].byteCount)
            try streams.read(byteCount: extras, into: &stream)
            levels.prepareStreams(rows: place.rows, columns: place.columns, parameters, counts: [0, 0])
            try unpackExtras(extras, place, parameters, format)
            try levels.decodeRans(
                stored.span.extracting(coded), rows: place.rows, columns: place.columns, parameters, step: step,
                scaled: steps, format, into: &chunk.weights)
        } else {
            try readSymbols(&streams, entry, place, parameters, format)
            try levels.decode(
                rows: place.rows, columns: place.columns, parameters, step: step, scaled: steps, format,
                into: &chunk.weights)
        }
        // Codes and escapes may be as low as -128, so check the weights if the farthest level is infinite.
        let farthest = Float(256 << parameters.lowBits) * (steps?.largest ?? step)
        guard farthest.isFinite || chunk.weights[..<place.count].allSatisfy(\.isFinite) else {
            throw DecodingFailure.weightNotFinite
        }
    }

    private mutating func readSymbols(
        _ streams: inout StreamReader, _ entry: ChunkEntry, _ place: ChunkPlace, _ parameters: TrellisParameters,
        _ format: FloatFormat
    ) throws {
        let symbols = entry.streams.map(\.symbols)
        levels.prepareStreams(
            rows: place.rows, columns: place.columns, parameters,
            counts: Array(symbols.prefix(parameters.symbolStreams)))
        for index in 0..<parameters.symbolStreams {
            let form: SymbolPacking.Form = entry.streams[index].codec == .zstd ? .coded : .stored
            try streams.read(
                byteCount: SymbolPacking.byteCount(parameters, form, symbols[index]),
                plainBytes: SymbolPacking.byteCount(parameters, .stored, symbols[index]), into: &stream)
            try SymbolPacking.unpack(
                stream, symbols[index], parameters, form, into: &levels.streams, at: levels.starts[index])
        }
        let escapes = parameters.symbolStreams
        guard symbols[escapes] == 0 || parameters.hasEscape else { throw DecodingFailure.miscounted }
        try streams.read(byteCount: symbols[escapes], into: &levels.escapes)
        levels.setEscapeCount(symbols[escapes])
        let extras = Int(entry.streams[escapes + 1].byteCount)
        try streams.read(byteCount: extras, into: &stream)
        try unpackExtras(extras, place, parameters, format)
    }

    /// Unpacks row classes, low bits and patches from the first `size` bytes of `stream`.
    private mutating func unpackExtras(
        _ size: Int, _ place: ChunkPlace, _ parameters: TrellisParameters, _ format: FloatFormat
    ) throws {
        var start = 0
        if parameters.rowClasses > 1 {
            let packed = try take(BitPacking.byteCount(.dense, bits: 2, count: place.rows), &start, size)
            try BitPacking.unpack(packed, count: place.rows, .dense, bits: 2, into: &levels.rowClasses)
        }
        if parameters.lowBits > 0 {
            let bits = parameters.lowBits
            let packed = try take(BitPacking.byteCount(.dense, bits: bits, count: place.count), &start, size)
            try BitPacking.unpack(packed, count: place.count, .dense, bits: bits, into: &levels.lowBits)
        }
        let each = 4 + format.byteWidth
        guard (size - start) % each == 0 else { throw DecodingFailure.miscounted }
        levels.patches.removeAll(keepingCapacity: true)
        while start < size {
            let index = Int(LittleEndian.load(UInt32.self, stream, at: start))
            let bits = (0..<format.byteWidth).reduce(UInt32(0)) {
                $0 | UInt32(stream[start + 4 + $1]) << UInt32(8 * $1)
            }
            levels.patches.append(.init(index: index, bits: bits))
            start += each
        }
    }

    private func take(_ count: Int, _ start: inout Int, _ size: Int) throws -> [UInt8] {
        guard size - start >= count else { throw DecodingFailure.miscounted }
        start += count
        return Array(stream[start - count..<start])
    }
}
