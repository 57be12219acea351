import FileAccess
import TensorModel

/// The list of tensors in a GGUF file: name, type, shape and place of each.
struct GGUFTensorTable {
    /// An entry of the list. Everything except the offset is checked.
    private struct Entry {
        let name: TensorName
        let type: GGUFType
        let shape: Shape
        /// Bytes by type and shape; nil if the size of a block is not known.
        let byteCount: UInt64?
        let offset: UInt64
        /// Offset of the entry itself in the file, for messages.
        let place: UInt64
    }

    private var entries: [Entry] = []
    private var names = NameTable()
    private let limits: Limits
    private let undecodable: UndecodableTensors

    /// Minimum number of bytes of an entry: length of the name, number of dimensions, one dimension, type, offset.
    static let minimumEntryBytes: UInt64 = 32
    private static let maximumDimensions: UInt64 = 4
    /// Maximum number of bytes of a name. The reference implementation keeps names in fields of 64 bytes that end with NUL.
    private static let maximumNameBytes: UInt64 = 63

    /// Reads `count` entries. `undecodable` says what becomes of tensors whose type Ingot does not decode.
    init(_ reader: inout FrontReader, count: UInt64, limits: Limits, undecodable: UndecodableTensors) throws {
        self.limits = limits
        self.undecodable = undecodable
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
            // The decoded numbers must not overflow either.
            guard Checked.multiply(UInt64(shape.elementCount), 8) != nil else { throw tooLarge(place) }
            let byteCount = try type.block.map { try bytes(of: shape, type, $0, place: place, typePlace: typePlace) }
            return Entry(name: name, type: type, shape: shape, byteCount: byteCount, offset: offset, place: place)
        } catch var error as IngotError {
            error.tensor = name
            throw error
        }
    }

    /// Bytes of a tensor in blocks of a known size.
    private func bytes(
        of shape: Shape, _ type: GGUFType, _ block: GGUFType.Block, place: UInt64, typePlace: UInt64
    ) throws -> UInt64 {
        guard shape.columns % block.elements == 0 else {
            throw IngotError(
                .invalidShape, offset: typePlace, found: "rows of \(shape.columns) elements of type \(type.name)",
                expected: "a multiple of \(block.elements)")
        }
        let blocks = UInt64(shape.elementCount / block.elements)
        guard let count = Checked.multiply(blocks, UInt64(block.bytes)) else { throw tooLarge(place) }
        return count
    }

    private func tooLarge(_ place: UInt64) -> IngotError {
        IngotError(.invalidShape, offset: place, found: "a tensor of more than 2^64 bytes")
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
        let type = GGUFType.of(number)
        guard type.isDecoded || undecodable == .listed else { throw type.refusal(number: number, at: place) }
        return type
    }

    /// What to tell about the tensors that are listed only; nil if there are none.
    func warning(_ path: String) -> IngotWarning? {
        func names(_ entries: [Entry]) -> String {
            var names: [String] = []
            for entry in entries where !names.contains(entry.type.name) {
                guard names.count < 8 else { return names.joined(separator: ", ") + ", ..." }
                names.append(entry.type.name)
            }
            return names.joined(separator: ", ")
        }
        let listed = entries.filter { !$0.type.isDecoded }
        guard !listed.isEmpty else { return nil }
        let unsized = listed.filter { $0.byteCount == nil }
        let count = listed.count == 1 ? "1 tensor" : "\(listed.count) tensors"
        return IngotWarning(
            file: path,
            "\(count) that ingot cannot decode (\(names(listed))): listed without figures"
                + (unsized.isEmpty ? "" : "; sizes of \(names(unsized)) reach to the next tensor"))
    }

    // MARK: - Layout

    /// The tensors. They must follow each other in the order of the list, each at the next multiple of the alignment, up to the end of the
    /// file. If the type of a tensor does not tell its size, its bytes are those up to the next tensor, or to the end of the file.
    ///
    /// - Parameter start: offset of the first tensor in the file.
    func tensors(of file: MappedFile, from start: UInt64, alignment: UInt64) throws -> [StoredTensor] {
        var tensors: [StoredTensor] = []
        tensors.reserveCapacity(entries.count)
        var expected: UInt64 = 0
        for (index, entry) in entries.enumerated() {
            do {
                let byteCount = try entry.byteCount ?? bytesByOffset(index, start, alignment, file.byteCount)
                let range = try range(
                    of: entry, byteCount, expected: expected, from: start, alignment: alignment, file.byteCount)
                guard let next = Checked.roundUp(entry.offset + byteCount, to: alignment) else {
                    throw IngotError(.invalidOffsets, offset: entry.place, found: "a tensor that ends beyond 2^64")
                }
                expected = next
                tensors.append(GGUFTensorTable.tensor(entry, range))
            } catch var error as IngotError {
                error.tensor = error.tensor ?? entry.name
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

    /// Bytes from the entry at `index` to the next one, padding included, or to the end of the file. `range` checks where they begin.
    private func bytesByOffset(
        _ index: Int, _ start: UInt64, _ alignment: UInt64, _ byteCount: UInt64
    ) throws -> UInt64 {
        let entry = entries[index]
        let isEmpty = entry.shape.elementCount == 0
        guard index + 1 < entries.count else {
            guard let begin = Checked.add(start, entry.offset), begin < byteCount || isEmpty else {
                throw IngotError(
                    .invalidOffsets, offset: entry.place,
                    found: "offset \(entry.offset), in a file of \(byteCount) bytes",
                    expected: "a tensor with bytes", remedy: "fetch the file again: its end is missing")
            }
            return byteCount - min(begin, byteCount)
        }
        let next = entries[index + 1]
        guard next.offset % alignment == 0 else { throw misplaced(next, alignment, "a multiple of \(alignment)") }
        guard next.offset > entry.offset || (isEmpty && next.offset == entry.offset) else {
            throw misplaced(next, alignment, "more than \(entry.offset), where the tensor before it begins")
        }
        return next.offset - entry.offset
    }

    private func misplaced(_ entry: Entry, _ alignment: UInt64, _ expected: String) -> IngotError {
        let isAligned = entry.offset % alignment == 0
        return IngotError(
            isAligned ? .offsetsNotContiguous : .invalidOffsets, tensor: entry.name, offset: entry.place,
            found: "offset \(entry.offset)" + (isAligned ? "" : ", no multiple of the alignment, \(alignment)"),
            expected: expected)
    }

    private func range(
        of entry: Entry, _ size: UInt64, expected: UInt64, from start: UInt64, alignment: UInt64, _ byteCount: UInt64
    ) throws -> ByteRange {
        guard entry.offset == expected else {
            throw misplaced(entry, alignment, "\(expected), where the padding of the tensor before it ends")
        }
        guard let begin = Checked.add(start, entry.offset), begin <= byteCount,
            size <= byteCount - begin, let range = ByteRange(start: begin, count: size)
        else {
            throw IngotError(
                .invalidOffsets, offset: entry.place,
                found: "\(size) bytes from offset \(entry.offset) on, in a file of \(byteCount) bytes",
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
        case .unread, .removed, .unknown:
            return StoredTensor(
                name: entry.name, elementType: .f32, shape: entry.shape, range: range,
                decoder: UndecodableBytes(
                    tensor: entry.name, type: entry.type.name, elementCount: entry.shape.elementCount),
                encoding: entry.type.name)
        }
    }
}
