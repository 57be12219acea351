/// The types of ggml that store weights in blocks of codes, and that Ingot decodes and encodes. The raw value is ggml's number.
///
/// Layouts: `ggml-common.h`. Every half-precision number in a block is little-endian.
package enum BlockType: UInt32, Sendable, Hashable, CaseIterable {
    case q4_0 = 2
    case q4_1 = 3
    case q5_0 = 6
    case q5_1 = 7
    case q8_0 = 8
    case q2_K = 10
    case q3_K = 11
    case q4_K = 12
    case q5_K = 13
    case q6_K = 14
    case iq4_nl = 20
    case iq4_xs = 23
    case mxfp4 = 39

    /// The name in ggml, such as `Q4_K`.
    package var name: String {
        switch self {
        case .q4_0: "Q4_0"
        case .q4_1: "Q4_1"
        case .q5_0: "Q5_0"
        case .q5_1: "Q5_1"
        case .q8_0: "Q8_0"
        case .q2_K: "Q2_K"
        case .q3_K: "Q3_K"
        case .q4_K: "Q4_K"
        case .q5_K: "Q5_K"
        case .q6_K: "Q6_K"
        case .iq4_nl: "IQ4_NL"
        case .iq4_xs: "IQ4_XS"
        case .mxfp4: "MXFP4"
        }
    }

    /// Weights of a block.
    package var elements: Int {
        switch self {
        case .q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .iq4_nl, .mxfp4: 32
        case .q2_K, .q3_K, .q4_K, .q5_K, .q6_K, .iq4_xs: 256
        }
    }

    /// Bytes of a block.
    package var bytes: Int {
        switch self {
        case .q4_0, .iq4_nl: 18
        case .q4_1: 20
        case .q5_0: 22
        case .q5_1: 24
        case .q8_0: 34
        case .q2_K: 84
        case .q3_K: 110
        case .q4_K: 144
        case .q5_K: 176
        case .q6_K: 210
        case .iq4_xs: 136
        case .mxfp4: 17
        }
    }

    /// Bits for each weight, scales included.
    package var bitsPerWeight: Double { Double(8 * bytes) / Double(elements) }

    /// The type with a name of ggml; nil for any other name.
    package init?(name: String) {
        guard let found = BlockType.allCases.first(where: { $0.name == name }) else { return nil }
        self = found
    }
}
