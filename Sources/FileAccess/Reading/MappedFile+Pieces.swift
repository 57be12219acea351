package import TensorModel

extension MappedFile {
    /// The whole file.
    package var wholeRange: ByteRange { ByteRange.whole(byteCount) }

    /// Hands a range on in pieces, read by read(2); stops between two pieces when a signal came.
    ///
    /// - Parameters:
    ///   - pieceBytes: bytes of a piece at most; every piece but the last has that many.
    ///   - body: called with the bytes, and their place in the file.
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

    /// Bytes of a piece: large against the cost of a call, small against the caches of a core.
    package static let pieceBytes = 1 << 18

    /// The hash of a range.
    package func hash(of range: ByteRange) throws -> ContentHash {
        let hasher = ContentHasher()
        try hash(range, into: hasher)
        return hasher.finish()
    }

    /// Adds a range to a hash; stops when a signal came.
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
