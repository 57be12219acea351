package import TensorModel

extension TensorRole {
    /// Why a matrix is kept as it is unless a recipe says otherwise; nil for a matrix that is quantized.
    ///
    /// A router decides which experts run, so that a small error changes the model. Position and token-type embeddings, biases and scales are
    /// small and are added or multiplied directly. LoRA adapters are small and low in rank.
    package static func reasonToKeep(_ name: TensorName) -> String? {
        let parts = name.text.utf8.split(separator: UInt8(ascii: ".")).map { String(Substring($0)) }
        if parts.contains(where: { $0.hasPrefix("lora_") || $0.hasPrefix("lora-") }) { return "LoRA adapter" }
        let role = TensorRole(name)
        if role.kind == .router || parts.contains("router") { return "router" }
        let last = parts.last ?? ""
        let module = last == "weight" ? parts.dropLast().last ?? "" : last
        if positionModules.contains(module) { return "position or token-type embedding" }
        if role.kind == .bias || module.hasSuffix("_bias") { return "bias" }
        if scaleEndings.contains(where: { module.hasSuffix($0) }) { return "scale" }
        return nil
    }

    /// Modules whose matrix maps a position or a type of tokens to a vector, in the naming of transformers, timm, CLIP and llama.cpp.
    private static let positionModules: Set<String> = [
        "position_embeddings", "position_embedding", "positional_embedding", "position_embd", "wpe", "embed_positions",
        "pos_embed", "pos_embedding", "token_type_embeddings", "token_type_embedding", "token_types",
    ]

    /// Endings of names of scales: of other quantizers, and of layers.
    private static let scaleEndings = ["_scale", "_scales", "_scale_inv", "layer_scale", "layerscale"]
}
