import Container
import FileAccess
import TensorModel

/// Puts the tiles of a band beside each other, so that a tensor is written front to back; of very wide bands, each row of a tile
/// goes to its place in the file.
struct BandAssembly {
    private var bytes: [UInt8] = []
    private let limit: Int
    private var start: UInt64 = 0

    /// Makes an assembly.
    ///
    /// - Parameter limit: bytes of a band that is put together in memory, at most.
    init(limit: Int) { self.limit = limit }

    /// Takes a chunk, in order, and writes what is next in the tensor: the chunk itself where it lies in one piece, else, with
    /// the last tile of a band, the band.
    mutating func take(
        _ elements: [UInt8], _ chunk: Int, of grid: ChunkGrid, width: Int, into file: inout AtomicFile?
    ) throws {
        let place = grid.place(of: chunk)
        guard !grid.isContiguous(place) else {
            try file?.append(elements.span.extracting(0..<place.count * width))
            return
        }
        let rowBytes = grid.columns * width
        let bandBytes = place.rows * rowBytes
        let tileBytes = place.columns * width
        guard bandBytes <= limit else {
            if grid.beginsBand(chunk) {
                start = file?.byteCount ?? 0
                try file?.appendHole(UInt64(bandBytes))
            }
            for row in 0..<place.rows {
                try file?.overwrite(
                    elements.span.extracting(row * tileBytes..<(row + 1) * tileBytes),
                    at: start + UInt64(row * rowBytes + place.column * width))
            }
            return
        }
        if bytes.count < bandBytes { bytes += [UInt8](repeating: 0, count: bandBytes - bytes.count) }
        for row in 0..<place.rows {
            let start = row * rowBytes + place.column * width
            bytes.replaceSubrange(start..<start + tileBytes, with: elements[row * tileBytes..<(row + 1) * tileBytes])
        }
        if grid.endsBand(chunk) { try file?.append(bytes.span.extracting(0..<bandBytes)) }
    }
}
