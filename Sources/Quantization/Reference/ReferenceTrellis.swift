package import TensorModel

extension Reference {
    // MARK: - The code

    /// The state after `state` with a symbol (Specs/trellis.md, section 2).
    package static func trellisState(after state: Int, symbol: Int, states: Int) -> Int {
        let taps: (ofState: Int, ofSymbol: Int) =
            switch states {
            case 8: (5, 2)
            case 16: (9, 2)
            default: (18, 4)
            }
        var next = state / 2
        if state % 2 != 0 { next ^= taps.ofState }
        if symbol % 2 != 0 { next ^= taps.ofSymbol }
        return next
    }

    /// The state before each symbol of a column.
    package static func trellisStates(_ symbols: [Int], states: Int) -> [Int] {
        var column: [Int] = []
        var state = 0
        for symbol in symbols {
            column.append(state)
            state = trellisState(after: state, symbol: symbol, states: states)
        }
        return column
    }

    // MARK: - The search

    /// The position of a weight, in units of 2^-14 level; whether the weight is an outlier, beyond the largest symbol; and whether its
    /// position was clamped.
    package static func trellisPosition(
        _ weight: Float, _ parameters: TrellisParameters, _ rule: TrellisRule, _ format: FloatFormat
    ) -> (position: Int, isOutlier: Bool, isClamped: Bool) {
        let level = weight * (1 / rule.step)
        var size = level.magnitude - rule.deadZone
        size = (size > 0 ? size : 0) * rule.shrink
        let outermost = Float(2 * (127 << parameters.lowBits) - 1)
        let isOutlier = size > outermost
        let farthest = trellisFarthest(parameters, rule, format)
        let isClamped = size > farthest
        if isClamped { size = farthest }
        let position = Int(size * 16384)
        return (level.sign == .minus ? -position : position, isOutlier, isClamped)
    }

    /// The level that positions are clamped to: below N - 1, where N is the last level that the element type can hold.
    package static func trellisFarthest(
        _ parameters: TrellisParameters, _ rule: TrellisRule, _ format: FloatFormat
    ) -> Float {
        let outermost = Float(2 * (127 << parameters.lowBits) - 1)
        let largest = largestFinite(format)
        func isFinite(_ level: Int) -> Bool { Float(level) * rule.step <= largest }
        let highest = 2 * (127 << parameters.lowBits) + 1
        guard !isFinite(highest), let last = (0..<highest).last(where: isFinite), last >= 2 else { return outermost }
        return min(outermost, Float(last - 1).nextDown)
    }

    /// The largest finite value of an element type.
    package static func largestFinite(_ format: FloatFormat) -> Float {
        switch format {
        case .f16: 65504
        case .bf16: Float(bitPattern: 0x7f7f_0000)
        case .f32: .greatestFiniteMagnitude
        }
    }

    /// The symbols of one column: the best path through the trellis.
    ///
    /// Metrics are exact and unbounded here; the kernels keep them in 16 bits.
    package static func trellisSearch(
        _ column: [Float], _ parameters: TrellisParameters, _ rule: TrellisRule, _ format: FloatFormat
    ) -> [Int] {
        trellisPath(
            column.map { trellisPosition($0, parameters, rule, format).position }, states: parameters.states)
    }

    /// The symbols of the best path along positions, in units of 2^-14 level.
    package static func trellisPath(_ positions: [Int], states: Int) -> [Int] {
        var metrics = [Int?](repeating: nil, count: states)
        metrics[0] = 0
        // For each row and state after it: the state before it and the symbol's parity on the best path.
        var ways: [[(state: Int, parity: Int)?]] = []
        for position in positions {
            var next = [Int?](repeating: nil, count: states)
            var from = [(state: Int, parity: Int)?](repeating: nil, count: states)
            // Paths with an even symbol come first and win ties.
            for parity in 0...1 {
                for state in 0..<states {
                    guard let metric = metrics[state] else { continue }
                    let sum = metric + trellisCost(position, residue: 2 * parity + state % 2)
                    let target = trellisState(after: state, symbol: parity, states: states)
                    guard sum < next[target] ?? .max else { continue }
                    next[target] = sum
                    from[target] = (state, parity)
                }
            }
            metrics = next
            ways.append(from)
        }
        // The state with the least metric; the lowest state wins ties.
        var state = (0..<states).min { (metrics[$0] ?? .max, $0) < (metrics[$1] ?? .max, $1) } ?? 0
        var symbols: [Int] = []
        for (position, from) in zip(positions, ways).reversed() {
            guard let way = from[state] else { preconditionFailure("a state that no way leads to") }
            let level = trellisLevel(position, residue: 2 * way.parity + way.state % 2)
            symbols.append((level - way.state % 2) / 2)
            state = way.state
        }
        return symbols.reversed()
    }

    /// The level nearest to a position among those congruent to `residue` modulo 4; the upper one wins ties.
    private static func trellisLevel(_ position: Int, residue: Int) -> Int {
        let floor = Int((Double(position) / 16384).rounded(.down))
        return (floor - 1...floor + 2).first { ($0 - residue) % 4 == 0 } ?? 0
    }

    /// The squared distance to that level, in units of 2^-10 level^2, rounded down.
    private static func trellisCost(_ position: Int, residue: Int) -> Int {
        let distance = position - 16384 * trellisLevel(position, residue: residue)
        return distance * distance / 262_144
    }

    /// The symbols of a chunk, row-major.
    package static func trellisQuantize(
        _ weights: [Float], rows: Int, columns: Int, _ parameters: TrellisParameters, _ rule: TrellisRule,
        _ format: FloatFormat
    ) -> [Int] {
        var symbols = [Int](repeating: 0, count: rows * columns)
        for column in 0..<columns {
            let found = trellisSearch((0..<rows).map { weights[$0 * columns + column] }, parameters, rule, format)
            for row in 0..<rows { symbols[row * columns + column] = found[row] }
        }
        return symbols
    }

    // MARK: - Weights

    /// The levels of the symbols of a chunk, row-major.
    package static func trellisLevels(_ symbols: [Int], rows: Int, columns: Int, states: Int) -> [Int] {
        var levels = [Int](repeating: 0, count: rows * columns)
        for column in 0..<columns {
            let own = (0..<rows).map { symbols[$0 * columns + column] }
            for (row, state) in trellisStates(own, states: states).enumerated() {
                levels[row * columns + column] = 2 * own[row] + state % 2
            }
        }
        return levels
    }

    /// The weights stored exactly, as patches: outliers, and weights whose restored value the format cannot hold.
    package static func trellisPatches(
        _ weights: [Float], levels: [Int], _ parameters: TrellisParameters, _ rule: TrellisRule, _ format: FloatFormat
    ) -> [TrellisChunk.Patch] {
        let largest = largestFinite(format)
        return weights.indices.compactMap { index in
            let restored = Float(levels[index]) * rule.step
            guard trellisPosition(weights[index], parameters, rule, format).isOutlier || restored.magnitude > largest
            else {
                return nil
            }
            return TrellisChunk.Patch(index: index, bits: narrowed(weights[index], format))
        }
    }

    /// The class of each row. Classes have (nearly) equal numbers of rows and are in ascending order of energy.
    package static func trellisClasses(_ weights: [Float], rows: Int, columns: Int, classes: Int) -> [UInt8] {
        let energies = (0..<rows).map { rowEnergy(Array(weights[$0 * columns..<($0 + 1) * columns])) }
        let ranked = (0..<rows).sorted { (energies[$0], $0) < (energies[$1], $1) }
        var result = [UInt8](repeating: 0, count: rows)
        for (rank, row) in ranked.enumerated() { result[row] = UInt8(rank * classes / rows) }
        return result
    }

    /// The sum of squares of a row, in binary32 and in the lane order of the kernels.
    package static func rowEnergy(_ row: [Float]) -> Float {
        var lanes = [Float](repeating: 0, count: 16)
        for (index, weight) in row.enumerated() { lanes[index % 16] += weight * weight }
        for half in [8, 4, 2, 1] {
            for lane in 0..<half { lanes[lane] += lanes[lane + half] }
        }
        return lanes[0]
    }

    // MARK: - Streams

    /// The streams of a chunk before packing: one byte per symbol.
    package struct TrellisStreams: Sendable, Hashable {
        /// The codes, in stream 2 * class + parity.
        package var codes: [[UInt8]]
        /// Symbols without a code, as signed bytes.
        package var escapes: [UInt8] = []
        /// Low bits of all symbols, one byte each.
        package var lowBits: [UInt8] = []

        /// Empty streams.
        package init(_ parameters: TrellisParameters) {
            codes = Array(repeating: [], count: 2 * parameters.rowClasses)
        }
    }

    /// The order of the symbols: strip by strip of 64 columns, in a strip row by row.
    private static func trellisOrder(rows: Int, columns: Int) -> [(row: Int, column: Int)] {
        stride(from: 0, to: columns, by: 64).flatMap { strip in
            (0..<rows).flatMap { row in (strip..<min(strip + 64, columns)).map { (row, $0) } }
        }
    }

    /// Splits row-major symbols into streams.
    package static func trellisRoute(
        _ symbols: [Int], rowClasses: [UInt8], rows: Int, columns: Int, _ parameters: TrellisParameters
    ) -> TrellisStreams {
        let levels = trellisLevels(symbols, rows: rows, columns: columns, states: parameters.states)
        let limit = (parameters.alphabet - 1) / 2
        var streams = TrellisStreams(parameters)
        for (row, column) in trellisOrder(rows: rows, columns: columns) {
            let symbol = symbols[row * columns + column]
            let low = symbol & ((1 << parameters.lowBits) - 1)
            let high = (symbol - low) / (1 << parameters.lowBits)
            if parameters.lowBits > 0 { streams.lowBits.append(UInt8(low)) }
            let parity = levels[row * columns + column] & 1
            let stream = 2 * (parameters.rowClasses == 1 ? 0 : Int(rowClasses[row])) + parity
            if abs(high) <= limit {
                streams.codes[stream].append(UInt8(high + limit))
            } else {
                streams.codes[stream].append(UInt8(2 * limit + 1))
                streams.escapes.append(UInt8(bitPattern: Int8(high)))
            }
        }
        return streams
    }

    /// The symbols of streams, row-major; nil if a stream has more or fewer symbols than the trellis needs.
    package static func trellisSymbols(
        _ streams: TrellisStreams, rowClasses: [UInt8], rows: Int, columns: Int, _ parameters: TrellisParameters
    ) -> [Int]? {
        let limit = (parameters.alphabet - 1) / 2
        var codes = streams.codes.map { $0.makeIterator() }
        var escapes = streams.escapes.makeIterator()
        var lowBits = streams.lowBits.makeIterator()
        var states = [Int](repeating: 0, count: columns)
        var symbols = [Int](repeating: 0, count: rows * columns)
        for (row, column) in trellisOrder(rows: rows, columns: columns) {
            let state = states[column]
            let stream = 2 * (parameters.rowClasses == 1 ? 0 : Int(rowClasses[row])) + state % 2
            guard let code = codes[stream].next() else { return nil }
            var symbol = Int(code) - limit
            if parameters.alphabet == 256 {
                // The code 255 stands for -128.
                symbol = symbol == 128 ? -128 : symbol
            } else if symbol == limit + 1 {
                guard let escape = escapes.next() else { return nil }
                symbol = Int(Int8(bitPattern: escape))
            }
            if parameters.lowBits > 0 {
                guard let low = lowBits.next() else { return nil }
                symbol = symbol * (1 << parameters.lowBits) + Int(low)
            }
            symbols[row * columns + column] = symbol
            states[column] = trellisState(after: state, symbol: symbol, states: parameters.states)
        }
        for index in codes.indices where codes[index].next() != nil { return nil }
        return escapes.next() == nil ? symbols : nil
    }

    /// Packs symbols below 6, three per byte.
    package static func packThirds(_ symbols: [UInt8]) -> [UInt8] {
        stride(from: 0, to: symbols.count, by: 3).map { start in
            symbols[start..<min(start + 3, symbols.count)].reversed().reduce(0) { $0 * 6 + $1 }
        }
    }
}
