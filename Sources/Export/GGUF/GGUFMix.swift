import TensorModel

/// Chooses the type of each tensor of a GGUF file by its name, as llama.cpp's `llama-quantize` does (Specs/exports.md, "Mixes").
///
/// The tensors come in the order of the file: by layer, then by name. Counters run along.
struct GGUFMix {
    /// What the rules ask of a model.
    struct Model: Sendable, Hashable {
        /// Layers; heads of queries, and of keys and values, or numbers in the same ratio; experts of a layer, 0 without experts.
        var layers: Int, heads: Int, keyValueHeads: Int, experts: Int
        /// Whether the file has a tensor `output.weight`; otherwise the embedding is the head too.
        var hasOutput: Bool
        /// Number of tensors `attn_v.weight`.
        var valueTensors: Int
    }

    private let recipe: GGUFRecipe
    private let model: Model
    /// Whether every matrix gets the recipe's own type.
    private let isPure: Bool
    /// Whether importances of the inputs are known.
    private let hasImportance: Bool
    private var values = 0, downs = 0

    /// Rules for a model.
    init(_ recipe: GGUFRecipe, _ model: Model, isPure: Bool, hasImportance: Bool) {
        (self.recipe, self.model, self.isPure) = (recipe, model, isPure || recipe == .mxfp4)
        self.hasImportance = hasImportance
    }

    /// Whether a tensor keeps its float type: vectors, norms, routers.
    static func isKept(_ name: String, _ shape: Shape) -> Bool {
        // A matrix of one row is a vector to ggml.
        let isVector = shape.dimensions.drop { $0 == 1 }.count < 2
        return isVector || !name.hasSuffix("weight") || contains(name, "_norm.weight")
            || contains(name, "ffn_gate_inp.weight")
    }

    private static func contains(_ name: String, _ part: String) -> Bool {
        let (name, part) = (Array(name.utf8), Array(part.utf8))
        guard name.count >= part.count else { return false }
        return (0...name.count - part.count).contains { name[$0..<$0 + part.count].elementsEqual(part) }
    }

    /// The type of a tensor; nil if it keeps its own. Rows that do not fit its blocks are not considered.
    mutating func type(of name: String, _ shape: Shape) -> GGUFRecipe.TensorType? {
        guard !GGUFMix.isKept(name, shape) else { return nil }
        guard case .blocks(let own) = recipe.type, !isPure else { return recipe.type }
        return .blocks(blockType(of: name, shape, own))
    }

    /// Whether a layer of the first eighth, of the last eighth, or every third one between.
    private func isFavoured(_ layer: Int, of count: Int) -> Bool {
        layer < count / 8 || layer >= 7 * count / 8 || (layer - count / 8) % 3 == 2
    }

    private var groupedHeads: Int { model.keyValueHeads == 0 ? 0 : model.heads / model.keyValueHeads }

    private mutating func blockType(of name: String, _ shape: Shape, _ own: BlockType) -> BlockType {
        if name == "output.weight" || name == "token_embd.weight" && !model.hasOutput {
            if recipe == .mxfp4_MoE || own == .q8_0 || shape.columns % own.elements != 0 { return .q8_0 }
            return .q6_K
        }
        if recipe == .mxfp4_MoE { return shape.dimensions.count == 3 ? .mxfp4 : .q8_0 }
        if name == "token_embd.weight" { return own }
        if GGUFMix.contains(name, "attn_v.weight") { return valueType(own) }
        if GGUFMix.contains(name, "attn_k.weight") { return model.experts == 8 ? .q8_0 : own }
        if GGUFMix.contains(name, "ffn_down") { return downType(own, name) }
        if GGUFMix.contains(name, "attn_output.weight") { return outputType(own) }
        return own
    }

    private mutating func valueType(_ own: BlockType) -> BlockType {
        defer { values += 1 }
        var type = own
        switch recipe {
        case .q2_K: type = groupedHeads >= 4 ? .q4_K : .q3_K
        case .q2_K_S where groupedHeads >= 4: type = .q4_K
        case .q3_K_M: type = values < 2 ? .q5_K : .q4_K
        case .q3_K_L: type = .q5_K
        case .iq4_nl, .iq4_xs: if groupedHeads >= 4 { type = .q5_K }
        case .q4_K_M, .q5_K_M: if isFavoured(values, of: model.valueTensors) { type = .q6_K }
        case .q4_K_S where values < 4: type = .q5_K
        default: break
        }
        // The 70B models have few heads of values, so more bits for them cost little.
        let is70B = model.layers == 80 && model.experts != 8 && model.heads != model.keyValueHeads
        if is70B, type == .q3_K || type == .q4_K { type = .q5_K }
        return model.experts == 8 ? .q8_0 : type
    }

    private mutating func downType(_ own: BlockType, _ name: String) -> BlockType {
        defer { downs += 1 }
        let parts = name.split(separator: ".")
        let layer = model.experts > 1 ? parts.count > 1 ? Int(parts[1]) ?? downs : downs : downs
        let (isEarly, count) = (layer < model.layers / 8, model.layers)
        switch recipe {
        case .q2_K: return .q3_K
        case .q2_K_S: return isEarly ? .q4_K : .q2_K
        case .q3_K_M: return layer < count / 16 ? .q5_K : .q4_K
        case .q3_K_L: return .q5_K
        case .q4_K_M: return isFavoured(layer, of: count) ? .q6_K : .q4_K
        case .q5_K_M: return isFavoured(layer, of: count) ? .q6_K : own
        case .iq4_nl, .iq4_xs: return isEarly && !hasImportance ? .q5_K : own
        case .q4_K_S: return isEarly ? .q5_K : own
        case .q4_0: return isEarly && hasImportance ? .q4_1 : own
        case .q5_0: return isEarly && hasImportance ? .q5_1 : own
        default: return own
        }
    }

    private func outputType(_ own: BlockType) -> BlockType {
        if model.experts == 8 {
            let raised: [GGUFRecipe] = [.q2_K, .q3_K_S, .q3_K_M, .iq4_nl, .q4_K_S, .q4_K_M, .iq4_xs]
            return raised.contains(recipe) ? .q5_K : own
        }
        switch recipe {
        case .q2_K: return .q3_K
        case .q3_K_M: return .q4_K
        case .q3_K_L: return .q5_K
        default: return own
        }
    }

    /// What llama.cpp uses where rows are no whole blocks of a type.
    static func fallback(of type: GGUFRecipe.TensorType, columns: Int) -> GGUFRecipe.TensorType {
        guard case .blocks(let own) = type, columns % own.elements != 0 else { return type }
        let next: BlockType =
            switch own {
            case .iq4_xs: .iq4_nl
            case .q2_K, .q3_K: .q4_0
            case .q4_K: .q5_0
            case .q5_K: .q5_1
            case .q6_K: .q8_0
            default: own
            }
        return columns % next.elements == 0 ? .blocks(next) : .float(.f16)
    }
}
