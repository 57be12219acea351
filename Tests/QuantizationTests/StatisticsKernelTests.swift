import Kernels
import Quantization
import TensorModel
import Testing

extension InstructionSetTests {
    /// Rows and columns with tails of every length, blocks of 1,024 and more.
    private static let matrices =
        (1...70).map { (3, $0) } + [(1, 1023), (2, 1024), (2, 1025), (1, 2051), (70, 1), (33, 17)]

    /// Elements of all sorts: every pattern of bits, NaN, infinity, subnormals, zeros of both signs.
    private static func bytes(_ count: Int, _ format: FloatFormat, seed: UInt64) -> [UInt8] {
        var generator = SeededGenerator(seed: seed)
        let special: [Float] = [.nan, .infinity, -.infinity, 0, -0.0, 0x1p-149, -0x1p-133, 1, .greatestFiniteMagnitude]
        return (0..<count).flatMap { index -> [UInt8] in
            let element =
                switch generator.next() % 4 {
                case 0: UInt32(truncatingIfNeeded: generator.next())
                case 1: Reference.narrowed(special[Int(generator.next() % 9)], format)
                default: Reference.narrowed(generator.roughlyNormal() * 0.02, format)
                }
            return (0..<format.byteWidth).map { UInt8(truncatingIfNeeded: element >> UInt32(8 * $0)) }
        }
    }

    /// NaN has many patterns, and which of two is kept is the processor's choice.
    private func same(_ a: [Float], _ b: [Float]) -> Bool {
        a.count == b.count && zip(a, b).allSatisfy { $0.bitPattern == $1.bitPattern || ($0.isNaN && $1.isNaN) }
    }

    @Test(arguments: FloatFormat.allCases)
    func countsAsTheReferenceDoes(format: FloatFormat) {
        for (seed, (rows, columns)) in InstructionSetTests.matrices.enumerated() {
            let bytes = InstructionSetTests.bytes(rows * columns, format, seed: UInt64(seed))
            for shift in [0, -0.015625] {
                let expected = ReferenceStatistics(bytes, format, rows: rows, columns: columns, shift: shift)
                onEveryInstructionSet { set in
                    let context = "\(set), \(format), \(rows) x \(columns), shift \(shift)"
                    var counts = [UInt32](repeating: 0, count: Kernels.patternCount)
                    var rowEnergies = [Float](repeating: 0, count: rows)
                    var columnEnergies = [Float](repeating: 0, count: columns)
                    var moments = Kernels.Moments()
                    InstructionSetTests.count(
                        bytes, format, rows, columns, shift, &counts, &rowEnergies, &columnEnergies, &moments)
                    #expect(counts == expected.counts, "\(context)")
                    #expect(same(rowEnergies, expected.rowEnergies), "\(context)")
                    #expect(same(columnEnergies, expected.columnEnergies), "\(context)")
                    let powers = [moments.first, moments.second, moments.third, moments.fourth]
                    #expect(powers.map(\.bitPattern) == expected.powers.map(\.bitPattern), "\(context)")
                    #expect(moments.smallest == expected.smallest && moments.largest == expected.largest, "\(context)")
                    #expect(
                        [moments.zeros, moments.subnormals, moments.infinities]
                            == [expected.zeros, expected.subnormals, expected.infinities], "\(context)")
                }
            }
        }
    }

    private static func count(
        _ bytes: [UInt8], _ format: FloatFormat, _ rows: Int, _ columns: Int, _ shift: Double,
        _ counts: inout [UInt32], _ rowEnergies: inout [Float], _ columnEnergies: inout [Float],
        _ moments: inout Kernels.Moments
    ) {
        var counts = counts.mutableSpan
        var rowEnergies = rowEnergies.mutableSpan
        var columnEnergies = columnEnergies.mutableSpan
        Kernels.weightStatistics(
            bytes.span, format: format, rows: rows, columns: columns, shift: shift, counts: &counts,
            rowEnergies: &rowEnergies, columnEnergies: &columnEnergies, moments: &moments)
    }

    @Test func comparesAsTheReferenceDoes() {
        for (seed, count) in ((0...70).map { $0 } + [1023, 1024, 1025, 3000]).enumerated() {
            var generator = SeededGenerator(seed: UInt64(seed))
            let original = (0..<count).map { $0 % 11 == 3 ? 0 : generator.roughlyNormal() * 0.02 }
            let restored = original.enumerated().map { index, weight -> Float in
                switch generator.next() % 8 {
                case 0: weight
                case 1: 0
                case 2: -weight
                case 3: -0.0
                case 4: Float(index) * 0x1p-130
                default: weight + generator.roughlyNormal() * 0.002
                }
            }
            let sums = Reference.errorSums(original, restored)
            let (product, energy) = Reference.products(original, restored)
            let pairs = Array(zip(original, restored))
            var bins = [UInt32](repeating: 0, count: Kernels.errorBinCount)
            for (w, r) in pairs { bins[Int((w - r).magnitude.bitPattern >> 17)] += 1 }
            onEveryInstructionSet { set in
                var found = [UInt32](repeating: 0, count: Kernels.errorBinCount)
                let result = InstructionSetTests.compare(original, restored, &found)
                let context = "\(set), \(count), seed \(seed)"
                #expect(result.signal.bitPattern == sums.signal.bitPattern, "\(context)")
                #expect(result.noise.bitPattern == sums.noise.bitPattern, "\(context)")
                #expect(result.maxError.bitPattern == sums.maxError.bitPattern, "\(context)")
                let kernel = Kernels.errorSums(original: original.span, restored: restored.span)
                #expect(kernel.signal == result.signal && kernel.noise == result.noise, "\(context)")
                #expect(result.product.bitPattern == product.bitPattern, "\(context)")
                #expect(result.restoredEnergy.bitPattern == energy.bitPattern, "\(context)")
                #expect(result.changed == UInt64(pairs.count { $0 != $1 }), "\(context)")
                #expect(
                    result.signFlips == UInt64(pairs.count { $0 * $1 < 0 || ($0 > 0 && $1 < 0) || ($0 < 0 && $1 > 0) }))
                #expect(result.zeroed == UInt64(pairs.count { $0 != 0 && $1 == 0 }), "\(context)")
                #expect(found == bins, "\(context)")
            }
        }
    }

    private static func compare(
        _ original: [Float], _ restored: [Float], _ counts: inout [UInt32]
    ) -> Kernels.Comparison {
        var counts = counts.mutableSpan
        return Kernels.compareWeights(original: original.span, restored: restored.span, errorCounts: &counts)
    }
}
