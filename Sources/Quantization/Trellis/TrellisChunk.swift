internal import Kernels
package import TensorModel

/// One chunk of scheme `trellis` between weights and streams, in buffers that are reused and only grow.
///
/// Encoding: `quantize`, `restore`, then `route` once or more often, with other alphabets or classes. Decoding: `prepareStreams`, the caller
/// fills streams, escapes, low bits, classes and patches, `decode`.
package struct TrellisChunk {
    private var symbols: [Int16] = []
    private var oddMasks: [UInt64] = []
    private var scratch: [UInt16] = []
    private var energies: [Float] = []
    private let ransScratch = Kernels.RansScratch()
    /// Whether the last search met weights farther out than symbols go.
    private var hasOutliers = false

    /// One byte a symbol, all streams in one buffer.
    package var streams: [UInt8] = []
    /// Where each stream begins in `streams`.
    package private(set) var starts: [Int] = []
    /// Symbols of each stream.
    package private(set) var counts: [Int] = []
    /// Symbols without a code, as signed bytes, in the order of the symbols.
    package var escapes: [UInt8] = []
    /// How many of them count.
    package private(set) var escapeCount = 0
    /// The low bits of each symbol, one byte each; without a meaning where there are none.
    package var lowBits: [UInt8] = []
    /// The class of each row; may be longer, and without a meaning where there is one class.
    package var rowClasses: [UInt8] = []
    /// Weights stored as they are, in rising order of their index in the chunk.
    package var patches: [Patch] = []

    /// A weight that is stored as it is.
    package struct Patch: Sendable, Hashable {
        /// Index in the chunk, row-major.
        package var index: Int
        /// The element, as an integer of its own width.
        package var bits: UInt32

        /// A patch.
        package init(index: Int, bits: UInt32) {
            self.index = index
            self.bits = bits
        }
    }

    /// A chunk without buffers.
    package init() {}

    // MARK: - Encoding

    /// Searches the levels of a chunk.
    ///
    /// - Parameters:
    ///   - weights: finite, row-major; at least rows * columns.
    ///   - parameters: states and range of the symbols.
    ///   - format: the weights' element type, whose largest finite value no level exceeds where that can be avoided.
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

    /// The buffers as separate arguments, which may be written to at once. Static, since a method would retain the buffers by `self`, and
    /// writing would copy them.
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

    /// Adds the magnitudes of the levels that were found to a histogram, whose last entry counts all beyond it.
    package func addLevels(rows: Int, columns: Int, to histogram: inout [UInt64]) {
        histogram.grow(to: Kernels.levelHistogramSize)
        var counts = histogram.mutableSpan
        Kernels.trellisHistogram(
            symbols: symbols.span, oddMasks: oddMasks.span, Kernels.ChunkShape(rows: rows, columns: columns),
            into: &counts)
    }

    /// Restores the levels that were found, as `decode` will, and notes the weights that must be stored as they are: those farther out
    /// than symbols go, and those the format could not hold as restored.
    ///
    /// - Parameters:
    ///   - weights: those that were quantized, with the same parameters and rule.
    ///   - format: their element type, which patches are stored in.
    ///   - restored: at least as many.
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

    /// The error sums of the levels that were found, as `restore` and `ErrorSums.measure` give them to the bit, without restored weights
    /// in memory; nil where weights may have to be stored as they are, or the chunk has columns that the kernel does not take.
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
    ///   - weights: those that were quantized; they decide on the classes of their rows.
    ///   - parameters: those of the search, but for alphabet and classes, and of the same greatest symbol.
    package mutating func route(_ weights: [Float], rows: Int, columns: Int, _ parameters: TrellisParameters) {
        classifyRows(weights, rows, columns, parameters.rowClasses)
        prepareStreams(rows: rows, columns: columns, parameters, counts: nil)
        let shape = Kernels.ChunkShape(rows: rows, columns: columns)
        escapeCount = TrellisChunk.write(
            symbols, oddMasks, rowClasses, starts, shape, parameters, &streams, &counts, &escapes, &lowBits)
    }

    /// Codes the levels that were found as one stream of rANS, their low bits left out.
    ///
    /// - Parameter bytes: grows as needed; the stream is in its first bytes.
    /// - Returns: how many they are.
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

    /// The buffers as separate arguments, which may be written to at once; static as `search` is.
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

    /// Classes of equally many rows, by rising energy; of equal rows the upper ones come first.
    private mutating func classifyRows(_ weights: [Float], _ rows: Int, _ columns: Int, _ classes: Int) {
        guard classes > 1 else { return }
        rowClasses.grow(to: rows)
        energies.grow(to: rows)
        var target = energies.mutableSpan
        Kernels.rowEnergies(weights.span, Kernels.ChunkShape(rows: rows, columns: columns), into: &target)
        // The bits of numbers that are not negative are in the order of the numbers.
        let ranked = (0..<rows).map { UInt64(energies[$0].bitPattern) << 32 | UInt64($0) }.sorted()
        for (rank, key) in ranked.enumerated() { rowClasses[Int(key & 0xffff_ffff)] = UInt8(rank * classes / rows) }
    }

    // MARK: - Decoding

    /// Makes room for the streams of a chunk.
    ///
    /// - Parameter counts: the symbols of each stream; nil where they are not known yet, and may be all of a class.
    package mutating func prepareStreams(rows: Int, columns: Int, _ parameters: TrellisParameters, counts given: [Int]?)
    {
        starts.removeAll(keepingCapacity: true)
        var end = 0
        for stream in 0..<parameters.symbolStreams {
            starts.append(end)
            let most =
                if let given {
                    given[stream]
                } else if parameters.rowClasses == 1 {
                    rows * columns
                } else {
                    rowsOfClass(stream / 2, rows) * columns
                }
            // Three symbols are unpacked at a time.
            end += most + 2 + Kernels.symbolSlack
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

    /// Says how many of `escapes` count.
    package mutating func setEscapeCount(_ count: Int) { escapeCount = count }

    /// Restores a chunk's weights, row-major, into the first elements of `weights`.
    ///
    /// - Throws: `miscounted` where a stream has more or fewer symbols than the trellis takes, `classOutOfRange`,
    ///   `patchOutOfRange`, `patchNotFinite`.
    package func decode(
        rows: Int, columns: Int, _ parameters: TrellisParameters, step: Float, _ format: FloatFormat,
        into weights: inout [Float]
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
            alphabet: parameters.kernelAlphabet, step: step, into: &target)
        guard complete else { throw .miscounted }
        try applyPatches(count: rows * columns, format, to: &weights)
    }

    /// Restores a chunk's weights from a stream of rANS, low bits and patches; as `decode` does from streams by class and parity.
    ///
    /// - Throws: `ransInvalid`, `patchOutOfRange`, `patchNotFinite`.
    package func decodeRans(
        _ bytes: Span<UInt8>, rows: Int, columns: Int, _ parameters: TrellisParameters, step: Float,
        _ format: FloatFormat, into weights: inout [Float]
    ) throws(DecodingFailure) {
        var target = weights.mutableSpan
        do throws(Kernels.RansFault) {
            try Kernels.ransDecode(
                bytes, Kernels.ChunkShape(rows: rows, columns: columns), rule: parameters.ransRule, low: lowBits.span,
                step: step, into: &target, ransScratch)
        } catch {
            switch error {
            case .length: throw .ransInvalid("too few bytes, or words left over")
            case .model: throw .ransInvalid("a table that no writer makes")
            case .state: throw .ransInvalid("a first state out of range")
            case .end: throw .ransInvalid("a last state other than the constant")
            }
        }
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

    /// Whether the levels of the largest symbols are above the largest finite value of an element type.
    func exceedsRange(_ parameters: TrellisParameters, _ format: FloatFormat) -> Bool {
        !(Float(2 * parameters.greatestSymbol + 1) * step <= format.largestFinite)
    }

    /// How far out, in levels, a weight is searched for (Specs/trellis.md, "Positions").
    ///
    /// The search may go up to two levels beyond a position's floor. Below N - 1, where N is the last level that the type can hold,
    /// every level it takes is finite, and no weight becomes a patch for it.
    private func farthestPosition(_ parameters: TrellisParameters, _ format: FloatFormat) -> Float {
        let farthest = parameters.farthestLevel
        guard exceedsRange(parameters, format) else { return farthest }
        var last = Int((Double(format.largestFinite) / Double(step)).rounded(.down))
        while Float(last) * step > format.largestFinite { last -= 1 }
        return last < 2 ? farthest : min(farthest, Float(last - 1).nextDown)
    }
}

extension TrellisParameters {
    /// Weights farther out than this, in levels, are stored as they are.
    var farthestLevel: Float { Float(2 * greatestSymbol - 1) }
}
