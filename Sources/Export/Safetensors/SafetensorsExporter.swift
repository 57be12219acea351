import Checkpoints
import Container
import FileAccess
import Publishing
package import SystemPackage
package import TensorModel
package import Weights
import Work

/// Exports a checkpoint of any format as plain safetensors, in the layout that transformers loads.
package struct SafetensorsExporter: Sendable {
    /// The checkpoint to export.
    package let checkpoint: OpenedCheckpoint
    /// Element type of all F16, BF16 and F32 tensors; nil keeps the type of each.
    package let format: FloatFormat?
    private let budget: MemoryBudget
    private let force: Bool
    private let keepsNames: Bool
    private static let marker = "exported_by"
    /// Metadata key of the list of files of an export.
    static let filesKey = "exported_files"

    /// Prepares an export; `memory` in bytes, `jobs` chunks at the same time, `force` to replace an earlier export.
    ///
    /// - Parameter keepsNames: whether names and rows stay those of a GGUF source, without configuration and tokenizer from its metadata.
    package init(
        _ checkpoint: OpenedCheckpoint, as format: FloatFormat?, memory: UInt64, jobs: Int, force: Bool,
        keepsNames: Bool = false
    ) throws {
        self.checkpoint = checkpoint
        self.format = format
        self.force = force
        self.keepsNames = keepsNames
        budget = try MemoryBudget(bytes: memory, jobs: jobs)
    }

    /// Decodes every shard into the directory `output`, and writes index, configuration and the other files.
    ///
    /// - Parameter progress: called with a tensor, its file, and the bytes of it that were decoded since the last call.
    /// - Throws: `valueOutOfRange` if a value does not fit the requested element type; `unsupportedSource` if a GGUF source of a Llama-type
    ///   decoder has a tensor or a number without a place in the Hugging Face layout.
    package func run(
        to output: FilePath, progress: @escaping (TensorName, String, UInt64) -> Void = { _, _, _ in }
    ) async throws -> ExportSummary {
        try PathOverlap.refuse(source: checkpoint.path, destination: output)
        if let sealed = checkpoint.sealed {
            try sealed.checkFiles()
            try sealed.checkConfiguration()
        }
        if case .plain(let plain) = checkpoint.content {
            try CompanionFiles(of: plain.layout).refuseQuantizedSource()
        }
        let scaleWarnings = try checkpoint.checkScales()
        let source = try ExportSource(checkpoint)
        let content = try ExportContent(source, as: format, keepsNames: keepsNames)
        try requireRoom(for: output)
        let builder = try DirectoryBuilder.begin(
            output, replaceable: force ? { try SafetensorsExporter.requireReplaceable($0) } : nil)
        var fileBytes: UInt64 = 0
        var shards: [(fileName: String, tensors: [TensorName])] = []
        var totalBytes: UInt64 = 0
        for (name, shard) in source.shards {
            let path = builder.staging.appending(name)
            let tensors: [(TensorName, Shape)]
            let written: (file: UInt64, data: UInt64)
            switch shard {
            case .sealed(let sealed):
                written = try await export(sealed, content, to: path) { progress($0, name, $1) }
                tensors =
                    sealed.payloads.map { ($0.name, $0.descriptor.shape) } + sealed.kept.map { ($0.name, $0.shape) }
            case .plain(let plain, let weights):
                written = try await export(plain, weights, content, to: path) { progress($0, plain.fileName, $1) }
                tensors = weights.map { ($0.name, $0.shape) }
            }
            fileBytes += written.file
            totalBytes += written.data
            shards.append((name, tensors.flatMap { content.target(of: $0.0, $0.1).parts.map(\.name) }))
        }
        try checkpoint.requireUnchanged()
        try content.writeFiles(into: builder.staging)
        if let indexName = source.indexName {
            try WholeFile.write(
                ShardIndexWriter.text(totalBytes: totalBytes, shards: shards),
                to: builder.staging.appending(indexName),
                mode: CompanionWriter.mode(beside: shards.map(\.fileName), in: builder.staging))
        }
        let manifest = try ExportManifest(options: options, weights: [], in: builder.staging)
        try WholeFile.write(
            manifest.bytes, to: builder.staging.appending(ExportManifest.fileName), mode: source.mode)
        try builder.publish()
        return ExportSummary(
            byteCount: fileBytes, files: shards.count, tensors: shards.reduce(0) { $0 + $1.tensors.count },
            warnings: content.warnings + scaleWarnings)
    }

    /// What the manifest records.
    private var options: [JSONValue.Member] {
        [.init("to", .string("safetensors"))]
            + (format.map { [.init("dtype", .string($0.elementType.rawValue))] } ?? [])
            + (keepsNames ? [.init("keep_names", .bool(true))] : [])
    }

    /// Exports a shard; returns the bytes of the file, and of the tensors in it.
    private func export(
        _ shard: SealedShard, _ content: ExportContent, to path: FilePath,
        _ progress: @escaping (TensorName, UInt64) -> Void
    ) async throws -> (file: UInt64, data: UInt64) {
        let payloads = shard.payloads
        let tables = try payloads.map { try shard.chunkTable(of: $0) }
        let targets = payloads.map { elementType(of: $0.descriptor) }
        func entries(_ name: TensorName, _ elementType: ElementType, _ shape: Shape) -> [SafetensorsWriter.Entry] {
            content.target(of: name, shape).parts.map { part in
                SafetensorsWriter.Entry(
                    name: part.name, elementType: elementType, shape: part.shape,
                    byteCount: elementType.byteCount(of: part.shape) ?? 0)
            }
        }
        let orders = payloads.map { content.target(of: $0.name, $0.descriptor.shape).order }
        var written = zip(payloads, targets).flatMap { payload, target in
            entries(payload.name, target, payload.descriptor.shape)
        }
        written += shard.kept.flatMap { tensor in
            let element = tensor.elementType.quantizable == nil ? nil : format?.elementType
            return entries(tensor.name, element ?? tensor.elementType, tensor.shape)
        }
        let header = try SafetensorsWriter.header(
            tensors: written, metadata: metadata(of: .sealed(shard), files: content.fileList))
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
                as: targets[run.payload], into: &exported)
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
                width: targets[run.payload].byteWidth, orders[run.payload])
            progress(payload.name, payload.range.count / UInt64(max(1, tables[run.payload].count)))
        }
        guard var file = output.file.take() else { preconditionFailure("a shard is exported once") }
        for tensor in shard.kept {
            _ = try shard.checkKept(tensor)
            let target = content.target(of: tensor.name, tensor.shape)
            if let order = target.order {
                try append(tensor, of: shard.file, order, to: &file)
            } else if !target.parts.isEmpty {
                try append(tensor, of: shard.file, to: &file)
            }
            progress(tensor.name, tensor.byteCount)
        }
        let bytes = file.byteCount
        try file.publish()
        shard.file.finishReading()
        return (bytes, bytes - UInt64(header.count))
    }

    /// Exports a file of another format; returns the bytes of the file, and of the tensors in it.
    private func export(
        _ shard: Shard, _ weights: [StoredWeights], _ content: ExportContent, to path: FilePath,
        _ progress: @escaping (TensorName, UInt64) -> Void
    ) async throws -> (file: UInt64, data: UInt64) {
        try shard.checkRecords { _ in true }
        let works = weights.map { PlainTensorExport($0, as: format) }
        let targets = weights.map { content.target(of: $0.name, $0.shape) }
        let entries = zip(works, targets).flatMap { work, target in
            target.parts.map { part in
                SafetensorsWriter.Entry(
                    name: part.name, elementType: work.elementType, shape: part.shape,
                    byteCount: work.elementType.byteCount(of: part.shape) ?? 0)
            }
        }
        let header = try SafetensorsWriter.header(
            tensors: entries, metadata: metadata(of: .plain(shard, weights), files: content.fileList))
        let output = OutputShard(
            try AtomicFile(path, mode: .within(shard.file.permissions), bufferBytes: budget.writerBytes),
            bandLimit: budget.bandBytes)
        try output.file?.append(header.span)
        // A tensor without parts is left out.
        let counts = zip(works, targets).map { $1.parts.isEmpty ? 0 : $0.count }
        try await budget.pipeline { PlainBandExporter() }.run(ChunkRun.all(counts), makeOutput: { [UInt8]() }) {
            run, exporter, bytes in
            try exporter.export(run.chunks.lowerBound, of: works[run.payload], into: &bytes)
        } consume: { run, bytes in
            let work = works[run.payload]
            guard let grid = work.grid else { return }
            try output.take(
                bytes, run.chunks.lowerBound, of: grid, width: work.writtenWidth, targets[run.payload].order)
            progress(work.tensor.name, work.tensor.byteCount / UInt64(max(1, work.count)))
        }
        guard var file = output.file.take() else { preconditionFailure("a shard is exported once") }
        let bytes = file.byteCount
        try file.publish()
        shard.file.finishReading()
        return (bytes, bytes - UInt64(header.count))
    }

    /// The element type that a tensor with a payload is exported as: its own, or the requested one for weights.
    private func elementType(of descriptor: TensorDescriptor) -> ElementType {
        descriptor.holdsCodes ? descriptor.elementType : format?.elementType ?? descriptor.elementType
    }

    /// Metadata of an exported shard: that of the source's shard, `format` if it lacks it, and the marks of an export.
    private func metadata(of shard: ExportSource.Shard, files: String) -> [SafetensorsHeader.MetadataEntry] {
        let own = [SafetensorsExporter.marker, SafetensorsExporter.filesKey]
        let carried = ExportSource.metadata(of: shard).filter { !own.contains($0.key) }
        return (carried.value(of: "format") == nil ? [.init("format", "pt")] : []) + carried
            + [.init(own[0], ContainerFormat.writer), .init(own[1], files)]
    }

    /// Requires free disk space for all weights before the first one is written; they can be thousands of times larger than the checkpoint.
    ///
    /// - Throws: `outOfSpace`.
    private func requireRoom(for output: FilePath) throws {
        func bytes(_ shape: Shape, _ elementType: ElementType) -> UInt64 {
            Checked.multiply(UInt64(shape.elementCount), UInt64(max(1, elementType.bitWidth / 8))) ?? .max
        }
        var needed: UInt64 = 0
        for tensor in checkpoint.tensors {
            let recoded = tensor.elementType.quantizable == nil ? nil : format?.elementType
            let taken =
                tensor.elementType.bitWidth < 8 ? tensor.byteCount : bytes(tensor.shape, recoded ?? tensor.elementType)
            needed = Checked.add(needed, taken) ?? .max
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

        func take(_ elements: [UInt8], _ chunk: Int, of grid: ChunkGrid, width: Int, _ order: RowOrder?) throws {
            try band.take(elements, chunk, of: grid, width: width, order, into: &file)
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

    /// Appends the rows of a kept tensor in another order.
    private func append(
        _ tensor: StoredTensor, of source: MappedFile, _ order: RowOrder, to file: inout AtomicFile
    ) throws {
        guard let rows = tensor.shape.dimensions.first, rows > 0 else { return }
        let width = tensor.range.count / UInt64(rows)
        guard width * UInt64(rows) == tensor.range.count else {
            throw IngotError(
                .unsupportedSource, file: source.path.string, tensor: tensor.name,
                found: "rows of \(tensor.elementType.rawValue) that do not fill bytes", expected: "rows of whole bytes",
                remedy: .option(.keepNames))
        }
        for place in 0..<rows {
            let start = tensor.range.start + UInt64(order.source(ofPlace: place)) * width
            guard let range = ByteRange(start: start, count: width) else { continue }
            let bytes = try source.bytes(range)
            if let from = tensor.elementType.quantizable, let target = format, target != from {
                let converted = try FloatRecoding.recode(bytes.span, from, to: target, tensor.name, source.path)
                try file.append(converted.span)
            } else {
                try file.append(bytes.span)
            }
        }
    }
}
