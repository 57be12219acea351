package import FileAccess
package import TensorModel

/// A range of a file.
package struct FilePart: Sendable {
    /// The file, and the range in it.
    package let file: MappedFile, range: ByteRange

    /// Makes a part.
    package init(_ file: MappedFile, _ range: ByteRange) { (self.file, self.range) = (file, range) }
}

/// Derives the elements of a tensor, row by row, from one or more ranges of files: from blocks of codes, or from elements with strides.
package protocol DerivedBytes: Sendable {
    /// Bytes of the derived elements.
    var byteCount: UInt64 { get }

    /// Derives a range of the bytes.
    ///
    /// - Parameters:
    ///   - start: offset of the first byte in the tensor.
    ///   - count: number of bytes; `start + count` is at most `byteCount`.
    ///   - parts: the ranges that hold the tensor.
    ///   - buffer: gets the bytes from `offset` on. It must be large enough.
    func read(_ start: UInt64, count: Int, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int) throws

    /// Derives `rows` ranges of `count` bytes, `stride` bytes apart, into the first bytes of the buffer, without gaps.
    ///
    /// - Parameter start: offset of the first range in the tensor.
    func read(
        _ start: UInt64, count: Int, rows: Int, stride: Int, of parts: [FilePart], into buffer: inout [UInt8]) throws
}

extension DerivedBytes {
    /// Derives one range after the other.
    package func read(
        _ start: UInt64, count: Int, rows: Int, stride: Int, of parts: [FilePart], into buffer: inout [UInt8]
    ) throws {
        for row in 0..<rows {
            try read(start + UInt64(row * stride), count: count, of: parts, into: &buffer, at: row * count)
        }
    }
}

/// The place of a tensor's bytes: its elements, row by row, little-endian.
package enum TensorBytes: Sendable {
    /// Stored in a file as they are.
    case stored(FilePart)
    /// Derived from ranges of one or more files.
    case derived([FilePart], any DerivedBytes)

    /// Bytes of the elements.
    package var byteCount: UInt64 {
        switch self {
        case .stored(let part): part.range.count
        case .derived(_, let decoder): decoder.byteCount
        }
    }

    /// Whether they can be read; false for a tensor that Ingot cannot decode.
    package var isReadable: Bool {
        if case .derived(_, let decoder) = self { !(decoder is UndecodableBytes) } else { true }
    }

    /// The ranges that hold the tensor.
    package var parts: [FilePart] {
        switch self {
        case .stored(let part): [part]
        case .derived(let parts, _): parts
        }
    }

    /// Reads `count` bytes at `start` of the tensor into `buffer` at `offset`.
    ///
    /// - Throws: `sourceChanged` if a file was cut short or replaced since it was opened.
    package func read(_ start: UInt64, count: Int, into buffer: inout [UInt8], at offset: Int = 0) throws {
        guard count > 0 else { return }
        requireInside(start, UInt64(count))
        switch self {
        case .stored(let part):
            guard let range = ByteRange(start: part.range.start + start, count: UInt64(count)) else { return }
            try part.file.read(range, into: &buffer, at: offset)
        case .derived(let parts, let decoder):
            try decoder.read(start, count: count, of: parts, into: &buffer, at: offset)
        }
    }

    /// Reads `rows` ranges of `count` bytes, `stride` bytes apart, into the first bytes of `buffer`, without gaps.
    ///
    /// - Parameter start: offset of the first range in the tensor.
    /// - Throws: as `read(_:count:into:at:)`.
    package func read(_ start: UInt64, count: Int, rows: Int, stride: Int, into buffer: inout [UInt8]) throws {
        guard rows > 0, count > 0 else { return }
        if rows == 1 || stride == count { return try read(start, count: count * rows, into: &buffer) }
        requireInside(start, UInt64(count) + UInt64(stride) * UInt64(rows - 1))
        switch self {
        case .stored(let part):
            guard let range = ByteRange(start: part.range.start + start, count: UInt64(count)) else { return }
            try part.file.read(range, rows: rows, stride: stride, into: &buffer)
        case .derived(let parts, let decoder):
            try decoder.read(start, count: count, rows: rows, stride: stride, of: parts, into: &buffer)
        }
    }

    private func requireInside(_ start: UInt64, _ count: UInt64) {
        precondition(start <= byteCount && count <= byteCount - start, "a range outside its tensor")
    }

    /// Reads all bytes in pieces. After a signal it throws between two pieces.
    ///
    /// - Parameter body: called with the bytes of each piece and the offset of its first byte in the tensor.
    package func forEachPiece(
        pieceBytes: Int = MappedFile.pieceBytes, _ body: (Span<UInt8>, UInt64) throws -> Void
    ) throws {
        var buffer = [UInt8](repeating: 0, count: Int(min(byteCount, UInt64(pieceBytes))))
        var start: UInt64 = 0
        while start < byteCount {
            try Interruption.check()
            let count = Int(min(UInt64(buffer.count), byteCount - start))
            try read(start, count: count, into: &buffer)
            try body(buffer.span.extracting(0..<count), start)
            start += UInt64(count)
        }
    }

    /// The hash of all bytes of the elements.
    package func hash() throws -> ContentHash {
        let hasher = ContentHasher()
        try forEachPiece { bytes, _ in hasher.update(bytes) }
        return hasher.finish()
    }

    /// Asks the system to start reading some MiB behind a range that is about to be read. Does nothing for derived bytes.
    package func prefetch(behind start: UInt64, count: Int) {
        guard case .stored(let part) = self,
            let range = ByteRange(start: part.range.start + start, count: UInt64(count))
        else { return }
        part.file.prefetch(behind: range)
    }
}

extension StoredTensor {
    /// The place of its bytes in `file`.
    package func bytes(in file: MappedFile) -> TensorBytes {
        let part = FilePart(file, range)
        if let form, let decoder {
            return .derived([part] + form.parts.dropFirst().map { FilePart($0.file, $0.tensor.range) }, decoder)
        }
        return decoder.map { .derived([part], $0) } ?? .stored(part)
    }
}

extension Shard {
    /// The place of the bytes of one of its tensors.
    package func bytes(of tensor: StoredTensor) -> TensorBytes { tensor.bytes(in: file) }
}
