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
                chunk.quantize(weights, rows: 512, columns: 512, parameters, rule, .f32)
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
            chunk.quantize(weights, rows: rows, columns: columns, parameters, TrellisRule(step: 1), .f32)
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
        chunk.quantize(weights, rows: 50, columns: 130, parameters, rule, .f32)
        chunk.restore(weights, rows: 50, columns: 130, parameters, rule, .f32, into: &restored)
        for column in 0..<130 {
            let own = (0..<50).map { weights[$0 * 130 + column] }
            var alone = own
            chunk.quantize(own, rows: 50, columns: 1, parameters, rule, .f32)
            chunk.restore(own, rows: 50, columns: 1, parameters, rule, .f32, into: &alone)
            #expect(alone == (0..<50).map { restored[$0 * 130 + column] }, "\(column)")
        }
    }

    @Test func refusesPatchesNoEncoderWrites() throws {
        let parameters = try #require(TrellisParameters(states: 8, alphabet: 16))
        var chunk = TrellisChunk()
        let weights: [Float] = [1, 2, 3, 4]
        chunk.quantize(weights, rows: 2, columns: 2, parameters, TrellisRule(step: 1), .f32)
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
        chunk.quantize(weights, rows: 3, columns: 2, parameters, TrellisRule(step: 1), .f32)
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
