package import FileAccess
package import Quantization
package import TensorModel

/// Scheme `trellis` (Specs/trellis.md).
extension ChunkWorkspace {
    func encodeTrellis(
        _ place: ChunkPlace, _ parameters: TrellisParameters, _ rule: TrellisRule, _ format: FloatFormat, _ codec: Codec
    ) {
        search(place, parameters, rule, format)
        appendStreams(place, parameters, format, codec)
    }

    /// Finds the levels of the loaded chunk, and measures what they lose.
    private func search(
        _ place: ChunkPlace, _ parameters: TrellisParameters, _ rule: TrellisRule, _ format: FloatFormat
    ) {
        let (rows, columns) = (place.rows, place.columns)
        levels.quantize(weights, rows: rows, columns: columns, parameters, rule, format)
        levels.restore(weights, rows: rows, columns: columns, parameters, rule, format, into: &restored)
        encoded.entry.step = rule.step
        encoded.entry.sums = ErrorSums.measure(weights, restored, count: count)
    }

    /// Appends the streams of the levels found last.
    private func appendStreams(
        _ place: ChunkPlace, _ parameters: TrellisParameters, _ format: FloatFormat, _ codec: Codec
    ) {
        if codec == .rans {
            appendRans(place, parameters)
        } else {
            appendSymbols(place, parameters, codec)
        }
        let extras = packExtras(place.rows, parameters, format)
        append(stream, 0..<extras, .none)
    }

    /// Appends all symbols of the levels found last as one stream of rANS.
    private func appendRans(_ place: ChunkPlace, _ parameters: TrellisParameters) {
        if parameters.lowBits > 0 { levels.route(weights, rows: place.rows, columns: place.columns, parameters) }
        let size = levels.encodeRans(rows: place.rows, columns: place.columns, parameters, into: &stream)
        let start = encoded.byteCount
        grow(&encoded.bytes, start + size)
        encoded.bytes.replaceSubrange(start..<start + size, with: stream[..<size])
        encoded.byteCount += size
        encoded.entry.streams.append(.init(byteCount: UInt32(size), codec: .rans, symbols: count))
    }

    /// Appends the symbols of the levels found last by class and parity, and their escapes.
    private func appendSymbols(_ place: ChunkPlace, _ parameters: TrellisParameters, _ codec: Codec) {
        levels.route(weights, rows: place.rows, columns: place.columns, parameters)
        for index in 0..<parameters.symbolStreams {
            let symbols = levels.counts[index]
            let stored = SymbolPacking.byteCount(parameters, .stored, symbols)
            grow(&stream, stored)
            SymbolPacking.pack(levels.streams, levels.starts[index], symbols, parameters, .stored, into: &stream)
            guard codec == .zstd, SymbolPacking.differ(parameters) else {
                append(stream, 0..<stored, codec, symbols: symbols)
                continue
            }
            let coded = SymbolPacking.byteCount(parameters, .coded, symbols)
            grow(&aligned, coded)
            SymbolPacking.pack(levels.streams, levels.starts[index], symbols, parameters, .coded, into: &aligned)
            append(stream, 0..<stored, .zstd, packed: (aligned, coded), symbols: symbols)
        }
        append(levels.escapes, 0..<levels.escapeCount, codec, symbols: levels.escapeCount)
    }

    /// Classes of the rows at two bits each, low bits of the symbols, patches; their bytes, in `stream`.
    private func packExtras(_ rows: Int, _ parameters: TrellisParameters, _ format: FloatFormat) -> Int {
        var size = 0
        if parameters.rowClasses > 1 {
            size = BitPacking.byteCount(.dense, bits: 2, count: rows)
            grow(&stream, size)
            BitPacking.pack(levels.rowClasses, count: rows, .dense, bits: 2, into: &stream)
        }
        if parameters.lowBits > 0 {
            let packed = BitPacking.byteCount(.dense, bits: parameters.lowBits, count: count)
            grow(&aligned, packed)
            BitPacking.pack(levels.lowBits, count: count, .dense, bits: parameters.lowBits, into: &aligned)
            grow(&stream, size + packed)
            stream.replaceSubrange(size..<size + packed, with: aligned[..<packed])
            size += packed
        }
        guard !levels.patches.isEmpty else { return size }
        var bytes: [UInt8] = []
        for patch in levels.patches {
            LittleEndian.append(UInt32(patch.index), to: &bytes)
            for byte in 0..<format.byteWidth { bytes.append(UInt8(truncatingIfNeeded: patch.bits >> UInt32(8 * byte))) }
        }
        grow(&stream, size + bytes.count)
        stream.replaceSubrange(size..<size + bytes.count, with: bytes)
        return size + bytes.count
    }

    // MARK: - Decoding

    func decodeTrellis(
        _ entry: ChunkEntry, _ place: ChunkPlace, _ parameters: TrellisParameters, _ format: FloatFormat
    ) throws {
        guard let step = entry.step else { throw DecodingFailure.stepInvalid }
        grow(&restored, count)
        if entry.streams[0].codec == .rans {
            try decodeRans(entry, place, parameters, step, format)
        } else {
            try decodeSymbols(entry, place, parameters, step, format)
        }
        // A decoder takes codes and escapes down to -128.
        let farthest = Float(256 << parameters.lowBits) * step
        guard farthest.isFinite || restored[..<count].allSatisfy(\.isFinite) else {
            throw DecodingFailure.weightNotFinite
        }
    }

    private func decodeRans(
        _ entry: ChunkEntry, _ place: ChunkPlace, _ parameters: TrellisParameters, _ step: Float, _ format: FloatFormat
    ) throws {
        let end = Int(entry.streams[0].byteCount)
        let extras = Int(entry.streams[1].byteCount)
        var start = end
        try read(1, at: &start, entry, byteCount: extras, into: &stream)
        levels.prepareStreams(rows: place.rows, columns: place.columns, parameters, counts: [0, 0])
        try unpackExtras(extras, place.rows, parameters, format)
        let bytes = encoded.bytes
        try levels.decodeRans(
            bytes.span.extracting(0..<end), rows: place.rows, columns: place.columns, parameters, step: step, format,
            into: &restored)
    }

    private func decodeSymbols(
        _ entry: ChunkEntry, _ place: ChunkPlace, _ parameters: TrellisParameters, _ step: Float, _ format: FloatFormat
    ) throws {
        let symbols = entry.streams.map(\.symbols)
        levels.prepareStreams(
            rows: place.rows, columns: place.columns, parameters,
            counts: Array(symbols.prefix(parameters.symbolStreams)))
        var start = 0
        for index in 0..<parameters.symbolStreams {
            let form: SymbolPacking.Form = entry.streams[index].codec == .zstd ? .coded : .stored
            try read(
                index, at: &start, entry, byteCount: SymbolPacking.byteCount(parameters, form, symbols[index]),
                plainBytes: SymbolPacking.byteCount(parameters, .stored, symbols[index]), into: &stream)
            try SymbolPacking.unpack(
                stream, symbols[index], parameters, form, into: &levels.streams, at: levels.starts[index])
        }
        let escapes = parameters.symbolStreams
        guard symbols[escapes] == 0 || parameters.hasEscape else { throw DecodingFailure.miscounted }
        try read(escapes, at: &start, entry, byteCount: symbols[escapes], into: &levels.escapes)
        levels.setEscapeCount(symbols[escapes])
        let extras = Int(entry.streams[escapes + 1].byteCount)
        try read(escapes + 1, at: &start, entry, byteCount: extras, into: &stream)
        try unpackExtras(extras, place.rows, parameters, format)
        try levels.decode(
            rows: place.rows, columns: place.columns, parameters, step: step, format, into: &restored)
    }

    private func unpackExtras(_ size: Int, _ rows: Int, _ parameters: TrellisParameters, _ format: FloatFormat) throws {
        var start = 0
        func take(_ bytes: Int) throws -> [UInt8] {
            guard size - start >= bytes else { throw DecodingFailure.miscounted }
            start += bytes
            return Array(stream[start - bytes..<start])
        }
        if parameters.rowClasses > 1 {
            let packed = try take(BitPacking.byteCount(.dense, bits: 2, count: rows))
            try BitPacking.unpack(packed, count: rows, .dense, bits: 2, into: &levels.rowClasses)
        }
        if parameters.lowBits > 0 {
            let packed = try take(BitPacking.byteCount(.dense, bits: parameters.lowBits, count: count))
            try BitPacking.unpack(packed, count: count, .dense, bits: parameters.lowBits, into: &levels.lowBits)
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

    // MARK: - Trials

    /// A chunk of a tensor, for trials.
    package struct Sample: Sendable {
        /// Its place in the tensor.
        package let place: ChunkPlace
        /// Its elements, row by row.
        fileprivate let bytes: [UInt8]
    }

    /// Reads a chunk for its scale, and for trials.
    ///
    /// - Parameter inOrder: whether all chunks of the tensor are read, one after the other.
    package func read(
        chunk: Int, of range: ByteRange, in file: MappedFile, as prologue: PayloadPrologue, inOrder: Bool
    ) throws {
        try load(chunk, range, file, prologue, .alone(inOrder: inOrder))
        nonFinite = NonFiniteCount()
    }

    /// The chunk that was read last, for trials later.
    package func sample(chunk: Int, as prologue: PayloadPrologue) -> Sample {
        Sample(place: prologue.grid.place(of: chunk), bytes: Array(source[..<sourceCount]))
    }

    /// The scale of the rows of the chunk that was read last, and its energy (`RowStatistics`); nil where a weight is not finite.
    package func logScale(chunk: Int, as prologue: PayloadPrologue) -> (scale: Double, energy: Double)? {
        guard expandFinite(prologue.format) else { return nil }
        let place = prologue.grid.place(of: chunk)
        return RowStatistics.logScale(weights, rows: place.rows, columns: place.columns)
    }

    /// Loads and widens a sample; false where a weight is not finite.
    private func load(_ sample: Sample, _ format: FloatFormat) -> Bool {
        count = sample.place.count
        nonFinite = NonFiniteCount()
        return expandFinite(sample.bytes.span, format)
    }

    /// What a trial of a chunk showed.
    package struct Trial: Sendable {
        /// Bytes of the streams, for each of the parameters that were tried.
        package var byteCounts: [Int] = []
        /// The error sums with the last of them; the same for all that reach as far.
        package var sums = ErrorSums.zero
        /// Weights that are stored as they are, with the last of them.
        package var patchCount = 0
    }

    /// Encodes a sample with one rule and several alphabets or numbers of classes, keeping nothing but sizes and errors.
    ///
    /// - Parameters:
    ///   - candidates: of one number of states.
    ///   - histogram: |levels| are added.
    /// - Returns: nil where a weight is not finite.
    package func tryOut(
        _ sample: Sample, as prologue: PayloadPrologue, by rule: TrellisRule, _ candidates: [TrellisParameters],
        histogram: inout [UInt64]
    ) -> Trial? {
        guard load(sample, prologue.format) else { return nil }
        let place = sample.place
        var trial = Trial()
        var searched: Int?
        for candidate in candidates {
            if searched != candidate.greatestSymbol {
                search(place, candidate, rule, prologue.format)
                searched = candidate.greatestSymbol
                trial.sums = encoded.entry.sums
                trial.patchCount = levels.patches.count
            }
            beginChunk()
            appendStreams(place, candidate, prologue.format, prologue.codec)
            trial.byteCounts.append(encoded.byteCount)
        }
        levels.addLevels(rows: place.rows, columns: place.columns, to: &histogram)
        return trial
    }
}
