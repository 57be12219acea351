import Kernels
import Quantization
import TensorModel
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

extension TrellisParameters {
    /// Every alphabet and number of low bits there is.
    fileprivate static func all(states: Int) -> [TrellisParameters] {
        alphabets.flatMap { alphabet in
            (alphabet == 256 ? lowBitCounts : [0]).compactMap {
                TrellisParameters(states: states, alphabet: alphabet, lowBits: $0)
            }
        }
    }

    fileprivate func with(rowClasses: Int) -> TrellisParameters {
        TrellisParameters(states: states, alphabet: alphabet, lowBits: lowBits, rowClasses: rowClasses) ?? self
    }
}

/// Weights of a chunk, and a rule to encode them by.
private struct Sample {
    var what: String
    var weights: [Float]
    var rows: Int
    var columns: Int
    var rule: TrellisRule

    /// Weights of a pattern; the step is that part of their root mean square.
    init(
        _ pattern: Pattern, _ format: FloatFormat, _ rows: Int, _ columns: Int, part: Double, deadZone: Float = 0,
        shrink: Float = 1, seed: UInt64
    ) {
        what = "\(pattern), \(format), seed \(seed), \(rows) x \(columns), step \(part) rms, \(deadZone), \(shrink)"
        weights = pattern.weights(rows * columns, format, seed: seed)
        (self.rows, self.columns) = (rows, columns)
        let square = weights.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(weights.count)
        let step = TrellisRule.representable(square == 0 ? 1 : square.squareRoot() * part)
        rule = TrellisRule(step: step, deadZone: deadZone, shrink: shrink)
    }

    /// Weights a test makes, with steps as they come.
    init(_ what: String, _ weights: [Float], _ rows: Int, _ columns: Int, _ rule: TrellisRule) {
        self.what = what
        self.weights = weights
        (self.rows, self.columns, self.rule) = (rows, columns, rule)
    }
}

/// What the reference makes of a sample.
private struct Expected {
    let symbols: [Int]
    let levels: [Int]
    let patches: [TrellisChunk.Patch]
    let restored: [Float]

    init(_ sample: Sample, _ parameters: TrellisParameters, _ format: FloatFormat) {
        let (rows, columns) = (sample.rows, sample.columns)
        symbols = Reference.trellisQuantize(
            sample.weights, rows: rows, columns: columns, parameters, sample.rule)
        levels = Reference.trellisLevels(symbols, rows: rows, columns: columns, states: parameters.states)
        patches = Reference.trellisPatches(sample.weights, levels: levels, parameters, sample.rule, format)
        var restored = levels.map { Float($0) * sample.rule.step }
        for patch in patches { restored[patch.index] = Reference.expanded(patch.bits, format) }
        self.restored = restored
    }
}

/// A chunk ready to decode the given streams.
private func decoder(
    _ streams: Reference.TrellisStreams, classes: [UInt8], rows: Int, columns: Int, _ parameters: TrellisParameters
) -> TrellisChunk {
    var chunk = TrellisChunk()
    chunk.prepareStreams(rows: rows, columns: columns, parameters, counts: streams.codes.map(\.count))
    for (index, codes) in streams.codes.enumerated() {
        chunk.streams.replaceSubrange(chunk.starts[index]..<chunk.starts[index] + codes.count, with: codes)
    }
    let slack = [UInt8](repeating: 0xee, count: Kernels.symbolSlack)
    chunk.escapes = streams.escapes + slack
    chunk.setEscapeCount(streams.escapes.count)
    chunk.lowBits = streams.lowBits + slack
    chunk.rowClasses = classes
    return chunk
}

private func failure(_ body: () throws(DecodingFailure) -> Void) -> DecodingFailure? {
    do throws(DecodingFailure) { try body() } catch { return error }
    return nil
}

/// Equal bit for bit; in a message, this is shorter than the weights.
private func same(_ a: [Float], _ b: [Float]) -> Bool { a.map(\.bitPattern) == b.map(\.bitPattern) }

extension InstructionSetTests {
    // MARK: - The search

    /// Symbols, masks and restored weights of a sample, on every instruction set.
    private func checkSearch(_ sample: Sample, _ parameters: TrellisParameters, _ format: FloatFormat) {
        let (rows, columns) = (sample.rows, sample.columns)
        let expected = Expected(sample, parameters, format)
        let rule = Kernels.TrellisRule(
            states: parameters.states, inverseStep: 1 / sample.rule.step, deadZone: sample.rule.deadZone,
            shrink: sample.rule.shrink, greatestSymbol: parameters.greatestSymbol)
        let outlier = sample.weights.contains { Reference.trellisPosition($0, parameters, sample.rule).isOutlier }
        onEveryInstructionSet { set in
            var symbols = [Int16](repeating: 99, count: Kernels.symbolCount(rows: rows, columns: columns))
            var masks = [UInt64](repeating: 99, count: Kernels.maskCount(rows: rows, columns: columns))
            var scratch = [UInt16](
                repeating: 99, count: (Kernels.scratchCount(rows: rows, states: parameters.states) + 1) / 2)
            var symbolSpan = symbols.mutableSpan
            var maskSpan = masks.mutableSpan
            var scratchSpan = scratch.mutableSpan
            let tooFar = Kernels.trellisQuantize(
                sample.weights.span, rows: rows, columns: columns, rule: rule, symbols: &symbolSpan,
                oddMasks: &maskSpan, scratch: &scratchSpan)
            var levels = [Int](repeating: 0, count: rows * columns)
            var found = levels
            for row in 0..<rows {
                for column in 0..<columns {
                    let line = column / 64 * rows + row
                    found[row * columns + column] = Int(symbols[line * 64 + column % 64])
                    levels[row * columns + column] =
                        2 * found[row * columns + column] + Int(masks[line] >> UInt64(column % 64) & 1)
                }
            }
            #expect(found == expected.symbols, "\(set), \(parameters), \(sample.what)")
            #expect(levels == expected.levels, "\(set), \(parameters), \(sample.what)")
            #expect(tooFar == outlier, "\(set), \(parameters), \(sample.what)")
            var chunk = TrellisChunk()
            var restored = [Float](repeating: 99, count: sample.weights.count)
            chunk.quantize(sample.weights, rows: rows, columns: columns, parameters, sample.rule)
            chunk.restore(
                sample.weights, rows: rows, columns: columns, parameters, sample.rule, format, into: &restored)
            #expect(chunk.patches == expected.patches, "\(set), \(parameters), \(sample.what)")
            #expect(same(restored, expected.restored), "\(set), \(parameters), \(sample.what)")
            // A second chunk in the same buffers, as the converter has them.
            chunk.quantize(sample.weights.reversed(), rows: rows, columns: columns, parameters, sample.rule)
            chunk.quantize(sample.weights, rows: rows, columns: columns, parameters, sample.rule)
            var histogram = [UInt64](repeating: 1, count: 64)
            chunk.addLevels(rows: rows, columns: columns, to: &histogram)
            var counts = [UInt64](repeating: 1, count: 64)
            for level in expected.levels { counts[min(abs(level), 63)] += 1 }
            #expect(histogram == counts, "\(set), \(parameters), \(sample.what)")
        }
        checkPromises(sample, expected, parameters, format)
    }

    /// What Specs/trellis.md promises of every encoder output.
    private func checkPromises(
        _ sample: Sample, _ expected: Expected, _ parameters: TrellisParameters, _ format: FloatFormat
    ) {
        #expect(expected.symbols.allSatisfy { abs($0) <= parameters.greatestSymbol }, "\(sample.what)")
        #expect(Reference.narrow(expected.restored, format).overflows == 0, "\(sample.what)")
        #expect(expected.restored.allSatisfy { $0.isFinite }, "\(sample.what)")
        for patch in expected.patches {
            #expect(Reference.expanded(patch.bits, format) == sample.weights[patch.index], "\(sample.what)")
        }
    }

    private static let lowBits = [0, 2, 6]

    /// Every width of a strip, and those around one and two.
    @Test(arguments: TrellisParameters.stateCounts)
    func trellisSearchesStripsOfEveryWidth(states: Int) throws {
        let parameters = try #require(TrellisParameters(states: states, alphabet: 16))
        for columns in Array(1...66) + [127, 128, 130] {
            let rows = 1 + columns % 19
            checkSearch(
                Sample(
                    .normal, .f32, rows, columns, part: 0.4, deadZone: 0.0625, shrink: 0.96875, seed: UInt64(columns)),
                parameters, .f32)
        }
    }

    /// Metrics are rescaled every 16 rows.
    @Test(arguments: TrellisParameters.stateCounts, [1, 2, 3, 4, 5, 6, 15, 16, 17, 32, 33, 48, 512])
    func trellisSearchesColumnsOfEveryHeight(states: Int, rows: Int) throws {
        for (index, low) in InstructionSetTests.lowBits.enumerated() {
            let parameters = try #require(
                TrellisParameters(states: states, alphabet: low == 0 ? 6 : 256, lowBits: low))
            checkSearch(
                Sample(
                    .normal, .f16, rows, rows == 512 ? 13 : 77, part: 0.9, deadZone: 0.25, shrink: 0.90625,
                    seed: UInt64(rows + index)), parameters, .f16)
        }
    }

    @Test(arguments: TrellisParameters.stateCounts, FloatFormat.allCases)
    func trellisSearchesEveryPattern(states: Int, format: FloatFormat) throws {
        for (seed, pattern) in Pattern.allCases.enumerated() {
            for low in InstructionSetTests.lowBits {
                let parameters = try #require(
                    TrellisParameters(states: states, alphabet: low == 0 ? 64 : 256, lowBits: low))
                for (part, deadZone, shrink) in [(0.13, Float(0), Float(1)), (1.7, 0.375, 0.875), (0.0003, 0.0625, 1)] {
                    checkSearch(
                        Sample(
                            pattern, format, 19, 71, part: part, deadZone: deadZone, shrink: shrink, seed: UInt64(seed)),
                        parameters, format)
                }
            }
        }
    }

    /// Exactly between levels, on levels, and on the edge of what symbols reach: ties of every kind.
    @Test(arguments: TrellisParameters.stateCounts)
    func trellisBreaksTiesAsTheReferenceDoes(states: Int) throws {
        for low in [0, 3] {
            let parameters = try #require(TrellisParameters(states: states, alphabet: 256, lowBits: low))
            let edge = 2 * Float(parameters.greatestSymbol) - 1
            let special = [
                0, -0.0, 0.5, -0.5, 1, -1, 1.5, 2, -2, 2.5, 3, edge, -edge, edge.nextUp, -edge.nextUp, edge + 2,
            ]
            var generator = SeededGenerator(seed: 3)
            for step in [Float(0.25), 1] {
                let weights = (0..<40 * 67).map { _ in special[Int(generator.next() % 16)] * step }
                let rule = TrellisRule(step: step)
                checkSearch(Sample("ties", weights, 40, 67, rule), parameters, .f32)
                checkSearch(
                    Sample("ties", weights, 40, 67, TrellisRule(step: step, deadZone: 0.5, shrink: 0.5)), parameters,
                    .f32)
            }
        }
    }

    /// Steps at both ends of what is representable, where products overflow and vanish.
    @Test(arguments: [Float.leastNormalMagnitude, 0x1p126, 0x1p-24, 0x1p120])
    func trellisSearchesWithExtremeSteps(step: Float) throws {
        let parameters = try #require(TrellisParameters(states: 8, alphabet: 256, lowBits: 6))
        for format in FloatFormat.allCases {
            for (seed, pattern) in Pattern.allCases.enumerated() {
                var sample = Sample(pattern, format, 18, 66, part: 1, seed: UInt64(seed))
                sample.rule = TrellisRule(step: step, deadZone: 0.125, shrink: 0.9375)
                sample.what += ", step \(step)"
                checkSearch(sample, parameters, format)
            }
        }
    }

    @Test func rowEnergiesAreTheReferences() {
        for columns in [1, 15, 16, 17, 64, 100] {
            for (seed, pattern) in Pattern.allCases.enumerated() {
                let weights = pattern.weights(9 * columns, .f32, seed: UInt64(seed))
                let expected = (0..<9).map { Reference.rowEnergy(Array(weights[$0 * columns..<($0 + 1) * columns])) }
                onEveryInstructionSet { set in
                    var energies = [Float](repeating: 1, count: 9)
                    var target = energies.mutableSpan
                    Kernels.rowEnergies(weights.span, rows: 9, columns: columns, into: &target)
                    #expect(energies.map(\.bitPattern) == expected.map(\.bitPattern), "\(set), \(pattern), \(columns)")
                }
            }
        }
    }

    // MARK: - Streams

    /// Streams are the reference's, and lead back to level * step, with every alphabet and number of classes.
    @Test(arguments: TrellisParameters.stateCounts)
    func trellisStreamsLeadBack(states: Int) throws {
        for (rows, columns) in [(1, 1), (2, 63), (16, 65), (33, 127), (17, 130), (512, 3), (40, 64)] {
            for (seed, part) in [0.02, 0.13, 1.1].enumerated() {
                var sample = Sample(.normal, .bf16, rows, columns, part: part, seed: UInt64(seed))
                // Rows of different energy, some of them equal, and weights that are outliers without low bits.
                for row in 0..<rows {
                    for column in 0..<columns { sample.weights[row * columns + column] *= Float(1 << (row % 5)) }
                }
                if rows == 33 {
                    let outlier = Reference.narrowed(3000 * sample.rule.step, .bf16)
                    sample.weights[4 * columns + 100] = Reference.expanded(outlier, .bf16)
                }
                for parameters in TrellisParameters.all(states: states) {
                    let expected = Expected(sample, parameters, .bf16)
                    for classes in 1...4 {
                        try checkStreams(sample, expected, parameters.with(rowClasses: classes))
                    }
                }
            }
        }
    }

    private func checkStreams(_ sample: Sample, _ expected: Expected, _ parameters: TrellisParameters) throws {
        let (rows, columns) = (sample.rows, sample.columns)
        let classes = Reference.trellisClasses(
            sample.weights, rows: rows, columns: columns, classes: parameters.rowClasses)
        let streams = Reference.trellisRoute(
            expected.symbols, rowClasses: classes, rows: rows, columns: columns, parameters)
        let again = Reference.trellisSymbols(streams, rowClasses: classes, rows: rows, columns: columns, parameters)
        #expect(again == expected.symbols, "the reference itself: \(parameters), \(sample.what)")
        let restored = expected.levels.map { Float($0) * sample.rule.step }
        try onEveryInstructionSet { set in
            var chunk = TrellisChunk()
            var scratch = restored
            chunk.quantize(sample.weights, rows: rows, columns: columns, parameters, sample.rule)
            chunk.restore(
                sample.weights, rows: rows, columns: columns, parameters, sample.rule, .bf16, into: &scratch)
            chunk.route(sample.weights, rows: rows, columns: columns, parameters)
            var found = Reference.TrellisStreams(parameters)
            for index in found.codes.indices {
                let start = chunk.starts[index]
                found.codes[index] = Array(chunk.streams[start..<start + chunk.counts[index]])
            }
            found.escapes = Array(chunk.escapes[..<chunk.escapeCount])
            if parameters.lowBits > 0 { found.lowBits = Array(chunk.lowBits[..<(rows * columns)]) }
            #expect(found == streams, "\(set), \(parameters), \(sample.what)")
            if parameters.rowClasses > 1 {
                #expect(Array(chunk.rowClasses[..<rows]) == classes, "\(set), \(parameters), \(sample.what)")
            }
            var reader = decoder(streams, classes: classes, rows: rows, columns: columns, parameters)
            var decoded = [Float](repeating: .nan, count: rows * columns)
            try reader.decode(
                rows: rows, columns: columns, parameters, step: sample.rule.step, .bf16, into: &decoded)
            #expect(same(decoded, restored), "\(set), \(parameters), \(sample.what)")
            reader.patches = expected.patches
            try reader.decode(
                rows: rows, columns: columns, parameters, step: sample.rule.step, .bf16, into: &decoded)
            #expect(same(decoded, scratch), "\(set), \(parameters), \(sample.what)")
        }
    }

    /// Codes no encoder writes, but a decoder takes: any escape, and 255 where nothing escapes.
    @Test(arguments: TrellisParameters.stateCounts)
    func decodesCodesOfEveryKind(states: Int) throws {
        let (rows, columns) = (11, 70)
        for parameters in TrellisParameters.all(states: states) {
            for seed in 0..<4 {
                var generator = SeededGenerator(seed: UInt64(seed))
                // Symbols of any size, from which the streams follow; then the streams are changed to say the same in other codes.
                let symbols = (0..<rows * columns).map { _ in
                    Int(Int8(truncatingIfNeeded: generator.next())) * (1 << parameters.lowBits)
                        + Int(generator.next() % UInt64(1 << parameters.lowBits))
                }
                var streams = route(symbols, rows, columns, parameters)
                if parameters.hasEscape && seed == 3 {
                    // Everything as an escape.
                    streams.codes = streams.codes.map { $0.map { _ in UInt8(2 * parameters.limit + 1) } }
                    streams.escapes = escapes(symbols, rows, columns)
                }
                let again = Reference.trellisSymbols(
                    streams, rowClasses: [], rows: rows, columns: columns, parameters)
                #expect(again == symbols)
                let levels = Reference.trellisLevels(symbols, rows: rows, columns: columns, states: states)
                try onEveryInstructionSet { set in
                    let reader = decoder(streams, classes: [], rows: rows, columns: columns, parameters)
                    var decoded = [Float](repeating: .nan, count: rows * columns)
                    try reader.decode(
                        rows: rows, columns: columns, parameters, step: 0.75, .f32, into: &decoded)
                    #expect(decoded == levels.map { Float($0) * 0.75 }, "\(set), \(parameters), seed \(seed)")
                }
            }
        }
    }

    /// Streams of symbols from -128 on, which the encoder does not write.
    private func route(_ symbols: [Int], _ rows: Int, _ columns: Int, _ parameters: TrellisParameters)
        -> Reference.TrellisStreams
    {
        guard !parameters.hasEscape else {
            return Reference.trellisRoute(symbols, rowClasses: [], rows: rows, columns: columns, parameters)
        }
        let unit = 1 << parameters.lowBits
        let states = Reference.trellisLevels(symbols, rows: rows, columns: columns, states: parameters.states)
        var streams = Reference.TrellisStreams(parameters)
        for strip in stride(from: 0, to: columns, by: 64) {
            for row in 0..<rows {
                for index in row * columns + strip..<row * columns + min(strip + 64, columns) {
                    let low = symbols[index] & (unit - 1)
                    if unit > 1 { streams.lowBits.append(UInt8(low)) }
                    let high = (symbols[index] - low) / unit
                    streams.codes[states[index] & 1].append(UInt8(truncatingIfNeeded: high + 127))
                }
            }
        }
        return streams
    }

    private func escapes(_ symbols: [Int], _ rows: Int, _ columns: Int) -> [UInt8] {
        stride(from: 0, to: columns, by: 64).flatMap { strip in
            (0..<rows).flatMap { row in
                (strip..<min(strip + 64, columns)).map { UInt8(truncatingIfNeeded: symbols[row * columns + $0]) }
            }
        }
    }

    // MARK: - Miscounted streams

    /// A symbol or an escape more or less, anywhere: refused, or decoded to something else, but the counts always tell.
    @Test(arguments: TrellisParameters.stateCounts, [1, 2, 4])
    func refusesMiscountedStreams(states: Int, classes: Int) throws {
        let parameters = try #require(TrellisParameters(states: states, alphabet: 6, rowClasses: classes))
        let (rows, columns) = (23, 67)
        let sample = Sample(.normal, .f32, rows, columns, part: 0.3, seed: 11)
        let expected = Expected(sample, parameters, .f32)
        let rowClasses = Reference.trellisClasses(sample.weights, rows: rows, columns: columns, classes: classes)
        let whole = Reference.trellisRoute(
            expected.symbols, rowClasses: rowClasses, rows: rows, columns: columns, parameters)
        try #require(whole.escapes.count > 10 && whole.codes.allSatisfy { !$0.isEmpty })
        var forgeries: [(String, Reference.TrellisStreams)] = []
        func forge(_ what: String, _ change: (inout Reference.TrellisStreams) -> Void) {
            var streams = whole
            change(&streams)
            forgeries.append((what, streams))
        }
        for index in whole.codes.indices {
            forge("stream \(index) without its last") { $0.codes[index].removeLast() }
            forge("stream \(index) without its first") { $0.codes[index].removeFirst() }
            forge("stream \(index) with one more") { $0.codes[index].append(2) }
            forge("stream \(index) is empty") { $0.codes[index] = [] }
            forge("an escape more in stream \(index)") { $0.codes[index][0] = $0.codes[index][0] == 5 ? 0 : 5 }
            forge("a symbol of stream \(index) in another") {
                let next = (index + 1) % $0.codes.count
                $0.codes[next].append($0.codes[index].removeLast())
            }
        }
        forge("an escape less") { $0.escapes.removeLast() }
        forge("an escape more") { $0.escapes.append(100) }
        forge("no escapes") { $0.escapes = [] }
        onEveryInstructionSet { set in
            for (what, streams) in forgeries {
                let reader = decoder(streams, classes: rowClasses, rows: rows, columns: columns, parameters)
                var decoded = [Float](repeating: 0, count: rows * columns)
                let found = failure { () throws(DecodingFailure) in
                    try reader.decode(
                        rows: rows, columns: columns, parameters, step: 1, .f32, into: &decoded)
                }
                #expect(found == .miscounted, "\(set), \(parameters), \(what)")
                let reference = Reference.trellisSymbols(
                    streams, rowClasses: rowClasses, rows: rows, columns: columns, parameters)
                #expect(reference == nil, "\(what)")
            }
        }
    }

    /// Random streams of random counts, each in memory that ends where the kernel may no longer read: the kernel and the reference
    /// agree on what is refused and what it means.
    @Test(arguments: TrellisParameters.stateCounts)
    func neverReadsBehindAStream(states: Int) throws {
        for seed in UInt64(0)..<300 {
            var generator = SeededGenerator(seed: seed)
            func below(_ bound: Int) -> Int { Int(generator.next() % UInt64(bound)) }
            let alphabets = TrellisParameters.all(states: states)
            let parameters = alphabets[below(alphabets.count)].with(rowClasses: 1 + below(4))
            let (rows, columns) = (1 + below(12), 1 + below(140))
            let classes = (0..<rows).map { _ in UInt8(below(parameters.rowClasses)) }
            var streams = Reference.TrellisStreams(parameters)
            let codes = parameters.alphabet
            if seed % 3 == 0 {
                // As many symbols as weights, but shared out at random.
                for _ in 0..<rows * columns { streams.codes[below(streams.codes.count)].append(UInt8(below(codes))) }
            } else {
                let symbols = (0..<rows * columns).map { _ in below(9) - 4 }
                streams = Reference.trellisRoute(
                    symbols, rowClasses: classes, rows: rows, columns: columns, parameters)
                let index = below(streams.codes.count)
                if seed % 3 == 1, !streams.codes[index].isEmpty {
                    streams.codes[index][below(streams.codes[index].count)] = UInt8(below(codes))
                }
            }
            if parameters.hasEscape, seed % 2 == 0 {
                streams.escapes = (0..<below(rows * columns)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            }
            if parameters.lowBits > 0 {
                streams.lowBits = (0..<rows * columns).map { _ in UInt8(below(1 << parameters.lowBits)) }
            }
            let expected = Reference.trellisSymbols(
                streams, rowClasses: classes, rows: rows, columns: columns, parameters)
            try onEveryInstructionSet { set in
                let decoded = try decodeAtTheEdge(streams, classes, rows, columns, parameters)
                #expect((decoded == nil) == (expected == nil), "\(set), \(parameters), seed \(seed)")
                guard let expected, let decoded else { return }
                let levels = Reference.trellisLevels(expected, rows: rows, columns: columns, states: states)
                #expect(decoded == levels.map(Float.init), "\(set), \(parameters), seed \(seed)")
            }
        }
    }

    /// Decodes each buffer from memory that ends with it.
    private func decodeAtTheEdge(
        _ streams: Reference.TrellisStreams, _ classes: [UInt8], _ rows: Int, _ columns: Int,
        _ parameters: TrellisParameters
    ) throws -> [Float]? {
        let slack = [UInt8](repeating: 0xa5, count: Kernels.symbolSlack)
        var all: [UInt8] = []
        var starts: [Int] = []
        for codes in streams.codes {
            starts.append(all.count)
            all += codes + slack
        }
        let counts = streams.codes.map(\.count)
        let codes = try EdgeOfMemory(all)
        let escapes = try EdgeOfMemory(streams.escapes + slack)
        let low = try EdgeOfMemory(streams.lowBits + slack)
        let output = try EdgeOfMemory([UInt8](repeating: 0, count: 4 * rows * columns))
        return unsafe output.bytes.withMemoryRebound(to: Float.self) { output in
            var target = unsafe MutableSpan(_unsafeElements: output)
            let complete = unsafe Kernels.trellisDecode(
                states: parameters.states,
                rowClasses: classes.span.extracting(first: parameters.rowClasses == 1 ? 0 : rows),
                rows: rows, columns: columns,
                alphabet: Kernels.TrellisAlphabet(limit: parameters.limit, lowBits: parameters.lowBits), step: 1,
                streams: Span(_unsafeElements: UnsafeBufferPointer(codes.bytes)), starts: starts.span,
                counts: counts.span, escapes: Span(_unsafeElements: UnsafeBufferPointer(escapes.bytes)),
                escapeCount: streams.escapes.count, low: Span(_unsafeElements: UnsafeBufferPointer(low.bytes)),
                into: &target)
            return complete ? unsafe Array(output) : nil
        }
    }

    /// Weights that end where memory does, and buffers for the result that do.
    @Test func neverReadsBehindTheWeights() throws {
        for (rows, columns) in [(1, 1), (3, 63), (17, 64), (5, 65), (2, 200)] {
            let weights = Pattern.normal.weights(rows * columns, .f32, seed: 5)
            let expected = Reference.trellisQuantize(
                weights, rows: rows, columns: columns, try #require(TrellisParameters(states: 8, alphabet: 16)),
                TrellisRule(step: 0.01))
            try onEveryInstructionSet { set in
                let input = try EdgeOfMemory(
                    weights.flatMap { weight in
                        (0..<4).map { UInt8(truncatingIfNeeded: weight.bitPattern >> UInt32(8 * $0)) }
                    })
                var symbols = [Int16](repeating: 0, count: Kernels.symbolCount(rows: rows, columns: columns))
                var masks = [UInt64](repeating: 0, count: Kernels.maskCount(rows: rows, columns: columns))
                var scratch = [UInt16](repeating: 0, count: Kernels.scratchCount(rows: rows, states: 8))
                var symbolSpan = symbols.mutableSpan
                var maskSpan = masks.mutableSpan
                var scratchSpan = scratch.mutableSpan
                unsafe input.bytes.withMemoryRebound(to: Float.self) { input in
                    _ = unsafe Kernels.trellisQuantize(
                        Span(_unsafeElements: UnsafeBufferPointer(input)), rows: rows, columns: columns,
                        rule: Kernels.TrellisRule(
                            states: 8, inverseStep: 1 / 0.01, deadZone: 0, shrink: 1, greatestSymbol: 127),
                        symbols: &symbolSpan, oddMasks: &maskSpan, scratch: &scratchSpan)
                }
                let first = (0..<min(columns, 64)).map { Int(symbols[$0]) }
                #expect(first == Array(expected[..<min(columns, 64)]), "\(set), \(rows) x \(columns)")
            }
        }
    }

    // MARK: - rANS

    /// Bytes that depend on no instruction set and lead back; and of damaged ones, in memory that ends with them, all sets make the
    /// same, be it weights or a refusal.
    @Test(arguments: TrellisParameters.stateCounts, [0, 2, 6])
    func ransIsTheSameEverywhere(states: Int, low: Int) throws {
        let parameters = try #require(TrellisParameters(states: states, alphabet: 256, lowBits: low))
        for (number, (rows, columns)) in [(1, 1), (1, 64), (3, 65), (17, 127), (40, 64), (100, 200)].enumerated() {
            for part in [0.02, 0.3, 4] {
                let seed = UInt64(100 * number + low)
                let sample = Sample(.normal, .f32, rows, columns, part: part, seed: seed)
                let expected = Expected(sample, parameters, .f32)
                let streams = Reference.trellisRoute(
                    expected.symbols, rowClasses: [], rows: rows, columns: columns, parameters)
                let restored = expected.levels.map { Float($0) * sample.rule.step }
                var coded: [UInt8]?
                try onEveryInstructionSet { set in
                    var chunk = TrellisChunk()
                    chunk.quantize(sample.weights, rows: rows, columns: columns, parameters, sample.rule)
                    var bytes: [UInt8] = []
                    let count = chunk.encodeRans(rows: rows, columns: columns, parameters, into: &bytes)
                    bytes.removeLast(bytes.count - count)
                    coded = coded ?? bytes
                    #expect(bytes == coded, "\(set), \(sample.what)")
                    let decoded = try ransAtTheEdge(bytes, streams.lowBits, rows, columns, parameters, sample.rule.step)
                    #expect(decoded.map { same($0, restored) } == true, "\(set), \(sample.what)")
                }
                guard let whole = coded else { continue }
                var generator = SeededGenerator(seed: seed)
                for trial in 0..<60 {
                    var bytes = whole
                    switch trial % 3 {
                    case 0: bytes[Int(generator.next() % UInt64(bytes.count))] ^= 1 << UInt8(generator.next() % 8)
                    case 1: bytes.removeLast(Int(generator.next() % UInt64(bytes.count + 1)))
                    default:
                        for index in bytes.indices.suffix(trial) {
                            bytes[index] = UInt8(truncatingIfNeeded: generator.next())
                        }
                    }
                    var first: [Float]??
                    try onEveryInstructionSet { set in
                        let found = try ransAtTheEdge(
                            bytes, streams.lowBits, rows, columns, parameters, sample.rule.step)
                        guard let reference = first else {
                            first = .some(found)
                            return
                        }
                        let agrees =
                            (found == nil) == (reference == nil) && (found.map { same($0, reference ?? []) } ?? true)
                        #expect(agrees, "\(set), \(sample.what), trial \(trial)")
                    }
                }
            }
        }
    }

    /// Decodes from memory that ends with the bytes; nil where they are refused.
    private func ransAtTheEdge(
        _ bytes: [UInt8], _ lowBits: [UInt8], _ rows: Int, _ columns: Int, _ parameters: TrellisParameters,
        _ step: Float
    ) throws -> [Float]? {
        let input = try EdgeOfMemory(bytes)
        let low = try EdgeOfMemory(lowBits + [UInt8](repeating: 0xa5, count: Kernels.symbolSlack))
        let output = try EdgeOfMemory([UInt8](repeating: 0, count: 4 * rows * columns))
        let scratch = Kernels.RansScratch()
        return unsafe output.bytes.withMemoryRebound(to: Float.self) { output in
            var target = unsafe MutableSpan(_unsafeElements: output)
            do throws(Kernels.RansFault) {
                try unsafe Kernels.ransDecode(
                    Span(_unsafeElements: UnsafeBufferPointer(input.bytes)), rows: rows, columns: columns,
                    rule: Kernels.RansRule(states: parameters.states, lowBits: parameters.lowBits),
                    low: Span(_unsafeElements: UnsafeBufferPointer(low.bytes)), step: step, into: &target, scratch)
            } catch { return nil }
            return unsafe Array(output)
        }
    }

    // MARK: - Thirds

    @Test func packsThirds() throws {
        let parameters = try #require(TrellisParameters(states: 8, alphabet: 6))
        for count in Array(0..<40) + [1000, 1001, 1002] {
            var generator = SeededGenerator(seed: UInt64(count))
            let symbols = (0..<count).map { _ in UInt8(generator.next() % 6) }
            let expected = Reference.packThirds(symbols)
            try onEveryInstructionSet { set in
                #expect(SymbolPacking.byteCount(parameters, .coded, count) == expected.count)
                var packed = [UInt8](repeating: 0xee, count: expected.count + 1)
                SymbolPacking.pack([9] + symbols, 1, count, parameters, .stored, into: &packed)
                #expect(packed == expected + [0xee], "\(set), \(count)")
                var again = [UInt8](repeating: 0xee, count: count + 4)
                try SymbolPacking.unpack(packed, count, parameters, .coded, into: &again, at: 1)
                #expect(Array(again[1..<count + 1]) == symbols && again[0] == 0xee, "\(set), \(count)")
                #expect(again[count + 3] == 0xee, "\(set), \(count)")
            }
        }
    }

    /// All bytes as the last of a stream: what is no digit, or a digit of no symbol, is refused.
    @Test func refusesThirdsOfNoSymbol() throws {
        let parameters = try #require(TrellisParameters(states: 8, alphabet: 6))
        onEveryInstructionSet { set in
            for count in 1...3 {
                for byte in UInt8.min...UInt8.max {
                    var symbols = [UInt8](repeating: 0, count: 3)
                    let found = failure { () throws(DecodingFailure) in
                        try SymbolPacking.unpack([byte], count, parameters, .coded, into: &symbols, at: 0)
                    }
                    let bound = [6, 36, 216][count - 1]
                    let expected: DecodingFailure? = byte < bound ? nil : byte > 215 ? .symbolTooLarge : .tailNotZero
                    #expect(found == expected, "\(set), \(count) symbols, byte \(byte)")
                }
            }
        }
    }

    /// All alphabets' packings, from any place to any place.
    @Test(arguments: TrellisParameters.alphabets)
    func packsSymbols(alphabet: Int) throws {
        let parameters = try #require(TrellisParameters(states: 8, alphabet: alphabet))
        var generator = SeededGenerator(seed: UInt64(alphabet))
        let symbols = (0..<333).map { _ in UInt8(generator.next() % UInt64(alphabet)) }
        for form in [SymbolPacking.Form.stored, .coded] {
            for (start, count) in [(0, 0), (0, 333), (5, 1), (7, 300), (100, 33)] {
                let part = Array(symbols[start..<start + count])
                let expected =
                    parameters.fixedWidth.map { Reference.pack(part, form == .stored ? .dense : .aligned, bits: $0) }
                    ?? Reference.packThirds(part)
                try onEveryInstructionSet { set in
                    let bytes = SymbolPacking.byteCount(parameters, form, count)
                    #expect(bytes == expected.count)
                    var packed = [UInt8](repeating: 0xee, count: bytes + 2)
                    SymbolPacking.pack(symbols, start, count, parameters, form, into: &packed)
                    #expect(packed == expected + [0xee, 0xee], "\(set), \(form), \(start), \(count)")
                    var again = [UInt8](repeating: 0xee, count: start + count + 2)
                    try SymbolPacking.unpack(packed, count, parameters, form, into: &again, at: start)
                    #expect(Array(again[start..<start + count]) == part, "\(set), \(form), \(start), \(count)")
                }
            }
        }
        #expect(
            SymbolPacking.differ(parameters)
                == (SymbolPacking.byteCount(parameters, .stored, 240)
                    != SymbolPacking.byteCount(parameters, .coded, 240)))
    }
}

/// Bytes at the end of a page behind which there is nothing.
@safe private final class EdgeOfMemory {
    private let mapping: UnsafeMutableRawPointer
    private let length: Int
    let bytes: UnsafeMutableBufferPointer<UInt8>

    init(_ content: [UInt8]) throws {
        let page = 65536
        let room = (content.count + page - 1) / page * page
        length = room + page
        let mapping = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0)
        unsafe self.mapping = try unsafe #require(mapping == MAP_FAILED ? nil : mapping)
        try #require(unsafe mprotect(self.mapping + room, page, PROT_NONE) == 0)
        let start = unsafe (self.mapping + room - content.count).assumingMemoryBound(to: UInt8.self)
        unsafe bytes = UnsafeMutableBufferPointer(start: start, count: content.count)
        for index in content.indices { unsafe bytes[index] = content[index] }
    }

    deinit { unsafe munmap(mapping, length) }
}

struct TrellisTests {
    @Test func parameters() {
        var count = 0
        for states in 0...40 {
            for alphabet in 0...300 {
                for low in 0...8 {
                    for classes in 0...5
                    where TrellisParameters(states: states, alphabet: alphabet, lowBits: low, rowClasses: classes)
                        != nil
                    {
                        count += 1
                        #expect([8, 16, 32].contains(states) && [4, 6, 8, 16, 32, 64, 256].contains(alphabet))
                        #expect(low == 0 || alphabet == 256 && (2...6).contains(low))
                        #expect((1...4).contains(classes))
                    }
                }
            }
        }
        #expect(count == 3 * (7 + 5) * 4)
    }

    @Test func representableSteps() {
        var generator = SeededGenerator(seed: 8)
        for _ in 0..<1000 {
            let step = Double(Float(bitPattern: UInt32(truncatingIfNeeded: generator.next()) & 0x7fff_ffff))
            let found = TrellisRule.representable(step)
            #expect(found.isNormal && found > 0 && (1 / found).isNormal, "\(step)")
            #expect(found.bitPattern & 0x7ff == 0, "\(step)")
            if step > 0x1p-125, step < 0x1p125 { #expect(abs(Double(found) / step - 1) <= 0x1p-13, "\(step)") }
        }
        for step in [Double.nan, -.infinity, -1, 0, .leastNonzeroMagnitude, 1e-300, .infinity, 1e300] {
            let found = TrellisRule.representable(step)
            #expect(found.isNormal && found > 0 && (1 / found).isNormal, "\(step)")
        }
    }

    /// Normally distributed numbers, by Box and Muller.
    private static func normal(_ count: Int, seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in
            let u = (Double(generator.next() >> 11) + 0.5) * 0x1p-53
            let v = Double(generator.next() >> 11) * 0x1p-53
            return Float((-2 * log(u)).squareRoot() * cos(2 * Double.pi * v))
        }
    }

    /// Noise in step^2, between the 1/12 of all levels and the 1/3 of every other one.
    @Test(arguments: [(8, 0.2603), (16, 0.2571), (32, 0.2536)])
    func noiseIsAQuarterOfTheStepSquared(states: Int, expected: Double) throws {
        let parameters = try #require(TrellisParameters(states: states, alphabet: 256))
        for seed in UInt64(1)...3 {
            let weights = TrellisTests.normal(262_144, seed: seed)
            for step in [Float(0.03), 0.13, 0.4] {
                var chunk = TrellisChunk()
                var restored = weights
                let rule = TrellisRule(step: step)
                chunk.quantize(weights, rows: 512, columns: 512, parameters, rule)
                chunk.restore(weights, rows: 512, columns: 512, parameters, rule, .f32, into: &restored)
                let noise = ErrorSums.measure(weights, restored, count: weights.count).noise / 262_144
                let units = noise / Double(step * step)
                #expect(
                    abs(units - expected) < 0.001,
                    "\(states) states, step \(step), seed \(seed), noise \(units)")
            }
        }
    }

    /// Of the levels that one of two neighbouring trellis steps can reach, none is nearer than the best way's on the whole: never
    /// worse than every other level.
    @Test func neverWorseThanEveryOtherLevel() throws {
        for seed in UInt64(0)..<40 {
            var generator = SeededGenerator(seed: seed)
            let states = TrellisParameters.stateCounts[Int(generator.next() % 3)]
            let parameters = try #require(TrellisParameters(states: states, alphabet: 256))
            let (rows, columns) = (1 + Int(generator.next() % 40), 1 + Int(generator.next() % 70))
            let weights = (0..<rows * columns).map { _ in generator.roughlyNormal() * 7 }
            var chunk = TrellisChunk()
            var restored = weights
            chunk.quantize(weights, rows: rows, columns: columns, parameters, TrellisRule(step: 1))
            chunk.restore(
                weights, rows: rows, columns: columns, parameters, TrellisRule(step: 1), .f32, into: &restored)
            for column in 0..<columns {
                let own = stride(from: column, to: rows * columns, by: columns)
                let noise = own.reduce(0.0) { $0 + Double((weights[$1] - restored[$1]) * (weights[$1] - restored[$1])) }
                // Staying in state 0 with even symbols, every fourth level is there in each row; costs are rounded by 2^-10.
                let fourth = own.reduce(0.0) { sum, index in
                    let error = Double(weights[index] - 4 * (weights[index] / 4).rounded())
                    return sum + error * error
                }
                #expect(noise <= fourth + Double(rows) * 0x1p-9, "seed \(seed), column \(column)")
            }
        }
    }

    /// A column is encoded without regard to its neighbours.
    @Test func columnsAreIndependent() throws {
        let parameters = try #require(TrellisParameters(states: 16, alphabet: 256))
        let weights = Pattern.normal.weights(50 * 130, .f32, seed: 9)
        let rule = TrellisRule(step: 0.005, deadZone: 0.125)
        var chunk = TrellisChunk()
        var restored = weights
        chunk.quantize(weights, rows: 50, columns: 130, parameters, rule)
        chunk.restore(weights, rows: 50, columns: 130, parameters, rule, .f32, into: &restored)
        for column in 0..<130 {
            let own = (0..<50).map { weights[$0 * 130 + column] }
            var alone = own
            chunk.quantize(own, rows: 50, columns: 1, parameters, rule)
            chunk.restore(own, rows: 50, columns: 1, parameters, rule, .f32, into: &alone)
            #expect(alone == (0..<50).map { restored[$0 * 130 + column] }, "\(column)")
        }
    }

    @Test func refusesPatchesNoEncoderWrites() throws {
        let parameters = try #require(TrellisParameters(states: 8, alphabet: 16))
        var chunk = TrellisChunk()
        let weights: [Float] = [1, 2, 3, 4]
        chunk.quantize(weights, rows: 2, columns: 2, parameters, TrellisRule(step: 1))
        chunk.route(weights, rows: 2, columns: 2, parameters)
        func found(_ patches: [(Int, UInt32)], _ format: FloatFormat = .f16) -> DecodingFailure? {
            chunk.patches = patches.map { TrellisChunk.Patch(index: $0.0, bits: $0.1) }
            var decoded = weights
            return failure { () throws(DecodingFailure) in
                try chunk.decode(rows: 2, columns: 2, parameters, step: 1, format, into: &decoded)
            }
        }
        #expect(found([]) == nil)
        #expect(found([(0, 0x3c00), (3, 0x7bff)]) == nil)
        #expect(found([(3, 0), (0, 0)]) == .patchOutOfRange)
        #expect(found([(1, 0), (1, 0)]) == .patchOutOfRange)
        #expect(found([(4, 0)]) == .patchOutOfRange)
        #expect(found([(1 << 32 - 1, 0)]) == .patchOutOfRange)
        #expect(found([(2, 0x7c00)]) == .patchNotFinite(index: 2))
        #expect(found([(2, 0xfe01)]) == .patchNotFinite(index: 2))
        #expect(found([(2, 0x7f80)], .bf16) == .patchNotFinite(index: 2))
        #expect(found([(2, 0xff80_0000)], .f32) == .patchNotFinite(index: 2))
    }

    @Test func refusesClassesOfNoStreams() throws {
        let parameters = try #require(TrellisParameters(states: 8, alphabet: 16, rowClasses: 3))
        var chunk = TrellisChunk()
        let weights: [Float] = [1, 2, 3, 4, 5, 6]
        chunk.quantize(weights, rows: 3, columns: 2, parameters, TrellisRule(step: 1))
        chunk.route(weights, rows: 3, columns: 2, parameters)
        #expect(Array(chunk.rowClasses[..<3]) == [0, 1, 2])
        chunk.rowClasses[1] = 3
        var decoded = weights
        let found = failure { () throws(DecodingFailure) in
            try chunk.decode(rows: 3, columns: 2, parameters, step: 1, .f32, into: &decoded)
        }
        #expect(found == .classOutOfRange(row: 1))
    }
}
