import Kernels
import Quantization
import TensorModel
import Testing

extension InstructionSetTests {
    private static let shapes = [(1, 1), (1, 7), (3, 65), (2, 200), (17, 96), (19, 1), (1, 1025)]

    @Test(arguments: UniformParameters.all, FloatFormat.allCases)
    func encodesAsTheReferenceDoes(parameters: UniformParameters, format: FloatFormat) {
        for (rows, columns) in InstructionSetTests.shapes {
            for (seed, pattern) in Pattern.allCases.enumerated() {
                let weights = pattern.weights(rows * columns, format, seed: UInt64(seed))
                let expected = Reference.uniformEncode(weights, rows: rows, columns: columns, parameters, format)
                let restored = Reference.uniformDecode(
                    codes: expected.codes, scales: expected.scales, biases: expected.biases, rows: rows,
                    columns: columns, parameters)
                onEveryInstructionSet { set in
                    let context = "\(set), \(pattern), seed \(seed), \(rows) x \(columns)"
                    var chunk = UniformChunk()
                    UniformQuantizer.encode(
                        weights, rows: rows, columns: columns, parameters, scaleFormat: format, into: &chunk)
                    #expect(chunk.codes == expected.codes, "\(context)")
                    #expect(chunk.scales.map(\.bitPattern) == expected.scales.map(\.bitPattern), "\(context)")
                    if !parameters.symmetric {
                        #expect(
                            chunk.biases.map(\.bitPattern) == expected.biases.map(\.bitPattern), "\(context)")
                    }
                    var decoded = [Float](repeating: 0, count: weights.count)
                    UniformQuantizer.decode(chunk, rows: rows, columns: columns, parameters, into: &decoded)
                    #expect(decoded.map(\.bitPattern) == restored.map(\.bitPattern), "\(context)")
                }
                checkPromises(weights, expected, restored, parameters, format, "\(pattern), \(rows) x \(columns)")
            }
        }
    }

    /// Groups of compressed-tensors, and whole rows; with scales of either sign.
    @Test(arguments: [2, 3, 4, 5, 6, 8], FloatFormat.allCases)
    func encodesScalesOfBothSignsAsTheReferenceDoes(bits: Int, format: FloatFormat) throws {
        var negative = 0
        let shapes = [(3, 65, 32), (5, 256, 128), (1, 7, 32), (17, 320, 320), (2, 1040, 1040), (18, 8, 8)]
        for (rows, columns, size) in shapes {
            for (seed, pattern) in Pattern.allCases.enumerated() {
                let weights = pattern.weights(rows * columns, format, seed: UInt64(seed))
                let expected = Reference.signedEncode(
                    weights, rows: rows, columns: columns, groupSize: size, bits: bits, format)
                let context = "\(pattern), \(rows) x \(columns) in groups of \(size)"
                onEveryInstructionSet { set in
                    var chunk = UniformChunk()
                    UniformQuantizer.encodeSigned(
                        weights, rows: rows, columns: columns, groupSize: size, bits: bits, scaleFormat: format,
                        into: &chunk)
                    #expect(chunk.codes == expected.codes, "\(set), \(context)")
                    #expect(chunk.scales.map(\.bitPattern) == expected.scales.map(\.bitPattern), "\(set), \(context)")
                }
                #expect(expected.scales.allSatisfy { $0.isFinite && ($0 != 0 || $0.sign == .plus) }, "\(context)")
                negative += expected.scales.count { $0 < 0 }
                // The error of a group is never larger than with scales of one sign; of a row, than that of compressed-tensors.
                let groups = (columns + size - 1) / size
                let restored = expected.codes.indices.map { index in
                    let scale = expected.scales[index / columns * groups + index % columns / size]
                    return scale * Float(Int(expected.codes[index]) - 1 << (bits - 1))
                }
                #expect(Reference.narrow(restored, format).overflows == 0, "\(context)")
                if weights.allSatisfy({ $0 == weights[0] }) { #expect(restored == weights, "\(context)") }
                let other = InstructionSetTests.restoredOtherwise(
                    weights, rows: rows, columns: columns, size: size, bits: bits, format)
                for row in 0..<rows where pattern == .normal || pattern == .offset {
                    let range = row * columns..<(row + 1) * columns
                    func error(_ restored: [Float]) -> Double {
                        range.reduce(0) { $0 + Double(weights[$1] - restored[$1]) * Double(weights[$1] - restored[$1]) }
                    }
                    #expect(error(restored) <= error(other) * (1 + 1e-6), "\(context), row \(row)")
                }
            }
        }
        #expect(negative > 0)
    }

    /// Weights restored from scales of one sign, or of rows from compressed-tensors' own scales.
    private static func restoredOtherwise(
        _ weights: [Float], rows: Int, columns: Int, size: Int, bits: Int, _ format: FloatFormat
    ) -> [Float] {
        var chunk = UniformChunk()
        if let parameters = UniformParameters(bits: bits, groupSize: size, symmetric: true) {
            UniformQuantizer.encode(
                weights, rows: rows, columns: columns, parameters, scaleFormat: format, into: &chunk)
        } else {
            UniformQuantizer.round(
                like: .compressedTensors, weights, rows: rows, columns: columns, groupSize: size, bits: bits, format,
                into: &chunk)
        }
        let groups = (columns + size - 1) / size
        return (0..<rows * columns).map { index in
            let scale = chunk.scales[index / columns * groups + index % columns / size]
            return scale * Float(Int(chunk.codes[index]) - 1 << (bits - 1))
        }
    }

    /// What Specs/uniform.md promises of every encoder output.
    private func checkPromises(
        _ weights: [Float], _ encoded: (codes: [UInt8], scales: [Float], biases: [Float]), _ restored: [Float],
        _ parameters: UniformParameters, _ format: FloatFormat, _ context: String
    ) {
        #expect(encoded.codes.allSatisfy { Int($0) < 1 << parameters.bits }, "\(context)")
        #expect(encoded.scales.allSatisfy { $0.isFinite && $0.sign == .plus }, "\(context)")
        #expect(encoded.biases.allSatisfy { $0.isFinite }, "\(context)")
        for parameter in encoded.scales + encoded.biases {
            #expect(Reference.expanded(Reference.narrowed(parameter, format), format) == parameter, "\(context)")
        }
        // Restored weights stay finite in the tensor's own format.
        #expect(Reference.narrow(restored, format).overflows == 0, "\(context)")
        #expect(restored.allSatisfy { $0.isFinite }, "\(context)")
        if weights.allSatisfy({ $0 == weights[0] }) { #expect(restored == weights, "\(context)") }
    }

    /// A group's codes do not depend on its neighbours.
    @Test func groupsAreIndependent() throws {
        let parameters = try #require(UniformParameters(bits: 4, groupSize: 32, symmetric: false))
        let weights = Pattern.normal.weights(40 * 32, .f16, seed: 2)
        onEveryInstructionSet { set in
            var whole = UniformChunk()
            UniformQuantizer.encode(
                weights, rows: 1, columns: 40 * 32, parameters, scaleFormat: .f16, into: &whole)
            for group in 0..<40 {
                var alone = UniformChunk()
                UniformQuantizer.encode(
                    Array(weights[group * 32..<group * 32 + 32]), rows: 1, columns: 32, parameters,
                    scaleFormat: .f16, into: &alone)
                #expect(alone.codes == Array(whole.codes[group * 32..<group * 32 + 32]), "\(set), \(group)")
                #expect(alone.scales[0] == whole.scales[group] && alone.biases[0] == whole.biases[group])
            }
        }
    }
}

struct UniformTests {
    /// Relative mean square error on normally distributed weights, group 64; Specs/uniform.md lists what is reached.
    ///
    /// The bounds are those of an earlier search with 12 ratios and 3 refits.
    @Test(arguments: [(4, 0.0069), (3, 0.0279), (2, 0.104)])
    func isAsGoodAsTheFormatAllows(bits: Int, bound: Double) throws {
        let parameters = try #require(UniformParameters(bits: bits, groupSize: 64, symmetric: false))
        var generator = SeededGenerator(seed: 42)
        // The exact distribution, by rejection: a sum of uniform numbers has lighter tails.
        let weights = (0..<262_144).map { _ in normal(&generator) }
        for format in FloatFormat.allCases {
            var chunk = UniformChunk()
            var restored = weights
            UniformQuantizer.encode(
                weights, rows: 256, columns: 1024, parameters, scaleFormat: format, into: &chunk)
            UniformQuantizer.decode(chunk, rows: 256, columns: 1024, parameters, into: &restored)
            let sums = ErrorSums.measure(weights, restored, count: weights.count)
            #expect(sums.relativeMSE < bound, "\(format)")
        }
    }

    /// Normally distributed numbers by the ratio of uniforms.
    private func normal(_ generator: inout SeededGenerator) -> Float {
        while true {
            let u = Float(generator.next() >> 40) / Float(1 << 24)
            let v = (Float(generator.next() >> 40) / Float(1 << 24) - 0.5) * 1.7155
            guard u > 0 else { continue }
            let x = v / u
            // u^2 <= exp(-x^2 / 2), by the series of exp(x^2 / 4): 1 / u >= 1 + y + y^2/2 + ...
            let y = x * x / 4
            var term: Float = 1
            var exponential: Float = 1
            for n in 1..<30 {
                term *= y / Float(n)
                exponential += term
            }
            if u * exponential <= 1 { return x }
        }
    }

    @Test(arguments: UniformParameters.all)
    func exactWhereCodesSuffice(parameters: UniformParameters) {
        // Multiples of a power of two over the whole range of codes.
        let low = parameters.symmetric ? -(1 << (parameters.bits - 1)) : 0
        let weights = (0..<parameters.groupSize * 4).map {
            Float(low + $0 * 7 % (1 << parameters.bits)) * 0.125
        }
        var chunk = UniformChunk()
        var restored = weights
        UniformQuantizer.encode(
            weights, rows: 4, columns: parameters.groupSize, parameters, scaleFormat: .bf16, into: &chunk)
        UniformQuantizer.decode(chunk, rows: 4, columns: parameters.groupSize, parameters, into: &restored)
        // At 8 bits a group does not hold every code, so its span need not be that of the codes.
        guard 1 << parameters.bits <= parameters.groupSize else { return }
        #expect(restored == weights)
    }

    @Test func parameters() {
        #expect(UniformParameters(bits: 7, groupSize: 64, symmetric: false) == nil)
        #expect(UniformParameters(bits: 4, groupSize: 48, symmetric: false) == nil)
        #expect(
            UniformParameters.standard == UniformParameters(bits: 4, groupSize: 64, symmetric: false))
        #expect((1...9).map(UniformParameters.roundingUp) == [2, 2, 3, 4, 5, 6, 8, 8, 8])
        #expect(UniformParameters.standard.with(bits: 7).bits == 8)
    }

    @Test func refusesScalesNoEncoderWrites() throws {
        let affine = UniformParameters.standard
        let symmetric = try #require(UniformParameters(bits: 4, groupSize: 64, symmetric: true))
        func failure(
            _ scales: [Float], _ biases: [Float], _ parameters: UniformParameters
        ) -> DecodingFailure? {
            var chunk = UniformChunk()
            chunk.prepare(rows: 2, columns: 64, parameters)
            (chunk.scales, chunk.biases) = (scales, biases)
            do throws(DecodingFailure) { try chunk.validate(parameters) } catch { return error }
            return nil
        }
        #expect(failure([1, -1], [0, -3], affine) == nil)
        #expect(failure([1, .nan], [0, 0], affine) == .scaleNotFinite(group: 1))
        #expect(failure([.infinity, 1], [0, 0], affine) == .scaleNotFinite(group: 0))
        #expect(failure([1, 1], [0, -.infinity], affine) == .biasNotFinite(group: 1))
        #expect(failure([1, 0], [.nan, .nan], symmetric) == nil)
        #expect(failure([1, -1], [0, 0], symmetric) == .scaleNegative(group: 1))
        #expect(failure([-0.0, 1], [0, 0], symmetric) == .scaleNegative(group: 0))
        #expect(failure([.nan, 1], [0, 0], symmetric) == .scaleNotFinite(group: 0))
    }
}
