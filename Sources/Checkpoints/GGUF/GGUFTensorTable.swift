import FileAccess
import TensorModel

/// The list of tensors in a GGUF file: name, type, shape and place of each.
struct GGUFTensorTable {
    /// An entry of the list. Everything except the offset is checked.
    private struct Entry {
        let name: TensorName
        let type: GGUFType
        let shape: Shape
        let byteCount: UInt64
        let offset: UInt64
        /// Offset of the entry itself in the file, for messages.
        let place: UInt64
    }

    private var entries: [Entry] = []
    private var names = NameTable()
    private let limits: Limits

    /// Minimum number of bytes of an entry: length of the name, number of dimensions, one dimension, type, offset.
    static let minimumEntryBytes: UInt64 = 32
    private static let maximumDimensions: UInt64 = 4
    /// Maximum number of bytes of a name. The reference implementation keeps names in fields of 64 bytes that end with NUL.
    private static let maximumNameBytes: UInt64 = 63

    /// Reads `count` entries.
    init(_ reader: inout FrontReader, count: UInt64, limits: Limits) throws {
        self.limits = limits
        for _ in 0..<count { entries.append(try readEntry(&reader)) }
    }

    private mutating func readEntry(_ reader: inout FrontReader) throws -> Entry {
        let place = reader.position
        let name = try readName(&reader)
        do {
            let shape = try readShape(&reader)
            let typePlace = reader.position
            let type = try readType(&reader)
            let offset = try reader.unsigned(8, "the offset of a tensor")
            let (elements, bytes) = type.block
            guard shape.columns % elements == 0 else {
                throw reader.failure(
                    .invalidShape, at: typePlace, "rows of \(shape.columns) elements of type \(type.name)",
                    expected: "a multiple of \(elements)")
            }
            guard let byteCount = Checked.multiply(UInt64(shape.elementCount / elements), UInt64(bytes)),
                // The decoded numbers must not overflow either.
                Checked.multiply(UInt64(shape.elementCount), 8) != nil
            else { throw reader.failure(.invalidShape, at: place, "a tensor of more than 2^64 bytes") }
            return Entry(name: name, type: type, shape: shape, byteCount: byteCount, offset: offset, place: place)
        } catch var error as IngotError {
            error.tensor = name
            throw error
        }
    }

    private mutating func readName(_ reader: inout FrontReader) throws -> TensorName {
        let place = reader.position
        let length = try reader.unsigned(8, "the length of a tensor's name")
        let maximum = min(GGUFTensorTable.maximumNameBytes, UInt64(limits.nameBytes))
        guard length <= maximum else {
            throw reader.failure(
                .nameTooLong, at: place, "a name of \(length) bytes", expected: "at most \(maximum) bytes")
        }
        let raw = try reader.bytes(length, "a tensor's name")
        guard let text = String(validating: raw, as: UTF8.self), !raw.contains(0) else {
            throw reader.failure(
                .invalidText, at: place, "a tensor's name that is no text", expected: "UTF-8 without NUL")
        }
        let name = TensorName(text)
        guard names.insert(name, at: entries.count, stored: { entries[$0].name }) == nil else {
            var error = reader.failure(.duplicateKey, at: place, "the tensor's name a second time")
            error.tensor = name
            throw error
        }
        return name
    }

    /// The dimensions. The file has them in reverse order, the fastest varying first.
    private func readShape(_ reader: inout FrontReader) throws -> Shape {
        let place = reader.position
        let count = try reader.unsigned(4, "the number of dimensions")
        guard count >= 1, count <= GGUFTensorTable.maximumDimensions else {
            throw reader.failure(
                .invalidShape, at: place, "\(count) dimensions", expected: "1 to \(GGUFTensorTable.maximumDimensions)")
        }
        var dimensions: [Int] = []
        for _ in 0..<count {
            let value = try reader.unsigned(8, "a dimension")
            guard let dimension = Int(exactly: value) else {
                throw reader.failure(
                    .invalidShape, at: reader.position - 8, "a dimension of \(Int64(bitPattern: value))",
                    expected: "no negative number")
            }
            dimensions.append(dimension)
        }
        guard let shape = Shape(dimensions.reversed()) else {
            throw reader.failure(.invalidShape, at: place, "a shape whose number of elements overflows")
        }
        return shape
    }

    private func readType(_ reader: inout FrontReader) throws -> GGUFType {
        let place = reader.position
        let number = try reader.unsigned(4, "the type of a tensor")
        guard let type = GGUFType.of(number) else {
            throw reader.failure(
                .unknownElementType, at: place, "type \(number)", expected: "one of \(GGUFType.readNames)")
        }
        switch type.form {
        case .plain, .blocks: return type
        case .removed:
            throw reader.failure(
                .unknownElementType, at: place, "type \(number), \(type.name), which ggml has given up",
                expected: "one of \(GGUFType.readNames)", remedy: "make the file anew with today's llama.cpp")
        case .unread:
            throw reader.failure(
                .unsupportedSource, at: place, "type \(number), \(type.name), which ingot cannot decode",
                expected: "one of \(GGUFType.readNames)",
                remedy: "take a file of another type, or the checkpoint that this one was made from")
        }
    }

    // MARK: - Layout

    /// The tensors. They must follow each other in the order of the list, each at the next multiple of the alignment, up to the end of the
    /// file.
    ///
    /// - Parameter start: offset of the first tensor in the file.
    func tensors(of file: MappedFile, from start: UInt64, alignment: UInt64) throws -> [StoredTensor] {
        var tensors: [StoredTensor] = []
        tensors.reserveCapacity(entries.count)
        var expected: UInt64 = 0
        for entry in entries {
            do {
                let range = try range(of: entry, expected: expected, from: start, alignment: alignment, file.byteCount)
                guard let next = Checked.roundUp(entry.offset + entry.byteCount, to: alignment) else {
                    throw IngotError(.invalidOffsets, offset: entry.place, found: "a tensor that ends beyond 2^64")
                }
                expected = next
                tensors.append(GGUFTensorTable.tensor(entry, range))
            } catch var error as IngotError {
                error.tensor = entry.name
                throw error
            }
        }
        // Padding after the last tensor is optional.
        let end = tensors.last.map(\.range.end) ?? start
        guard let last = Checked.roundUp(end - start, to: alignment), file.byteCount <= start + last else {
            throw IngotError(
                .trailingBytes, offset: end, found: "\(file.byteCount - end) bytes after the last tensor",
                expected: "less than \(alignment), the alignment")
        }
        return tensors
    }

    private func range(
        of entry: Entry, expected: UInt64, from start: UInt64, alignment: UInt64, _ byteCount: UInt64
    ) throws -> ByteRange {
        guard entry.offset == expected else {
            let isAligned = entry.offset % alignment == 0
            throw IngotError(
                isAligned ? .offsetsNotContiguous : .invalidOffsets, offset: entry.place,
                found: "offset \(entry.offset)" + (isAligned ? "" : ", no multiple of the alignment, \(alignment)"),
                expected: "\(expected), where the padding of the tensor before it ends")
        }
        guard let begin = Checked.add(start, entry.offset), begin <= byteCount,
            entry.byteCount <= byteCount - begin, let range = ByteRange(start: begin, count: entry.byteCount)
        else {
            throw IngotError(
                .invalidOffsets, offset: entry.place,
                found: "\(entry.byteCount) bytes from offset \(entry.offset) on, in a file of \(byteCount) bytes",
                expected: "a tensor that ends before the file does", remedy: "fetch the file again: its end is missing")
        }
        return range
    }

    private static func tensor(_ entry: Entry, _ range: ByteRange) -> StoredTensor {
        switch entry.type.form {
        case .blocks(let decoder):
            return StoredTensor(
                name: entry.name, elementType: .f32, shape: entry.shape, range: range,
                decoder: BlockBytes(decoder, elementCount: entry.shape.elementCount), encoding: entry.type.name)
        case .plain(let type):
            return StoredTensor(name: entry.name, elementType: type, shape: entry.shape, range: range)
        case .unread, .removed:
            preconditionFailure("types that cannot be read are refused with their entries")
        }
    }
}
