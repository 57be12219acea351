package import Container
import FileAccess
import Synchronization
import TensorModel

/// The elements of a lossless payload as a range of bytes: the bytes of the source tensor, read in parts of any size. Any number of threads may
/// read at the same time.
package struct SealedElements: Sendable {
    /// Bytes of all elements.
    package let byteCount: UInt64
    private let payload: SealedShard.Payload
    private let file: MappedFile
    private let table: ChunkTable
    private let decoders: ElementDecoders

    /// Reads and checks the chunk table of a payload. Nil if its scheme is not `lossless`.
    ///
    /// - Parameter decoders: the decoders to read with; payloads may share them.
    /// - Throws: `payloadInvalid` if the table is damaged; errors of reading.
    package init?(_ payload: SealedShard.Payload, of shard: SealedShard, _ decoders: ElementDecoders) throws {
        guard payload.descriptor.scheme == .lossless else { return nil }
        self.payload = payload
        self.decoders = decoders
        file = shard.file
        byteCount = payload.descriptor.sourceBytes
        table = try shard.chunkTable(of: payload)
    }

    /// Reads bytes of the elements, row by row as in the source tensor. It decodes the chunks that the range overlaps. The hash of the whole
    /// tensor is not checked; the checksum of each chunk is.
    ///
    /// - Parameters:
    ///   - start: offset of the first byte. Traps if the range extends beyond the elements.
    ///   - count: number of bytes.
    ///   - buffer: receives the bytes at index `place` and after it; it must have room for them.
    /// - Throws: `checksum` or `chunkInvalid`, naming the tensor, if a chunk is damaged; errors of reading.
    package func read(_ start: UInt64, count: Int, into buffer: inout [UInt8], at place: Int = 0) throws {
        precondition(
            count >= 0 && start <= byteCount && UInt64(count) <= byteCount - start && place >= 0
                && count <= buffer.count - place, "a range outside its tensor or its buffer")
        let grid = payload.prologue.grid
        let width = payload.descriptor.elementType.byteWidth
        var done = 0
        while done < count {
            let byte = Int(start) + done
            let (row, column) = (byte / width / grid.columns, byte / width % grid.columns)
            let number = row / grid.chunkRows * grid.chunksPerBand + column / grid.chunkColumns
            let chunk = grid.place(of: number)
            let first = byte - grid.firstElement(of: chunk) * width
            let step = min(count - done, chunk.count * width - first)
            let target = place + done..<place + done + step
            let elements = try decoders.elements(number, table, payload, file)
            buffer.replaceSubrange(target, with: elements[first..<first + step])
            done += step
        }
    }
}

/// A few decoders of lossless chunks that threads share. Each keeps the chunk that it decoded last, so that reading in small parts decodes each
/// chunk once. At most about 4 MiB a decoder.
package final class ElementDecoders: Sendable {
    private struct State {
        var decoder = ChunkDecoder()
        var chunk = DecodedChunk()
        /// The payload and chunk that `chunk` holds; nil if it holds none.
        var held: (file: MappedFile, start: UInt64, number: Int)?
    }

    private final class Slot: Sendable {
        let state = Mutex(State())
    }

    private let slots: [Slot]

    /// Makes decoders; buffers grow when first used.
    ///
    /// - Parameter count: how many chunks may be decoded at the same time, at least 1. More threads wait.
    package init(count: Int = 8) {
        precondition(count > 0, "no decoder")
        slots = (0..<count).map { _ in Slot() }
    }

    /// The elements of a chunk, which it decodes unless a decoder holds it. The array may be longer than they are.
    fileprivate func elements(
        _ number: Int, _ table: ChunkTable, _ payload: SealedShard.Payload, _ file: MappedFile
    ) throws -> [UInt8] {
        func take(_ state: inout sending State) throws -> [UInt8] {
            if state.held.map({ $0.file === file && $0.start == payload.range.start && $0.number == number }) != true {
                state.held = nil
                try state.decoder.decode(number, table.entry(number), of: payload, in: file, into: &state.chunk)
                state.held = (file, payload.range.start, number)
            }
            return state.chunk.elements
        }
        // A chunk has a usual decoder; any other that is free may take it.
        let usual = Int((payload.range.start / ContainerFormat.alignment + UInt64(number)) % UInt64(slots.count))
        for step in slots.indices {
            let slot = slots[(usual + step) % slots.count]
            if let elements = try slot.state.withLockIfAvailable({ try take(&$0) }) { return elements }
        }
        return try slots[usual].state.withLock { try take(&$0) }
    }
}

extension StoredWeights {
    /// The elements of a lossless payload, as a range of bytes; nil for any other tensor.
    ///
    /// - Throws: `payloadInvalid` if the chunk table is damaged; errors of reading.
    package func sealedElements() throws -> SealedElements? {
        guard case .payload(let index, let shared) = form else { return nil }
        return try SealedElements(shared.shard.payloads[index], of: shared.shard, shared.decoders)
    }
}
