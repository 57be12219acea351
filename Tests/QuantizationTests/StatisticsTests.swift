import Kernels
import Quantization
import TensorModel
import Testing

/// Statistics against plain sums over the weights, in binary64.
@Suite struct StatisticsTests {
    /// The plain sums of a tensor's finite weights.
    private struct Naive {
        let mean: Double, deviation: Double, skewness: Double, kurtosis: Double
        let finite: [Double]

        init(_ weights: [Float]) {
            let finite = weights.filter(\.isFinite).map(Double.init)
            let count = max(1, Double(finite.count))
            let mean = finite.reduce(0, +) / count
            func moment(_ power: Int) -> Double {
                finite.reduce(0) { sum, w in sum + (0..<power).reduce(1.0) { product, _ in product * (w - mean) } }
                    / count
            }
            let variance = moment(2)
            self.finite = finite
            self.mean = mean
            let deviation = variance.squareRoot()
            self.deviation = deviation
            skewness = variance > 0 ? moment(3) / (variance * deviation) : 0
            kurtosis = variance > 0 ? moment(4) / (variance * variance) : 0
        }
    }

    private func bytes(_ weights: [Float], _ format: FloatFormat) -> [UInt8] {
        weights.flatMap { weight -> [UInt8] in
            let element = Reference.narrowed(weight, format)
            return (0..<format.byteWidth).map { UInt8(truncatingIfNeeded: element >> UInt32(8 * $0)) }
        }
    }

    /// Statistics of weights counted in pieces of so many.
    private func statistics(_ weights: [Float], _ format: FloatFormat, piece: Int) -> WeightStatistics {
        var counts = WeightCounts(format)
        var counted = PieceCounts()
        var start = 0
        while start < weights.count {
            let part = Array(weights[start..<min(weights.count, start + piece)])
            let bytes = bytes(part, format)
            counted.count(bytes.span, format, rows: 1, columns: part.count, wantsEnergies: false)
            counts.add(counted)
            start += piece
        }
        return WeightStatistics(counts)
    }

    private func isNear(_ a: Double, _ b: Double, _ tolerance: Double, of scale: Double = 1) -> Bool {
        abs(a - b) <= tolerance * max(abs(b), scale)
    }

    /// Random tensors: any format, size, offset, some with NaN and infinity, in pieces of any length.
    @Test func plainSums() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = SeededGenerator(seed: seed)
        for trial in 0..<120 {
            let format = FloatFormat.allCases[trial % 3]
            let count = Int(generator.next() % (trial % 10 == 0 ? 20_000 : 1500))
            let scale = [0.02, 1e-3, 5][Int(generator.next() % 3)]
            let offset = [0, 0, 3][Int(generator.next() % 3)] * Float(scale)
            let strange = generator.next() % 3 == 0
            let weights = (0..<count).map { _ -> Float in
                if strange, generator.next() % 20 == 0 {
                    return [.nan, .infinity, -.infinity, 0][Int(generator.next() % 4)]
                }
                let weight = generator.roughlyNormal() * Float(scale) + offset
                return Reference.expanded(Reference.narrowed(weight, format), format)
            }
            let piece = 1 + Int(generator.next() % 3000)
            let found = statistics(weights, format, piece: piece)
            let expected = Naive(weights)
            let context = "seed \(seed), trial \(trial), \(format), \(count) weights in pieces of \(piece)"
            #expect(found.count == UInt64(count), "\(context)")
            #expect(found.nan == UInt64(weights.count(where: \.isNaN)), "\(context)")
            #expect(found.infinite == UInt64(weights.count(where: \.isInfinite)), "\(context)")
            #expect(found.zeros == UInt64(weights.count { $0 == 0 }), "\(context)")
            #expect(found.minimum == expected.finite.min() ?? 0, "\(context)")
            #expect(found.maximum == expected.finite.max() ?? 0, "\(context)")
            #expect(isNear(found.mean, expected.mean, 1e-12, of: expected.deviation), "\(context)")
            #expect(isNear(found.standardDeviation, expected.deviation, 1e-10, of: 0), "\(context)")
            #expect(isNear(found.kurtosis, expected.kurtosis, 1e-8), "\(context)")
            #expect(isNear(found.skewness, expected.skewness, 1e-8), "\(context)")
            let histogram = found.histogram
            let counted = histogram.counts.reduce(histogram.below + histogram.above, +)
            #expect(counted == UInt64(expected.finite.count), "\(context)")
            guard format != .f32 else { continue }
            let beyond = expected.finite.count { abs($0 - found.mean) > 6 * found.standardDeviation }
            #expect(found.outliers == UInt64(beyond), "\(context)")
            let width = (histogram.to - histogram.from) / 64
            for bin in 0..<64 where width > 0 {
                let inside = expected.finite.count { Int((($0 - histogram.from) / width).rounded(.down)) == bin }
                // Weights on an edge may fall to either side by the last bit.
                #expect(abs(Int(histogram.counts[bin]) - inside) <= max(2, inside / 50), "\(context), bin \(bin)")
            }
        }
    }

    /// How the weights are cut into pieces does not matter but for the last bits.
    @Test(arguments: FloatFormat.allCases) func pieces(format: FloatFormat) {
        let weights = Pattern.offset.weights(5000, format, seed: 3)
        let whole = statistics(weights, format, piece: 5000)
        for piece in [1, 7, 1024, 1025, 4999] {
            let found = statistics(weights, format, piece: piece)
            #expect(isNear(found.mean, whole.mean, 1e-13) && isNear(found.kurtosis, whole.kurtosis, 1e-9))
            #expect(isNear(found.standardDeviation, whole.standardDeviation, 1e-11, of: 0))
            #expect(found.histogram == whole.histogram && found.valueEntropy == whole.valueEntropy)
            #expect(found.outliers == whole.outliers && found.minimum == whole.minimum)
        }
    }

    @Test func knownDistributions() {
        var generator = SeededGenerator(seed: 11)
        let uniform = (0..<400_000).map { _ in Float(generator.next() >> 40) * 0x1p-24 }
        let found = statistics(uniform, .f32, piece: 100_000)
        #expect(isNear(found.mean, 0.5, 2e-3) && isNear(found.standardDeviation, 1 / 12.0.squareRoot(), 5e-3))
        #expect(isNear(found.kurtosis, 1.8, 1e-2) && abs(found.skewness) < 0.02 && found.outliers == 0)
        // Two values, equally often: kurtosis 1, one bit.
        let coin = (0..<4096).map { Float($0 % 2) }
        #expect(isNear(statistics(coin, .f16, piece: 512).kurtosis, 1, 1e-12))
        #expect(statistics(coin, .f16, piece: 512).valueEntropy == 1)
        // One weight far away from many zeros.
        let spike = [Float](repeating: 0, count: 9999) + [1]
        #expect(statistics(spike, .bf16, piece: 10_000).outliers == 1)
    }

    @Test(arguments: FloatFormat.allCases) func nothingAndStrangeThings(format: FloatFormat) {
        let nothing = statistics([], format, piece: 1)
        #expect(nothing.count == 0 && nothing.standardDeviation == 0 && nothing.histogram.counts.allSatisfy { $0 == 0 })
        let bad = statistics([.nan, .infinity, -.infinity, .nan, .nan], format, piece: 2)
        #expect(bad.nan == 3 && bad.infinite == 2 && bad.mean == 0 && bad.absoluteMaximum == 0)
        let constant = statistics([Float](repeating: -0.34375, count: 3000), format, piece: 1000)
        #expect(constant.standardDeviation == 0 && constant.kurtosis == 0 && constant.mean == -0.34375)
        #expect(constant.histogram.counts.reduce(0, +) == 3000 && constant.outliers == 0)
        let tiny: Float = format == .f16 ? 0x1p-24 : 0x1p-133
        #expect(statistics([tiny, -tiny, 0, -0.0, 1], format, piece: 5).subnormal == 2)
    }

    /// A weight on an edge counts in the bin above; the end of the last bin is outside.
    @Test func histogramEdges() {
        var counts = WeightCounts(.f16)
        var piece = PieceCounts()
        let weights: [Float] = [-1, -0.5, 0, 0.03125, 0.999, 1, 2, -1.001]
        let bytes = bytes(weights, .f16)
        piece.count(bytes.span, .f16, rows: 1, columns: weights.count, wantsEnergies: false)
        counts.add(piece)
        let histogram = Histogram(counts, from: -1, to: 1)
        #expect(histogram.counts[0] == 1 && histogram.counts[16] == 1 && histogram.counts[32] == 1)
        #expect(histogram.counts[33] == 1 && histogram.counts[63] == 1)
        #expect(histogram.below == 1 && histogram.above == 2)
        let empty = Histogram(counts, from: 0, to: 0)
        #expect(empty.counts.reduce(empty.below + empty.above, +) == 8)
    }

    @Test func errors() {
        var generator = SeededGenerator(seed: 5)
        let original = (0..<5000).map { _ in generator.roughlyNormal() * 0.02 }
        let restored = original.map { ($0 * 64).rounded() / 64 }
        var statistics = ErrorStatistics()
        var piece = PieceComparison()
        for start in stride(from: 0, to: 5000, by: 1300) {
            let end = min(5000, start + 1300)
            piece.compare(original.span.extracting(start..<end), restored.span.extracting(start..<end))
            statistics.add(piece)
        }
        let pairs = zip(original, restored)
        let errors = pairs.map { Double(abs($0 - $1)) }.sorted()
        #expect(statistics.count == 5000 && statistics.sums.maxError == errors[4999])
        #expect(statistics.p999Error >= errors[4994] && statistics.p999Error <= errors[4994] * 1.016)
        #expect(statistics.zeroed == UInt64(pairs.count { $0 != 0 && $1 == 0 }))
        let dot = pairs.reduce(0) { $0 + Double($1.0) * Double($1.1) }
        let lengths = [original, restored].map { $0.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot() }
        #expect(isNear(statistics.cosine, dot / (lengths[0] * lengths[1]), 1e-12))
    }

    /// Values are compared as real numbers, down to differences whose square is 0 in binary64.
    @Test func firstDifference() {
        func compare(_ original: [Float], _ restored: [Float]) -> PieceDifference? {
            var piece = PieceComparison()
            piece.compare(original.span, restored.span)
            return piece.difference
        }
        let tiny = Float.leastNonzeroMagnitude
        var weights = [Float](repeating: 1, count: 3000)
        weights[5] = -0.0
        weights[2900] = .infinity
        #expect(compare(weights, weights) == nil)
        for (index, value) in [(5, tiny), (2900, -.infinity), (2999, Float(1).nextUp), (0, .nan)] {
            var other = weights
            other[index] = value
            let found = compare(weights, other)
            #expect(found?.index == index && found?.count == 1, "\(index): \(String(describing: found))")
            #expect(found?.original == .float(weights[index]))
        }
        var zeros = weights
        zeros[5] = 0
        #expect(compare(weights, zeros) == nil && compare(zeros, weights) == nil)
        // NaN equals NaN, whatever its bits.
        (weights[7], zeros[7]) = (.nan, Float(bitPattern: 0xFFC0_0001))
        #expect(compare(weights, zeros) == nil)
        (weights[8], zeros[8], zeros[9]) = (tiny, -tiny, 2)
        let found = compare(weights, zeros)
        #expect(found?.index == 8 && found?.count == 2 && found?.restored == .float(-tiny))
        #expect(found?.original.text == "1e-45" && found?.restored.text == "-1e-45")
    }

    @Test func codeEntropy() throws {
        var codes = CodeCounts()
        codes.count([0, 1, 2, 3, 0, 1, 2, 3, 9], count: 8)
        #expect(codes.entropy == 2)
        // Even levels 0 and 2 equally often, odd ones always 1: half a bit a weight; the patch is next to the farthest level.
        let parameters = try #require(TrellisParameters(states: 8, alphabet: 16))
        var levels = CodeCounts()
        levels.count([0, 0.5, 0.25, 0.25], count: 4, step: 0.25, parameters)
        #expect(levels.entropy == 0.5)
        var patched = CodeCounts()
        patched.count([.greatestFiniteMagnitude, -1e30], count: 2, step: 0.25, parameters)
        patched.add(levels)
        #expect(try #require(patched.entropy) > 0.5)
        #expect(CodeCounts().entropy == nil)
        #expect(Entropy.bits([1, 1, 2]) == 1.5 && Entropy.bits([]) == 0 && Entropy.bits([5]) == 0)
    }
}
