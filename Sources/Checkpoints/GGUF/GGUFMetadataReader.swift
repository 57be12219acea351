import FileAccess
package import SystemPackage
import TensorModel

/// Reads single values of a GGUF file's metadata, of any length, when they are asked for.
package struct GGUFMetadataReader: Sendable {
    /// Type and offset of a value.
    private struct Place {
        let type: GGUFValueType
        let offset: UInt64
    }

    /// The path of the file.
    package let path: FilePath
    private let file: MappedFile
    private let places: [TensorName: Place]
    private let maximumBytes: UInt64

    /// Opens a file, checks its header, and finds the values.
    ///
    /// - Throws: what `GGUFFile.readHeader` throws.
    package init(_ path: FilePath) throws {
        self.path = path
        let limits = Limits.standard
        maximumBytes = limits.headerBytes
        file = try MappedFile.open(path)
        _ = try GGUFFile.readHeader(file, limits: limits, undecodable: .listed)
        do {
            places = try GGUFMetadataReader.places(in: file, maximumBytes)
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
    }

    /// Walks through the entries of a header that was checked.
    ///
    /// - Parameter visit: gets the key, type and offset of a value, and the bytes of its entry.
    private static func forEachEntry(
        in file: MappedFile, _ maximumBytes: UInt64,
        _ visit: (_ key: String, _ value: Place, _ entry: Range<UInt64>) throws -> Void
    ) throws {
        var reader = FrontReader(file, maximumBytes: maximumBytes)
        try reader.skip(16, "the front")
        let count = try reader.unsigned(8, "a count")
        for _ in 0..<count {
            let start = reader.position
            let key = try reader.bytes(try reader.unsigned(8, "a length"), "a key")
            let type = try type(&reader)
            let value = Place(type: type, offset: reader.position)
            if type == .array {
                let element = try GGUFMetadataReader.type(&reader)
                let elements = try reader.unsigned(8, "a count")
                if let width = element.width {
                    try reader.skip(elements * UInt64(width), "an array")
                } else {
                    for _ in 0..<elements { try skip(element, &reader) }
                }
            } else {
                try skip(type, &reader)
            }
            try visit(String(decoding: key, as: UTF8.self), value, start..<reader.position)
        }
    }

    private static func places(in file: MappedFile, _ maximumBytes: UInt64) throws -> [TensorName: Place] {
        var places: [TensorName: Place] = [:]
        try forEachEntry(in: file, maximumBytes) { key, value, _ in places[TensorName(key)] = value }
        return places
    }

    /// Copies entries as they are stored, in the order of the file.
    ///
    /// - Parameter isCopied: whether the entry with a key is copied.
    /// - Returns: the number of entries, and their bytes.
    /// - Throws: errors of reading.
    package func storedEntries(where isCopied: (String) -> Bool) throws -> (count: UInt64, bytes: [UInt8]) {
        var count: UInt64 = 0
        var bytes: [UInt8] = []
        try GGUFMetadataReader.forEachEntry(in: file, maximumBytes) { key, _, entry in
            guard isCopied(key), let range = ByteRange(start: entry.lowerBound, end: entry.upperBound) else { return }
            count += 1
            bytes += try file.bytes(range)
        }
        return (count, bytes)
    }

    private static func type(_ reader: inout FrontReader) throws -> GGUFValueType {
        let number = try reader.unsigned(4, "a type")
        guard let type = GGUFValueType(rawValue: UInt32(number)) else {
            throw reader.failure(.headerSyntax, "a value of type \(number)")
        }
        return type
    }

    private static func skip(_ type: GGUFValueType, _ reader: inout FrontReader) throws {
        let bytes = try type.width.map { UInt64($0) } ?? reader.unsigned(8, "a length")
        try reader.skip(bytes, "a value")
    }

    /// Whether there is a value with this key.
    package func has(_ key: String) -> Bool { places[TensorName(key)] != nil }

    /// A reader at a value; nil if there is none.
    private func reader(_ key: String) throws -> (reader: FrontReader, type: GGUFValueType)? {
        guard let place = places[TensorName(key)] else { return nil }
        var reader = FrontReader(file, maximumBytes: maximumBytes)
        try reader.skip(place.offset, "the entries before")
        return (reader, place.type)
    }

    private func number(_ key: String) throws -> GGUFValue? {
        guard case (var reader, let type)? = try reader(key), let width = type.width else { return nil }
        return .number(type, try reader.unsigned(width, "a value"))
    }

    /// A whole number that is not negative; nil if there is none, or if the value is of another kind.
    package func unsigned(_ key: String) throws -> UInt64? { try number(key)?.unsigned }

    /// A floating-point number; nil if there is none. A binary32 gives the binary64 of its shortest decimal text, so 1e-5 stays 1e-5.
    package func float(_ key: String) throws -> Double? {
        guard case .number(let type, let bits)? = try number(key), [.f32, .f64].contains(type) else { return nil }
        return Double(type.text(bits))
    }

    /// A truth value; nil if there is none.
    package func bool(_ key: String) throws -> Bool? {
        guard case .number(.bool, let bits)? = try number(key) else { return nil }
        return bits != 0
    }

    /// A text; nil if there is none, or if it is not UTF-8.
    package func string(_ key: String) throws -> String? {
        guard case (var reader, let type)? = try reader(key), type == .string else { return nil }
        let bytes = try reader.bytes(try reader.unsigned(8, "a length"), "a text")
        return String(validating: bytes, as: UTF8.self)
    }

    /// Number of elements of an array, and a reader at the first of them; nil if there is no array of one of these types.
    private func array(_ key: String, _ types: [GGUFValueType]) throws -> (
        reader: FrontReader, type: GGUFValueType, count: Int
    )? {
        guard case (var reader, let type)? = try reader(key), type == .array else { return nil }
        let element = try GGUFMetadataReader.type(&reader)
        let count = try reader.unsigned(8, "a count")
        return types.contains(element) ? (reader, element, Int(count)) : nil
    }

    /// An array of texts; nil if there is none, or if one of them is not UTF-8.
    package func strings(_ key: String) throws -> [String]? {
        guard case (var reader, _, let count)? = try array(key, [.string]) else { return nil }
        var values: [String] = []
        values.reserveCapacity(count)
        for _ in 0..<count {
            let bytes = try reader.bytes(try reader.unsigned(8, "a length"), "a text")
            guard let text = String(validating: bytes, as: UTF8.self) else { return nil }
            values.append(text)
        }
        return values
    }

    /// An array of whole numbers; nil if there is none, or if one of them is negative.
    package func unsigneds(_ key: String) throws -> [UInt64]? {
        let types: [GGUFValueType] = [.u8, .i8, .u16, .i16, .u32, .i32, .u64, .i64]
        guard case (var reader, let type, let count)? = try array(key, types), let width = type.width else {
            return nil
        }
        var values: [UInt64] = []
        values.reserveCapacity(count)
        for _ in 0..<count {
            guard let value = GGUFValue.number(type, try reader.unsigned(width, "a value")).unsigned else { return nil }
            values.append(value)
        }
        return values
    }

    /// An array of binary32; nil if there is none.
    package func floats(_ key: String) throws -> [Float]? {
        guard case (var reader, _, let count)? = try array(key, [.f32]) else { return nil }
        var values: [Float] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(Float(bitPattern: UInt32(try reader.unsigned(4, "a value")))) }
        return values
    }
}
