import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel

/// Turns a checkpoint that was converted from a GGUF file of a Llama-type decoder into the Hugging Face layout: names, order of rows,
/// `config.json`, tokenizer. llama.cpp reads the same models from the layout that this undoes.
struct GGUFToHuggingFace {
    /// Kinds of models whose layout is known.
    enum Family: Sendable {
        case llama, mixtral, qwen2
    }

    /// The metadata of the source.
    let metadata: GGUFMetadataReader
    /// The kind of the model.
    let family: Family
    /// The numbers that `config.json` needs.
    let sizes: DecoderSizes
    /// What each tensor becomes.
    private let targets: [TensorName: ExportTarget]
    /// The tensors of the output with their shapes.
    let shapes: [TensorName: Shape]
    /// `rope_scaling` of `config.json`; nil if there is none.
    let scaling: JSONValue?

    /// The family that metadata state.
    ///
    /// - Returns: nil if the layout of the architecture is not known, or if the metadata state no number of layers: such a file holds tensors
    ///   and no model.
    /// - Throws: errors of reading.
    private static func family(_ metadata: GGUFMetadataReader) throws -> Family? {
        guard let architecture = try metadata.string("general.architecture"),
            metadata.has("\(architecture).block_count")
        else { return nil }
        switch architecture {
        case "llama": return try (metadata.unsigned("llama.expert_count") ?? 0) > 0 ? .mixtral : .llama
        case "qwen2": return .qwen2
        default: return nil
        }
    }

    /// Why metadata cannot be translated, for a warning.
    ///
    /// - Throws: errors of reading.
    static func reasonUnknown(_ metadata: GGUFMetadataReader) throws -> String {
        guard let architecture = try metadata.string("general.architecture") else { return "it names no architecture" }
        let name = architecture.prefix(80)
        guard metadata.has("\(architecture).block_count") else { return "it has no `\(name).block_count`" }
        return "the Hugging Face layout of architecture \(name) is not known"
    }

    /// The metadata that a checkpoint carries; nil if it has none.
    ///
    /// - Throws: errors of the header.
    static func metadata(of checkpoint: SealedCheckpoint) throws -> GGUFMetadataReader? {
        guard checkpoint.manifest.files.contains(where: { !$0.isShard && $0.name == GGUFMetadataBytes.fileName })
        else { return nil }
        return try GGUFMetadataReader(checkpoint.path.appending(GGUFMetadataBytes.fileName))
    }

    /// Plans the translation of a checkpoint.
    ///
    /// - Returns: nil if the metadata state no model of one of the families.
    /// - Throws: `unsupportedSource` for a tensor that has no place in the Hugging Face layout, a missing tensor or number, and anything that
    ///   `config.json` cannot state.
    init?(_ checkpoint: SealedCheckpoint, _ metadata: GGUFMetadataReader) throws {
        guard let family = try GGUFToHuggingFace.family(metadata) else { return nil }
        self.family = family
        self.metadata = metadata
        let tensors = GGUFToHuggingFace.tensors(of: checkpoint)
        sizes = try DecoderSizes(metadata, family, tensors.mapValues(\.shape))
        var targets: [TensorName: ExportTarget] = [:]
        var shapes: [TensorName: Shape] = [:]
        var scaling = try RopeScaling.stated(metadata)
        for (name, tensor) in tensors {
            if name == HuggingFaceNames.frequencyFactors {
                guard scaling == nil else {
                    throw GGUFToHuggingFace.refusal(
                        metadata, name, "factors of the rotary frequencies beside another scaling in the metadata",
                        "one of the two")
                }
                scaling = try RopeScaling.derived(from: tensor.floats(), sizes, metadata)
                targets[name] = ExportTarget([])
                continue
            }
            let target = try GGUFToHuggingFace.target(of: name, tensor.shape, family, sizes, metadata)
            for part in target.parts { shapes[part.name] = part.shape }
            targets[name] = target
        }
        (self.targets, self.shapes, self.scaling) = (targets, shapes, scaling)
        try requireComplete()
    }

    /// What a tensor becomes. Traps for a tensor that the checkpoint does not have.
    func target(of name: TensorName) -> ExportTarget {
        guard let target = targets[name] else { preconditionFailure("a tensor of another checkpoint") }
        return target
    }

    // MARK: - Errors

    /// An error about the metadata or a tensor. Keeping the names of the source is what the user can do.
    static func refusal(
        _ metadata: GGUFMetadataReader, _ tensor: TensorName? = nil, _ found: String, _ expected: String
    ) -> IngotError {
        IngotError(
            .unsupportedSource, file: metadata.path.string, tensor: tensor, found: found, expected: expected,
            remedy: .option(.keepNames))
    }

    // MARK: - Tensors

    /// A tensor of the checkpoint.
    private struct Tensor {
        let shape: Shape
        /// The stored tensor and its shard; nil for an encoded one.
        let kept: (StoredTensor, SealedShard)?

        /// The elements of a kept tensor of type F32, after a check of its hash; nil for any other.
        func floats() throws -> [Float]? {
            guard let (tensor, shard) = kept, tensor.elementType == .f32, tensor.byteCount <= 1 << 20 else {
                return nil
            }
            _ = try shard.checkKept(tensor)
            let bytes = try shard.file.bytes(tensor.range)
            return (0..<bytes.count / 4).map { index in
                Float(
                    bitPattern: (0..<4).reduce(0) { $0 | UInt32(bytes[4 * index + $1]) << (8 * UInt32($1)) })
            }
        }
    }

    private static func tensors(of checkpoint: SealedCheckpoint) -> [TensorName: Tensor] {
        var tensors: [TensorName: Tensor] = [:]
        for shard in checkpoint.shards {
            for payload in shard.payloads {
                tensors[payload.name] = Tensor(shape: payload.descriptor.shape, kept: nil)
            }
            for tensor in shard.kept { tensors[tensor.name] = Tensor(shape: tensor.shape, kept: (tensor, shard)) }
        }
        return tensors
    }

    private static func target(
        of name: TensorName, _ shape: Shape, _ family: Family, _ sizes: DecoderSizes, _ metadata: GGUFMetadataReader
    ) throws -> ExportTarget {
        switch HuggingFaceNames.meaning(name) {
        case .tensor(let new, let module):
            guard family != .qwen2, ["attn_q", "attn_k"].contains(module) else {
                return ExportTarget([.init(name: new, shape: shape)])
            }
            // A bias has a row per element.
            let rows = shape.dimensions.first ?? 0
            let heads = module == "attn_q" ? sizes.heads : sizes.keyValueHeads
            guard shape.dimensions.count <= 2, let order = RowOrder(rows: rows, heads: heads) else {
                throw refusal(
                    metadata, name, "a projection of shape \(shape) for \(heads) heads",
                    "rows that are \(heads) times an even number")
            }
            return ExportTarget([.init(name: new, shape: shape)], order)
        case .experts(let before, let after):
            let dimensions = shape.dimensions
            guard family == .mixtral, dimensions.count == 3, dimensions[0] == sizes.experts,
                let own = Shape([dimensions[1], dimensions[2]])
            else {
                throw refusal(
                    metadata, name, "matrices of experts of shape \(shape)", "\(sizes.experts) matrices of experts")
            }
            return ExportTarget(
                (0..<dimensions[0]).map { .init(name: TensorName("\(before)\($0)\(after)"), shape: own) })
        case nil:
            throw refusal(
                metadata, name, "a tensor that the Hugging Face layout of \(family) has no name for",
                "the tensors of a Llama-type decoder")
        }
    }

    /// Requires that the output has exactly the tensors that transformers expects, with their shapes.
    private func requireComplete() throws {
        let expected = sizes.expectedShapes(family, has: { shapes[TensorName($0)] != nil })
        for (name, shape) in expected {
            guard let found = shapes[name] else {
                throw GGUFToHuggingFace.refusal(metadata, name, "no such tensor", "a tensor of shape \(shape)")
            }
            guard found == shape else {
                throw GGUFToHuggingFace.refusal(metadata, name, "a tensor of shape \(found)", "shape \(shape)")
            }
        }
        guard shapes.count > expected.count else { return }
        let known = Set(expected.map(\.0))
        if let other = shapes.keys.sorted().first(where: { !known.contains($0) }) {
            throw GGUFToHuggingFace.refusal(
                metadata, other, "a tensor that transformers does not expect", "\(expected.count) tensors")
        }
    }
}
