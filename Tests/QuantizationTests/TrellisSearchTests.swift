import Kernels
import Quantization
import TensorModel
import Testing

extension InstructionSetTests {
    // MARK: - The search

    /// Symbols, masks and restored weights of a sample, on every instruction set.
    func checkSearch(_ sample: Sample, _ parameters: TrellisParameters, _ format: FloatFormat) {
        let (rows, columns) = (sample.rows, sample.columns)
        let expected = Expected(sample, parameters, format)
        let rule = Kernels.TrellisRule(
            states: parameters.states, inverseStep: 1 / sample.rule.step, deadZone: sample.rule.deadZone,
            shrink: sample.rule.shrink, farthest: Reference.trellisFarthest(parameters, sample.rule, format))
        let outlier = sample.weights.contains {
            Reference.trellisPosition($0, parameters, sample.rule, format).isClamped
        }
        onEveryInstructionSet { set in
            let shape = Kernels.ChunkShape(rows: rows, columns: columns)
            var symbols = [Int16](repeating: 99, count: Kernels.symbolCount(shape))
            var masks = [UInt64](repeating: 99, count: Kernels.maskCount(shape))
            var scratch = [UInt16](
                repeating: 99, count: (Kernels.scratchCount(rows: rows, states: parameters.states) + 1) / 2)
            var symbolSpan = symbols.mutableSpan
            var maskSpan = masks.mutableSpan
            var scratchSpan = scratch.mutableSpan
            let tooFar = Kernels.trellisQuantize(
                sample.weights.span, shape, rule: rule, symbols: &symbolSpan, oddMasks: &maskSpan,
                scratch: &scratchSpan)
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
            chunk.quantize(sample.weights, rows: rows, columns: columns, parameters, sample.rule, format)
            chunk.restore(
                sample.weights, rows: rows, columns: columns, parameters, sample.rule, format, into: &restored)
            #expect(chunk.patches == expected.patches, "\(set), \(parameters), \(sample.what)")
            #expect(same(restored, expected.restored), "\(set), \(parameters), \(sample.what)")
            // The sums without restored weights in memory are those with them, to the bit, where they are given.
            let sums = chunk.errors(sample.weights, rows: rows, columns: columns, parameters, sample.rule, format)
            if let sums {
                let count = rows * columns
                #expect(
                    sums == ErrorSums.measure(sample.weights, restored, count: count) && chunk.patches.isEmpty,
                    "\(set), \(parameters), \(sample.what)")
            } else {
                #expect(
                    columns % 16 != 0 || outlier || sample.rule.exceedsAnyRange(parameters, format),
                    "\(set), \(parameters), \(sample.what): no sums")
            }
            // A second chunk in the same buffers, as the converter has them.
            chunk.quantize(sample.weights.reversed(), rows: rows, columns: columns, parameters, sample.rule, format)
            chunk.quantize(sample.weights, rows: rows, columns: columns, parameters, sample.rule, format)
            var histogram = [UInt64](repeating: 1, count: 64)
            chunk.addLevels(rows: rows, columns: columns, to: &histogram)
            var counts = [UInt64](repeating: 1, count: 64)
            for level in expected.levels { counts[min(abs(level), 63)] += 1 }
            #expect(histogram == counts, "\(set), \(parameters), \(sample.what)")
        }
        checkPromises(sample, expected, parameters, format)
    }

    /// What Specs/trellis.md promises of every encoder output.
    func checkPromises(
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

    /// V03: weights up to the type's largest value need no patch: every level that is taken can be held.
    @Test(arguments: FloatFormat.allCases, [2.0, 2.75, 3, 9.5, 120, 5000])
    func levelsStayInTheRangeOfTheType(format: FloatFormat, last: Double) throws {
        let largest = Reference.largestFinite(format)
        let step = TrellisRule.representable(Double(largest) / last)
        for (number, states) in TrellisParameters.stateCounts.enumerated() {
            let parameters = try #require(TrellisParameters(states: states, alphabet: 256, lowBits: 6))
            var generator = SeededGenerator(seed: UInt64(number))
            let weights = (0..<40 * 70).map { _ in
                Reference.expanded(
                    Reference.narrowed(min(max(generator.roughlyNormal() * 0.4, -1), 1) * largest, format), format)
            }
            #expect(weights.count { $0.magnitude == largest } > 10)
            for (deadZone, shrink) in [(Float(0), Float(1)), (0.125, 0.9375)] {
                let rule = TrellisRule(step: step, deadZone: deadZone, shrink: shrink)
                let sample = Sample("clipped, \(format), \(last)", weights, 40, 70, rule)
                checkSearch(sample, parameters, format)
                #expect(Expected(sample, parameters, format).patches.isEmpty, "\(sample.what), \(states) states")
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
                    Kernels.rowEnergies(weights.span, Kernels.ChunkShape(rows: 9, columns: columns), into: &target)
                    #expect(energies.map(\.bitPattern) == expected.map(\.bitPattern), "\(set), \(pattern), \(columns)")
                }
            }
        }
    }
}

extension TrellisRule {
    /// Whether a level of the largest symbols is beyond the largest finite value of an element type.
    fileprivate func exceedsAnyRange(_ parameters: TrellisParameters, _ format: FloatFormat) -> Bool {
        !(Float(2 * parameters.greatestSymbol + 1) * step <= format.largestFinite)
    }
}
