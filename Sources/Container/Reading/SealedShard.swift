package import Checkpoints
package import FileAccess
import Quantization
package import SystemPackage
package import TensorModel

/// An opened shard of a sealed checkpoint. Header and seal are read and checked; payloads are read on demand.
package struct SealedShard: Sendable {
    /// The mapped file.
    package let file: MappedFile
    /// The safetensors header.
    package let header: SafetensorsHeader
    /// The seal.
    package let seal: Seal
    /// The tensors with a payload, in the order of the file.
    package let payloads: [Payload]
    /// The kept tensors, in the order of the file.
    package let kept: [StoredTensor]
    /// The `__metadata__` entries of the source; empty if they were only the usual `format`.
    package let sourceMetadata: [SafetensorsHeader.MetadataEntry]
    /// Findings that do not prevent reading.
    package let warnings: [IngotWarning]

    /// A tensor with a payload.
    package struct Payload: Sendable, Hashable {
        /// The tensor's name.
        package let name: TensorName
        /// The payload's bytes in the file.
        package let range: ByteRange
        /// Its description in the header.
        package let descriptor: TensorDescriptor
        /// The prologue that its first bytes must hold. It follows from the description.
        package let prologue: PayloadPrologue

        /// A payload with the given properties.
        package init(name: TensorName, range: ByteRange, descriptor: TensorDescriptor, prologue: PayloadPrologue) {
            self.name = name
            self.range = range
            self.descriptor = descriptor
            self.prologue = prologue
        }

        /// Requires that the decoded bytes of a lossless payload have the source hash in its description.
        ///
        /// - Throws: `payloadInvalid`.
        package func requireHash(_ decoded: ContentHash, in file: MappedFile) throws {
            guard decoded == descriptor.sourceHash else {
                throw IngotError(
                    .payloadInvalid, file: file.path.string, tensor: name, offset: range.start,
                    found: "lossless data that decode to bytes of the hash \(decoded)",
                    expected: "\(descriptor.sourceHash), the `source_xxh3_128` of the description")
            }
        }
    }

    /// Opens a shard and checks its header against the seal and the rules of the format.
    ///
    /// Reads header and seal only. `chunkTable(of:)` reads a chunk table; `ShardVerification` reads everything.
    package init(_ path: FilePath, limits: Limits = .standard) throws {
        let file = try MappedFile.open(path)
        // Read the seal first: it detects truncated files and newer versions before the header can look invalid.
        let seal = try Seal.read(file)
        let header = try SafetensorsHeader.read(file, limits: ContainerFormat.ownLimits(limits))
        self.file = file
        self.header = header
        self.seal = seal
        let about = try ShardRules.selfDescription(header, path.string)
        warnings = header.warnings + about
        sourceMetadata = try ShardRules.sourceMetadata(header, path.string)
        try ShardRules.checkForm(header, path.string)
        var descriptors: [TensorName: TensorDescriptor] = [:]
        for item in header.metadata where item.key.utf8.starts(with: ContainerFormat.tensorKeyPrefix.utf8) {
            let name = TensorName(
                String(Substring(item.key.utf8.dropFirst(ContainerFormat.tensorKeyPrefix.utf8.count))))
            guard let descriptor = TensorDescriptor(item.value) else {
                throw IngotError(
                    .descriptorInvalid, file: path.string, tensor: name, found: "a description no writer makes",
                    expected: "scheme, parameters, certificate and hash, as the format documents them")
            }
            descriptors[name] = descriptor
        }
        var payloads: [Payload] = []
        var kept: [StoredTensor] = []
        for tensor in header.tensors where tensor.name != ContainerFormat.sealName {
            guard let descriptor = descriptors.removeValue(forKey: tensor.name) else {
                kept.append(tensor)
                continue
            }
            var prologue = descriptor.prologue
            prologue.payloadBytes = tensor.range.count
            guard tensor.elementType == .u8, tensor.shape.dimensions.count == 1,
                tensor.range.start % ContainerFormat.alignment == 0,
                tensor.range.count % ContainerFormat.alignment == 0,
                prologue.grid.count <= ContainerFormat.maximumChunks,
                UInt64(prologue.minimumBytes) <= tensor.range.count
            else {
                throw IngotError(
                    .payloadInvalid, file: path.string, tensor: tensor.name, offset: tensor.range.start,
                    found: "an entry of \(tensor.range.count) bytes of \(tensor.elementType.rawValue)",
                    expected: "U8 of rank 1, aligned to 64 bytes, with room for \(prologue.grid.count) chunks")
            }
            payloads.append(
                Payload(name: tensor.name, range: tensor.range, descriptor: descriptor, prologue: prologue))
        }
        if let stray = descriptors.keys.min() {
            throw IngotError(
                .descriptorInvalid, file: path.string, tensor: stray,
                found: "a description of a tensor that is not there")
        }
        self.payloads = payloads
        self.kept = kept
        try ShardRules.checkFeatures(header, payloads, path.string)
        try ShardRules.checkOrder(header, payloads, kept, path.string)
        try checkSeal()
    }

    /// The record of the seal for the range that begins at an offset; nil if there is none.
    private func record(at start: UInt64) -> Seal.Record? {
        var low = 0
        var high = seal.records.count
        while low < high {
            let middle = (low + high) / 2
            if seal.records[middle].range.start < start { low = middle + 1 } else { high = middle }
        }
        return low < seal.records.count && seal.records[low].range.start == start ? seal.records[low] : nil
    }

    /// Requires that the seal's records cover exactly the header, the fronts of payloads and the kept tensors, and that the header's
    /// hash matches.
    private func checkSeal() throws {
        func failure(_ found: String, at offset: UInt64, _ expected: String? = nil) -> IngotError {
            IngotError(.sealInvalid, file: file.path.string, offset: offset, found: found, expected: expected)
        }
        var expected: [(UInt64, UInt64)] = [(0, header.dataStart)]
        expected += payloads.map { ($0.range.start, UInt64($0.prologue.frontBytes)) }
        expected += kept.filter { $0.range.count > 0 }.map { ($0.range.start, $0.range.count) }
        expected.sort { $0.0 < $1.0 }
        guard expected.elementsEqual(seal.records.map { ($0.range.start, $0.range.count) }, by: ==) else {
            throw failure("a seal that covers other ranges than the header's", at: seal.recordsStart)
        }
        guard header.dataStart % ContainerFormat.alignment == 0, let last = header.tensors.last,
            last.name == ContainerFormat.sealName, last.elementType == .u8, last.shape.dimensions.count == 1,
            last.range.start <= seal.recordsStart, seal.recordsStart - last.range.start < ContainerFormat.alignment,
            seal.recordsStart % ContainerFormat.alignment == 0
        else { throw failure("no seal as the last entry", at: seal.recordsStart, "`__ingot_seal__`, U8 of rank 1") }
        try checkHash(seal.records[0])
    }

    /// Requires that the bytes of a record's range have its hash. Throws `sealInvalid`.
    func checkHash(_ record: Seal.Record, tensor: TensorName? = nil) throws {
        guard try file.hash(of: record.range) == record.hash else {
            throw IngotError(
                .sealInvalid, file: file.path.string, tensor: tensor, offset: record.range.start,
                found: "\(record.range.count) bytes whose hash differs from the sealed one")
        }
    }

    /// Requires that the bytes of a kept tensor have the hash in the seal. Returns the hash; throws `sealInvalid`.
    package func checkKept(_ tensor: StoredTensor) throws -> ContentHash {
        guard tensor.range.count > 0, let record = record(at: tensor.range.start) else {
            return ContentHasher().finish()
        }
        try checkHash(record, tensor: tensor.name)
        return record.hash
    }

    /// Reads and checks the chunk table of a payload: hash, prologue, order of the chunks, padding. Throws `payloadInvalid`.
    ///
    /// - Parameter body: called with each entry, in order.
    package func chunkTable(of payload: Payload, _ body: (ChunkEntry) throws -> Void = { _ in }) throws -> ChunkTable {
        func failure(_ found: String) -> IngotError {
            IngotError(
                .payloadInvalid, file: file.path.string, tensor: payload.name, offset: payload.range.start, found: found
            )
        }
        guard let record = record(at: payload.range.start) else { throw failure("a payload the seal does not cover") }
        guard try file.hash(of: record.range) == record.hash else {
            throw failure("a prologue or chunk table whose hash differs from the sealed one")
        }
        guard let start = ByteRange(start: record.range.start, count: UInt64(PayloadPrologue.byteCount)),
            payload.prologue.matches(try file.bytes(start))
        else { throw failure("a prologue that contradicts the header") }
        let table = ChunkTable(of: payload, in: file)
        try table.check(body)
        return table
    }

    /// The scale bytes of the rows and columns of a chunk; nil if the payload has none.
    ///
    /// They are not checked against the seal: `chunkTable` checks them with the table before them.
    package static func scaleBytes(
        of place: ChunkPlace, _ payload: Payload, in file: MappedFile
    ) throws -> (rows: [UInt8], columns: [UInt8])? {
        guard case .trellis(let parameters) = payload.prologue.scheme, let scales = parameters.scaleBytes else {
            return nil
        }
        func bytes(_ first: Int, _ count: Int) throws -> [UInt8] {
            let start = payload.range.start + UInt64(payload.prologue.tableEnd) + UInt64(first)
            guard let range = ByteRange(start: start, count: UInt64(count)), range.end <= payload.range.end else {
                return []
            }
            return try file.bytes(range)
        }
        let columns = try bytes(place.column, place.columns)
        let rows = scales == .columns ? [] : try bytes(payload.prologue.grid.columns + place.row, place.rows)
        return (rows, columns)
    }

    /// Requires that the bytes between the last tensor and the seal's records are zero. Throws `sealInvalid`.
    package func checkSealPadding() throws {
        guard let start = header.tensors.last?.range.start,
            let padding = ByteRange(start: start, end: seal.recordsStart),
            try file.bytes(padding).allSatisfy({ $0 == 0 })
        else {
            throw IngotError(
                .sealInvalid, file: file.path.string, offset: seal.recordsStart, found: "padding that is not zero")
        }
    }
}
