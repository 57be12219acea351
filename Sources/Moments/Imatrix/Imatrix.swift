import Checkpoints
package import FileAccess
package import SystemPackage
package import TensorModel

/// An importance matrix of llama.cpp: for each weight matrix, the squares of each column's activations.
///
/// Facts are those of `tools/imatrix/imatrix.cpp` (`save_imatrix`, `save_imatrix_legacy`, `load_imatrix_legacy`) and
/// `common/imatrix-loader.cpp` in llama.cpp:
///
/// - GGUF: `general.type` is `imatrix`. A matrix NAME has `NAME.in_sum2`, F32, `[columns, matrices]` in ggml's order: sums over tokens of
///   x^2. `NAME.counts`, F32, `[1, matrices]`, are the tokens. Newer files may have `NAME.in_sum`, sums of x, which is not used here.
///   Matrices are the experts of a tensor of all experts.
/// - The older form: i32 entries; for each i32 length of the name, name, i32 calls, i32 values, F32 values; then i32 last chunk, i32 length
///   and name of the text, which may be missing. A value is the mean of x^2 times the calls. Calls are chunks of a size that is not stored.
///   An expert that no token reached has the value 1 times the calls.
package struct Imatrix: Sendable {
    /// The forms of the file. The raw value is the word in reports.
    package enum Form: String, Sendable, Hashable {
        case gguf
        /// The form before GGUF.
        case older = "binary"
    }

    /// A weight matrix, or the matrices of a layer's experts.
    package struct Entry: Sendable, Hashable {
        /// llama.cpp's name of the tensor, such as `blk.0.attn_q.weight`.
        package let name: TensorName
        /// Values: columns times matrices.
        package let valueCount: Int
        /// GGUF: tokens of each matrix, one or several. The older form: the calls, one.
        package let counts: [Double]
        /// Bytes of the values in the file.
        let range: ByteRange
    }

    /// The file.
    package let file: MappedFile
    /// Its form.
    package let form: Form
    /// The matrices, in the order of the file.
    package let entries: [Entry]
    /// Chunks of text, as the file says; 0 if it says nothing.
    package let chunkCount: UInt64
    /// Tokens of a chunk; 0 if the file does not say.
    package let chunkSize: UInt64
    /// Names of texts, as the file says; empty if it says nothing.
    package let datasets: String

    init(
        _ file: MappedFile, _ form: Form, _ entries: [Entry], chunkCount: UInt64 = 0, chunkSize: UInt64 = 0,
        datasets: String = ""
    ) {
        (self.file, self.form, self.entries) = (file, form, entries)
        (self.chunkCount, self.chunkSize, self.datasets) = (chunkCount, chunkSize, datasets)
    }

    /// Opens a file of either form.
    ///
    /// - Throws: `momentsInvalid` if it is no importance matrix, or one whose entries contradict each other; the errors of GGUF.
    package static func open(_ path: FilePath, limits: Limits = .standard) throws -> Imatrix {
        let file = try MappedFile.open(path)
        do {
            if try isGGUF(file) { return try gguf(file, limits) }
            return try older(file, limits)
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
    }

    /// Whether a file looks like an importance matrix of either form.
    package static func isOne(_ file: MappedFile) throws -> Bool { try isGGUF(file) || looksOlder(file) }

    private static func isGGUF(_ file: MappedFile) throws -> Bool {
        guard file.byteCount >= 4, let range = ByteRange(start: 0, count: 4) else { return false }
        return try file.bytes(range) == Array("GGUF".utf8)
    }

    /// Reads the values of an entry: in GGUF sums over tokens of x^2, in the older form means times calls.
    ///
    /// - Throws: `momentsInvalid` for a value that is negative or not finite.
    package func values(of entry: Entry) throws -> [Float] {
        let values = try file.floats(entry.range)
        for (place, value) in values.enumerated() where !(value >= 0 && value.isFinite) {
            throw IngotError(
                .momentsInvalid, file: file.path.string, tensor: entry.name, found: "\(value) at place \(place)",
                expected: "sums of squares, finite and 0 or more")
        }
        return values
    }

    static func failure(
        _ found: String, _ expected: String? = nil, tensor: TensorName? = nil, offset: UInt64? = nil
    ) -> IngotError {
        IngotError(.momentsInvalid, tensor: tensor, offset: offset, found: found, expected: expected)
    }
}

// MARK: - GGUF

extension Imatrix {
    /// The metadata entry by which a GGUF file says that it is an importance matrix: key, type of a text, text.
    static let typeEntry: [UInt8] =
        Array("general.type".utf8) + LittleEndian.bytes(UInt32(8)) + LittleEndian.bytes(UInt64(7))
        + Array("imatrix".utf8)
    private static let squares = ".in_sum2"
    private static let counts = ".counts"

    private static func gguf(_ file: MappedFile, _ limits: Limits) throws -> Imatrix {
        let header = try GGUFFile.readHeader(file, limits: limits, undecodable: .listed)
        guard header.metadata.value(of: "general.type") == "imatrix" else {
            throw failure("a GGUF file without importance matrix", "general.type is imatrix")
        }
        var tensors: [TensorName: StoredTensor] = [:]
        for tensor in header.tensors { tensors[tensor.name] = tensor }
        var entries: [Entry] = []
        for tensor in header.tensors where TensorName.hasSuffix(tensor.name.text, squares) {
            let name = TensorName(TensorName.dropSuffix(tensor.name.text, squares))
            guard let other = tensors[TensorName(name.text + counts)] else {
                throw failure("sums without counts", "a tensor \(name.text + counts)", tensor: name)
            }
            for part in [tensor, other] where part.elementType != .f32 || part.encoding != nil {
                throw failure("elements of \(part.encoding ?? part.elementType.rawValue)", "F32", tensor: part.name)
            }
            let tokens = try file.floats(other.range).map(Double.init)
            for count in tokens where !(count >= 0 && count < 1e15 && count == count.rounded()) {
                throw failure("a count of \(count)", "a whole number of tokens", tensor: other.name)
            }
            let values = tensor.shape.elementCount
            guard values > 0, !tokens.isEmpty, values % tokens.count == 0,
                tokens.count == 1 || tensor.shape.dimensions.first == tokens.count
            else {
                throw failure("\(tokens.count) counts for sums of \(tensor.shape)", "a count a matrix", tensor: name)
            }
            entries.append(Entry(name: name, valueCount: values, counts: tokens, range: tensor.range))
        }
        guard !entries.isEmpty else { throw failure("an importance matrix without sums", "tensors NAME\(squares)") }
        func number(_ key: String) -> UInt64 { header.metadata.value(of: key).flatMap { UInt64($0) } ?? 0 }
        let datasets = header.metadata.value(of: "imatrix.datasets") ?? ""
        let isList = datasets.hasPrefix("[") && datasets.hasSuffix("]")
        return Imatrix(
            file, .gguf, entries, chunkCount: number("imatrix.chunk_count"), chunkSize: number("imatrix.chunk_size"),
            datasets: isList ? String(datasets.dropFirst().dropLast()) : datasets)
    }
}

// MARK: - The older form

extension Imatrix {
    private static let maximumDatasetBytes: UInt64 = 65_535

    /// Whether a file begins as the older form does: a number of entries, and a first name that ends with `.weight`.
    package static func looksOlder(_ file: MappedFile) -> Bool {
        var reader = Reader(file)
        guard let count = try? reader.number("", 1...Int32.max), count > 0,
            let length = try? reader.number("", 8...1024),
            let name = try? reader.text(UInt64(length), "")
        else { return false }
        return TensorName.hasSuffix(name, ".weight") && name.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }

    private static func older(_ file: MappedFile, _ limits: Limits) throws -> Imatrix {
        var reader = Reader(file)
        guard looksOlder(file) else {
            throw failure(
                "neither GGUF nor the name of a first matrix", "an importance matrix of llama.cpp", offset: 0)
        }
        let count = try reader.number("entries", 1...Int32(clamping: limits.tensorsPerFile))
        // An entry has 16 bytes or more.
        guard UInt64(count) <= reader.remaining / 16 else {
            throw failure(
                "\(count) entries in a file of \(file.byteCount) bytes", "at most \(reader.remaining / 16)", offset: 0)
        }
        var entries: [Entry] = []
        var names: Set<TensorName> = []
        for _ in 0..<count {
            let place = reader.position
            let length = try reader.number("bytes of a name", 1...Int32(clamping: limits.nameBytes))
            let name = TensorName(try reader.text(UInt64(length), "a name"))
            guard names.insert(name).inserted else {
                throw failure("the name a second time", tensor: name, offset: place)
            }
            let calls = try reader.number("calls", 1...Int32.max)
            let values = try reader.number("values", 1...Int32.max)
            let range = try reader.skip(4 * UInt64(values), "values")
            entries.append(Entry(name: name, valueCount: Int(values), counts: [Double(calls)], range: range))
        }
        guard reader.remaining > 0 else { return Imatrix(file, .older, entries) }
        let chunks = try reader.number("chunks", 0...Int32.max)
        let length = try reader.number("bytes of a text's name", 0...Int32(clamping: maximumDatasetBytes))
        let dataset = try reader.lossyText(UInt64(length), "the name of a text")
        guard reader.remaining == 0 else {
            throw failure(
                "\(reader.remaining) bytes after the last part", "the end of the file", offset: reader.position)
        }
        return Imatrix(file, .older, entries, chunkCount: UInt64(chunks), datasets: dataset)
    }

    /// Reads the older form from the first byte on. Every length is compared with the bytes that are left.
    private struct Reader {
        private let file: MappedFile
        private(set) var position: UInt64 = 0

        init(_ file: MappedFile) { self.file = file }

        var remaining: UInt64 { file.byteCount - position }

        mutating func skip(_ count: UInt64, _ what: String) throws -> ByteRange {
            guard count <= remaining, let range = ByteRange(start: position, count: count) else {
                throw Imatrix.failure(
                    "\(what) of \(count) bytes, \(remaining) before the end of the file", "a file that holds all of it",
                    offset: position)
            }
            position += count
            return range
        }

        /// A whole number of 32 bits within a range.
        mutating func number(_ what: String, _ accepted: ClosedRange<Int32>) throws -> Int32 {
            let place = position
            let bytes = try file.bytes(try skip(4, what))
            let number = Int32(bitPattern: bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) })
            guard accepted.contains(number) else {
                throw Imatrix.failure(
                    "\(number) \(what)", "\(accepted.lowerBound) to \(accepted.upperBound)", offset: place)
            }
            return number
        }

        /// A text of UTF-8 without NUL.
        mutating func text(_ count: UInt64, _ what: String) throws -> String {
            let place = position
            let bytes = try file.bytes(try skip(count, what))
            guard let text = String(validating: bytes, as: UTF8.self), !bytes.contains(0) else {
                throw Imatrix.failure("\(what) that is no text", "UTF-8 without NUL", offset: place)
            }
            return text
        }

        /// A text; U+FFFD stands for what is not UTF-8.
        mutating func lossyText(_ count: UInt64, _ what: String) throws -> String {
            String(decoding: try file.bytes(try skip(count, what)), as: UTF8.self)
        }
    }
}
