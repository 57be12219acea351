import TensorModel

/// Parses the JSON of one header. It takes linear time, plus a sort if the tensors are not in the order of their bytes.
struct HeaderParser {
    /// A tensor whose offsets were checked against its shape, but not yet against other tensors.
    private struct Entry {
        var name: TensorName
        var elementType: ElementType
        var shape: Shape
        var begin: UInt64
        var end: UInt64
        /// Offset of the name in the header, which also gives the order of the entries.
        var place: UInt64
    }

    private let bytes: [UInt8]
    private let headerLength: UInt64
    private let dataStart: UInt64
    private let dataLength: UInt64
    private let path: String
    private let limits: Limits

    private var entries: [Entry] = []
    private var names = NameTable()
    private var metadata: [SafetensorsHeader.MetadataEntry] = []
    private var hasMetadata = false
    private var oddities = HeaderOddities()

    /// A parser of `bytes[8 ..< 8 + headerLength]`. The caller has checked the length.
    init(_ bytes: [UInt8], headerLength: UInt64, byteCount: UInt64, path: String, limits: Limits) {
        self.bytes = bytes
        self.headerLength = headerLength
        self.path = path
        self.limits = limits
        dataStart = SafetensorsFormat.lengthBytes + headerLength
        dataLength = byteCount - dataStart
    }

    /// Parses the whole header. Throws an error for each rule of the format.
    mutating func parse() throws -> SafetensorsHeader {
        let start = Int(SafetensorsFormat.lengthBytes)
        var reader = JSONReader(bytes, range: start..<start + Int(headerLength), maximumDepth: limits.headerDepth)
        try requireObject(&reader, start: start)
        try reader.readObject { reader, key in
            let place = reader.position
            if TensorName(key) == SafetensorsFormat.metadataKey {
                try readMetadata(&reader)
            } else {
                try readTensor(&reader, named: TensorName(key), place: place)
            }
        }
        let textEnd = reader.position
        try reader.requireEnd()
        oddities.noteEquivalentNames(entries.lazy.map(\.name))
        return SafetensorsHeader(
            headerLength: headerLength, tensors: try contiguous(), metadata: metadata,
            warnings: oddities.warnings(path: path), unknownField: oddities.field,
            isPaddedBehind: oddities.leadingSpace == 0
                && bytes[textEnd..<start + Int(headerLength)].allSatisfy { $0 == UInt8(ascii: " ") })
    }

    /// Requires that the header begins with an object, after optional white space.
    private mutating func requireObject(_ reader: inout JSONReader, start: Int) throws {
        let header = bytes[start..<start + Int(headerLength)]
        let marks: [[UInt8]] = [[0xEF, 0xBB, 0xBF], [0xFE, 0xFF], [0xFF, 0xFE]]
        let wide = header.starts(with: [0x7B, 0]) || header.starts(with: [0, 0x7B])
        guard !wide, !marks.contains(where: { header.starts(with: $0) }) else {
            throw reader.failure(
                "a byte order mark, or a text of wide characters", as: .invalidText, expected: "UTF-8 without mark")
        }
        guard reader.peek() == UInt8(ascii: "{") else { throw reader.unexpected("the opening brace of a header") }
        oddities.leadingSpace = reader.position - start
    }

    // MARK: - Members

    private mutating func readMetadata(_ reader: inout JSONReader) throws {
        guard !hasMetadata else { throw reader.failure("`__metadata__` a second time", as: .duplicateKey) }
        hasMetadata = true
        var keys = NameTable()
        try reader.readObject { reader, key in
            let maximum = limits.tensorsPerFile + limits.moreMetadataEntries
            guard metadata.count < maximum else {
                throw reader.failure(
                    "more than \(maximum) metadata entries", as: .headerTooLarge, expected: "at most \(maximum)")
            }
            let twin = keys.insert(TensorName(key), at: metadata.count) { TensorName(metadata[$0].key) }
            guard twin == nil else {
                throw reader.failure("the metadata key `\(key.prefix(80))` a second time", as: .duplicateKey)
            }
            metadata.append(.init(key, try reader.readString()))
        }
    }

    private mutating func readTensor(_ reader: inout JSONReader, named name: TensorName, place: Int) throws {
        let length = name.text.utf8.count
        guard length <= limits.nameBytes else {
            throw reader.failure(
                "a name of \(length) bytes", as: .nameTooLong, expected: "at most \(limits.nameBytes) bytes")
        }
        guard entries.count < min(limits.tensorsPerFile, NameTable.capacity) else {
            throw reader.failure(
                "more than \(limits.tensorsPerFile) tensors", as: .tooManyTensors,
                expected: "at most \(limits.tensorsPerFile)")
        }
        do {
            guard names.insert(name, at: entries.count, stored: { entries[$0].name }) == nil else {
                throw reader.failure("the tensor's name a second time", as: .duplicateKey)
            }
            entries.append(try readFields(&reader, name: name, place: UInt64(place)))
        } catch var error as IngotError {
            error.tensor = name
            throw error
        }
    }

    private mutating func readFields(_ reader: inout JSONReader, name: TensorName, place: UInt64) throws -> Entry {
        var elementType: ElementType?
        var shape: Shape?
        var offsets: (begin: UInt64, end: UInt64)?
        var others: Set<TensorName> = []
        try reader.readObject { reader, key in
            let isRepeated: Bool
            switch key {
            case "dtype":
                isRepeated = elementType != nil
                elementType = try readElementType(&reader)
            case "shape":
                isRepeated = shape != nil
                shape = try readShape(&reader)
            case "data_offsets":
                isRepeated = offsets != nil
                offsets = try readOffsets(&reader)
            default:
                isRepeated = !others.insert(TensorName(key)).inserted
                oddities.noteField(key, of: name)
                try reader.skipValue()
            }
            guard !isRepeated else {
                throw reader.failure("the field `\(key.prefix(80))` a second time", as: .duplicateKey)
            }
        }
        guard let elementType, let shape, let offsets else {
            let missing = elementType == nil ? "dtype" : shape == nil ? "shape" : "data_offsets"
            throw reader.failure(
                "a tensor without `\(missing)`", as: .missingField, expected: "dtype, shape and data_offsets")
        }
        try checkSize(reader, elementType, shape, begin: offsets.begin, end: offsets.end)
        return Entry(
            name: name, elementType: elementType, shape: shape, begin: offsets.begin, end: offsets.end, place: place)
    }

    private func checkSize(
        _ reader: JSONReader, _ elementType: ElementType, _ shape: Shape, begin: UInt64, end: UInt64
    ) throws {
        guard let size = elementType.byteCount(of: shape) else {
            throw reader.failure(
                "a tensor of \(elementType.rawValue) \(shape), which is no whole number of bytes below 2^61",
                as: .invalidShape)
        }
        guard begin <= end, end <= dataLength else {
            throw reader.failure(
                "data_offsets [\(begin), \(end)]", as: .invalidOffsets,
                expected: "a begin, and an end not below it, within the \(dataLength) bytes of data")
        }
        guard end - begin == size else {
            throw reader.failure(
                "\(end - begin) bytes for a tensor of \(elementType.rawValue) \(shape)", as: .invalidOffsets,
                expected: "\(size) bytes")
        }
    }

    // MARK: - Fields

    private static let elementTypes = Dictionary(uniqueKeysWithValues: ElementType.allCases.map { ($0.rawValue, $0) })

    private func readElementType(_ reader: inout JSONReader) throws -> ElementType {
        guard reader.peek() == UInt8(ascii: "\"") else {
            throw reader.unexpected("the name of an element type", as: .unknownElementType)
        }
        let text = try reader.readString()
        guard let type = HeaderParser.elementTypes[text] else {
            throw reader.failure(
                "the element type `\(text.prefix(80))`", as: .unknownElementType,
                expected: "one of " + ElementType.allCases.map(\.rawValue).joined(separator: ", "))
        }
        return type
    }

    private func readShape(_ reader: inout JSONReader) throws -> Shape {
        guard reader.peek() == UInt8(ascii: "[") else {
            throw reader.unexpected("a list of dimensions", as: .invalidShape)
        }
        var dimensions: [Int] = []
        try reader.readArray { reader in
            guard dimensions.count < limits.rank else {
                throw reader.failure(
                    "more than \(limits.rank) dimensions", as: .invalidShape, expected: "at most \(limits.rank)")
            }
            let value = try reader.readUnsigned(.invalidShape)
            guard let dimension = Int(exactly: value) else {
                throw reader.failure(
                    "a dimension of \(value)", as: .invalidShape, expected: "less than 9223372036854775808")
            }
            dimensions.append(dimension)
        }
        guard let shape = Shape(dimensions) else {
            throw reader.failure("a shape whose number of elements overflows", as: .invalidShape)
        }
        return shape
    }

    private func readOffsets(_ reader: inout JSONReader) throws -> (begin: UInt64, end: UInt64) {
        guard reader.peek() == UInt8(ascii: "[") else {
            throw reader.unexpected("two offsets", as: .invalidOffsets)
        }
        var pair: (begin: UInt64, end: UInt64) = (0, 0)
        var count = 0
        try reader.readArray { reader in
            let value = try reader.readUnsigned(.invalidOffsets)
            if count == 0 { pair.begin = value } else { pair.end = value }
            count += 1
            guard count <= 2 else { throw reader.failure("a third offset", as: .invalidOffsets, expected: "two") }
        }
        guard count == 2 else {
            throw reader.failure("\(count) offsets", as: .invalidOffsets, expected: "two")
        }
        return pair
    }

    // MARK: - Layout

    /// The tensors in the order of their bytes. Throws if they leave gaps in the data, overlap, or do not fill it.
    private mutating func contiguous() throws -> [StoredTensor] {
        func precedes(_ a: Entry, _ b: Entry) -> Bool {
            (a.begin, a.end, a.place) < (b.begin, b.end, b.place)
        }
        let isSorted = zip(entries, entries.dropFirst()).allSatisfy { precedes($0, $1) }
        if !isSorted { entries.sort(by: precedes) }

        var tensors: [StoredTensor] = []
        tensors.reserveCapacity(entries.count)
        var expected: UInt64 = 0
        for entry in entries {
            guard entry.begin == expected else {
                let what =
                    entry.begin > expected
                    ? "a hole of \(entry.begin - expected) bytes before the tensor"
                    : "\(expected - entry.begin) bytes that the tensor before it has too"
                throw IngotError(
                    .offsetsNotContiguous, tensor: entry.name, offset: dataStart + entry.begin, found: what,
                    expected: "each tensor begins where the one before it ends")
            }
            expected = entry.end
            guard let range = ByteRange(start: dataStart + entry.begin, end: dataStart + entry.end) else {
                throw IngotError(.invalidOffsets, tensor: entry.name, found: "an end below the begin")
            }
            tensors.append(
                StoredTensor(name: entry.name, elementType: entry.elementType, shape: entry.shape, range: range))
        }
        entries = []
        guard expected == dataLength else {
            throw IngotError(
                .trailingBytes, offset: dataStart + expected,
                found: "\(dataLength - expected) bytes after the last tensor",
                expected: "a file that ends with its last tensor")
        }
        return tensors
    }
}
