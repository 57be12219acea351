import TensorModel

/// The metadata of a GGUF file: all keys and values as text, and the values that describe the layout of the file.
struct GGUFMetadata {
    /// All entries, in the order of the file. Long arrays are shown as `[type x count]`.
    private(set) var entries: [SafetensorsHeader.MetadataEntry] = []
    /// Alignment of the tensors in bytes.
    private(set) var alignment: UInt64 = 32
    private(set) var warnings: [IngotWarning] = []
    /// Where the entries are in the file, except those that say how the file was split.
    private(set) var carried = GGUFMetadataBytes()
    /// What the entries say about the model.
    private(set) var model = GGUFModel()

    private let path: String
    private var names = NameTable()
    private var oddKeys = 0
    private var brokenTexts = 0
    private var firstBrokenText = ""

    /// Minimum number of bytes of an entry: the length of its key, one letter, the type, one byte.
    static let minimumEntryBytes: UInt64 = 14
    /// Maximum number of bytes of a key, as in the reference implementation.
    private static let maximumKeyBytes: UInt64 = 65_535
    private static let maximumAlignment: UInt64 = 1 << 20
    private static let alignmentKey = "general.alignment"
    /// Maximum number of elements of an array that is written out.
    private static let shortArray: UInt64 = 8
    /// Maximum number of bytes of a text that is kept.
    private static let longText: UInt64 = 1 << 20

    /// Keys that describe the layout of the file and its parts, with the types they must have.
    private static let layoutTypes: [String: GGUFValueType] = [
        alignmentKey: .u32, GGUFSplit.numberKey: .u16, GGUFSplit.countKey: .u16, GGUFSplit.tensorsKey: .i32,
    ]

    /// Reads `count` entries.
    init(_ reader: inout FrontReader, count: UInt64, path: String) throws {
        self.path = path
        for _ in 0..<count {
            let start = reader.position
            try readEntry(&reader)
            if let key = entries.last?.key, !GGUFSplit.isKey(key) { carried.add(start..<reader.position) }
        }
        if oddKeys > 0 {
            warnings.append(IngotWarning(file: path, "\(oddKeys) metadata keys that are not ASCII; kept"))
        }
        if brokenTexts > 0 {
            warnings.append(
                IngotWarning(
                    file: path,
                    "\(brokenTexts) metadata texts that are not UTF-8, the first under `\(firstBrokenText)`; "
                        + "what cannot be read is shown as U+FFFD"))
        }
    }

    private mutating func readEntry(_ reader: inout FrontReader) throws {
        let place = reader.position
        let length = try reader.unsigned(8, "the length of a metadata key")
        guard length > 0 else { throw reader.failure(.headerSyntax, at: place, "an empty metadata key") }
        guard length <= GGUFMetadata.maximumKeyBytes else {
            throw reader.failure(
                .nameTooLong, at: place, "a metadata key of \(length) bytes",
                expected: "at most \(GGUFMetadata.maximumKeyBytes) bytes")
        }
        let raw = try reader.bytes(length, "a metadata key")
        guard let key = String(validating: raw, as: UTF8.self), !raw.contains(0) else {
            throw reader.failure(
                .invalidText, at: place, "a metadata key that is no text", expected: "UTF-8 without NUL")
        }
        if raw.contains(where: { $0 >= 0x80 }) { oddKeys += 1 }
        let twin = names.insert(TensorName(key), at: entries.count) { TensorName(entries[$0].key) }
        guard twin == nil else {
            throw reader.failure(.duplicateKey, at: place, "the metadata key `\(key.prefix(80))` a second time")
        }
        let type = try readType(&reader, of: key)
        if let wanted = GGUFMetadata.layoutTypes[key], type != wanted {
            throw reader.failure(
                .headerSyntax, at: place, "`\(key)` of type \(type)", expected: "type \(wanted)")
        }
        let value = try readValue(&reader, type, key)
        model.note(key, value)
        entries.append(.init(key, value.text))
    }

    private func readType(_ reader: inout FrontReader, of key: String) throws -> GGUFValueType {
        let place = reader.position
        let number = try reader.unsigned(4, "the type of a metadata value")
        guard let type = GGUFValueType(rawValue: UInt32(truncatingIfNeeded: number)) else {
            throw reader.failure(
                .headerSyntax, at: place, "the value of `\(key.prefix(80))` of type \(number)",
                expected: "a type of 0 to 12")
        }
        return type
    }

    private mutating func readValue(
        _ reader: inout FrontReader, _ type: GGUFValueType, _ key: String
    ) throws -> GGUFValue {
        switch type {
        case .string: return try readText(&reader, key)
        case .array: return try readArray(&reader, key)
        default:
            let place = reader.position
            let bits = try readNumber(&reader, type, key)
            if key == GGUFMetadata.alignmentKey { try setAlignment(bits, reader, at: place) }
            return .number(type, bits)
        }
    }

    private func readNumber(_ reader: inout FrontReader, _ type: GGUFValueType, _ key: String) throws -> UInt64 {
        let bits = try reader.unsigned(type.width ?? 0, "a metadata value")
        guard type != .bool || bits <= 1 else {
            throw reader.failure(
                .headerSyntax, at: reader.position - 1, "\(bits) for a truth value in `\(key.prefix(80))`",
                expected: "0 or 1")
        }
        return bits
    }

    private mutating func readText(_ reader: inout FrontReader, _ key: String) throws -> GGUFValue {
        let length = try reader.unsigned(8, "the length of a text")
        // A long text may hold weights, so only its length is kept.
        guard length <= GGUFMetadata.longText else {
            try reader.skip(length, "a text")
            return .longText(length)
        }
        let raw = try reader.bytes(length, "a text")
        if let text = String(validating: raw, as: UTF8.self) { return .text(text) }
        if brokenTexts == 0 { firstBrokenText = String(key.prefix(80)) }
        brokenTexts += 1
        return .text(String(decoding: raw, as: UTF8.self))
    }

    private mutating func readArray(_ reader: inout FrontReader, _ key: String) throws -> GGUFValue {
        let place = reader.position
        let type = try readType(&reader, of: key)
        // The specification allows arrays of arrays, but no reader accepts them and no program writes them.
        guard type != .array else {
            throw reader.failure(
                .headerSyntax, at: place, "an array of arrays in `\(key.prefix(80))`",
                expected: "an array of numbers, truth values or texts")
        }
        let count = try reader.unsigned(8, "the length of an array")
        guard count <= reader.remaining / type.minimumBytes else {
            throw reader.failure(
                .headerLength, at: place, "an array of \(count) elements, \(reader.remaining) bytes before the end",
                expected: "a file that holds all of its header")
        }
        guard count > GGUFMetadata.shortArray else {
            var values: [GGUFValue] = []
            for _ in 0..<count { values.append(try readValue(&reader, type, key)) }
            return .list(values)
        }
        switch type {
        case .string:
            for _ in 0..<count {
                try reader.skip(try reader.unsigned(8, "the length of a text"), "a text")
            }
        case .bool: for _ in 0..<count { _ = try readNumber(&reader, type, key) }
        default: try reader.skip(count * type.minimumBytes, "an array")
        }
        return .longList(type, count)
    }

    private mutating func setAlignment(_ value: UInt64, _ reader: FrontReader, at place: UInt64) throws {
        guard value > 0, value & (value - 1) == 0, value <= GGUFMetadata.maximumAlignment else {
            throw reader.failure(
                .invalidOffsets, at: place, "an alignment of \(value) bytes",
                expected: "a power of two, at most \(GGUFMetadata.maximumAlignment)")
        }
        if value % 8 != 0 {
            warnings.append(
                IngotWarning(file: path, "an alignment of \(value) bytes, no multiple of 8; taken as it is"))
        }
        alignment = value
    }
}
