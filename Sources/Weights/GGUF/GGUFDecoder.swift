package import Checkpoints
import Container
import FileAccess
import Quantization
import SystemPackage
package import TensorModel

/// A Llama-type decoder as the metadata of a GGUF file describe it.
///
/// Keys: gguf.md of ggml, section "Standardized key-value pairs"; llama.cpp reads the same.
package struct GGUFDecoder: Sendable {
    /// Kinds of models whose layout is known.
    package enum Family: Sendable, Hashable {
        case llama, mixtral, qwen2
    }

    /// The metadata.
    package let metadata: GGUFMetadataReader
    /// The kind of the model.
    package let family: Family
    /// Layers; width of the residual stream; width of the feed-forward part, of an expert if there are experts.
    package let layers: Int, hidden: Int, intermediate: Int
    /// Heads of queries, and of keys and values; rows of a head.
    package let heads: Int, keyValueHeads: Int, headSize: Int
    /// Rows of the embedding.
    package let vocabulary: Int
    /// Tokens of the longest text.
    package let context: Int
    /// Experts of a layer, and how many of them a token uses; 0 without experts.
    package let experts: Int, expertsUsed: Int
    /// Base of the rotary frequencies, and the epsilon of RMSNorm.
    package let ropeBase: Double, epsilon: Double
    /// How the rotary frequencies are scaled; nil if they are not.
    package let scaling: GGUFRopeScaling?
    /// Whether the embedding is the output matrix too.
    package let isTied: Bool
    /// Whether the projections of attention have biases, and whether the matrices of the feed-forward part have them. Both are false for
    /// `mixtral` and `qwen2`, whose biases follow from their kind.
    package let hasAttentionBias: Bool, hasFeedForwardBias: Bool

    /// The tensor with llama3's factors of the rotary frequencies.
    package static let frequencyFactors = TensorName("rope_freqs.weight")
    /// The embedding of the tokens.
    package static let embedding = TensorName("token_embd.weight")

    /// The family that metadata state.
    ///
    /// - Returns: nil if the layout of the architecture is not known, or if the metadata state no number of layers: such a file holds tensors
    ///   and no model.
    /// - Throws: errors of reading.
    package static func family(_ metadata: GGUFMetadataReader) throws -> Family? {
        guard let architecture = try metadata.string("general.architecture"),
            metadata.has("\(architecture).block_count")
        else { return nil }
        switch architecture {
        case "llama": return try (metadata.unsigned("llama.expert_count") ?? 0) > 0 ? .mixtral : .llama
        case "qwen2": return .qwen2
        default: return nil
        }
    }

    /// Why no decoder is known from metadata, for a message.
    ///
    /// - Throws: errors of reading.
    package static func reasonUnknown(_ metadata: GGUFMetadataReader) throws -> String {
        guard let architecture = try metadata.string("general.architecture") else { return "it names no architecture" }
        let name = architecture.prefix(80)
        guard metadata.has("\(architecture).block_count") else { return "it has no `\(name).block_count`" }
        return "architecture \(name) is not known, only llama and qwen2"
    }

    /// The metadata that a checkpoint carries: its first file if that is a GGUF file, or `source-metadata.gguf` beside the weights. nil if it
    /// has none.
    ///
    /// - Throws: errors of the header.
    package static func metadata(of checkpoint: OpenedCheckpoint) throws -> GGUFMetadataReader? {
        switch checkpoint.content {
        case .sealed(let sealed):
            guard sealed.manifest.files.contains(where: { !$0.isShard && $0.name == GGUFMetadataBytes.fileName }) else {
                return nil
            }
            return try GGUFMetadataReader(sealed.path.appending(GGUFMetadataBytes.fileName))
        case .plain(let plain):
            guard let first = plain.shards.first else { return nil }
            if first.header.format == .gguf { return try GGUFMetadataReader(first.file.path) }
            let carried = first.file.path.removingLastComponent().appending(GGUFMetadataBytes.fileName)
            return try Directory.kind(carried) == .file ? GGUFMetadataReader(carried) : nil
        }
    }

    /// An error about the metadata or a tensor.
    package static func refusal(
        _ metadata: GGUFMetadataReader, _ tensor: TensorName? = nil, _ found: String, _ expected: String
    ) -> IngotError {
        IngotError(.unsupportedSource, file: metadata.path.string, tensor: tensor, found: found, expected: expected)
    }

    /// Reads the numbers.
    ///
    /// - Parameter checkpoint: the checkpoint with the tensors of the GGUF file, by their names in it.
    /// - Returns: nil if the metadata state no model of one of the families.
    /// - Throws: `unsupportedSource` if a number is missing or contradicts another.
    package init?(_ metadata: GGUFMetadataReader, _ checkpoint: OpenedCheckpoint) throws {
        guard let family = try GGUFDecoder.family(metadata) else { return nil }
        (self.metadata, self.family) = (metadata, family)
        let architecture = family == .qwen2 ? "qwen2" : "llama"
        func failure(_ key: String, _ found: String, _ expected: String) -> IngotError {
            GGUFDecoder.refusal(metadata, nil, "\(found) under `\(architecture).\(key)`", expected)
        }
        func optional(_ key: String) throws -> Int? {
            let full = "\(architecture).\(key)"
            guard metadata.has(full) else { return nil }
            guard let value = try metadata.unsigned(full), (1...1 << 31).contains(value) else {
                throw failure(key, "no positive whole number", "a number from 1 to 2^31, for all layers alike")
            }
            return Int(value)
        }
        func required(_ key: String) throws -> Int {
            guard let value = try optional(key) else { throw failure(key, "nothing", "a whole number") }
            return value
        }
        func float(_ key: String) throws -> Double? {
            let full = "\(architecture).\(key)"
            guard metadata.has(full) else { return nil }
            guard let value = try metadata.float(full), value.isFinite, value > 0 else {
                throw failure(key, "no positive number", "a floating-point number above 0")
            }
            return value
        }
        layers = try required("block_count")
        hidden = try required("embedding_length")
        intermediate = try required("feed_forward_length")
        heads = try required("attention.head_count")
        keyValueHeads = try optional("attention.head_count_kv") ?? heads
        context = try required("context_length")
        guard let epsilon = try float("attention.layer_norm_rms_epsilon") else {
            throw failure("attention.layer_norm_rms_epsilon", "nothing", "the epsilon of RMSNorm")
        }
        self.epsilon = epsilon
        // llama.cpp's value for files without it.
        ropeBase = try float("rope.freq_base") ?? 10_000
        headSize = try optional("attention.key_length") ?? hidden / heads
        guard headSize > 0, headSize % 2 == 0 else {
            throw failure(
                "attention.head_count", "\(heads) heads of \(headSize) rows", "heads of an even number of rows")
        }
        let values = try optional("attention.value_length") ?? headSize
        guard values == headSize else {
            throw failure("attention.value_length", "\(values)", "\(headSize), as the heads of keys have")
        }
        let rotated = try optional("rope.dimension_count") ?? headSize
        guard rotated == headSize else {
            throw failure("rope.dimension_count", "\(rotated)", "\(headSize): all rows of a head are rotated")
        }
        experts = family == .mixtral ? try required("expert_count") : 0
        expertsUsed = family == .mixtral ? try required("expert_used_count") : 0
        let maximum = Limits.standard.tensorsPerFile
        guard layers <= maximum, experts <= maximum, layers * max(1, experts) <= maximum else {
            throw failure("block_count", "\(layers) layers", "at most \(maximum) tensors")
        }
        let tensors = Dictionary(checkpoint.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        guard let shape = tensors[GGUFDecoder.embedding]?.shape, shape.dimensions.count == 2 else {
            throw GGUFDecoder.refusal(
                metadata, GGUFDecoder.embedding, "no such matrix", "the embedding of the tokens")
        }
        vocabulary = shape.dimensions[0]
        isTied = tensors[TensorName("output.weight")] == nil
        let mayHaveBiases = family == .llama
        hasAttentionBias = mayHaveBiases && tensors[TensorName("blk.0.attn_q.bias")] != nil
        hasFeedForwardBias = mayHaveBiases && tensors[TensorName("blk.0.ffn_up.bias")] != nil
        let stated = try GGUFRopeScaling.stated(metadata)
        guard let factors = tensors[GGUFDecoder.frequencyFactors] else {
            scaling = stated
            return
        }
        guard stated == nil else {
            throw GGUFDecoder.refusal(
                metadata, factors.name, "factors of the rotary frequencies beside another scaling in the metadata",
                "one of the two")
        }
        try checkpoint.checkKept { $0 == factors.name }
        scaling = try .derived(
            from: GGUFDecoder.floats(factors), headSize: headSize, base: ropeBase, metadata)
    }

    /// The elements of a tensor of type F32; nil for any other.
    static func floats(_ tensor: StoredWeights) throws -> [Float]? {
        guard tensor.payload == nil, tensor.elementType == .f32, tensor.shape.elementCount <= 1 << 18,
            let readable = try ReadableWeights(tensor)
        else { return nil }
        var (reader, read) = (RowReader(), ReadWeights())
        try reader.read(
            ChunkPlace(row: 0, column: 0, rows: readable.rows, columns: readable.columns), of: readable, into: &read)
        return Array(read.weights.prefix(read.count))
    }
}
