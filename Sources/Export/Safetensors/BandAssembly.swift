import Container

/// Puts the tiles of a band beside each other, so that a tensor can be written front to back.
///
/// Holds one band of tiles at most (Specs/container.md: 32 MiB of binary32, unless rows are extremely wide).
struct BandAssembly {
    private var bytes: [UInt8] = []

    /// Takes a chunk, in order, and hands on what is next in the tensor: the chunk itself where it lies in one piece, else, with
    /// the last tile of a band, the band.
    mutating func take(
        _ elements: [UInt8], _ chunk: Int, of grid: ChunkGrid, width: Int, then body: (Span<UInt8>) throws -> Void
    ) throws {
        let place = grid.place(of: chunk)
        guard !grid.isContiguous(place) else { return try body(elements.span.extracting(0..<place.count * width)) }
        let rowBytes = grid.columns * width
        let bandBytes = place.rows * rowBytes
        if bytes.count < bandBytes { bytes += [UInt8](repeating: 0, count: bandBytes - bytes.count) }
        let tileBytes = place.columns * width
        for row in 0..<place.rows {
            let start = row * rowBytes + place.column * width
            bytes.replaceSubrange(start..<start + tileBytes, with: elements[row * tileBytes..<(row + 1) * tileBytes])
        }
        if grid.endsBand(chunk) { try body(bytes.span.extracting(0..<bandBytes)) }
    }
}
