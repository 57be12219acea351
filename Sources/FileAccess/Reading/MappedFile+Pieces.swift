package import TensorModel

extension MappedFile {
    /// The range of the whole file.
    package var wholeRange: ByteRange { ByteRange.whole(byteCount) }

    /// Reads a range in pieces with read(2). After a signal it throws between two pieces.
    ///
    /// - Parameters:
    ///   - pieceBytes: size of a piece in bytes; only the last piece may be smaller.
    ///   - body: called with the bytes of each piece and its range in the file.
    package func forEachPiece(
        of range: ByteRange, pieceBytes: Int = MappedFile.pieceBytes,
        _ body: (Span<UInt8>, ByteRange) throws -> Void
    ) throws {
        var buffer = [UInt8](repeating: 0, count: Int(min(range.count, UInt64(pieceBytes))))
        var start = range.start
        while start < range.end,
            let piece = ByteRange(start: start, count: min(UInt64(buffer.count), range.end - start))
        {
            try Interruption.check()
            try read(piece, into: &buffer)
            try body(buffer.span.extracting(0..<Int(piece.count)), piece)
            start = piece.end
        }
    }

    /// Default size of a piece in bytes: large enough that calls cost little, small enough for the cache of a core.
    package static let pieceBytes = 1 << 18

    /// The hash of a range.
    package func hash(of range: ByteRange) throws -> ContentHash {
        let hasher = ContentHasher()
        try hash(range, into: hasher)
        return hasher.finish()
    }

    /// Adds a range to a hash. After a signal it throws between two pieces.
    package func hash(_ range: ByteRange, into hasher: ContentHasher) throws {
        try forEachPiece(of: range) { bytes, _ in hasher.update(bytes) }
    }
}

extension ByteRange {
    /// The first `count` bytes.
    static func whole(_ count: UInt64) -> ByteRange {
        guard let range = ByteRange(start: 0, end: count) else { preconditionFailure("zero is below every count") }
        return range
    }
}
