import Kernels
import Quantization
import TensorModel
import Testing

/// A chunk, rounded.
private func rounded(
    _ weights: [Float], rows: Int, columns: Int, _ parameters: UniformParameters, _ format: FloatFormat
) -> (chunk: UniformChunk, sums: ErrorSums) {
    var chunk = UniformChunk()
    let source = Reference.narrow(weights, format).bytes
    let sums = UniformQuantizer.round(source.span, format, rows: rows, columns: columns, parameters, into: &chunk)
    return (chunk, sums)
}

extension InstructionSetTests {
    /// Whole groups and tails, vectors that are whole and that are not, batches of sixteen groups and parts of one.
    private static let shapes = [(1, 1), (1, 7), (3, 65), (2, 200), (17, 96), (19, 1), (1, 1025), (5, 272), (1, 2048)]

    @Test(arguments: UniformParameters.all, FloatFormat.allCases)
    func roundsAsTheReferenceDoes(asked: UniformParameters, format: FloatFormat) throws {
        let parameters = try #require(asked.rounding)
        for (rows, columns) in InstructionSetTests.shapes {
            for (seed, pattern) in Pattern.allCases.enumerated() {
                let weights = pattern.weights(rows * columns, format, seed: UInt64(seed))
                let expected = Reference.uniformEncode(weights, rows: rows, columns: columns, parameters, format)
                let restored = Reference.uniformDecode(
                    codes: expected.codes, scales: expected.scales, biases: expected.biases, rows: rows,
                    columns: columns, parameters)
                let sums = Reference.errorSums(weights, restored)
                let context = "\(pattern), seed \(seed), \(rows) x \(columns)"
                onEveryInstructionSet { set in
                    let (chunk, measured) = rounded(weights, rows: rows, columns: columns, parameters, format)
                    #expect(chunk.codes == expected.codes, "\(set), \(context)")
                    #expect(chunk.scales.map(\.bitPattern) == expected.scales.map(\.bitPattern), "\(set), \(context)")
                    if !parameters.symmetric {
                        #expect(
                            chunk.biases.map(\.bitPattern) == expected.biases.map(\.bitPattern), "\(set), \(context)")
                    }
                    #expect(measured.signal.bitPattern == sums.signal.bitPattern, "\(set), \(context)")
                    #expect(measured.noise.bitPattern == sums.noise.bitPattern, "\(set), \(context)")
                    #expect(measured.maxError.bitPattern == sums.maxError.bitPattern, "\(set), \(context)")
                }
                checkRounding(weights, expected, restored, parameters, format, context)
            }
        }
    }

    /// What Specs/uniform.md promises of plain rounding.
    private func checkRounding(
        _ weights: [Float], _ encoded: (codes: [UInt8], scales: [Float], biases: [Float]), _ restored: [Float],
        _ parameters: UniformParameters, _ format: FloatFormat, _ context: String
    ) {
        #expect(encoded.codes.allSatisfy { Int($0) < 1 << parameters.bits }, "\(context)")
        #expect(encoded.scales.allSatisfy { $0.isFinite }, "\(context)")
        if parameters.symmetric { #expect(encoded.scales.allSatisfy { $0.sign == .plus }, "\(context)") }
        #expect(encoded.biases.allSatisfy { $0.isFinite }, "\(context)")
        for parameter in encoded.scales + encoded.biases {
            #expect(Reference.expanded(Reference.narrowed(parameter, format), format) == parameter, "\(context)")
        }
        #expect(Reference.narrow(restored, format).overflows == 0, "\(context)")
        #expect(restored.allSatisfy { $0.isFinite }, "\(context)")
        if weights.allSatisfy({ $0 == weights[0] }) { #expect(restored == weights, "\(context)") }
    }

    /// The order of zeros in a group, which vectors of other lengths see otherwise, leaves no trace.
    @Test(arguments: FloatFormat.allCases)
    func zerosOfEitherSignAreOne(format: FloatFormat) throws {
        for asked in UniformParameters.all {
            let parameters = try #require(asked.rounding)
            for extreme in [Float(0), 1, -1] {
                for negative in 0..<33 {
                    var weights = (0..<33).map {
                        Float(sign: $0 == negative ? .minus : .plus, exponent: 0, significand: 0)
                    }
                    weights[7] = extreme
                    let plain = weights.map { $0 + 0 }
                    onEveryInstructionSet { set in
                        let (one, _) = rounded(weights, rows: 1, columns: 33, parameters, format)
                        let (other, _) = rounded(plain, rows: 1, columns: 33, parameters, format)
                        #expect(one.codes == other.codes, "\(set)")
                        #expect(one.scales.map(\.bitPattern) == other.scales.map(\.bitPattern), "\(set)")
                        #expect(one.biases.map(\.bitPattern) == other.biases.map(\.bitPattern), "\(set)")
                    }
                }
            }
        }
    }
}

struct UniformRoundingTests {
    /// MLX's own numbers: codes count from the weight of the greatest magnitude, and one of them is zero.
    @Test func isTheRuleOfMLX() throws {
        let parameters = try #require(
            UniformParameters(bits: 2, groupSize: 32, symmetric: false, scales: .minmax))
        // The step of a third of 4 is 1.33; 3 is 2.25 of them from zero, which becomes 2 steps of 1.5.
        let (up, _) = rounded([-3, -1, 0, 1], rows: 1, columns: 4, parameters, .f16)
        #expect(up.scales[0] == 1.5 && up.biases[0] == -3 && up.codes[..<4] == [0, 1, 2, 3])
        let (down, _) = rounded([3, 1, 0, -1], rows: 1, columns: 4, parameters, .f16)
        #expect(down.scales[0] == -1.5 && down.biases[0] == 3 && down.codes[..<4] == [0, 1, 2, 3])
        // Zero is beyond the codes: the group's own span.
        let (beside, _) = rounded([5, 6, 7, 8], rows: 1, columns: 4, parameters, .f16)
        #expect(beside.scales[0] == -1 && beside.biases[0] == 8 && beside.codes[..<4] == [3, 2, 1, 0])
    }

    @Test func symmetricStepsReachTheGreatestMagnitude() throws {
        let parameters = try #require(UniformParameters(bits: 4, groupSize: 32, symmetric: true, scales: .minmax))
        let (chunk, sums) = rounded([-7.5, 7.5, 0, 3.25, -0.0], rows: 1, columns: 5, parameters, .bf16)
        #expect(chunk.scales[0] == 1 && chunk.codes[..<5] == [0, 15, 8, 11, 8])
        #expect(sums.maxError == 0.5)
    }

    /// Groups so small that their scale would be zero keep their weights.
    @Test(arguments: FloatFormat.allCases, [false, true])
    func minimumScale(format: FloatFormat, symmetric: Bool) throws {
        let parameters = try #require(UniformParameters(bits: 4, groupSize: 32, symmetric: symmetric, scales: .minmax))
        let minimum: Float =
            switch format {
            case .f16: 0x1p-24
            case .bf16: 0x1p-133
            case .f32: 0x1p-149
            }
        let weights: [Float] = [0, minimum, 2 * minimum, 0, -minimum]
        let (chunk, sums) = rounded(weights, rows: 1, columns: 5, parameters, format)
        #expect(chunk.scales[0].magnitude == minimum)
        #expect(sums.noise == 0)
    }

    /// Nothing is restored beyond what the format holds, whatever the ratio of the extremes.
    @Test(arguments: UniformParameters.all, FloatFormat.allCases)
    func largestWeights(asked: UniformParameters, format: FloatFormat) throws {
        let parameters = try #require(asked.rounding)
        let largest: Float =
            switch format {
            case .f16: 65504
            case .bf16: 0x1.fep127
            case .f32: .greatestFiniteMagnitude
            }
        for step in 0..<200 {
            let other = Reference.expanded(Reference.narrowed(largest * (Float(step) / 100 - 1), format), format)
            for sign in [Float(1), -1] {
                let weights = [largest * sign, other, 0, largest * sign / 2]
                let (chunk, _) = rounded(weights, rows: 1, columns: 4, parameters, format)
                var restored = weights
                UniformQuantizer.decode(chunk, rows: 1, columns: 4, parameters, into: &restored)
                #expect(Reference.narrow(restored, format).overflows == 0 && restored.allSatisfy(\.isFinite))
                let expected = Reference.uniformEncode(weights, rows: 1, columns: 4, parameters, format)
                #expect(Array(chunk.codes[..<4]) == expected.codes && chunk.scales[0] == expected.scales[0])
            }
        }
    }

    /// Relative mean square error on the weights that `isAsGoodAsTheFormatAllows` bounds for the search, which is better.
    @Test(arguments: [(2, 0.16), (3, 0.037), (4, 0.0085), (8, 2.95e-5)])
    func isAsGoodAsItsRule(bits: Int, bound: Double) throws {
        let parameters = try #require(UniformParameters(bits: bits, groupSize: 64, symmetric: false, scales: .minmax))
        let weights = Pattern.normal.weights(1 << 18, .f16, seed: 3)
        let (_, sums) = rounded(weights, rows: 256, columns: 1024, parameters, .f16)
        #expect(sums.relativeMSE < bound)
    }

    @Test func parametersKeepTheirScales() throws {
        #expect(UniformParameters.standard.scales == .searched)
        let parameters = try #require(UniformParameters(bits: 4, groupSize: 64, symmetric: false, scales: .minmax))
        #expect(parameters.with(bits: 6).scales == .minmax)
        #expect(parameters != .standard)
    }
}

extension UniformParameters {
    /// The same choices, with scales from the extremes.
    fileprivate var rounding: UniformParameters? {
        UniformParameters(bits: bits, groupSize: groupSize, symmetric: symmetric, scales: .minmax)
    }
}
