internal import Checkpoints
package import FileAccess
package import Quantization
package import SystemPackage
internal import TensorModel

/// Writes one sealed shard from start to end. Header and chunk tables are written last, into reserved space.
///
/// For each of `layout.payloads` the caller calls `beginPayload`, `append(chunk:)` in chunk order, `finishPayload`. Then for each
/// of `layout.kept`: `beginKept`, `append(kept:)`, `finishKept`. At last `seal()`, which renames the temporary file
/// to its name.
package struct ShardWriter: ~Copyable {
    /// The order of the entries.
    package let layout: ShardLayout
    private var file: AtomicFile
    private var descriptors: [TensorDescriptor] = []
    private var payloadBytes: [UInt64] = []
    private var records: [Seal.Record] = []
    private var current: (start: UInt64, prologue: PayloadPrologue, entries: [ChunkEntry])?
    /// The side information of the current payload.
    private var sideInformation: [UInt8] = []
    private var keptStart: UInt64 = 0
    private var keptHash = ContentHasher()
    private var keptCount = 0
    /// Number of payloads that are known to be on the disk.
    private var synchronizedPayloads = 0

    /// Size, hash and payloads of a finished shard.
    package struct Summary: Sendable {
        /// Size of the file in bytes.
        package let byteCount: UInt64
        /// Hash of the seal, which identifies the contents of the file.
        package let seal: ContentHash
        /// Description and size of each payload, in order. Certificates and hashes are filled in.
        package let payloads: [(descriptor: TensorDescriptor, byteCount: UInt64)]
    }

    /// Begins a shard that will be at `path`.
    ///
    /// - Parameter bufferBytes: the most bytes gathered in memory before a write.
    package init(
        _ path: FilePath, layout: ShardLayout, mode: NewFileMode = .usual,
        bufferBytes: Int = AtomicFile.usualBufferBytes
    ) throws {
        var file = try AtomicFile(path, mode: mode, bufferBytes: bufferBytes)
        try file.appendZeros(layout.dataStart)
        self.init(layout: layout, file: file)
    }

    /// Continues the unfinished file of a shard that an earlier run left beside `path`, behind its first payloads.
    ///
    /// - Parameters:
    ///   - path: path of the finished shard.
    ///   - unfinished: the payloads that stay, checked against the same layout. What follows them in the file is removed.
    package init(
        continuing path: FilePath, _ unfinished: UnfinishedShard, layout: ShardLayout, mode: NewFileMode = .usual,
        bufferBytes: Int = AtomicFile.usualBufferBytes
    ) throws {
        let file = try AtomicFile(
            continuing: path, byteCount: unfinished.payloads.last?.range.end ?? layout.dataStart, mode: mode,
            bufferBytes: bufferBytes)
        self.init(layout: layout, file: file)
        for (payload, written) in zip(unfinished.payloads, unfinished.written) {
            descriptors.append(payload.descriptor)
            payloadBytes.append(payload.range.count)
            seal(payload.range.start, UInt64(payload.prologue.frontBytes), written.front)
        }
        synchronizedPayloads = descriptors.count
        self.file.keepsTemporary = true
    }

    private init(layout: ShardLayout, file: consuming AtomicFile) {
        self.layout = layout
        self.file = file
    }

    /// Number of complete payloads.
    package var payloadCount: Int { descriptors.count }

    /// Bytes of the complete payloads that are not known to be on the disk.
    package var unsynchronizedBytes: UInt64 { payloadBytes[synchronizedPayloads...].reduce(0, +) }

    /// Makes the complete payloads durable. From now on the unfinished file stays if the value goes away.
    ///
    /// - Returns: the payloads since the last call, in the order of the layout.
    package mutating func synchronize() throws -> [WrittenPayload] {
        try file.synchronize()
        file.keepsTemporary = true
        defer { synchronizedPayloads = descriptors.count }
        return (synchronizedPayloads..<descriptors.count).map { index in
            WrittenPayload(
                byteCount: payloadBytes[index], front: records[index].hash, sourceHash: descriptors[index].sourceHash,
                calibrated: descriptors[index].calibrated?.sums)
        }
    }

    /// Whether the unfinished file stays if the value goes away.
    package var keepsFile: Bool { file.keepsTemporary }

    /// Lets the unfinished file go when the value goes away.
    package mutating func discard() { file.keepsTemporary = false }

    /// Begins the payload of the next tensor of `layout.payloads`.
    ///
    /// - Parameter side: the scale bytes of columns and rows; empty for a tensor without.
    package mutating func beginPayload(side: [UInt8] = []) throws {
        guard let descriptor = layout.payloads[descriptors.count].descriptor else { return }
        let prologue = descriptor.prologue
        precondition(side.count == prologue.sideBytes, "side information of another size")
        current = (file.byteCount, prologue, [])
        sideInformation = side
        current?.entries.reserveCapacity(prologue.grid.count)
        try file.appendZeros(UInt64(prologue.frontBytes))
    }

    /// Removes the chunks of the current payload, to append them again with other options.
    package mutating func restartPayload() throws {
        guard let (start, prologue, _) = current else { preconditionFailure("no payload was begun") }
        try file.truncate(to: start + UInt64(prologue.frontBytes))
        current?.entries.removeAll(keepingCapacity: true)
    }

    /// Appends the next chunk of the current payload.
    package mutating func append(chunk: EncodedChunk) throws {
        guard let start = current?.start else { preconditionFailure("no payload was begun") }
        var entry = chunk.entry
        entry.offset = file.byteCount - start
        try file.append(chunk.bytes.span.extracting(0..<chunk.byteCount))
        current?.entries.append(entry)
    }

    /// Ends the current payload: pads it, and writes its prologue, chunk table and side information.
    ///
    /// - Parameter calibrated: the sums over activations of a calibrated tensor.
    package mutating func finishPayload(sourceHash: ContentHash, calibrated: ActivationSums? = nil) throws {
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
        front += sideInformation
        try file.overwrite(front.span, at: start)
        seal(start, UInt64(front.count), ContentHash(of: front.span))
        descriptor.sums = sums
        if let calibrated { descriptor.calibrated?.sums = calibrated }
        descriptor.sourceHash = sourceHash
        descriptors.append(descriptor)
        payloadBytes.append(prologue.payloadBytes)
        current = nil
    }

    /// Copies the payload of the next tensor of `layout.payloads` from another shard, as it is.
    ///
    /// - Parameters:
    ///   - payload: its description is that of the layout.
    ///   - shard: the shard that has it.
    /// - Throws: `payloadInvalid`, `checksum` if its bytes are not those that were sealed; errors of reading and writing.
    package mutating func copyPayload(_ payload: SealedShard.Payload, from shard: SealedShard) throws {
        let start = file.byteCount
        var chunks: [(range: ByteRange, checksum: UInt64)] = []
        _ = try shard.chunkTable(of: payload) { entry in
            guard let range = ByteRange(start: payload.range.start + entry.offset, count: entry.byteCount) else {
                return
            }
            chunks.append((range, entry.checksum))
        }
        guard let front = ByteRange(start: payload.range.start, count: UInt64(payload.prologue.frontBytes)) else {
            return
        }
        let bytes = try shard.file.bytes(front)
        try file.append(bytes.span)
        for chunk in chunks {
            let stored = try shard.file.bytes(chunk.range)
            guard ContentHash.checksum64(stored.span) == chunk.checksum else {
                throw IngotError(
                    .checksum, file: shard.file.path.string, tensor: payload.name, offset: chunk.range.start,
                    found: "bytes whose checksum differs from the chunk table's")
            }
            try file.append(stored.span)
        }
        try pad()
        descriptors.append(payload.descriptor)
        payloadBytes.append(file.byteCount - start)
        seal(start, front.count, ContentHash(of: bytes.span))
    }

    /// Begins the next kept tensor of `layout.kept`.
    package mutating func beginKept() {
        keptStart = file.byteCount
        keptHash = ContentHasher()
    }

    /// Appends bytes of the current kept tensor.
    package mutating func append(kept bytes: Span<UInt8>) throws {
        keptHash.update(bytes)
        try file.append(bytes)
    }

    /// Ends the current kept tensor.
    package mutating func finishKept() {
        let count = file.byteCount - keptStart
        precondition(count == layout.kept[keptCount].tensor.byteCount)
        if count > 0 { seal(keptStart, count, keptHash.finish()) }
        keptCount += 1
    }

    /// Writes header and seal, syncs the file and renames it to its name.
    package consuming func seal() throws -> Summary {
        precondition(descriptors.count == layout.payloads.count && keptCount == layout.kept.count)
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
