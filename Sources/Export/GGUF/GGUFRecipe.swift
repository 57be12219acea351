package import TensorModel

/// The types that a GGUF file is made of, by the name that llama.cpp gives such a file: `Q4_K_M`, `F16`.
///
/// Names, numbers and rules are those of llama.cpp's `llama-quantize` (`llama_ftype`; Specs/exports.md, "Mixes").
package enum GGUFRecipe: String, Sendable, Hashable, CaseIterable {
    case f32 = "F32"
    case f16 = "F16"
    case bf16 = "BF16"
    case q8_0 = "Q8_0"
    case q6_K = "Q6_K"
    case q5_K_M = "Q5_K_M"
    case q5_K_S = "Q5_K_S"
    case q5_1 = "Q5_1"
    case q5_0 = "Q5_0"
    case q4_K_M = "Q4_K_M"
    case q4_K_S = "Q4_K_S"
    case q4_1 = "Q4_1"
    case q4_0 = "Q4_0"
    case iq4_nl = "IQ4_NL"
    case iq4_xs = "IQ4_XS"
    case mxfp4 = "MXFP4"
    case mxfp4_MoE = "MXFP4_MOE"
    case q3_K_L = "Q3_K_L"
    case q3_K_M = "Q3_K_M"
    case q3_K_S = "Q3_K_S"
    case q2_K = "Q2_K"
    case q2_K_S = "Q2_K_S"

    /// A type of a tensor in a GGUF file.
    package enum TensorType: Sendable, Hashable {
        /// Elements.
        case float(FloatFormat)
        /// Blocks.
        case blocks(BlockType)

        /// The type with a name of ggml, in any case of letters; nil for any other name.
        package init?(name: String) {
            let upper = name.uppercased()
            if let type = BlockType(name: upper) {
                self = .blocks(type)
            } else if let format = FloatFormat.allCases.first(where: { $0.elementType.rawValue == upper }) {
                self = .float(format)
            } else {
                return nil
            }
        }

        /// The name in ggml.
        package var name: String {
            switch self {
            case .float(let format): format.elementType.rawValue
            case .blocks(let type): type.name
            }
        }

        /// The number in ggml.
        package var number: UInt32 {
            switch self {
            case .float(.f32): 0
            case .float(.f16): 1
            case .float(.bf16): 30
            case .blocks(let type): type.rawValue
            }
        }

        /// Weights of a block.
        package var elements: Int { if case .blocks(let type) = self { type.elements } else { 1 } }
    }

    /// The recipe with a name, in any case of letters. `Q3_K`, `Q4_K` and `Q5_K` are the `_M` mixes, as in llama.cpp.
    package init?(name: String) {
        let upper = name.uppercased()
        guard let found = GGUFRecipe(rawValue: upper) ?? GGUFRecipe(rawValue: upper + "_M"),
            upper == found.rawValue || upper.hasSuffix("_K")
        else { return nil }
        self = found
    }

    /// The recipe whose file has most weights in a type.
    init(mostly type: BlockType) {
        self = GGUFRecipe.allCases.last { $0.type == .blocks(type) && $0 != .mxfp4_MoE && $0 != .q2_K_S } ?? .q8_0
    }

    /// The type of most matrices.
    package var type: TensorType {
        switch self {
        case .f32: .float(.f32)
        case .f16: .float(.f16)
        case .bf16: .float(.bf16)
        case .q8_0: .blocks(.q8_0)
        case .q6_K: .blocks(.q6_K)
        case .q5_K_M, .q5_K_S: .blocks(.q5_K)
        case .q5_1: .blocks(.q5_1)
        case .q5_0: .blocks(.q5_0)
        case .q4_K_M, .q4_K_S: .blocks(.q4_K)
        case .q4_1: .blocks(.q4_1)
        case .q4_0: .blocks(.q4_0)
        case .iq4_nl: .blocks(.iq4_nl)
        case .iq4_xs: .blocks(.iq4_xs)
        case .mxfp4, .mxfp4_MoE: .blocks(.mxfp4)
        case .q3_K_L, .q3_K_M, .q3_K_S: .blocks(.q3_K)
        case .q2_K, .q2_K_S: .blocks(.q2_K)
        }
    }

    /// The number under `general.file_type`. llama.cpp has none for files of MXFP4 alone; they get that of its mixture.
    package var fileType: UInt32 {
        switch self {
        case .f32: 0
        case .f16: 1
        case .q4_0: 2
        case .q4_1: 3
        case .q8_0: 7
        case .q5_0: 8
        case .q5_1: 9
        case .q2_K: 10
        case .q3_K_S: 11
        case .q3_K_M: 12
        case .q3_K_L: 13
        case .q4_K_S: 14
        case .q4_K_M: 15
        case .q5_K_S: 16
        case .q5_K_M: 17
        case .q6_K: 18
        case .q2_K_S: 21
        case .iq4_nl: 25
        case .iq4_xs: 30
        case .bf16: 32
        case .mxfp4, .mxfp4_MoE: 38
        }
    }

    /// Whether its matrices are blocks of codes.
    package var isQuantized: Bool { if case .blocks = type { true } else { false } }
}
