import Architectures
import Moments
import SystemPackage
import TensorModel
import TestSupport

/// Moments of a small made-up model, from random activations.
enum MomentsSample {
    /// A description with two texts.
    static func description(_ blocks: MomentBlocks = .usual) -> MomentsDescription {
        var description = MomentsDescription()
        description.blocks = blocks
        description.family = "llama"
        description.modelHash = "abc"
        description.tokenizerHash = "def"
        (description.context, description.sequences) = (16, 4)
        description.texts = [
            .init(name: "code.txt", hash: "01", weight: 2, tokens: 40),
            .init(name: "pro\"se.txt", hash: "02", weight: 1, tokens: 24),
        ]
        return description
    }

    /// Two layers, the second of two experts, and the head.
    static func layout(hasGradients: Bool = false) throws -> MomentsLayout {
        let list: [(LinearInput?, Int)] = [
            (.head, 6), (LinearInput(layer: 0, .attentionIn), 6), (LinearInput(layer: 0, .outputIn), 4),
            (LinearInput(layer: 0, .feedForwardIn), 6), (LinearInput(layer: 0, .downIn), 9),
            (LinearInput(layer: 1, .attentionIn), 6), (LinearInput(layer: 1, .outputIn), 4),
            (LinearInput(layer: 1, .feedForwardIn), 6), (LinearInput(layer: 1, .feedForwardIn, expert: 0), 6),
            (LinearInput(layer: 1, .feedForwardIn, expert: 1), 6), (LinearInput(layer: 1, .downIn, expert: 0), 5),
            (LinearInput(layer: 1, .downIn, expert: 1), 5),
        ]
        return try MomentsLayout(
            list.compactMap { input, columns in input.map { .init($0, columns: columns) } },
            gradients: hasGradients ? gradientsLayout() : nil)
    }

    /// A description with gradients.
    static func descriptionWithGradients(_ blocks: MomentBlocks = .usual) -> MomentsDescription {
        var description = description(blocks)
        description.gradients = GradientsDescription(tokens: 32, rowOrder: .neighbours)
        return description
    }

    /// The matrices of the model, and its 20 tokens.
    static func gradientsLayout() throws -> GradientsLayout {
        var list: [GradientsLayout.Matrix?] = [.init(.head, rows: 20)]
        func add(_ layer: Int, _ kind: TensorRole.Kind, _ rows: Int, expert: Int? = nil) {
            list.append(LinearMatrix(layer: layer, kind, expert: expert).map { .init($0, rows: rows) })
        }
        for layer in 0...1 {
            add(layer, .attentionQuery, 4)
            add(layer, .attentionKey, 2)
            add(layer, .attentionValue, 2)
            add(layer, .attentionOutput, 6)
        }
        add(0, .gate, 9)
        add(0, .up, 9)
        add(0, .down, 6)
        for expert in 0...1 {
            add(1, .gate, 5, expert: expert)
            add(1, .up, 5, expert: expert)
            add(1, .down, 6, expert: expert)
        }
        return try GradientsLayout(list.compactMap(\.self), vocabulary: 20)
    }

    /// Gradients in eighths, zeros for an expert that no token reached, and token weights.
    static func gradients() throws -> OutputGradients {
        var squares: [LinearMatrix: [Float]] = [:]
        for entry in try gradientsLayout().matrices {
            let seed = entry.matrix.text.utf8.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xFFFF }
            squares[entry.matrix] = (0..<entry.rows).map {
                entry.matrix.expert == 1 ? 0 : Float((seed + 7 * $0) % 29) / 8
            }
        }
        // Sixteenths, another one for each matrix.
        let sensitivities = squares.mapValues { Double($0.reduce(0) { $0 + $1 }) / 16 }
        return OutputGradients(
            squares: squares, sensitivities: sensitivities, tokenWeights: (0..<20).map { Double($0 % 4) })
    }

    /// Tensors of the model under the names of Hugging Face, and of llama.cpp.
    static let tensors: [(name: TensorName, shape: Shape)] = list([
        ("model.embed_tokens.weight", [20, 6]), ("model.layers.0.self_attn.q_proj.weight", [4, 6]),
        ("model.layers.0.self_attn.k_proj.weight", [2, 6]), ("model.layers.0.self_attn.o_proj.weight", [6, 4]),
        ("model.layers.0.mlp.gate_proj.weight", [9, 6]), ("model.layers.0.mlp.down_proj.weight", [6, 9]),
        ("model.layers.0.input_layernorm.weight", [6]), ("model.layers.1.self_attn.q_proj.weight", [4, 6]),
        ("model.layers.1.self_attn.o_proj.weight", [6, 4]), ("model.layers.1.block_sparse_moe.gate.weight", [2, 6]),
        ("model.layers.1.block_sparse_moe.experts.0.w1.weight", [5, 6]),
        ("model.layers.1.block_sparse_moe.experts.1.w1.weight", [5, 6]),
        ("model.layers.1.block_sparse_moe.experts.0.w2.weight", [6, 5]),
        ("model.layers.1.block_sparse_moe.experts.1.w2.weight", [6, 5]), ("lm_head.weight", [20, 6]),
    ])
    static let gguf: [(name: TensorName, shape: Shape)] = list([
        ("token_embd.weight", [20, 6]), ("blk.0.attn_q.weight", [4, 6]), ("blk.0.attn_output.weight", [6, 4]),
        ("blk.0.ffn_gate.weight", [9, 6]), ("blk.0.ffn_down.weight", [6, 9]), ("blk.1.attn_q.weight", [4, 6]),
        ("blk.1.attn_output.weight", [6, 4]), ("blk.1.ffn_gate_inp.weight", [2, 6]),
        ("blk.1.ffn_gate_exps.weight", [2, 5, 6]), ("blk.1.ffn_down_exps.weight", [2, 6, 5]),
    ])

    static func list(_ tensors: [(String, [Int])]) -> [(name: TensorName, shape: Shape)] {
        tensors.compactMap { name, dimensions in Shape(dimensions).map { (TensorName(name), $0) } }
    }

    /// Sums of random activations for an input, and the means that follow from them, as a full matrix.
    static func halves(
        _ input: LinearInput, _ blocks: BlockLayout, count: Int = 2
    ) -> (halves: [HalfMoments], means: [Double]) {
        var generator = SeededGenerator(UInt64(input.text.utf8.reduce(0) { $0 &* 31 &+ Int($1) } & 0xFFFF))
        let columns = blocks.columns
        var (all, total) = ([Double](repeating: 0, count: columns * columns), 0.0)
        let isUnseen = input.expert == 1
        let halves = (0..<count).map { half in
            var sums = [Float](repeating: 0, count: blocks.squareCount)
            let tokens = isUnseen ? 0 : 30 + half
            for token in 0..<tokens {
                let weight = token % 2 == 0 ? 2.0 : 1
                total += weight
                // Eighths: all sums are exact.
                let row = (0..<columns).map { _ in Double(Int.random(in: -16...16, using: &generator)) / 8 }
                for a in 0..<columns { for b in 0..<columns { all[a * columns + b] += weight * row[a] * row[b] } }
                for block in 0..<blocks.count {
                    let range = blocks.columns(of: block)
                    for a in range {
                        for b in range where b >= a {
                            let place = (a - range.lowerBound) * range.count + b - range.lowerBound
                            sums[blocks.squareStart(of: block) + place] += Float(weight * row[a] * row[b])
                        }
                    }
                }
            }
            let weight = (0..<tokens).reduce(0.0) { $0 + ($1 % 2 == 0 ? 2 : 1) }
            return HalfMoments(tokens: UInt64(tokens), weight: weight, sums: sums)
        }
        return (halves, total > 0 ? all.map { $0 / total } : all)
    }

    /// Writes the file; stops after `limit` inputs.
    static func write(
        _ path: FilePath, _ description: MomentsDescription = description(), stoppingAfter limit: Int = .max
    ) throws {
        var writer = try MomentsWriter.open(
            path, layout(hasGradients: description.gradients != nil), description)
        var written = 0
        while let next = writer.next {
            if written == limit { return }
            try writer.append(halves(next.input, next.blocks, count: description.halves).halves)
            written += 1
        }
        if writer.needsGradients {
            if written == limit { return }
            try writer.append(gradients())
        }
        try writer.publish()
    }
}
