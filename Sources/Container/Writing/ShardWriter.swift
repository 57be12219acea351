internal import Checkpoints
package import FileAccess
internal import Quantization
package import SystemPackage
internal import TensorModel

/// Writes one sealed shard, strictly forward but for the header and the chunk tables, whose room is reserved.
///
/// The caller goes through `layout.payloads`, for each: `beginPayload`, `append(chunk:)` in chunk order,
/// `finishPayload`; then through `layout.ordinary`: `beginOrdinary`, `append(ordinary:)`, `finishOrdinary`; then
/// `seal()`. Everything lands in a temporary file until then.
package struct ShardWriter: ~Copyable {
    /// Where the parts go.
    package let layout: ShardLayout
    private var file: AtomicFile
    private var descriptors: [TensorDescriptor] = []
    private var payloadBytes: [UInt64] = []
    private var records: [Seal.Record] = []
    private var current: (start: UInt64, prologue: PayloadPrologue, entries: [ChunkEntry])?
    private var ordinaryStart: UInt64 = 0
    private var ordinaryHash = ContentHasher()
    private var ordinaryCount = 0

    /// What is known of a finished shard.
    package struct Summary: Sendable {
        /// Bytes of the file.
        package let byteCount: UInt64
        /// Hash of the seal, which stands for the file.
        package let seal: ContentHash
        /// The payloads' descriptions, certificates and hashes filled in, with their bytes.
        package let payloads: [(descriptor: TensorDescriptor, byteCount: UInt64)]
    }

    /// Begins a shard at `path`.
    ///
    /// - Parameter bufferBytes: bytes that are gathered at most before they are written.
    package init(
        _ path: FilePath, layout: ShardLayout, mode: NewFileMode = .usual,
        bufferBytes: Int = AtomicFile.usualBufferBytes
    ) throws {
        var file = try AtomicFile(path, mode: mode, bufferBytes: bufferBytes)
        try file.appendZeros(layout.dataStart)
        self.init(layout: layout, file: file)
    }

    private init(layout: ShardLayout, file: consuming AtomicFile) {
        self.layout = layout
        self.file = file
    }

    /// Begins the payload of the next tensor of `layout.payloads`.
    package mutating func beginPayload() throws {
        guard let descriptor = layout.payloads[descriptors.count].descriptor else { return }
        let prologue = descriptor.prologue
        current = (file.byteCount, prologue, [])
        current?.entries.reserveCapacity(prologue.grid.count)
        try file.appendZeros(UInt64(prologue.frontBytes))
    }

    /// Takes back the chunks of the payload that was begun, to append others.
    package mutating func restartPayload() throws {
        guard let (start, prologue, _) = current else { preconditionFailure("no payload was begun") }
        try file.truncate(to: start + UInt64(prologue.frontBytes))
        current?.entries.removeAll(keepingCapacity: true)
    }

    /// Appends the payload's next chunk.
    package mutating func append(chunk: EncodedChunk) throws {
        guard let start = current?.start else { preconditionFailure("no payload was begun") }
        var entry = chunk.entry
        entry.offset = file.byteCount - start
        try file.append(chunk.bytes.span.extracting(0..<chunk.byteCount))
        current?.entries.append(entry)
    }

    /// Ends a payload: pads it, and writes its prologue and table.
    package mutating func finishPayload(sourceHash: ContentHash) throws {
        guard let (start, begun, entries) = current, var descriptor = layout.payloads[descriptors.count].descriptor
        else { preconditionFailure("no payload was begun") }
        precondition(entries.count == begun.grid.count, "chunks are missing")
        var prologue = begun
        try pad()
        prologue.payloadBytes = file.byteCount - start
        var front = prologue.encoded()
        front.reserveCapacity(prologue.frontBytes)
        var sums = ErrorSums.zero
        for entry in entries {
            entry.encode(into: &front)
            sums = sums + entry.sums
        }
        try file.overwrite(front.span, at: start)
        seal(start, UInt64(front.count), ContentHash(of: front.span))
        descriptor.sums = sums
        descriptor.sourceHash = sourceHash
        descriptors.append(descriptor)
        payloadBytes.append(prologue.payloadBytes)
        current = nil
    }

    /// Begins the next tensor of `layout.ordinary`.
    package mutating func beginOrdinary() {
        ordinaryStart = file.byteCount
        ordinaryHash = ContentHasher()
    }

    /// Appends bytes of an ordinary tensor.
    package mutating func append(ordinary bytes: Span<UInt8>) throws {
        ordinaryHash.update(bytes)
        try file.append(bytes)
    }

    /// Ends an ordinary tensor.
    package mutating func finishOrdinary() {
        let count = file.byteCount - ordinaryStart
        precondition(count == layout.ordinary[ordinaryCount].tensor.byteCount)
        if count > 0 { seal(ordinaryStart, count, ordinaryHash.finish()) }
        ordinaryCount += 1
    }

    /// Writes header and seal, and gives the file its name.
    package consuming func seal() throws -> Summary {
        precondition(descriptors.count == layout.payloads.count && ordinaryCount == layout.ordinary.count)
        let dataEnd = file.byteCount
        try pad()
        let recordsStart = file.byteCount
        let length = Seal.byteCount(records: records.count + 1)
        let header = layout.header(
            descriptors: descriptors, payloadBytes: payloadBytes, sealBytes: recordsStart + length - dataEnd)
        seal(0, layout.dataStart, ContentHash(of: header.span))
        let sorted = [records[records.count - 1]] + records.dropLast()
        let seal = Seal(records: sorted, fileBytes: recordsStart + length, recordsStart: recordsStart)
        try file.append(seal.encoded().span)
        try file.overwrite(header.span, at: 0)
        let summary = Summary(
            byteCount: seal.fileBytes, seal: seal.hash, payloads: zip(descriptors, payloadBytes).map { ($0, $1) })
        try file.publish()
        return summary
    }

    private mutating func seal(_ start: UInt64, _ count: UInt64, _ hash: ContentHash) {
        guard let range = ByteRange(start: start, count: count) else { preconditionFailure("a range wraps") }
        records.append(Seal.Record(range: range, hash: hash))
    }

    private mutating func pad() throws {
        try file.appendZeros((0 &- file.byteCount) & (ContainerFormat.alignment - 1))
    }
}
