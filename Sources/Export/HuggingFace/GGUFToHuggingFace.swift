import Checkpoints
import TensorModel
import Weights

/// Turns a checkpoint that was converted from a GGUF file of a Llama-type decoder into the Hugging Face layout: names, order of rows,
/// `config.json`, tokenizer. llama.cpp reads the same models from the layout that this undoes.
struct GGUFToHuggingFace {
    /// The model.
    let decoder: GGUFDecoder
    /// What each tensor becomes.
    private let targets: [TensorName: ExportTarget]

    /// Plans the translation of a checkpoint.
    ///
    /// - Returns: nil if the metadata state no model of one of the families.
    /// - Throws: `unsupportedSource` for a tensor that has no place in the Hugging Face layout, a missing tensor or number, and anything that
    ///   `config.json` cannot state.
    init?(_ checkpoint: OpenedCheckpoint, _ metadata: GGUFMetadataReader) throws {
        do {
            guard let decoder = try GGUFDecoder(metadata, checkpoint) else { return nil }
            self.decoder = decoder
            var targets: [TensorName: ExportTarget] = [:]
            var shapes: [TensorName: Shape] = [:]
            for tensor in checkpoint.tensors {
                // config.json states these factors.
                guard tensor.name != GGUFDecoder.frequencyFactors else {
                    targets[tensor.name] = ExportTarget([])
                    continue
                }
                let target = try GGUFToHuggingFace.target(of: tensor.name, tensor.shape, decoder)
                for part in target.parts { shapes[part.name] = part.shape }
                targets[tensor.name] = target
            }
            self.targets = targets
            try GGUFToHuggingFace.requireComplete(shapes, decoder)
        } catch var error as IngotError where error.code == .unsupportedSource {
            error.remedy = .option(.keepNames)
            throw error
        }
    }

    /// What a tensor becomes. Traps for a tensor that the checkpoint does not have.
    func target(of name: TensorName) -> ExportTarget {
        guard let target = targets[name] else { preconditionFailure("a tensor of another checkpoint") }
        return target
    }

    private static func target(
        of name: TensorName, _ shape: Shape, _ decoder: GGUFDecoder
    ) throws -> ExportTarget {
        switch HuggingFaceNames.meaning(name) {
        case .tensor(let new, let module):
            guard decoder.family != .qwen2, ["attn_q", "attn_k"].contains(module) else {
                return ExportTarget([.init(name: new, shape: shape)])
            }
            // A bias has a row per element.
            let rows = shape.dimensions.first ?? 0
            let heads = module == "attn_q" ? decoder.heads : decoder.keyValueHeads
            guard shape.dimensions.count <= 2, let order = RowOrder(rows: rows, heads: heads) else {
                throw GGUFDecoder.refusal(
                    decoder.metadata, name, "a projection of shape \(shape) for \(heads) heads",
                    "rows that are \(heads) times an even number")
            }
            return ExportTarget([.init(name: new, shape: shape)], order)
        case .experts(let before, let after):
            let dimensions = shape.dimensions
            guard decoder.family == .mixtral, dimensions.count == 3, dimensions[0] == decoder.experts,
                let own = Shape([dimensions[1], dimensions[2]])
            else {
                throw GGUFDecoder.refusal(
                    decoder.metadata, name, "matrices of experts of shape \(shape)",
                    "\(decoder.experts) matrices of experts")
            }
            return ExportTarget(
                (0..<dimensions[0]).map { .init(name: TensorName("\(before)\($0)\(after)"), shape: own) })
        case nil:
            throw GGUFDecoder.refusal(
                decoder.metadata, name, "a tensor that the Hugging Face layout of \(decoder.family) has no name for",
                "the tensors of a Llama-type decoder")
        }
    }

    /// Requires that the output has exactly the tensors that transformers expects, with their shapes.
    private static func requireComplete(_ shapes: [TensorName: Shape], _ decoder: GGUFDecoder) throws {
        let metadata = decoder.metadata
        let expected = decoder.huggingFaceShapes
        for (name, shape) in expected {
            guard let found = shapes[name] else {
                throw GGUFDecoder.refusal(metadata, name, "no such tensor", "a tensor of shape \(shape)")
            }
            guard found == shape else {
                throw GGUFDecoder.refusal(metadata, name, "a tensor of shape \(found)", "shape \(shape)")
            }
        }
        guard shapes.count > expected.count else { return }
        let known = Set(expected.map(\.0))
        if let other = shapes.keys.sorted().first(where: { !known.contains($0) }) {
            throw GGUFDecoder.refusal(
                metadata, other, "a tensor that transformers does not expect", "\(expected.count) tensors")
        }
    }
}
