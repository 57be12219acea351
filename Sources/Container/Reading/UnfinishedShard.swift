internal import Checkpoints
package import FileAccess
package import Quantization
package import SystemPackage
internal import TensorModel

/// What a journal records of a complete payload in an unfinished shard (Specs/journal.md, `encoded`).
package struct WrittenPayload: Sendable, Hashable {
    /// Bytes of the payload, padding included: a multiple of 64.
    package let byteCount: UInt64
    /// Hash of its prologue, chunk table and side information. The table has the checksums of the chunks.
    package let front: ContentHash
    /// Hash of the bytes of the source tensor.
    package let sourceHash: ContentHash
    /// The sums over activations of a calibrated tensor; nil for any other.
    package let calibrated: ActivationSums?

    /// A record of a payload.
    package init(
        byteCount: UInt64, front: ContentHash, sourceHash: ContentHash, calibrated: ActivationSums? = nil
    ) {
        self.byteCount = byteCount
        self.front = front
        self.sourceHash = sourceHash
        self.calibrated = calibrated
    }
}

/// The complete payloads at the start of a shard that an earlier run did not finish.
///
/// The file has its temporary name and no header yet. Its payloads follow each other from `ShardLayout.dataStart` on.
package struct UnfinishedShard: Sendable {
    /// The file, under its temporary name.
    package let file: MappedFile
    /// The payloads, in the order of the layout: the first ones of it. Their certificates are the sums of their chunk tables.
    package private(set) var payloads: [SealedShard.Payload] = []
    /// The record of each payload.
    package private(set) var written: [WrittenPayload] = []
    /// The chunk table of each payload.
    package private(set) var tables: [ChunkTable] = []

    /// Opens the unfinished file of the shard that will be at `path`, and checks fronts of payloads. `PayloadVerification` checks the rest.
    ///
    /// It takes the payloads up to the first whose front is not the recorded one, or does not fit the layout.
    ///
    /// - Parameter written: records of the first payloads of the layout.
    /// - Throws: errors of opening and reading the file.
    package init(_ path: FilePath, _ layout: ShardLayout, _ written: [WrittenPayload]) throws {
        file = try MappedFile.open(AtomicFile.temporaryPath(of: path))
        var start = layout.dataStart
        for (plan, record) in zip(layout.payloads, written) {
            guard let end = Checked.add(start, record.byteCount), end <= file.byteCount,
                let taken = try UnfinishedShard.payload(plan, record, from: start, in: file)
            else { break }
            payloads.append(taken.payload)
            tables.append(taken.table)
            self.written.append(record)
            start = end
        }
    }

    /// Keeps the first `count` payloads only.
    package mutating func keep(_ count: Int) {
        payloads.removeLast(payloads.count - count)
        tables.removeLast(tables.count - count)
        written.removeLast(written.count - count)
    }

    /// The payload with a record, from byte `start` on; nil if prologue or chunk table are not the recorded ones.
    private static func payload(
        _ plan: TensorPlan, _ record: WrittenPayload, from start: UInt64, in file: MappedFile
    ) throws -> (payload: SealedShard.Payload, table: ChunkTable)? {
        guard var descriptor = plan.descriptor, var prologue = plan.descriptor?.prologue else { return nil }
        prologue.payloadBytes = record.byteCount
        guard start % ContainerFormat.alignment == 0, record.byteCount % ContainerFormat.alignment == 0,
            UInt64(prologue.minimumBytes) <= record.byteCount,
            let range = ByteRange(start: start, count: record.byteCount),
            let front = ByteRange(start: start, count: UInt64(prologue.frontBytes)),
            let head = ByteRange(start: start, count: UInt64(PayloadPrologue.byteCount)),
            try file.hash(of: front) == record.front, prologue.matches(try file.bytes(head))
        else { return nil }
        descriptor.sourceHash = record.sourceHash
        if let sums = record.calibrated { descriptor.calibrated?.sums = sums }
        var sums = ErrorSums.zero
        let unsummed = SealedShard.Payload(
            name: plan.tensor.name, range: range, descriptor: descriptor, prologue: prologue)
        do {
            try ChunkTable(of: unsummed, in: file).check { sums = sums + $0.sums }
        } catch let error as IngotError where error.code == .payloadInvalid {
            return nil
        }
        descriptor.sums = sums
        let payload = SealedShard.Payload(
            name: plan.tensor.name, range: range, descriptor: descriptor, prologue: prologue)
        return (payload, ChunkTable(of: payload, in: file))
    }
}
