package import TensorModel

extension MappedFile {
    /// Reads numbers of 32 bits, little-endian, with read(2).
    ///
    /// - Parameter range: `4 * count` bytes of the file. A rest of fewer than four bytes is not read.
    /// - Throws: `invalidOffsets` for a range beyond the end, `sourceChanged` if the file was cut short since it was opened.
    package func floats(_ range: ByteRange) throws -> [Float] {
        var numbers: [Float] = []
        let count = range.count / 4 * 4
        guard let whole = ByteRange(start: range.start, count: count) else { return [] }
        guard whole.end <= byteCount else { _ = try bytes(range); return [] }
        numbers.reserveCapacity(Int(count / 4))
        try forEachPiece(of: whole) { bytes, _ in
            unsafe bytes.withUnsafeBytes { raw in
                for place in stride(from: 0, to: raw.count, by: 4) {
                    let bits = unsafe raw.loadUnaligned(fromByteOffset: place, as: UInt32.self)
                    numbers.append(Float(bitPattern: UInt32(littleEndian: bits)))
                }
            }
        }
        return numbers
    }

    /// Reads numbers of 64 bits, little-endian, as their bit patterns. For a few numbers.
    package func words(_ range: ByteRange) throws -> [UInt64] {
        let bytes = try bytes(range)
        return stride(from: 0, to: bytes.count / 8 * 8, by: 8).map { place in
            bytes[place..<place + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
    }
}
