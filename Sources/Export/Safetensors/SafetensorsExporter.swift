import Checkpoints
package import Container
import FileAccess
import Publishing
package import SystemPackage
package import TensorModel
import Weights
import Work

/// Exports an Ingot checkpoint as plain safetensors, in the layout that transformers loads.
package struct SafetensorsExporter: Sendable {
    /// The checkpoint to export.
    package let checkpoint: SealedCheckpoint
    /// Element type of all F16, BF16 and F32 tensors; nil keeps the type of each.
    package let format: FloatFormat?
    private let budget: MemoryBudget
    private let force: Bool
    private static let marker = "exported_by"
    /// Metadata key of the list of files of an export.
    static let filesKey = "exported_files"

    /// Counts of an export.
    package struct Summary: Sendable {
        /// Bytes of the shards.
        package var byteCount: UInt64 = 0
        /// Number of shards, and of tensors.
        package var shards = 0, tensors = 0
    }

    /// Prepares an export; `memory` in bytes, `jobs` chunks at the same time, `force` to replace an earlier export.
    package init(
        _ checkpoint: SealedCheckpoint, as format: FloatFormat?, memory: UInt64, jobs: Int, force: Bool
    ) throws {
        self.checkpoint = checkpoint
        self.format = format
        self.force = force
        budget = try MemoryBudget(bytes: memory, jobs: jobs)
    }

    /// Decodes every shard into the directory `output`, and writes index, configuration and the other files.
    ///
    /// - Parameter progress: called with a tensor, its file, and the bytes of it that were decoded since the last call.
    /// - Throws: `valueOutOfRange` if a value does not fit the requested element type.
    package func run(
        to output: FilePath, progress: @escaping (TensorName, String, UInt64) -> Void = { _, _, _ in }
    ) async throws -> Summary {
        try PathOverlap.refuse(source: checkpoint.path, destination: output)
        try checkpoint.checkFiles()
        try checkpoint.checkConfiguration()
        try requireRoom(for: output)
        let builder = try DirectoryBuilder.begin(
            output, replaceable: force ? { try SafetensorsExporter.requireReplaceable($0) } : nil)
        var summary = Summary()
        var shards: [(fileName: String, tensors: [TensorName])] = []
        var totalBytes: UInt64 = 0
        for shard in checkpoint.shards {
            let name = shard.file.path.lastComponent?.string ?? ""
            let (bytes, data) = try await export(shard, to: builder.staging.appending(name)) { progress($0, name, $1) }
            summary.byteCount += bytes
            totalBytes += data
            shards.append((name, shard.payloads.map(\.name) + shard.kept.map(\.name)))
        }
        summary.shards = shards.count
        summary.tensors = shards.reduce(0) { $0 + $1.tensors.count }
        try exportCompanions(into: builder.staging)
        if let indexName {
            try WholeFile.write(
                ShardIndexWriter.text(totalBytes: totalBytes, shards: shards),
                to: builder.staging.appending(indexName),
                mode: CompanionWriter.mode(beside: shards.map(\.fileName), in: builder.staging))
        }
        try builder.publish()
        return summary
    }

    /// Exports a shard; returns the bytes of the file, and of the tensors in it.
    private func export(
        _ shard: SealedShard, to path: FilePath, _ progress: @escaping (TensorName, UInt64) -> Void
    ) async throws -> (file: UInt64, data: UInt64) {
        let payloads = shard.payloads
        let tables = try payloads.map { try shard.chunkTable(of: $0) }
        let format = format
        func entry(_ name: TensorName, _ elementType: ElementType, _ shape: Shape) -> SafetensorsWriter.Entry {
            SafetensorsWriter.Entry(
                name: name, elementType: elementType, shape: shape, byteCount: elementType.byteCount(of: shape) ?? 0)
        }
        var entries = payloads.map { payload in
            entry(payload.name, (format ?? payload.descriptor.format).elementType, payload.descriptor.shape)
        }
        entries += shard.kept.map { tensor in
            let element = tensor.elementType.quantizable == nil ? nil : format?.elementType
            return entry(tensor.name, element ?? tensor.elementType, tensor.shape)
        }
        let header = try SafetensorsWriter.header(tensors: entries, metadata: try metadata(of: shard))
        let output = OutputShard(
            try AtomicFile(path, mode: .within(shard.file.permissions), bufferBytes: budget.writerBytes),
            bandLimit: budget.bandBytes)
        try output.file?.append(header.span)
        try await budget.pipeline { ChunkExporter() }.run(
            ChunkRun.all(tables.map(\.count)), makeOutput: { ExportedChunk() }
        ) { run, exporter, exported in
            let (payload, chunk) = (payloads[run.payload], run.chunks.lowerBound)
            try exporter.export(
                chunk, tables[run.payload].entry(chunk), of: payload, in: shard.file,
                as: format ?? payload.descriptor.format, into: &exported)
        } consume: { run, exported in
            let (payload, chunk) = (payloads[run.payload], run.chunks.lowerBound)
            if payload.descriptor.scheme == .lossless {
                if chunk == 0 { output.hasher = ContentHasher() }
                exported.hashDecoded(into: output.hasher)
                if chunk == tables[run.payload].count - 1 {
                    try payload.requireHash(output.hasher.finish(), in: shard.file)
                }
            }
            try output.take(
                exported.elements, chunk, of: payload.prologue.grid,
                width: (format ?? payload.descriptor.format).byteWidth)
            progress(payload.name, payload.range.count / UInt64(max(1, tables[run.payload].count)))
        }
        guard var file = output.file.take() else { preconditionFailure("a shard is exported once") }
        for tensor in shard.kept {
            _ = try shard.checkKept(tensor)
            try append(tensor, of: shard.file, to: &file)
            progress(tensor.name, tensor.byteCount)
        }
        let bytes = file.byteCount
        try file.publish()
        shard.file.finishReading()
        return (bytes, bytes - UInt64(header.count))
    }

    /// Metadata of an exported shard: that of the source's shard, `format` if it lacks it, and the marks of an export.
    private func metadata(of shard: SealedShard) throws -> [SafetensorsHeader.MetadataEntry] {
        let own = [SafetensorsExporter.marker, SafetensorsExporter.filesKey]
        let carried = shard.sourceMetadata.filter { !own.contains($0.key) }
        return (carried.value(of: "format") == nil ? [.init("format", "pt")] : []) + carried
            + [.init(own[0], ContainerFormat.writer), .init(own[1], try fileList)]
    }

    /// Requires free disk space for all weights before the first one is written; they can be thousands of times larger than the checkpoint.
    ///
    /// - Throws: `outOfSpace`.
    private func requireRoom(for output: FilePath) throws {
        func bytes(_ shape: Shape, _ elementType: ElementType) -> UInt64 {
            Checked.multiply(UInt64(shape.elementCount), UInt64(max(1, elementType.bitWidth / 8))) ?? .max
        }
        var needed: UInt64 = 0
        for shard in checkpoint.shards {
            for payload in shard.payloads {
                let elementType = (format ?? payload.descriptor.format).elementType
                needed = Checked.add(needed, bytes(payload.descriptor.shape, elementType)) ?? .max
            }
            for tensor in shard.kept {
                let recoded = tensor.elementType.quantizable == nil ? nil : format?.elementType
                needed = Checked.add(needed, recoded.map { bytes(tensor.shape, $0) } ?? tensor.byteCount) ?? .max
            }
        }
        let parent = output.lexicallyNormalized().removingLastComponent()
        guard let free = Directory.freeBytes(parent.isEmpty ? "." : parent), free < needed else { return }
        throw IngotError(
            .outOfSpace, file: output.string, found: "\(free) bytes free for the output",
            expected: "room for its weights, \(needed) bytes")
    }

    /// A shard being written; used by one task at a time.
    private final class OutputShard {
        var file: AtomicFile?
        /// Hash of the decoded part of a lossless tensor.
        var hasher = ContentHasher()
        private var band: BandAssembly

        init(_ file: consuming AtomicFile, bandLimit: Int) {
            self.file = consume file
            band = BandAssembly(limit: bandLimit)
        }

        func take(_ elements: [UInt8], _ chunk: Int, of grid: ChunkGrid, width: Int) throws {
            try band.take(elements, chunk, of: grid, width: width, into: &file)
        }
    }

    private func append(_ tensor: StoredTensor, of source: MappedFile, to file: inout AtomicFile) throws {
        guard let from = tensor.elementType.quantizable, let target = format, target != from else {
            return try source.forEachPiece(of: tensor.range) { bytes, _ in try file.append(bytes) }
        }
        try source.forEachPiece(of: tensor.range) { bytes, _ in
            let converted = try FloatRecoding.recode(bytes, from, to: target, tensor.name, source.path)
            try file.append(converted.span)
        }
    }

    /// The name of the index of the shards; nil for one shard.
    private var indexName: String? {
        CheckpointNames.index(of: checkpoint.shards.compactMap { $0.file.path.lastComponent?.string })
    }

    /// Files of the export as a JSON object, with hashes of copied files and of the configuration. Each shard carries it, so that `--force`
    /// recognizes an export.
    private var fileList: String {
        get throws {
            let members = try checkpoint.manifest.files.map { file -> JSONValue.Member in
                guard !file.isShard, file.name != indexName else { return .init(file.name, .null) }
                guard file.name == CompanionFiles.configuration else {
                    return .init(file.name, .string(file.hash.description))
                }
                let bytes = try configuration(checkpoint.path.appending(file.name))
                return .init(file.name, .string(ContentHash(of: bytes.span).description))
            }
            return JSONValue.object(members).text()
        }
    }

    /// Bytes of `config.json` of the export: without quantization, with the new element type.
    private func configuration(_ path: FilePath) throws -> [UInt8] {
        var configuration = try ConfigurationFile(reading: path)
        try configuration.removeQuantization()
        if let format { try configuration.setElementType(format) }
        return configuration.bytes
    }

    private func exportCompanions(into staging: FilePath) throws {
        let names = checkpoint.manifest.files.filter { !$0.isShard && $0.name != indexName }.map(\.name)
        for file in CompanionFiles(names: names, in: checkpoint.path).copied {
            if file.name == CompanionFiles.configuration {
                let permissions = try Directory.permissions(file.path)
                try WholeFile.write(
                    configuration(file.path), to: staging.appending(file.name),
                    mode: permissions.map { .copied(from: $0) } ?? .usual)
            } else {
                _ = try CompanionFiles.copy(file, into: staging)
            }
        }
    }
}
