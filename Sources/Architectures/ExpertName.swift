package import TensorModel

/// The place of a tensor among the experts of a model, as far as its name tells.
///
/// Names of a single expert: `model.layers.0.mlp.experts.3.up_proj.weight`, `decoder.block.1.layer.2.mlp.experts.expert_3.wi.weight`,
/// and `blk.0.ffn_up.3.weight` of old GGUF files. Names of all experts together: `model.layers.0.mlp.experts.up_proj`,
/// `blk.0.ffn_up_exps.weight`.
package struct ExpertName: Sendable, Hashable {
    /// The number of the expert; nil if the name has none.
    package let expert: Int?
    /// The other numbers in the name, in their order: usually the layer alone.
    package let numbers: [Int]
    /// The name with `*` in place of the expert's number; the name itself if it has none. Equal for all experts of a matrix.
    package let pattern: TensorName

    /// Reads a name.
    package init(_ name: TensorName) {
        var parts = name.text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map {
            String(Substring($0))
        }
        guard let (index, prefix, number) = ExpertName.expert(in: parts) else {
            (expert, pattern) = (nil, name)
            numbers = parts.compactMap(TensorRole.number)
            return
        }
        expert = number
        parts[index] = "\(prefix)*"
        pattern = TensorName(parts.joined(separator: "."))
        numbers = parts.compactMap(TensorRole.number)
    }

    /// The index of the part that holds the expert's number, the part's text before the number, and the number.
    private static func expert(in parts: [String]) -> (index: Int, prefix: String, number: Int)? {
        for (index, part) in parts.enumerated() {
            if index > 0, let number = TensorRole.number(part), parts[index - 1].hasSuffix("experts") {
                return (index, "", number)
            }
            for prefix in ["expert_", "expert"] where part.hasPrefix(prefix) {
                guard let number = TensorRole.number(String(part.dropFirst(prefix.count))) else { continue }
                return (index, prefix, number)
            }
        }
        // Old GGUF files: `blk.0.ffn_up.3.weight`.
        guard parts.count >= 3, parts[parts.count - 3].hasPrefix("ffn_"),
            let number = TensorRole.number(parts[parts.count - 2])
        else { return nil }
        return (parts.count - 2, "", number)
    }
}
