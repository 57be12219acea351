import TensorModel

/// The ggml types in which GGUF files store tensors, with their numbers.
struct GGUFType: Sendable {
    /// How Ingot treats a type.
    enum Form: Sendable {
        /// The elements themselves are stored.
        case plain(ElementType)
        /// Blocks of codes that Ingot decodes.
        case blocks(any BlockDecoder.Type)
        /// Blocks of codes that Ingot does not decode.
        case unread
        /// A type that ggml has removed.
        case removed
    }

    /// Its name in ggml.
    let name: String
    /// How Ingot treats it.
    let form: Form

    /// Number of elements and bytes of a block.
    var block: (elements: Int, bytes: Int) {
        switch form {
        case .plain(let type): (1, type.bitWidth / 8)
        case .blocks(let decoder): (decoder.elements, decoder.bytes)
        case .unread, .removed: (1, 0)
        }
    }

    private init(_ name: String, _ form: Form) { (self.name, self.form) = (name, form) }

    private init(_ name: String, _ decoder: any BlockDecoder.Type) { self.init(name, .blocks(decoder)) }

    /// The type with this number; nil if ggml has no such type.
    static func of(_ number: UInt64) -> GGUFType? { all[number] }

    /// All types in `ggml.h` of ggml 0.9.
    private static let all: [UInt64: GGUFType] = [
        0: .init("F32", .plain(.f32)), 1: .init("F16", .plain(.f16)), 30: .init("BF16", .plain(.bf16)),
        24: .init("I8", .plain(.i8)), 25: .init("I16", .plain(.i16)), 26: .init("I32", .plain(.i32)),
        27: .init("I64", .plain(.i64)), 28: .init("F64", .plain(.f64)),
        2: .init("Q4_0", Q4_0.self), 3: .init("Q4_1", Q4_1.self), 6: .init("Q5_0", Q5_0.self),
        7: .init("Q5_1", Q5_1.self), 8: .init("Q8_0", Q8_0.self),
        10: .init("Q2_K", Q2_K.self), 11: .init("Q3_K", Q3_K.self), 12: .init("Q4_K", Q4_K.self),
        13: .init("Q5_K", Q5_K.self), 14: .init("Q6_K", Q6_K.self),
        20: .init("IQ4_NL", IQ4_NL.self), 23: .init("IQ4_XS", IQ4_XS.self), 39: .init("MXFP4", MXFP4.self),
        9: .init("Q8_1", .unread), 15: .init("Q8_K", .unread), 16: .init("IQ2_XXS", .unread),
        17: .init("IQ2_XS", .unread), 18: .init("IQ3_XXS", .unread), 19: .init("IQ1_S", .unread),
        21: .init("IQ3_S", .unread), 22: .init("IQ2_S", .unread), 29: .init("IQ1_M", .unread),
        34: .init("TQ1_0", .unread), 35: .init("TQ2_0", .unread), 40: .init("NVFP4", .unread),
        41: .init("Q1_0", .unread), 42: .init("Q2_0", .unread),
        4: .init("Q4_2", .removed), 5: .init("Q4_3", .removed), 31: .init("Q4_0_4_4", .removed),
        32: .init("Q4_0_4_8", .removed), 33: .init("Q4_0_8_8", .removed), 36: .init("IQ4_NL_4_4", .removed),
        37: .init("IQ4_NL_4_8", .removed), 38: .init("IQ4_NL_8_8", .removed),
    ]

    /// The names of the types that are read, for messages.
    static let readNames = all.values.filter {
        switch $0.form {
        case .plain, .blocks: true
        case .unread, .removed: false
        }
    }.map(\.name).sorted().joined(separator: ", ")
}
