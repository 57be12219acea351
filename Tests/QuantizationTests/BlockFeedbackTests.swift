import Kernels
import Quantization
import TensorModel
import Testing

/// Two neighbouring blocks of each row of a band, and what the search inside blocks needs of their columns.
private struct BlocksSample {
    let rows = 19, columns: Int
    var weights: [Float] = [], coupling: [Float], pivots: [Float] = []

    /// Rows of unlike sizes; some are zero, constant, of one sign, far from zero or sparse. Some columns have pivot 0.
    init(unit: Int, size: Float, seed: UInt64) {
        columns = 2 * unit
        var generator = SeededGenerator(seed: seed)
        for row in 0..<rows {
            for column in 0..<columns {
                let weight = generator.roughlyNormal() * size
                switch row {
                case 1: weights.append(0)
                case 2: weights.append(weight.magnitude)
                case 3: weights.append(0.75 * size)
                case 4: weights.append(-weight.magnitude - 9 * size)
                case 5: weights.append(column % 7 == 0 ? weight : 0)
                default: weights.append(weight * Float(1 + row % 3))
                }
            }
        }
        coupling = [Float](repeating: 0, count: columns * columns)
        for row in 0..<columns {
            pivots.append(row % 29 == 11 ? 0 : 0.5 + generator.roughlyNormal().magnitude)
            for column in row + 1..<max(columns, row + 1) {
                coupling[row * columns + column] = generator.roughlyNormal() * 0.05
            }
        }
    }

    /// Scales of the rows, of both signs; one is 0.
    func scales(_ size: Float, _ format: FloatFormat) -> [Float] {
        (0..<rows).map { row in
            let scale = size * Float(row % 5) * (row % 2 == 0 ? 0.1 : -0.1)
            return Reference.expanded(Reference.narrowed(scale, format), format)
        }
    }

    /// What the reference makes of a row, block by block.
    ///
    /// - Parameter scale: the scale of the row, if it is known already.
    func expected(
        _ row: Int, unit: Int, _ rule: Reference.BlockFeedbackRule, scale: Float? = nil
    ) -> [Reference.BlockFeedbackRow] {
        let own = Array(weights[row * columns..<(row + 1) * columns])
        var found: [Reference.BlockFeedbackRow] = []
        for start in [0, unit] {
            let range = start..<start + unit
            var targets = own
            for column in range {
                for (earlier, error) in found.flatMap(\.errors).enumerated() {
                    targets[column].addProduct(error, coupling[earlier * columns + column])
                }
            }
            let inside = range.flatMap { row in range.map { coupling[row * columns + $0] } }
            found.append(
                Reference.blockFeedback(
                    rule, weights: Array(own[range]), targets: Array(targets[range]), coupling: inside,
                    pivots: Array(pivots[range]), scale: scale))
        }
        return found
    }
}

extension InstructionSetTests {
    private func checkBlocks(
        _ format: Kernels.FeedbackFormat, _ rule: Reference.BlockFeedbackRule, size: Float, seed: UInt64
    ) {
        let unit = format.columns
        let sample = BlocksSample(unit: unit, size: size, seed: seed)
        var scales: [Float]?
        if case .given(_, let scaleFormat) = format { scales = sample.scales(size, scaleFormat) }
        let expected = (0..<sample.rows).map { sample.expected($0, unit: unit, rule, scale: scales?[$0]) }
        onEveryInstructionSet { set in
            let block = Kernels.FeedbackBlock()
            var results = Kernels.FeedbackResults()
            block.begin(rows: sample.rows, columns: sample.columns)
            block.load(sample.weights.span, width: sample.columns, offset: 0, columns: sample.columns, at: 0)
            for (number, start) in [0, unit].enumerated() {
                let range = start..<start + unit
                if start > 0 { block.carry(sample.coupling.span, width: sample.columns, from: 0..<start, into: range) }
                block.search(
                    range, format, coupling: sample.coupling.span, width: sample.columns, pivots: sample.pivots.span,
                    scales: scales ?? [], into: &results)
                for row in 0..<sample.rows {
                    let wanted = expected[row][number]
                    let codes = (0..<unit).map { results.codes[$0 * results.stride + row] }
                    let what = "\(set), \(format), size \(size), row \(row), block \(number)"
                    #expect(codes == wanted.codes, "\(what)")
                    #expect(results.steps[row].bitPattern == wanted.step.bitPattern, "\(what)")
                    if rule.affine { #expect(results.offsets[row].bitPattern == wanted.offset.bitPattern, "\(what)") }
                }
            }
        }
    }

    /// Usual sizes, and those at the ends of the half-precision steps.
    @Test(arguments: BlockType.allCases.filter { $0 != .mxfp4 })
    func searchesBlocksAsTheReferenceDoes(type: BlockType) throws {
        let rule = try #require(Reference.BlockFeedbackRule(type))
        for (seed, size) in [Float(0.02), 1e-6, 1e5].enumerated() {
            checkBlocks(.blocks(type), rule, size: size, seed: UInt64(seed))
        }
    }

    @Test(arguments: [2, 3, 4, 5, 6, 8])
    func searchesGroupsAsTheReferenceDoes(bits: Int) {
        for format in [FloatFormat.f16, .bf16, .f32] {
            for (seed, size) in [Float(0.02), 1e30, 1e-41].enumerated() {
                checkBlocks(
                    .affine(bits: bits, size: 64, scales: format), .init(isSymmetric: false, bits: bits, format),
                    size: size, seed: UInt64(seed))
                checkBlocks(
                    .symmetric(bits: bits, size: 32, scales: format), .init(isSymmetric: true, bits: bits, format),
                    size: size, seed: UInt64(seed))
                checkBlocks(
                    .given(bits: bits, scales: format), .init(isSymmetric: true, bits: bits, format), size: size,
                    seed: UInt64(seed))
            }
        }
    }
}
