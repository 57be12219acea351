import TensorModel

/// The ggml types in which GGUF files store tensors, with their numbers.
struct GGUFType: Sendable {
    /// Number of elements of a block, and its bytes.
    typealias Block = (elements: Int, bytes: Int)

    /// How Ingot treats a type.
    enum Form: Sendable {
        /// The elements themselves are stored.
        case plain(ElementType)
        /// Blocks of codes that Ingot decodes.
        case blocks(any BlockDecoder.Type)
        /// Blocks of codes that Ingot does not decode. Without `Block`, their size is not known.
        case unread(Block?)
        /// A type that ggml has removed.
        case removed
        /// A number that no known version of ggml uses.
        case unknown
    }

    /// Its name in ggml; `type 99` for a number that ggml does not use.
    let name: String
    /// How Ingot treats it.
    let form: Form

    /// Number of elements and bytes of a block; nil if they are not known.
    var block: Block? {
        switch form {
        case .plain(let type): (1, type.bitWidth / 8)
        case .blocks(let decoder): (decoder.elements, decoder.bytes)
        case .unread(let block): block
        case .removed, .unknown: nil
        }
    }

    /// Whether Ingot decodes the type.
    var isDecoded: Bool {
        switch form {
        case .plain, .blocks: true
        case .unread, .removed, .unknown: false
        }
    }

    private init(_ name: String, _ form: Form) { (self.name, self.form) = (name, form) }

    private init(_ name: String, _ decoder: any BlockDecoder.Type) { self.init(name, .blocks(decoder)) }

    /// A type that Ingot does not decode, with blocks of `elements` elements in `bytes` bytes.
    private init(_ name: String, unread elements: Int, _ bytes: Int) { self.init(name, .unread((elements, bytes))) }

    /// The type with this number.
    static func of(_ number: UInt64) -> GGUFType { all[number] ?? GGUFType("type \(number)", .unknown) }

    /// All types in `ggml.h` of ggml 0.9.
    ///
    /// The block sizes of types that are not decoded are those of `GGML_QUANT_SIZES` in the Python package gguf 0.19.0. It has no Q2_0,
    /// and versions of ggml disagree about that type, so its size counts as unknown.
    private static let all: [UInt64: GGUFType] = [
        0: .init("F32", .plain(.f32)), 1: .init("F16", .plain(.f16)), 30: .init("BF16", .plain(.bf16)),
        24: .init("I8", .plain(.i8)), 25: .init("I16", .plain(.i16)), 26: .init("I32", .plain(.i32)),
        27: .init("I64", .plain(.i64)), 28: .init("F64", .plain(.f64)),
        2: .init("Q4_0", Q4_0.self), 3: .init("Q4_1", Q4_1.self), 6: .init("Q5_0", Q5_0.self),
        7: .init("Q5_1", Q5_1.self), 8: .init("Q8_0", Q8_0.self),
        10: .init("Q2_K", Q2_K.self), 11: .init("Q3_K", Q3_K.self), 12: .init("Q4_K", Q4_K.self),
        13: .init("Q5_K", Q5_K.self), 14: .init("Q6_K", Q6_K.self),
        20: .init("IQ4_NL", IQ4_NL.self), 23: .init("IQ4_XS", IQ4_XS.self), 39: .init("MXFP4", MXFP4.self),
        9: .init("Q8_1", unread: 32, 40), 15: .init("Q8_K", unread: 256, 292), 16: .init("IQ2_XXS", unread: 256, 66),
        17: .init("IQ2_XS", unread: 256, 74), 18: .init("IQ3_XXS", unread: 256, 98),
        19: .init("IQ1_S", unread: 256, 50), 21: .init("IQ3_S", unread: 256, 110), 22: .init("IQ2_S", unread: 256, 82),
        29: .init("IQ1_M", unread: 256, 56), 34: .init("TQ1_0", unread: 256, 54), 35: .init("TQ2_0", unread: 256, 66),
        40: .init("NVFP4", unread: 64, 36), 41: .init("Q1_0", unread: 128, 18), 42: .init("Q2_0", .unread(nil)),
        4: .init("Q4_2", .removed), 5: .init("Q4_3", .removed), 31: .init("Q4_0_4_4", .removed),
        32: .init("Q4_0_4_8", .removed), 33: .init("Q4_0_8_8", .removed), 36: .init("IQ4_NL_4_4", .removed),
        37: .init("IQ4_NL_4_8", .removed), 38: .init("IQ4_NL_8_8", .removed),
    ]

    /// The names of the types that are read, for messages.
    private static let readNames = all.values.filter(\.isDecoded).map(\.name).sorted().joined(separator: ", ")

    /// The error for a tensor of this type, where all tensors must be decoded.
    ///
    /// - Parameters:
    ///   - number: the number of the type.
    ///   - place: offset of the number in the file.
    func refusal(number: UInt64, at place: UInt64) -> IngotError {
        func error(_ code: IngotError.Code, _ found: String, _ remedy: Remedy?) -> IngotError {
            var error = IngotError(
                code, offset: place, found: found, expected: "one of \(GGUFType.readNames)", remedy: remedy)
            error.remedy = .both(error.remedy, .option(.listTensors))
            return error
        }
        switch form {
        case .plain, .blocks: return error(.unsupportedSource, "type \(number), \(name)", nil)
        case .unread:
            return error(
                .unsupportedSource, "type \(number), \(name), which ingot cannot decode",
                "take a file of another type, or the checkpoint that this one was made from")
        case .removed:
            return error(
                .unknownElementType, "type \(number), \(name), which ggml has given up",
                "make the file anew with today's llama.cpp")
        case .unknown: return error(.unknownElementType, name, nil)
        }
    }
}
