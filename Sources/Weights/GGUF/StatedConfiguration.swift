import FileAccess
import SystemPackage
import TensorModel

/// What the `config.json` of a Hugging Face checkpoint states about tensors that a GGUF file has and the checkpoint lacks, or the other way
/// round.
struct StatedConfiguration: Sendable {
    /// Whether the embedding is the output matrix too, so that a stored output matrix is not used.
    let tiesEmbeddings: Bool
    /// Base of the rotary frequencies.
    let ropeBase: Double
    /// How they are scaled.
    let scaling: Scaling

    /// The kinds of scaling that matter for `rope_freqs.weight`.
    enum Scaling: Sendable, Hashable {
        /// All frequencies as they are.
        case none
        /// llama3's scaling, which a GGUF file states by factors.
        case factors(GGUFRopeScaling)
        /// Any other kind.
        case other(String)
    }

    private static let fileName = "config.json"
    private static let maximumBytes: UInt64 = 16 << 20

    /// Reads the file beside the weights.
    ///
    /// - Returns: nil if there is none, or if it is no JSON object: nothing is known then.
    /// - Throws: errors of reading.
    init?(of checkpoint: OpenedCheckpoint) throws {
        let path = checkpoint.path
        let directory = try Directory.kind(path) == .directory ? path : path.removingLastComponent()
        let place = directory.appending(StatedConfiguration.fileName)
        guard try Directory.kind(place) == .file else { return nil }
        let bytes = try WholeFile.read(place, limit: StatedConfiguration.maximumBytes)
        guard let document = try? JSONValue.parse(bytes), document.object != nil else { return nil }
        /// A member; one that the outer object lacks is taken from `text_config`.
        func member(_ key: String) -> JSONValue? {
            let found = document[key] ?? document["text_config"]?[key]
            return found == .null ? nil : found
        }
        tiesEmbeddings = member("tie_word_embeddings")?.bool ?? false
        // transformers 5 has base and scaling in `rope_parameters`, earlier versions in two members.
        let object = member("rope_parameters") ?? member("rope_scaling")
        func number(_ value: JSONValue?) -> Double? {
            if case .number(let number)? = value { return number }
            return value?.unsigned.map { Double($0) }
        }
        ropeBase = number(object?["rope_theta"]) ?? number(member("rope_theta")) ?? 10_000
        let kind = (object?["rope_type"] ?? object?["type"])?.string ?? "default"
        switch kind {
        case "default": scaling = .none
        case "llama3":
            guard let object, let factor = number(object["factor"]), let low = number(object["low_freq_factor"]),
                let high = number(object["high_freq_factor"]),
                let context = object["original_max_position_embeddings"]?.unsigned, factor > 0, low > 0, high > low,
                context > 0
            else {
                scaling = .other("llama3 without its numbers")
                return
            }
            scaling = .factors(
                .llama3(factor: factor, lowFactor: low, highFactor: high, originalContext: context))
        default: scaling = .other(String(kind.prefix(40)))
        }
    }
}
