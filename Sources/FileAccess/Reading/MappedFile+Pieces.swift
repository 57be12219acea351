package import TensorModel

extension MappedFile {
    /// The whole file.
    package var wholeRange: ByteRange { ByteRange.whole(byteCount) }

    /// Hands a range on in pieces, giving back the pages behind each; stops between two pieces when a signal came.
    ///
    /// - Parameters:
    ///   - pieceBytes: bytes of a piece at most; every piece but the last has that many.
    ///   - body: called with the bytes, and their place in the file.
    package func forEachPiece(
        of range: ByteRange, pieceBytes: Int = 1 << 20,
        _ body: (Span<UInt8>, ByteRange) throws -> Void
    ) throws {
        var buffer = [UInt8](repeating: 0, count: Int(min(range.count, UInt64(pieceBytes))))
        var start = range.start
        while start < range.end,
            let piece = ByteRange(start: start, count: min(UInt64(buffer.count), range.end - start))
        {
            try Interruption.check()
            try copy(piece, into: &buffer)
            try body(buffer.span.extracting(0..<Int(piece.count)), piece)
            release(piece)
            start = piece.end
        }
    }

    /// The hash of a range.
    package func hash(of range: ByteRange) throws -> ContentHash {
        let hasher = ContentHasher()
        try hash(range, into: hasher)
        return hasher.finish()
    }

    /// Adds a range to a hash, in place; gives back the pages behind unless told not to, and stops when a signal came.
    package func hash(_ range: ByteRange, into hasher: ContentHasher, releasing: Bool = true) throws {
        let step: UInt64 = 1 << 20
        var start = range.start
        while start < range.end,
            let piece = ByteRange(start: start, count: min(step, range.end - start))
        {
            try Interruption.check()
            try add(piece, to: hasher)
            if releasing { release(piece) }
            start = piece.end
        }
    }
}

extension ByteRange {
    /// The first `count` bytes.
    static func whole(_ count: UInt64) -> ByteRange {
        guard let range = ByteRange(start: 0, end: count) else { preconditionFailure("zero is below every count") }
        return range
    }
}
