import Kernels
import Quantization
import TensorModel
import Testing

/// Rows for the encoders of blocks: normal, of unlike sizes, constant, zero, sparse, subnormal, huge.
private enum BlockRows {
    static let rows = 21, columns = 512

    static func weights(seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        var weights: [Float] = []
        for row in 0..<rows {
            for column in 0..<columns {
                let weight = generator.roughlyNormal() * 0.02
                switch row {
                case 1: weights.append(0)
                case 2: weights.append(0.75)
                case 3: weights.append(weight * (column / 32 % 3 == 0 ? 50 : 1))
                case 4: weights.append(column % 9 == 0 ? weight : 0)
                case 5: weights.append(weight * 1e-38)
                case 6: weights.append(weight * 1e30)
                case 7: weights.append(weight.magnitude)
                default: weights.append(weight)
                }
            }
        }
        return weights
    }

    static func importance(seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return (0..<columns).map { $0 % 37 == 0 ? 0 : generator.roughlyNormal().magnitude + 0.01 }
    }

    /// FNV-1a of bytes.
    static func hash(_ bytes: some Sequence<UInt8>) -> UInt64 {
        bytes.reduce(14_695_981_039_346_656_037) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
    }
}

extension InstructionSetTests {
    private func encode(
        _ type: BlockType, _ rounding: ExportRounding, _ weights: [Float], _ importance: [Float]
    ) -> [UInt8] {
        var blocks: [UInt8] = []
        BlockQuantizer.encode(
            weights, rows: BlockRows.rows, columns: BlockRows.columns, type, rounding, importance: importance,
            into: &blocks)
        return Array(blocks.prefix(BlockRows.rows * BlockRows.columns / type.elements * type.bytes))
    }

    @Test(
        "Blocks have the same bytes on every instruction set", arguments: BlockType.allCases,
        [ExportRounding.reference, .searched]
    ) func blocks(_ type: BlockType, _ rounding: ExportRounding) {
        for seed in 1...3 as ClosedRange<UInt64> {
            let weights = BlockRows.weights(seed: seed)
            for importance in [[], BlockRows.importance(seed: seed)] {
                var first: [UInt8]?
                onEveryInstructionSet { set in
                    let found = encode(type, rounding, weights, importance)
                    #expect(found == first ?? found, "\(set.rawValue), seed \(seed)")
                    first = first ?? found
                }
            }
        }
    }

    /// The hashes are those of the bytes that `Tests/Peers/exports` holds against ggml's own quantizers.
    @Test("The reference rounding of each type stays what it was") func referenceBytes() {
        let weights = BlockRows.weights(seed: 7), importance = BlockRows.importance(seed: 7)
        for type in BlockType.allCases {
            let found = [[], importance].map { BlockRows.hash(encode(type, .reference, weights, $0)) }
            #expect(found == BlockEncoderTable.hashes[type], "\(type.name): \(found)")
        }
    }

    @Test("Rows do not depend on their neighbours", arguments: BlockType.allCases) func rows(_ type: BlockType) {
        let weights = BlockRows.weights(seed: 5)
        let all = encode(type, .searched, weights, [])
        let size = BlockRows.columns / type.elements * type.bytes
        for row in 0..<BlockRows.rows {
            let own = Array(weights[row * BlockRows.columns..<(row + 1) * BlockRows.columns])
            var blocks: [UInt8] = []
            BlockQuantizer.encode(
                own, rows: 1, columns: BlockRows.columns, type, .searched, importance: [], into: &blocks)
            #expect(Array(blocks.prefix(size)) == Array(all[row * size..<(row + 1) * size]), "row \(row)")
        }
    }
}
