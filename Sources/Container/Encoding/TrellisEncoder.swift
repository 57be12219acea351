import FileAccess
package import Quantization
package import TensorModel

/// Encodes chunks of scheme `trellis` (Specs/trellis.md) in two steps: `search` finds the levels, `appendStreams` writes them. The
/// levels stay until the next search, so they can be written with several alphabets of the same largest symbol.
package struct TrellisEncoder {
    private var levels = TrellisChunk()
    private var restored: [Float] = []
    private var stream: [UInt8] = [], aligned: [UInt8] = []

    /// Makes an encoder; buffers grow when first used.
    package init() {}

    /// Number of weights of the last search that are stored exactly, as patches.
    package var patchCount: Int { levels.patches.count }

    /// Finds the levels of a chunk.
    ///
    /// - Parameters:
    ///   - weights: finite, row by row; at least rows * columns.
    ///   - restores: whether the restored weights are wanted, for `largestRestored`.
    /// - Returns: the error sums of what a decoder will restore.
    package mutating func search(
        _ weights: [Float], rows: Int, columns: Int, _ parameters: TrellisParameters, _ rule: TrellisRule,
        _ format: FloatFormat, restores: Bool = false
    ) -> ErrorSums {
        levels.quantize(weights, rows: rows, columns: columns, parameters, rule, format)
        if !restores, let sums = levels.errors(weights, rows: rows, columns: columns, parameters, rule, format) {
            return sums
        }
        restored.grow(to: rows * columns)
        levels.restore(weights, rows: rows, columns: columns, parameters, rule, format, into: &restored)
        return ErrorSums.measure(weights, restored, count: rows * columns)
    }

    /// Finds the levels of the next tile of a band with error feedback.
    ///
    /// - Parameters:
    ///   - weights: the tile's, finite, row by row.
    ///   - columns: the tile's columns in the tensor.
    ///   - steps: of the tile's rows and columns.
    /// - Returns: the error sums of what a decoder will restore.
    mutating func search(
        _ search: inout FeedbackSearch, _ weights: [Float], rows: Int, columns: Range<Int>, _ steps: ChunkSteps,
        _ format: FloatFormat
    ) -> ErrorSums {
        restored.grow(to: rows * columns.count)
        levels.quantize(&search, weights, rows: rows, columns: columns, steps, format, into: &restored)
        return ErrorSums.measure(weights, restored, count: rows * columns.count)
    }

    /// The largest magnitude of the weights restored from the last search.
    func largestRestored(_ count: Int) -> Float { restored[..<count].reduce(0) { max($0, $1.magnitude) } }

    /// Adds the magnitudes of the levels of the last search to a histogram.
    package func addLevels(rows: Int, columns: Int, to histogram: inout [UInt64]) {
        levels.addLevels(rows: rows, columns: columns, to: &histogram)
    }

    /// Appends the streams of the levels of the last search.
    ///
    /// - Parameter parameters: those of the search, or others with the same largest symbol.
    package mutating func appendStreams(
        _ weights: [Float], rows: Int, columns: Int, _ parameters: TrellisParameters, _ format: FloatFormat,
        _ codec: Codec, _ writer: StreamWriter, to chunk: inout EncodedChunk
    ) {
        if codec == .rans {
            if parameters.lowBits > 0 { levels.route(weights, rows: rows, columns: columns, parameters) }
            let size = levels.encodeRans(rows: rows, columns: columns, parameters, into: &stream)
            writer.append(rans: stream, count: size, symbols: rows * columns, to: &chunk)
        } else {
            levels.route(weights, rows: rows, columns: columns, parameters)
            appendSymbols(parameters, codec, writer, &chunk)
        }
        let extras = packExtras(rows, rows * columns, parameters, format)
        writer.append(stream, 0..<extras, .none, to: &chunk)
    }

    /// Appends the streams of symbols, by class and parity, and the stream of escapes.
    private mutating func appendSymbols(
        _ parameters: TrellisParameters, _ codec: Codec, _ writer: StreamWriter, _ chunk: inout EncodedChunk
    ) {
        for index in 0..<parameters.symbolStreams {
            let symbols = levels.counts[index]
            let stored = SymbolPacking.byteCount(parameters, .stored, symbols)
            stream.grow(to: stored)
            SymbolPacking.pack(levels.streams, levels.starts[index], symbols, parameters, .stored, into: &stream)
            guard codec == .zstd, SymbolPacking.differ(parameters) else {
                writer.append(stream, 0..<stored, codec, symbols: symbols, to: &chunk)
                continue
            }
            let coded = SymbolPacking.byteCount(parameters, .coded, symbols)
            aligned.grow(to: coded)
            SymbolPacking.pack(levels.streams, levels.starts[index], symbols, parameters, .coded, into: &aligned)
            writer.append(stream, 0..<stored, .zstd, packed: (aligned, coded), symbols: symbols, to: &chunk)
        }
        writer.append(levels.escapes, 0..<levels.escapeCount, codec, symbols: levels.escapeCount, to: &chunk)
    }

    /// Packs row classes (two bits each), low bits and patches into `stream`. Returns the number of bytes.
    private mutating func packExtras(
        _ rows: Int, _ count: Int, _ parameters: TrellisParameters, _ format: FloatFormat
    ) -> Int {
        var size = 0
        if parameters.rowClasses > 1 {
            size = BitPacking.byteCount(.dense, bits: 2, count: rows)
            stream.grow(to: size)
            BitPacking.pack(levels.rowClasses, count: rows, .dense, bits: 2, into: &stream)
        }
        if parameters.lowBits > 0 {
            let packed = BitPacking.byteCount(.dense, bits: parameters.lowBits, count: count)
            aligned.grow(to: packed)
            BitPacking.pack(levels.lowBits, count: count, .dense, bits: parameters.lowBits, into: &aligned)
            stream.grow(to: size + packed)
            stream.replaceSubrange(size..<size + packed, with: aligned[..<packed])
            size += packed
        }
        guard !levels.patches.isEmpty else { return size }
        var bytes: [UInt8] = []
        for patch in levels.patches {
            LittleEndian.append(UInt32(patch.index), to: &bytes)
            for byte in 0..<format.byteWidth { bytes.append(UInt8(truncatingIfNeeded: patch.bits >> UInt32(8 * byte))) }
        }
        stream.grow(to: size + bytes.count)
        stream.replaceSubrange(size..<size + bytes.count, with: bytes)
        return size + bytes.count
    }
}
