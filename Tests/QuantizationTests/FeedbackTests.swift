import Foundation
import Kernels
import Quantization
import TensorModel
import Testing

extension InstructionSetTests {
    // MARK: - Scale bytes

    @Test func scalesArePowersOfTwo() {
        for byte in UInt8.min...UInt8.max {
            let exact = Float(pow(2, Double(Int(byte) - 128) / 8))
            #expect(ScaleBytes.scale(byte).bitPattern == exact.bitPattern, "\(byte)")
            #expect(ScaleBytes.byte(octaves: Double(Int(byte) - 128) / 8) == byte)
        }
        #expect(ScaleBytes.scale(ScaleBytes.one) == 1)
        #expect(ScaleBytes.byte(octaves: 400) == 255 && ScaleBytes.byte(octaves: -400) == 0)
        #expect(ScaleBytes.byte(octaves: 0.0624) == 128 && ScaleBytes.byte(octaves: 0.0626) == 129)
    }

    @Test func appliesStepsAsTheReferenceDoes() {
        for (rows, columns) in [(1, 1), (3, 15), (2, 16), (5, 17), (4, 33), (7, 64), (2, 200)] {
            let sample = BandSample(.normal, .f32, rows, columns, part: 0.3, rowBytes: true, reach: 128, seed: 5)
            var generator = SeededGenerator(seed: 9)
            let levels = (0..<rows * columns).map { _ in Float(Int(generator.next() % 509) - 254) }
            let expected = levels.indices.map { index in
                let step = sample.steps.rowSteps[index / columns] * sample.steps.columnScales[index % columns]
                return levels[index] * step
            }
            onEveryInstructionSet { set in
                var found = levels
                sample.steps.apply(to: &found, rows: rows, columns: columns)
                #expect(same(found, expected), "\(set), \(rows) x \(columns)")
            }
        }
    }

    // MARK: - The factor

    /// Sizes around vectors and blocks of columns; the product of the factor with its transpose is the matrix.
    @Test(arguments: [1, 2, 7, 8, 9, 63, 64, 65, 128, 130, 200])
    func factorsAsTheReferenceDoes(count: Int) throws {
        let moments = MomentsSample(columns: count, width: count, tokens: 3 * count, shrinkage: 0, seed: UInt64(count))
        let matrix = moments.matrix.indices.map { index in
            Double(moments.matrix[index]) + (index / count == index % count ? 0.01 : 0)
        }
        let expected = try #require(Reference.upperFactor(matrix, count: count))
        for row in 0..<count {
            for column in row..<count {
                let product = (column..<count).reduce(0.0) { sum, index in
                    sum + expected[row * count + index] * expected[column * count + index]
                }
                let scale = (matrix[row * count + row] * matrix[column * count + column]).squareRoot()
                #expect(abs(product - matrix[row * count + column]) <= 1e-12 * scale, "\(row), \(column)")
            }
        }
        let stride = (count + 7) / 8 * 8
        func columnMajor(_ numbers: [Double]) -> [Double] {
            var result = [Double](repeating: .nan, count: count * stride)
            for column in 0..<count {
                for row in 0...column { result[column * stride + row] = numbers[row * count + column] }
            }
            return result
        }
        let wanted = columnMajor(expected)
        onEveryInstructionSet { set in
            // What stands behind the diagonal is any number.
            var found = columnMajor(matrix).map { $0.isNaN ? -7 : $0 }
            var span = found.mutableSpan
            #expect(Kernels.upperFactor(&span, count: count, stride: stride), "\(set)")
            let differ = (0..<count).contains { column in
                (0...column).contains {
                    found[column * stride + $0].bitPattern != wanted[column * stride + $0].bitPattern
                }
            }
            #expect(!differ, "\(set), \(count)")
            for pivot in [0.0, -1, .nan, .infinity] {
                var broken = columnMajor(matrix).map { $0.isNaN ? 0 : $0 }
                broken[count / 2 * stride + count / 2] = pivot
                var span = broken.mutableSpan
                #expect(!Kernels.upperFactor(&span, count: count, stride: stride), "\(set), pivot \(pivot)")
            }
        }
    }

    /// Scales of columns, damping and its doubling.
    @Test(arguments: [1, 5, 48, 64, 100, 130])
    func factorsOfMomentsAreTheReferences(width: Int) throws {
        for (seed, columns) in [1, 3, 64, 65, 200].enumerated() {
            for (tokens, shrinkage, zeros) in [(600, 0.0, false), (20, 0.1, false), (3, 0, true), (100, 1, true)] {
                let sample = MomentsSample(
                    columns: columns, width: width, tokens: tokens, shrinkage: shrinkage, seed: UInt64(seed),
                    zeroColumns: zeros)
                try checkFactors(sample, "\(columns) columns, width \(width), \(tokens) tokens, \(shrinkage)")
            }
        }
    }

    private func checkFactors(_ sample: MomentsSample, _ what: String) throws {
        let expected = try #require(sample.reference, "\(what)")
        onEveryInstructionSet { set in
            guard let factors = sample.factors else {
                Issue.record("\(set), \(what): no factors")
                return
            }
            #expect(factors.columns == sample.columns && factors.blocks.map(\.columns) == expected.map(\.columns))
            let octaves = expected.flatMap(\.pivots).map { -ExactMath.log2($0) }
            #expect(factors.octaves.map(\.bitPattern) == octaves.map(\.bitPattern), "\(set), \(what)")
            #expect(factors.doublings == expected.reduce(0) { $0 + $1.doublings }, "\(set), \(what)")
            let middle = (octaves.reduce(0, +) / Double(octaves.count) * 8).rounded() / 8
            #expect(factors.middle == middle, "\(set), \(what)")
            #expect(
                factors.columnBytes == octaves.map { UInt8(min(max(((($0 - middle) * 8).rounded() + 128), 0), 255)) },
                "\(set), \(what)")
        }
    }

    /// Numbers that are no moments: the damping is doubled until there is a factor.
    @Test func dampingIsDoubled() throws {
        var generator = SeededGenerator(seed: 4)
        let numbers = (0..<100 * 100).map { _ in Float(Int(generator.next() % 201) - 100) / 200 }
        let sample = MomentsSample(columns: 100, width: 100) { $0 == $1 ? 1 : numbers[$0 * 100 + $1] }
        #expect(try #require(sample.factors).doublings > 5)
        try checkFactors(sample, "no moments")
        // One block of two needs it; the damping of the other stays.
        let half = MomentsSample(columns: 128, width: 64) { row, column in
            row == column ? 1 : row < 64 ? 0.75 : 0
        }
        let mixed = MomentsSample(columns: 128, width: 64) { row, column in
            row == column ? 1 : row < 64 ? (column == row + 1 ? 3 : 0) : 0
        }
        #expect(try #require(half.factors).doublings == 0 && #require(mixed.factors).doublings > 0)
        try checkFactors(half, "half")
        try checkFactors(mixed, "mixed")
        #expect(try #require(mixed.factors).octaves[100...].allSatisfy { abs($0 + ExactMath.log2(1.01) / 2) < 1e-9 })
    }

    @Test func momentsWithoutFactor() {
        #expect(MomentsSample(columns: 70, width: 70) { _, _ in 0 }.factors == nil)
        #expect(MomentsSample(columns: 70, width: 1) { _, _ in 0 }.factors == nil)
        let huge = MomentsSample(columns: 70, width: 70) { row, column in
            row == column ? 1 : .greatestFiniteMagnitude
        }
        #expect(huge.factors == nil)
    }

    /// A block of 2048 columns that has 32 blocks of 64 has their factors.
    @Test func wideBlocks() throws {
        let small = MomentsSample(columns: 64, width: 64, tokens: 200, shrinkage: 0.05, seed: 8)
        func tiled(width: Int) throws -> FeedbackFactors {
            try #require(
                MomentsSample(columns: 2100, width: width, shrinkage: 0.05) { row, column in
                    row / 64 == column / 64 ? small.matrix[row % 64 * 64 + column % 64] : 0
                }.factors)
        }
        let (wide, narrow) = (try tiled(width: 2048), try tiled(width: 64))
        #expect(wide.blocks.map(\.columns) == [0..<2048, 2048..<2100] && narrow.blocks.count == 33)
        #expect(wide.octaves.map(\.bitPattern) == narrow.octaves.map(\.bitPattern))
        #expect(wide.columnBytes == narrow.columnBytes)
    }

    // MARK: - The search

    /// Symbols, patches, restored weights and sums of a band, tile by tile, on every instruction set.
    private func checkBand(
        _ sample: BandSample, _ moments: MomentsSample, _ parameters: TrellisParameters, _ format: FloatFormat,
        tileColumns: Int
    ) throws -> Int {
        let what = "\(sample.what), \(parameters), blocks of \(moments.width)"
        let blocks = try #require(moments.reference, "\(what)")
        let (rows, columns) = (sample.rows, sample.columns)
        // Both forms of the search, by the shape.
        let shrinkage: Float = (rows + columns) % 2 == 0 ? 0.26 : 0
        let expected = sample.expected(blocks, parameters, format, shrinkage: shrinkage)
        func sum(_ numbers: [Float]) -> Double {
            blocks.reduce(0.0) {
                $0
                    + max(
                        0,
                        Reference.activationSum(
                            numbers, rows: rows, columns: columns, moments.matrix, block: $1.columns))
            }
        }
        let (signal, noise) = (sum(sample.weights), sum(expected.errors))
        var chunk = TrellisChunk()
        try onEveryInstructionSet { set in
            let factors = try #require(moments.factors)
            var search = FeedbackSearch(
                factors, rows: rows, sample.steps, parameters, shrinkage: shrinkage, format, measures: true)
            for first in stride(from: 0, to: columns, by: tileColumns) {
                let range = first..<min(columns, first + tileColumns)
                var own = sample.steps
                own.columnScales = Array(own.columnScales[range])
                let weights = sample.part(sample.weights, range)
                var restored = [Float](repeating: 99, count: weights.count)
                chunk.quantize(&search, weights, rows: rows, columns: range, own, format, into: &restored)
                #expect(same(restored, sample.part(expected.restored, range)), "\(set), \(what), from \(first)")
                let patches = expected.patches.compactMap { index, value -> TrellisChunk.Patch? in
                    guard range.contains(index % columns) else { return nil }
                    return .init(
                        index: index / columns * range.count + index % columns - first,
                        bits: Reference.narrowed(value, format))
                }.sorted { $0.index < $1.index }
                #expect(chunk.patches == patches, "\(set), \(what), from \(first)")
                chunk.route(weights, rows: rows, columns: range.count, parameters)
                let streams = Reference.trellisRoute(
                    sample.part(expected.symbols, range), rowClasses: [], rows: rows, columns: range.count, parameters)
                for (stream, codes) in streams.codes.enumerated() {
                    let start = chunk.starts[stream]
                    #expect(Array(chunk.streams[start..<start + chunk.counts[stream]]) == codes, "\(set), \(what)")
                }
                #expect(Array(chunk.escapes[..<chunk.escapeCount]) == streams.escapes, "\(set), \(what)")
            }
            #expect(search.sums.signal.bitPattern == signal.bitPattern, "\(set), \(what)")
            #expect(search.sums.noise.bitPattern == noise.bitPattern, "\(set), \(what)")
        }
        return expected.patches.count
    }

    @Test(arguments: [1, 2, 15, 16, 17, 100, 512])
    func feedbackIsTheReferences(rows: Int) throws {
        var (number, patches) = (rows, 0)
        for columns in [1, 3, 63, 64, 65, 200] {
            for part in [0.4, 0.004] {
                number += 1
                let format = FloatFormat.allCases[number % 3]
                let states = TrellisParameters.stateCounts[number / 2 % 3]
                let alphabet = [256, 16, 6][number / 3 % 3]
                let parameters = try #require(TrellisParameters(states: states, alphabet: alphabet))
                let moments = MomentsSample(
                    columns: columns, width: [columns, 48, 100, 1, 64][number % 5], tokens: 150, shrinkage: 0.1,
                    seed: UInt64(number))
                let sample = BandSample(
                    .normal, format, rows, columns, part: part, rowBytes: number % 2 == 0, seed: UInt64(number))
                patches += try checkBand(
                    sample, moments, parameters, format, tileColumns: number % 2 == 0 ? 64 : 128)
            }
        }
        #expect(patches > 0 || rows == 1)
    }

    /// Weights that have been trouble; low bits; steps from small to large, so that there are patches for both reasons.
    @Test(arguments: FloatFormat.allCases)
    func feedbackOfEveryPattern(format: FloatFormat) throws {
        let moments = MomentsSample(columns: 70, width: 70, tokens: 90, shrinkage: 0.05, seed: 12)
        var patches = 0
        for (seed, pattern) in Pattern.allCases.enumerated() where pattern != .randomBits {
            for (index, part) in [0.13, 1.7, 0.003].enumerated() {
                let parameters = try #require(
                    TrellisParameters(
                        states: TrellisParameters.stateCounts[(seed + index) % 3], alphabet: 256,
                        lowBits: [0, 3, 6][index]))
                // Products of the largest numbers overflow in binary32.
                guard format != .f32 || ![.largest, .mixed].contains(pattern) else { continue }
                guard format != .bf16 || ![.largest, .mixed].contains(pattern) else { continue }
                let sample = BandSample(
                    pattern, format, 19, 70, part: part, rowBytes: index == 1, reach: 8, seed: UInt64(seed))
                patches += try checkBand(sample, moments, parameters, format, tileColumns: 64)
            }
        }
        #expect(patches > 0)
    }
}
