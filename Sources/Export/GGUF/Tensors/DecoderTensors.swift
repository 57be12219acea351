import Checkpoints
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// Plans the tensors of a GGUF file from those of a Hugging Face checkpoint of a Llama-type decoder.
struct DecoderTensors {
    private let configuration: DecoderConfiguration
    /// Tensors that must be there, by their names in the GGUF file.
    private let expected: [TensorName: Shape]
    /// Tensors of one part so far.
    private var single: [GGUFTensorPlan] = []
    /// Matrices of experts so far, by the name of the tensor that will have them all.
    private var experts: [TensorName: [Int: StoredWeights]] = [:]
    private var warnings: [IngotWarning] = []

    private static let head = TensorName("output.weight")

    /// Plans the tensors, sorted as llama-quantize sorts them.
    ///
    /// - Throws: `unsupportedSource`, naming the tensor, for one that is missing or too many, has another shape than `config.json` says, or
    ///   has elements that are no F16, BF16 or F32 weights.
    static func plan(
        _ checkpoint: OpenedCheckpoint, _ configuration: DecoderConfiguration
    ) throws -> (tensors: [GGUFTensorPlan], warnings: [IngotWarning]) {
        var planner = DecoderTensors(configuration)
        for tensor in checkpoint.tensors { try planner.add(tensor) }
        return (try planner.finish(checkpoint), planner.warnings)
    }

    private init(_ configuration: DecoderConfiguration) {
        self.configuration = configuration
        expected = Dictionary(uniqueKeysWithValues: configuration.ggufShapes)
    }

    private func refusal(_ tensor: StoredWeights?, _ name: TensorName, _ found: String, _ expected: String)
        -> IngotError
    {
        IngotError(
            .unsupportedSource, file: tensor?.file.path.string ?? configuration.document.path, tensor: name,
            found: found, expected: expected,
            remedy: "check that config.json and the weights are of one \(configuration.family.className)")
    }

    private mutating func add(_ tensor: StoredWeights) throws {
        // Old checkpoints store these buffers. They follow from the configuration.
        if TensorName.hasSuffix(tensor.name.text, ".rotary_emb.inv_freq") { return }
        switch HuggingFaceNames.place(tensor.name) {
        case .tensor(let name, let module):
            if name == DecoderTensors.head, configuration.isTied {
                // transformers ties the head to the embedding, whatever is stored.
                warnings.append(
                    IngotWarning(
                        file: tensor.file.path.string, tensor: tensor.name,
                        "left out: config.json says tie_word_embeddings, so the embedding is the head"))
                return
            }
            try check(tensor, expected[name])
            single.append(GGUFTensorPlan(name, tensor, order: try order(tensor, module)))
        case .expert(let name, let number):
            let dimensions = expected[name]?.dimensions ?? []
            guard dimensions.count == 3, number < dimensions[0] else { throw unexpected(tensor) }
            try check(tensor, Shape([dimensions[1], dimensions[2]]))
            experts[name, default: [:]][number] = tensor
        case nil: throw unexpected(tensor)
        }
    }

    private func unexpected(_ tensor: StoredWeights) -> IngotError {
        refusal(
            tensor, tensor.name, "a tensor that \(configuration.family.className) does not have",
            "the tensors of \(configuration.layers) layers"
                + (configuration.experts > 0 ? " with \(configuration.experts) experts" : ""))
    }

    private func check(_ tensor: StoredWeights, _ shape: Shape?) throws {
        guard let shape else { throw unexpected(tensor) }
        guard tensor.shape == shape else {
            throw refusal(tensor, tensor.name, "a tensor of shape \(tensor.shape)", "shape \(shape)")
        }
        guard tensor.format != nil else {
            throw refusal(tensor, tensor.name, "elements of type \(tensor.elementType.rawValue)", "F16, BF16 or F32")
        }
    }

    /// The order of the rows of a query or key projection, or of its bias; nil for other tensors, and for Qwen2.
    private func order(_ tensor: StoredWeights, _ module: String) throws -> RowOrder? {
        guard configuration.family != .qwen2, ["attn_q", "attn_k"].contains(module) else { return nil }
        let heads = module == "attn_q" ? configuration.heads : configuration.keyValueHeads
        guard let order = RowOrder(rows: tensor.shape.dimensions.first ?? 0, heads: heads) else {
            throw refusal(
                tensor, tensor.name, "a projection of shape \(tensor.shape) for \(heads) heads",
                "heads of an even number of rows")
        }
        return order
    }

    private func finish(_ checkpoint: OpenedCheckpoint) throws -> [GGUFTensorPlan] {
        var plans = single
        for (name, shape) in configuration.ggufShapes where shape.dimensions.count == 3 {
            let found = experts[name] ?? [:]
            let parts = try (0..<shape.dimensions[0]).map { number in
                guard let weights = found[number] else {
                    throw refusal(
                        nil, name, "no matrix of expert \(number)", "\(shape.dimensions[0]) matrices of experts")
                }
                return GGUFTensorPlan.Part(weights: weights, firstRow: number * shape.dimensions[1])
            }
            plans.append(GGUFTensorPlan(name, shape, .stored(parts, order: nil)))
        }
        let names = Set(plans.map(\.name))
        for (name, shape) in configuration.ggufShapes where !names.contains(name) {
            let huggingFace =
                switch HuggingFaceNames.meaning(name) {
                case .tensor(let own, _): own
                default: name
                }
            let isHead = name == DecoderTensors.head
            throw refusal(
                nil, huggingFace, "no such tensor in the checkpoint",
                "a tensor of shape \(shape)\(isHead ? ", or tie_word_embeddings in config.json" : "")")
        }
        if case .llama3(let factors) = configuration.scaling, let shape = Shape([configuration.headSize / 2]) {
            plans.append(GGUFTensorPlan(GGUFDecoder.frequencyFactors, shape, .made(factors.bytes)))
        }
        return plans.sorted(by: GGUFTensorPlan.isBefore)
    }
}

extension DecoderConfiguration {
    /// The tensors of the GGUF file that come from the checkpoint, with their shapes, the slowest dimension first.
    fileprivate var ggufShapes: [(TensorName, Shape)] {
        var found: [(TensorName, Shape)] = []
        func add(_ name: String, _ dimensions: Int...) {
            if let shape = Shape(dimensions) { found.append((TensorName(name), shape)) }
        }
        add("token_embd.weight", vocabulary, hidden)
        add("output_norm.weight", hidden)
        if !isTied { add("output.weight", vocabulary, hidden) }
        for layer in 0..<layers {
            let prefix = "blk.\(layer)."
            add(prefix + "attn_norm.weight", hidden)
            add(prefix + "ffn_norm.weight", hidden)
            for (name, rows, columns) in [
                ("attn_q", heads * headSize, hidden), ("attn_k", keyValueHeads * headSize, hidden),
                ("attn_v", keyValueHeads * headSize, hidden), ("attn_output", hidden, heads * headSize),
            ] {
                add("\(prefix)\(name).weight", rows, columns)
                if hasAttentionBias || family == .qwen2 && name != "attn_output" {
                    add("\(prefix)\(name).bias", rows)
                }
            }
            if experts > 0 { add(prefix + "ffn_gate_inp.weight", experts, hidden) }
            for (name, rows, columns) in [
                ("ffn_gate", intermediate, hidden), ("ffn_up", intermediate, hidden),
                ("ffn_down", hidden, intermediate),
            ] {
                if experts > 0 {
                    add("\(prefix)\(name)_exps.weight", experts, rows, columns)
                    continue
                }
                add("\(prefix)\(name).weight", rows, columns)
                if hasFeedForwardBias { add("\(prefix)\(name).bias", rows) }
            }
        }
        return found
    }
}
