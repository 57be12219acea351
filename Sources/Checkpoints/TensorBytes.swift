package import FileAccess
package import TensorModel

/// A range of a file.
package struct FilePart: Sendable {
    /// The file, and the bytes meant.
    package let file: MappedFile, range: ByteRange

    /// The given range.
    package init(_ file: MappedFile, _ range: ByteRange) { (self.file, self.range) = (file, range) }
}

/// Makes the elements of a tensor, row by row, of what one or more ranges of files hold: blocks of codes, or elements with strides.
package protocol DerivedBytes: Sendable {
    /// Bytes of the elements.
    var byteCount: UInt64 { get }

    /// Derives a part of the bytes.
    ///
    /// - Parameters:
    ///   - start: the first of them.
    ///   - count: how many; `start + count` is at most `byteCount`.
    ///   - parts: the ranges that hold the tensor.
    ///   - buffer: large enough for the bytes, which go to `offset` and behind.
    func read(_ start: UInt64, count: Int, of parts: [FilePart], into buffer: inout [UInt8], at offset: Int) throws

    /// Derives `rows` parts of `count` bytes, `stride` bytes apart, next to each other into the first bytes of the buffer.
    ///
    /// - Parameter start: the first byte of the first of them.
    func read(
        _ start: UInt64, count: Int, rows: Int, stride: Int, of parts: [FilePart], into buffer: inout [UInt8]) throws
}

extension DerivedBytes {
    /// One part after the other.
    package func read(
        _ start: UInt64, count: Int, rows: Int, stride: Int, of parts: [FilePart], into buffer: inout [UInt8]
    ) throws {
        for row in 0..<rows {
            try read(start + UInt64(row * stride), count: count, of: parts, into: &buffer, at: row * count)
        }
    }
}

/// Where the bytes of a tensor are: its elements, row by row, little-endian.
package enum TensorBytes: Sendable {
    /// In a file, as they are.
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

    /// The ranges that hold them.
    package var parts: [FilePart] {
        switch self {
        case .stored(let part): [part]
        case .derived(let parts, _): parts
        }
    }

    /// Reads `count` bytes from `start` on into `buffer` from `offset` on.
    ///
    /// - Throws: `sourceChanged` where a file was cut short or replaced since it was opened.
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

    /// Reads `rows` runs of `count` bytes, `stride` bytes apart, next to each other into the first bytes of `buffer`.
    ///
    /// - Parameter start: the first byte of the first run.
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

    /// Hands all bytes on in pieces; stops between two of them when a signal came.
    ///
    /// - Parameter body: called with the bytes, and the place of the first of them in the tensor.
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

    /// The hash of all bytes.
    package func hash() throws -> ContentHash {
        let hasher = ContentHasher()
        try forEachPiece { bytes, _ in hasher.update(bytes) }
        return hasher.finish()
    }

    /// Has the system begin to read what lies some way behind a part that is about to be read.
    package func prefetch(behind start: UInt64, count: Int) {
        guard case .stored(let part) = self,
            let range = ByteRange(start: part.range.start + start, count: UInt64(count))
        else { return }
        part.file.prefetch(behind: range)
    }
}

extension StoredTensor {
    /// Where its bytes are, given the file it is in.
    package func bytes(in file: MappedFile) -> TensorBytes {
        let part = FilePart(file, range)
        return decoder.map { .derived([part], $0) } ?? .stored(part)
    }
}

extension Shard {
    /// Where the bytes of one of its tensors are.
    package func bytes(of tensor: StoredTensor) -> TensorBytes { tensor.bytes(in: file) }
}
