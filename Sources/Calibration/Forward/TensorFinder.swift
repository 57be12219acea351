import Checkpoints
import Container
import Quantization
import SystemPackage
import TensorModel
import Weights

/// Names of the tensors of a decoder: those of Hugging Face, or those of llama.cpp.
enum ModelNames: Sendable, Hashable {
    case huggingFace(prefix: String), gguf

    var embedding: String {
        switch self {
        case .huggingFace(let prefix): "\(prefix)embed_tokens.weight"
        case .gguf: "token_embd.weight"
        }
    }

    var finalNorm: String {
        switch self {
        case .huggingFace(let prefix): "\(prefix)norm.weight"
        case .gguf: "output_norm.weight"
        }
    }

    var head: String {
        switch self {
        case .huggingFace: "lm_head.weight"
        case .gguf: "output.weight"
        }
    }

    /// What the names of the tensors of a layer begin with.
    func layer(_ number: Int) -> String {
        switch self {
        case .huggingFace(let prefix): "\(prefix)layers.\(number)."
        case .gguf: "blk.\(number)."
        }
    }

    /// Names of the modules of a layer: both norms, query, key, value, output, gate, up, down.
    var modules: [String] {
        switch self {
        case .huggingFace:
            [
                "input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj",
                "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
            ]
        case .gguf:
            [
                "attn_norm", "ffn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down",
            ]
        }
    }
}

/// Finds tensors by name, checks their shapes, and reads vectors.
struct TensorFinder {
    /// The names that the checkpoint uses.
    let names: ModelNames
    private let tensors: [TensorName: StoredWeights]
    private let file: String
    private var reader = RowReader()

    init(_ checkpoint: OpenedCheckpoint) {
        tensors = Dictionary(checkpoint.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        file = checkpoint.path.string
        if tensors[TensorName("token_embd.weight")] != nil {
            names = .gguf
        } else {
            // Some checkpoints of base models lack the prefix.
            names = .huggingFace(prefix: tensors[TensorName("embed_tokens.weight")] == nil ? "model." : "")
        }
    }

    /// Whether the checkpoint has a tensor.
    func has(_ name: String) -> Bool { tensors[TensorName(name)] != nil }

    /// Refuses a checkpoint with a layer `count`: without its last layers a model would have figures, too.
    ///
    /// - Throws: `valueOutOfRange`.
    func refuseLayers(from count: Int) throws {
        guard has("\(names.layer(count))\(names.modules[0]).weight") else { return }
        throw IngotError(
            .valueOutOfRange, file: file, found: "tensors of a layer \(count)",
            expected: "layers 0 to \(count - 1), by the model's configuration",
            remedy: "give the config.json of this model")
    }

    private func find(_ name: String, _ dimensions: [Int]) throws -> ReadableWeights {
        guard let tensor = tensors[TensorName(name)] else {
            throw IngotError(
                .missingField, file: file, tensor: TensorName(name), found: "no such tensor",
                expected:
                    "a tensor \(dimensions.map(String.init).joined(separator: "x")), by the model's configuration",
                remedy: "fetch the rest of the checkpoint, or correct config.json")
        }
        guard tensor.shape.dimensions == dimensions else {
            throw IngotError(
                .invalidShape, file: file, tensor: tensor.name, found: "shape \(tensor.shape.description)",
                expected: "\(dimensions.map(String.init).joined(separator: "x")), by the model's configuration",
                remedy: "give the config.json of this model")
        }
        guard let readable = try ReadableWeights(tensor) else {
            throw IngotError(
                .unsupportedSource, file: file, tensor: tensor.name,
                found: "elements of type \(tensor.encoding ?? tensor.elementType.rawValue)",
                expected: "F16, BF16, F32 or blocks that decode to them", remedy: "convert the original checkpoint")
        }
        return readable
    }

    /// A matrix.
    func matrix(_ name: String, _ rows: Int, _ columns: Int) throws -> WeightMatrix {
        WeightMatrix(try find(name, [rows, columns]), rows: 0..<rows)
    }

    /// A vector, read.
    ///
    /// - Throws: `nonFinite` if a number is NaN or infinite.
    mutating func vector(_ name: String, _ count: Int) throws -> [Float] {
        let readable = try find(name, [count])
        var read = ReadWeights()
        try reader.read(ChunkPlace(row: 0, column: 0, rows: 1, columns: count), of: readable, into: &read)
        guard !read.hasNonFinite else {
            throw IngotError(
                .nonFinite, file: file, tensor: TensorName(name), found: "NaN or infinity", expected: "finite numbers")
        }
        return Array(read.weights.prefix(count))
    }

    /// A linear layer of a module, with its bias if `hasBias`.
    private mutating func linear(_ module: String, _ rows: Int, _ columns: Int, hasBias: Bool) throws -> Linear {
        Linear(
            matrix: try matrix(module + ".weight", rows, columns),
            bias: hasBias ? try vector(module + ".bias", rows) : nil)
    }

    /// The weights of a layer.
    mutating func layer(_ number: Int, _ h: ModelHyperparameters) throws -> LayerWeights {
        let start = names.layer(number)
        let modules = names.modules.map { start + $0 }
        let (queries, keys) = (h.heads * h.headSize, h.keyValueHeads * h.headSize)
        var router: Linear?
        var parts: [GatedLinear] = []
        if h.experts > 0 {
            (router, parts) = try experts(start, h)
        } else {
            let bias = h.hasFeedForwardBias
            parts = [
                GatedLinear(
                    gate: try linear(modules[6], h.feedForward, h.hidden, hasBias: bias),
                    up: try linear(modules[7], h.feedForward, h.hidden, hasBias: bias),
                    down: try linear(modules[8], h.hidden, h.feedForward, hasBias: bias))
            ]
        }
        return LayerWeights(
            attentionNorm: try vector(modules[0] + ".weight", h.hidden),
            feedForwardNorm: try vector(modules[1] + ".weight", h.hidden),
            query: try linear(modules[2], queries, h.hidden, hasBias: h.hasQueryBias),
            key: try linear(modules[3], keys, h.hidden, hasBias: h.hasQueryBias),
            value: try linear(modules[4], keys, h.hidden, hasBias: h.hasQueryBias),
            output: try linear(modules[5], h.hidden, queries, hasBias: h.hasOutputBias), feedForward: parts,
            router: router)
    }

    /// Router and experts: a tensor each (Mixtral), or all experts of a layer in one tensor of rank 3 (llama.cpp, transformers 5).
    private mutating func experts(_ start: String, _ h: ModelHyperparameters) throws -> (Linear, [GatedLinear]) {
        func slices(_ name: String, _ rows: Int, _ columns: Int) throws -> [Linear] {
            let weights = try find(name, [h.experts, rows, columns])
            return (0..<h.experts).map {
                Linear(matrix: WeightMatrix(weights, rows: $0 * rows..<($0 + 1) * rows), bias: nil)
            }
        }
        if names == .gguf {
            let gates = try slices(start + "ffn_gate_exps.weight", h.feedForward, h.hidden)
            let ups = try slices(start + "ffn_up_exps.weight", h.feedForward, h.hidden)
            let downs = try slices(start + "ffn_down_exps.weight", h.hidden, h.feedForward)
            let router = try linear(start + "ffn_gate_inp", h.experts, h.hidden, hasBias: false)
            return (
                router,
                (0..<h.experts).map { GatedLinear(gate: gates[$0], up: ups[$0], down: downs[$0]) }
            )
        }
        let fused = start + "mlp.experts.gate_up_proj"
        if has(fused) {
            let both = try find(fused, [h.experts, 2 * h.feedForward, h.hidden])
            let downs = try slices(start + "mlp.experts.down_proj", h.hidden, h.feedForward)
            func half(_ expert: Int, _ part: Int) -> Linear {
                let first = (2 * expert + part) * h.feedForward
                return Linear(matrix: WeightMatrix(both, rows: first..<first + h.feedForward), bias: nil)
            }
            let router = try linear(start + "mlp.gate", h.experts, h.hidden, hasBias: false)
            return (
                router, (0..<h.experts).map { GatedLinear(gate: half($0, 0), up: half($0, 1), down: downs[$0]) }
            )
        }
        let module = start + "block_sparse_moe."
        let router = try linear(module + "gate", h.experts, h.hidden, hasBias: false)
        let parts = try (0..<h.experts).map { expert in
            let name = "\(module)experts.\(expert)."
            return GatedLinear(
                gate: try linear(name + "w1", h.feedForward, h.hidden, hasBias: false),
                up: try linear(name + "w3", h.feedForward, h.hidden, hasBias: false),
                down: try linear(name + "w2", h.hidden, h.feedForward, hasBias: false))
        }
        return (router, parts)
    }
}
