import Kernels
import Quantization
import TensorModel
import Testing

extension InstructionSetTests {
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

    func checkStreams(_ sample: Sample, _ expected: Expected, _ parameters: TrellisParameters) throws {
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
            chunk.quantize(sample.weights, rows: rows, columns: columns, parameters, sample.rule, .bf16)
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
    func route(_ symbols: [Int], _ rows: Int, _ columns: Int, _ parameters: TrellisParameters)
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

    func escapes(_ symbols: [Int], _ rows: Int, _ columns: Int) -> [UInt8] {
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
    func decodeAtTheEdge(
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
            let symbols = unsafe Kernels.SymbolStreams(
                rowClasses: classes.span.extracting(first: parameters.rowClasses == 1 ? 0 : rows),
                codes: Span(_unsafeElements: UnsafeBufferPointer(codes.bytes)), starts: starts.span,
                counts: counts.span, escapes: Span(_unsafeElements: UnsafeBufferPointer(escapes.bytes)),
                escapeCount: streams.escapes.count, lowBits: Span(_unsafeElements: UnsafeBufferPointer(low.bytes)))
            let complete = Kernels.trellisDecode(
                symbols, Kernels.ChunkShape(rows: rows, columns: columns), states: parameters.states,
                alphabet: Kernels.TrellisAlphabet(limit: parameters.limit, lowBits: parameters.lowBits), step: 1,
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
                TrellisRule(step: 0.01), .f32)
            try onEveryInstructionSet { set in
                let input = try EdgeOfMemory(
                    weights.flatMap { weight in
                        (0..<4).map { UInt8(truncatingIfNeeded: weight.bitPattern >> UInt32(8 * $0)) }
                    })
                let shape = Kernels.ChunkShape(rows: rows, columns: columns)
                var symbols = [Int16](repeating: 0, count: Kernels.symbolCount(shape))
                var masks = [UInt64](repeating: 0, count: Kernels.maskCount(shape))
                var scratch = [UInt16](repeating: 0, count: Kernels.scratchCount(rows: rows, states: 8))
                var symbolSpan = symbols.mutableSpan
                var maskSpan = masks.mutableSpan
                var scratchSpan = scratch.mutableSpan
                unsafe input.bytes.withMemoryRebound(to: Float.self) { input in
                    _ = unsafe Kernels.trellisQuantize(
                        Span(_unsafeElements: UnsafeBufferPointer(input)), shape,
                        rule: Kernels.TrellisRule(
                            states: 8, inverseStep: 1 / 0.01, deadZone: 0, shrink: 1, greatestSymbol: 127),
                        symbols: &symbolSpan, oddMasks: &maskSpan, scratch: &scratchSpan)
                }
                let first = (0..<min(columns, 64)).map { Int(symbols[$0]) }
                #expect(first == Array(expected[..<min(columns, 64)]), "\(set), \(rows) x \(columns)")
            }
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
