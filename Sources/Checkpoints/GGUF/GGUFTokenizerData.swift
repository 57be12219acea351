package import FileAccess
package import SystemPackage
package import TensorModel

/// Texts of an array of a GGUF file, in one block of memory.
package struct GGUFTexts: Sendable {
    /// All texts, one after the other.
    package private(set) var bytes: [UInt8] = []
    private var ends: [Int] = []

    /// Makes an empty array.
    package init() {}

    /// Number of texts.
    package var count: Int { ends.count }

    /// The place of a text in `bytes`.
    package func range(_ index: Int) -> Range<Int> { (index == 0 ? 0 : ends[index - 1])..<ends[index] }

    /// The bytes of a text, which need not be UTF-8.
    package subscript(_ index: Int) -> ArraySlice<UInt8> { bytes[range(index)] }

    /// Appends a text.
    package mutating func append(_ text: [UInt8]) {
        bytes += text
        ends.append(bytes.count)
    }
}

/// The metadata `tokenizer.ggml.*` of a GGUF file, which make its tokenizer.
package struct GGUFTokenizerData: Sendable {
    /// Kind of the tokenizer, such as `gpt2` or `llama`; nil if the file has none.
    package private(set) var model: String?
    /// Name of the rules that cut text before merging, such as `llama-bpe`.
    package private(set) var preTokenizer: String?
    /// The tokens, by id.
    package private(set) var tokens = GGUFTexts()
    /// Scores of the tokens; empty if the file has none.
    package private(set) var scores: [Float] = []
    /// Types of the tokens: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; empty if the file has none.
    package private(set) var types: [Int32] = []
    /// Merges, two tokens with a space between.
    package private(set) var merges = GGUFTexts()
    /// Whole numbers and truth values under keys such as `bos_token_id` and `add_bos_token`, without `tokenizer.ggml.`.
    package private(set) var numbers: [String: UInt64] = [:]
    /// Hash of all metadata under `tokenizer.ggml.`, as they stand in the file.
    package private(set) var hash = ContentHash(high: 0, low: 0)

    /// Tokens at most, and merges at most.
    package static let maximumCount = 1_000_000
    private static let prefix = "tokenizer.ggml."
    private static let maximumTextBytes: UInt64 = 65_535
    private static let maximumEntries = 1_000_000

    /// Reads the metadata of a file.
    ///
    /// - Throws: the errors of the format for headers that are damaged; `tokenizerInvalid` for arrays of the wrong type or with too many
    ///   elements, and for keys that stand there twice.
    package static func read(_ path: FilePath, limits: Limits = .standard) throws -> GGUFTokenizerData {
        let file = try MappedFile.open(path)
        do {
            var reader = FrontReader(file, maximumBytes: limits.headerBytes)
            guard reader.byteCount >= GGUFFile.fixedBytes else {
                throw reader.failure(
                    .headerTooSmall, "a file of \(reader.byteCount) bytes",
                    expected: "at least \(GGUFFile.fixedBytes) bytes")
            }
            try GGUFFile.requireVersion(&reader)
            _ = try reader.unsigned(8, "a count")
            let count = try GGUFFile.readCount(
                &reader, "metadata entries", minimum: GGUFMetadata.minimumEntryBytes, maximum: maximumEntries,
                .headerTooLarge)
            var data = GGUFTokenizerData()
            let hasher = ContentHasher()
            var seen: Set<TensorName> = []
            for _ in 0..<count { try data.readEntry(&reader, hasher, &seen) }
            data.hash = hasher.finish()
            return data
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
    }

    private mutating func readEntry(
        _ reader: inout FrontReader, _ hasher: ContentHasher, _ seen: inout Set<TensorName>
    ) throws {
        let place = reader.position
        let length = try reader.unsigned(8, "the length of a metadata key")
        guard length <= GGUFTokenizerData.maximumTextBytes else {
            throw reader.failure(.nameTooLong, at: place, "a metadata key of \(length) bytes")
        }
        let raw = try reader.bytes(length, "a metadata key")
        let key = String(decoding: raw, as: UTF8.self)
        let number = try reader.unsigned(4, "the type of a metadata value")
        guard let type = GGUFValueType(rawValue: UInt32(truncatingIfNeeded: number)) else {
            throw reader.failure(
                .headerSyntax, at: place, "the value of `\(key.prefix(80))` of type \(number)",
                expected: "a type of 0 to 12")
        }
        guard raw.starts(with: GGUFTokenizerData.prefix.utf8) else {
            return try GGUFTokenizerData.skip(&reader, type)
        }
        guard seen.insert(TensorName(key)).inserted else {
            throw reader.failure(.duplicateKey, at: place, "the metadata key `\(key.prefix(80))` a second time")
        }
        hasher.update(raw.span)
        let name = String(key.dropFirst(GGUFTokenizerData.prefix.count))
        switch (name, type) {
        case ("model", .string): model = try readName(&reader, hasher)
        case ("pre", .string): preTokenizer = try readName(&reader, hasher)
        case ("tokens", .array): tokens = try readTexts(&reader, name, hasher)
        case ("merges", .array): merges = try readTexts(&reader, name, hasher)
        case ("scores", .array):
            scores = try readNumbers(&reader, name, .f32, hasher).map { Float(bitPattern: $0) }
        case ("token_type", .array):
            types = try readNumbers(&reader, name, .i32, hasher).map { Int32(bitPattern: $0) }
        case ("model", _), ("pre", _), ("tokens", _), ("merges", _), ("scores", _), ("token_type", _):
            throw reader.failure(.tokenizerInvalid, at: place, "`\(key)` of type \(type)")
        case (_, .array), (_, .string), (_, .f32), (_, .f64): try GGUFTokenizerData.skip(&reader, type)
        default:
            let bits = try reader.unsigned(type.width ?? 0, "a metadata value")
            guard type != .bool || bits <= 1 else {
                throw reader.failure(.headerSyntax, at: place, "\(bits) for a truth value in `\(key.prefix(80))`")
            }
            numbers[name] = bits
            let value = (0..<8).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
            hasher.update(value.span)
        }
    }

    private static func skip(_ reader: inout FrontReader, _ type: GGUFValueType) throws {
        switch type {
        case .string: try reader.skip(try reader.unsigned(8, "the length of a text"), "a text")
        case .array:
            let (element, count) = try arrayHead(&reader)
            if let width = element.width {
                try reader.skip(count * UInt64(width), "an array")
            } else {
                for _ in 0..<count { try reader.skip(try reader.unsigned(8, "the length of a text"), "a text") }
            }
        default: try reader.skip(UInt64(type.width ?? 0), "a metadata value")
        }
    }

    /// Type and number of the elements of an array that fits into the rest of the file.
    private static func arrayHead(_ reader: inout FrontReader) throws -> (GGUFValueType, UInt64) {
        let place = reader.position
        let number = try reader.unsigned(4, "the type of an array")
        guard let type = GGUFValueType(rawValue: UInt32(truncatingIfNeeded: number)), type != .array else {
            throw reader.failure(.headerSyntax, at: place, "an array of elements of type \(number)")
        }
        let count = try reader.unsigned(8, "the length of an array")
        guard count <= reader.remaining / type.minimumBytes else {
            throw reader.failure(
                .headerLength, at: place, "an array of \(count) elements, \(reader.remaining) bytes before the end",
                expected: "a file that holds all of its header")
        }
        return (type, count)
    }

    private func readName(_ reader: inout FrontReader, _ hasher: ContentHasher) throws -> String {
        let text = try readText(&reader)
        hasher.update(text.span)
        return String(decoding: text, as: UTF8.self)
    }

    private func readText(_ reader: inout FrontReader) throws -> [UInt8] {
        let place = reader.position
        let length = try reader.unsigned(8, "the length of a text")
        guard length <= GGUFTokenizerData.maximumTextBytes else {
            throw reader.failure(
                .tokenizerInvalid, at: place, "a text of \(length) bytes",
                expected: "at most \(GGUFTokenizerData.maximumTextBytes) bytes")
        }
        return try reader.bytes(length, "a text")
    }

    /// Reads the head of an array whose elements must have a type.
    private func requireArray(_ reader: inout FrontReader, _ name: String, of type: GGUFValueType) throws -> UInt64 {
        let place = reader.position
        let (element, count) = try GGUFTokenizerData.arrayHead(&reader)
        // Types of tokens may be unsigned, too: the bits are the same.
        guard element == type || type == .i32 && element == .u32 else {
            throw reader.failure(
                .tokenizerInvalid, at: place, "`\(name)` of elements of type \(element)", expected: "type \(type)")
        }
        guard count <= GGUFTokenizerData.maximumCount else {
            throw reader.failure(
                .tokenizerInvalid, at: place, "\(count) elements of `\(name)`",
                expected: "at most \(GGUFTokenizerData.maximumCount)")
        }
        return count
    }

    private func readTexts(_ reader: inout FrontReader, _ name: String, _ hasher: ContentHasher) throws -> GGUFTexts {
        let count = try requireArray(&reader, name, of: .string)
        var texts = GGUFTexts()
        for _ in 0..<count {
            let text = try readText(&reader)
            let length = [UInt8(truncatingIfNeeded: text.count), UInt8(truncatingIfNeeded: text.count >> 8)]
            hasher.update(length.span)
            hasher.update(text.span)
            texts.append(text)
        }
        return texts
    }

    private func readNumbers(
        _ reader: inout FrontReader, _ name: String, _ type: GGUFValueType, _ hasher: ContentHasher
    ) throws -> [UInt32] {
        let count = try requireArray(&reader, name, of: type)
        let raw = try reader.bytes(4 * count, "an array")
        hasher.update(raw.span)
        return (0..<Int(count)).map { index in
            raw[4 * index..<4 * index + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
        }
    }
}
