internal import Kernels
package import TensorModel

/// One chunk of scheme `trellis`, from weights to streams and back. Its buffers are reused and only grow.
///
/// To encode: call `quantize`, `restore`, then `route`, once or several times with other alphabets or classes. To decode: call
/// `prepareStreams`, fill streams, escapes, low bits, classes and patches, then call `decode`.
package struct TrellisChunk {
    var symbols: [Int16] = []
    var oddMasks: [UInt64] = []
    private var scratch: [UInt16] = []
    private var energies: [Float] = []
    private let ransScratch = Kernels.RansScratch()
    /// Whether the last search clamped a weight, because it was beyond the largest symbol or finite level.
    private var hasOutliers = false

    /// The codes of all streams, one byte per symbol, in one buffer.
    package var streams: [UInt8] = []
    /// Start of each stream in `streams`.
    package private(set) var starts: [Int] = []
    /// Number of symbols in each stream.
    package private(set) var counts: [Int] = []
    /// Symbols without a code, as signed bytes, in the order of the symbols.
    package var escapes: [UInt8] = []
    /// Number of symbols in `escapes`.
    package private(set) var escapeCount = 0
    /// The low bits of each symbol, one byte each; undefined if the parameters have no low bits.
    package var lowBits: [UInt8] = []
    /// The class of each row; may be longer than the chunk has rows, and is undefined if there is one class.
    package var rowClasses: [UInt8] = []
    /// Weights stored exactly, in ascending order of their index in the chunk.
    package var patches: [Patch] = []

    /// A weight that is stored exactly.
    package struct Patch: Sendable, Hashable {
        /// Index of the weight in the chunk, row-major.
        package var index: Int
        /// The element as an integer of its width.
        package var bits: UInt32

        /// A patch of one weight.
        package init(index: Int, bits: UInt32) {
            self.index = index
            self.bits = bits
        }
    }

    /// A chunk with empty buffers.
    package init() {}

    // MARK: - Encoding

    /// Searches the levels of a chunk.
    ///
    /// - Parameters:
    ///   - weights: finite, row-major; at least rows * columns.
    ///   - parameters: states and largest symbol.
    ///   - format: element type of the weights. If possible, no level exceeds its largest finite value.
    package mutating func quantize(
        _ weights: [Float], rows: Int, columns: Int, _ parameters: TrellisParameters, _ rule: TrellisRule,
        _ format: FloatFormat
    ) {
        let shape = Kernels.ChunkShape(rows: rows, columns: columns)
        symbols.grow(to: Kernels.symbolCount(shape))
        oddMasks.grow(to: Kernels.maskCount(shape))
        scratch.grow(to: (Kernels.scratchCount(rows: rows, states: parameters.states) + 1) / 2)
        hasOutliers = TrellisChunk.search(
            weights.span.extracting(first: shape.weightCount), shape, rule.kernelRule(parameters, format), &symbols,
            &oddMasks, &scratch)
    }

    /// Takes the buffers as separate arguments. Static, because a method would retain them through `self` and writing would then copy them.
    private static func search(
        _ weights: Span<Float>, _ shape: Kernels.ChunkShape, _ rule: Kernels.TrellisRule, _ symbols: inout [Int16],
        _ oddMasks: inout [UInt64], _ scratch: inout [UInt16]
    ) -> Bool {
        var symbols = symbols.mutableSpan
        var oddMasks = oddMasks.mutableSpan
        var scratch = scratch.mutableSpan
        return Kernels.trellisQuantize(
            weights, shape, rule: rule, symbols: &symbols, oddMasks: &oddMasks, scratch: &scratch)
    }

    /// Adds the magnitudes of the found levels to a histogram of 64 entries. The last entry counts all larger levels too.
    package func addLevels(rows: Int, columns: Int, to histogram: inout [UInt64]) {
        histogram.grow(to: Kernels.levelHistogramSize)
        var counts = histogram.mutableSpan
        Kernels.trellisHistogram(
            symbols: symbols.span, oddMasks: oddMasks.span, Kernels.ChunkShape(rows: rows, columns: columns),
            into: &counts)
    }

    /// Restores weights from the found levels, as `decode` does. Sets `patches` to the weights that must be stored exactly: those beyond
    /// the largest symbol, and those whose restored value the format cannot hold.
    ///
    /// - Parameters:
    ///   - weights: the weights that were quantized, with the same parameters and rule.
    ///   - format: element type of the weights and of the patches.
    ///   - restored: room for at least as many weights.
    package mutating func restore(
        _ weights: [Float], rows: Int, columns: Int, _ parameters: TrellisParameters, _ rule: TrellisRule,
        _ format: FloatFormat, into restored: inout [Float]
    ) {
        var target = restored.mutableSpan
        Kernels.trellisRestore(
            symbols: symbols.span, oddMasks: oddMasks.span, Kernels.ChunkShape(rows: rows, columns: columns),
            step: rule.step, into: &target)
        patches.removeAll(keepingCapacity: true)
        guard hasOutliers || rule.exceedsRange(parameters, format) else { return }
        let inverseStep = 1 / rule.step
        let farthest = parameters.farthestLevel
        for index in 0..<rows * columns {
            let size = max(weights[index].magnitude * inverseStep - rule.deadZone, 0) * rule.shrink
            guard size > farthest || !(restored[index].magnitude <= format.largestFinite) else { continue }
            patches.append(Patch(index: index, bits: weights[index].element(format)))
            restored[index] = weights[index]
        }
    }

    /// The error sums of the found levels, with the same bits as `restore` and `ErrorSums.measure`, without storing restored weights. Nil if
    /// there may be patches, or if `columns` is not a multiple of 16.
    package mutating func errors(
        _ weights: [Float], rows: Int, columns: Int, _ parameters: TrellisParameters, _ rule: TrellisRule,
        _ format: FloatFormat
    ) -> ErrorSums? {
        guard !hasOutliers, !rule.exceedsRange(parameters, format), columns % Kernels.errorColumns == 0 else {
            return nil
        }
        patches.removeAll(keepingCapacity: true)
        let sums = Kernels.trellisErrors(
            weights.span, symbols: symbols.span, oddMasks: oddMasks.span,
            Kernels.ChunkShape(rows: rows, columns: columns), step: rule.step)
        return ErrorSums(signal: sums.signal, noise: sums.noise, maxError: sums.maxError)
    }

    /// Turns the levels that were found into streams.
    ///
    /// - Parameters:
    ///   - weights: the weights that were quantized; they determine the classes of rows.
    ///   - parameters: those of the search. Alphabet and row classes may differ; the largest symbol must be equal.
    package mutating func route(_ weights: [Float], rows: Int, columns: Int, _ parameters: TrellisParameters) {
        classifyRows(weights, rows, columns, parameters.rowClasses)
        prepareStreams(rows: rows, columns: columns, parameters, counts: nil)
        let shape = Kernels.ChunkShape(rows: rows, columns: columns)
        escapeCount = TrellisChunk.write(
            symbols, oddMasks, rowClasses, starts, shape, parameters, &streams, &counts, &escapes, &lowBits)
    }

    /// Codes the found levels, without their low bits, as one rANS stream.
    ///
    /// - Parameter bytes: grows if needed; receives the stream in its first bytes.
    /// - Returns: the number of bytes of the stream.
    package func encodeRans(
        rows: Int, columns: Int, _ parameters: TrellisParameters, into bytes: inout [UInt8]
    ) -> Int {
        let shape = Kernels.ChunkShape(rows: rows, columns: columns)
        bytes.grow(to: Kernels.ransBound(shape))
        var target = bytes.mutableSpan
        return Kernels.ransEncode(
            symbols: symbols.span, oddMasks: oddMasks.span, shape, rule: parameters.ransRule, into: &target, ransScratch
        )
    }

    /// Takes the buffers as separate arguments; static for the same reason as `search`.
    private static func write(
        _ symbols: [Int16], _ oddMasks: [UInt64], _ rowClasses: [UInt8], _ starts: [Int],
        _ shape: Kernels.ChunkShape, _ parameters: TrellisParameters, _ streams: inout [UInt8],
        _ counts: inout [Int], _ escapes: inout [UInt8], _ lowBits: inout [UInt8]
    ) -> Int {
        var buffers = Kernels.SymbolBuffers(
            rowClasses: rowClasses.span.extracting(first: parameters.rowClasses == 1 ? 0 : shape.rows),
            codes: streams.mutableSpan, starts: starts.span, counts: counts.mutableSpan, escapes: escapes.mutableSpan,
            lowBits: lowBits.mutableSpan)
        return Kernels.trellisRoute(
            symbols: symbols.span, oddMasks: oddMasks.span, shape, alphabet: parameters.kernelAlphabet, into: &buffers)
    }

    /// Assigns rows to classes of (nearly) equal numbers of rows, in ascending order of energy. The upper row comes first in a tie.
    private mutating func classifyRows(_ weights: [Float], _ rows: Int, _ columns: Int, _ classes: Int) {
        guard classes > 1 else { return }
        rowClasses.grow(to: rows)
        energies.grow(to: rows)
        var target = energies.mutableSpan
        Kernels.rowEnergies(weights.span, Kernels.ChunkShape(rows: rows, columns: columns), into: &target)
        // The bit patterns of nonnegative floats are in the order of their values.
        let ranked = (0..<rows).map { UInt64(energies[$0].bitPattern) << 32 | UInt64($0) }.sorted()
        for (rank, key) in ranked.enumerated() { rowClasses[Int(key & 0xffff_ffff)] = UInt8(rank * classes / rows) }
    }

    // MARK: - Decoding

    /// Makes room for the streams of a chunk.
    ///
    /// - Parameter counts: number of symbols in each stream; nil if not known yet, which reserves all symbols of a class for each.
    package mutating func prepareStreams(rows: Int, columns: Int, _ parameters: TrellisParameters, counts given: [Int]?)
    {
        starts.removeAll(keepingCapacity: true)
        var end = 0
        for stream in 0..<parameters.symbolStreams {
            starts.append(end)
            let maximum =
                if let given {
                    given[stream]
                } else if parameters.rowClasses == 1 {
                    rows * columns
                } else {
                    rowsOfClass(stream / 2, rows) * columns
                }
            // Symbols may be unpacked three at a time, so two more may be written.
            end += maximum + 2 + Kernels.symbolSlack
        }
        counts = given ?? [Int](repeating: 0, count: parameters.symbolStreams)
        streams.grow(to: end)
        escapes.grow(to: rows * columns + Kernels.symbolSlack)
        if parameters.lowBits > 0 { lowBits.grow(to: rows * columns + Kernels.symbolSlack) }
        if parameters.rowClasses > 1 { rowClasses.grow(to: rows) }
    }

    private func rowsOfClass(_ number: Int, _ rows: Int) -> Int {
        rowClasses[..<rows].count { $0 == UInt8(number) }
    }

    /// Sets the number of symbols in `escapes`.
    package mutating func setEscapeCount(_ count: Int) { escapeCount = count }

    /// Restores the weights of a chunk, row-major, into the first elements of `weights`.
    ///
    /// - Throws: `miscounted` if a stream has more or fewer symbols than the trellis needs, `classOutOfRange`,
    ///   `patchOutOfRange`, `patchNotFinite`.
    package func decode(
        rows: Int, columns: Int, _ parameters: TrellisParameters, step: Float, scaled steps: ChunkSteps? = nil,
        _ format: FloatFormat, into weights: inout [Float]
    ) throws(DecodingFailure) {
        let classified = parameters.rowClasses > 1
        if classified {
            for row in 0..<rows where rowClasses[row] >= parameters.rowClasses { throw .classOutOfRange(row: row) }
        }
        var target = weights.mutableSpan
        let coded = Kernels.SymbolStreams(
            rowClasses: rowClasses.span.extracting(first: classified ? rows : 0), codes: streams.span,
            starts: starts.span, counts: counts.span, escapes: escapes.span, escapeCount: escapeCount,
            lowBits: lowBits.span)
        let complete = Kernels.trellisDecode(
            coded, Kernels.ChunkShape(rows: rows, columns: columns), states: parameters.states,
            alphabet: parameters.kernelAlphabet, step: steps == nil ? step : 1, into: &target)
        guard complete else { throw .miscounted }
        steps?.apply(to: &weights, rows: rows, columns: columns)
        try applyPatches(count: rows * columns, format, to: &weights)
    }

    /// Restores the weights of a chunk, row-major, from a rANS stream, low bits and patches.
    ///
    /// - Throws: `ransInvalid`, `patchOutOfRange`, `patchNotFinite`.
    package func decodeRans(
        _ bytes: Span<UInt8>, rows: Int, columns: Int, _ parameters: TrellisParameters, step: Float,
        scaled steps: ChunkSteps? = nil, _ format: FloatFormat, into weights: inout [Float]
    ) throws(DecodingFailure) {
        var target = weights.mutableSpan
        do throws(Kernels.RansFault) {
            try Kernels.ransDecode(
                bytes, Kernels.ChunkShape(rows: rows, columns: columns), rule: parameters.ransRule, low: lowBits.span,
                step: steps == nil ? step : 1, into: &target, ransScratch)
        } catch {
            switch error {
            case .length: throw .ransInvalid("too few bytes, or words left over")
            case .model: throw .ransInvalid("a table that no writer makes")
            case .state: throw .ransInvalid("a first state out of range")
            case .end: throw .ransInvalid("a last state other than the constant")
            }
        }
        steps?.apply(to: &weights, rows: rows, columns: columns)
        try applyPatches(count: rows * columns, format, to: &weights)
    }

    private func applyPatches(
        count: Int, _ format: FloatFormat, to weights: inout [Float]
    ) throws(DecodingFailure) {
        var previous = -1
        for patch in patches {
            guard patch.index > previous, patch.index < count else { throw .patchOutOfRange }
            let value = Float(patch.bits, element: format)
            guard value.isFinite else { throw .patchNotFinite(index: patch.index) }
            weights[patch.index] = value
            previous = patch.index
        }
    }
}

extension TrellisRule {
    func kernelRule(_ parameters: TrellisParameters, _ format: FloatFormat) -> Kernels.TrellisRule {
        Kernels.TrellisRule(
            states: parameters.states, inverseStep: 1 / step, deadZone: deadZone, shrink: shrink,
            farthest: farthestPosition(parameters, format))
    }

    /// Whether the level of the largest symbol is above the largest finite value of an element type.
    func exceedsRange(_ parameters: TrellisParameters, _ format: FloatFormat) -> Bool {
        !(Float(2 * parameters.greatestSymbol + 1) * step <= format.largestFinite)
    }

    /// The largest position of a weight, in levels (Specs/trellis.md, "Positions").
    ///
    /// The search may go up to two levels beyond the floor of a position. Let N be the last level that the type can hold. For positions
    /// below N - 1, all levels of the search are finite, so no weight becomes a patch because of an infinite level.
    private func farthestPosition(_ parameters: TrellisParameters, _ format: FloatFormat) -> Float {
        let farthest = parameters.farthestLevel
        guard exceedsRange(parameters, format) else { return farthest }
        var last = Int((Double(format.largestFinite) / Double(step)).rounded(.down))
        while Float(last) * step > format.largestFinite { last -= 1 }
        return last < 2 ? farthest : min(farthest, Float(last - 1).nextDown)
    }
}

extension TrellisParameters {
    /// Weights with a larger magnitude than this, in levels, are stored exactly.
    var farthestLevel: Float { Float(2 * greatestSymbol - 1) }
}
