import Checkpoints
import Container
package import FileAccess
import Quantization
public import SystemPackage
public import TensorModel

/// Carries out a plan: quantizes, seals, and publishes the directory.
public struct Converter: Sendable {
    /// The plan; with rates once it runs.
    public private(set) var plan: ConversionPlan
    /// Where the checkpoint will be.
    public let destination: FilePath
    /// Told after each tensor: bytes of the source done, of how many, and the tensor's name.
    public var progress: (@Sendable (UInt64, UInt64, TensorName) -> Void)?
    private let budget: MemoryBudget

    /// Prepares a conversion.
    ///
    /// - Throws: `usage` where the budget of memory is too small, `cannotCreate` where source and destination overlap.
    public init(_ plan: ConversionPlan, to destination: FilePath) throws {
        self.plan = plan
        self.destination = destination
        budget = try MemoryBudget(bytes: plan.options.memory, jobs: plan.options.jobs)
        try PathOverlap.refuse(source: plan.source.path, destination: destination)
    }

    /// Converts and publishes.
    public func run() async throws -> ConversionReport {
        let clock = ContinuousClock()
        let begin = clock.now
        var converter = self
        converter.plan = try await plan.withRates()
        var report = try await converter.runPlanned()
        let time = clock.now - begin
        report.seconds = Double(time.components.seconds) + Double(time.components.attoseconds) / 1e18
        report.jobs = budget.jobs
        return report
    }

    private func runPlanned() async throws -> ConversionReport {
        let builder = try DirectoryBuilder.begin(
            destination, replaceable: plan.options.force ? { try SealedCheckpoint.requireReplaceable($0) } : nil)
        let pipeline = budget.pipeline()
        var report = ConversionReport(plan)
        var files: [Manifest.File] = []
        var done: UInt64 = 0
        for shard in plan.shards {
            let summary = try await convert(
                shard, into: builder.staging.appending(shard.outputName), pipeline, done: &done,
                warnings: &report.warnings)
            files.append(
                Manifest.File(
                    name: shard.outputName, byteCount: summary.byteCount, hash: summary.seal, isShard: true))
            report.add(shard.layout, summary)
        }
        files += try writeCompanions(into: builder.staging, dataBytes: report.dataBytes)
        let manifest = Manifest(
            files: files, options: plan.options.record, sourceBytes: report.sourceBytes,
            codecs: CodecLibraries.versions)
        let manifestBytes = manifest.encoded()
        try Interruption.check()
        for shard in plan.shards { try shard.source.file.checkUnchanged() }
        try WholeFile.write(manifestBytes, to: builder.staging.appending(Manifest.fileName))
        try builder.publish()
        report.companionBytes = files.filter { !$0.isShard }.reduce(UInt64(manifestBytes.count)) { $0 + $1.byteCount }
        return report
    }

    // MARK: - Shards

    private func convert(
        _ shard: ConversionPlan.ShardPlan, into path: FilePath, _ pipeline: OrderedPipeline<ChunkWorkspace>,
        done: inout UInt64, warnings: inout [IngotWarning]
    ) async throws -> ShardWriter.Summary {
        let file = shard.source.file
        let payloads = shard.layout.payloads
        var writer = try ShardWriter(path, layout: shard.layout)
        var hasher = ContentHasher()
        var nonFinite = NonFiniteCount()
        let rules = ChunkRules(shard)
        let jobs = ChunkJob.all(payloads.map { $0.descriptor?.prologue.grid.count ?? 0 }).lazy.map { job in
            (job, rules.next(job))
        }
        try await pipeline.run(jobs) { job, workspace in
            guard let descriptor = payloads[job.0.payload].descriptor else { return }
            try workspace.encode(
                chunk: job.0.chunk, of: payloads[job.0.payload].tensor.range, in: file, as: descriptor.prologue,
                by: job.1)
        } consume: { job, workspace in
            let (job, _) = job
            let plan = payloads[job.payload]
            guard let prologue = plan.descriptor?.prologue else { return }
            let grid = prologue.grid
            try Interruption.check()
            if job.chunk == 0 {
                try writer.beginPayload()
                hasher = ContentHasher()
                nonFinite = NonFiniteCount()
            }
            if prologue.scheme != .lossless {
                let place = grid.place(of: job.chunk)
                nonFinite.add(workspace.nonFinite) { grid.element($0, of: place) }
            }
            try workspace.hashSource(into: hasher, chunk: job.chunk, of: plan.tensor.range, in: file, as: prologue)
            try writer.append(chunk: workspace.encoded)
            rules.record(job, workspace.encoded)
            guard job.chunk == grid.count - 1 else { return }
            if let found = nonFinite.description(columns: plan.tensor.shape.columns) {
                throw Converter.nonFinite(found, plan.tensor, prologue.format, file)
            }
            let controller = rules.finish(job)
            try repeatUntilHeld(plan, prologue, file, controller, workspace, &writer)
            if let missed = controller?.missed {
                warnings.append(IngotWarning(file: file.path.string, tensor: plan.tensor.name, missed))
            }
            try writer.finishPayload(sourceHash: hasher.finish())
            done += plan.tensor.range.count
            progress?(done, totalBytes, plan.tensor.name)
        }
        for plan in shard.layout.ordinary {
            writer.beginOrdinary()
            try file.forEachPiece(of: plan.tensor.range) { bytes, _ in try writer.append(ordinary: bytes) }
            writer.finishOrdinary()
            done += plan.tensor.range.count
            progress?(done, totalBytes, plan.tensor.name)
        }
        return try writer.seal()
    }

    /// Encodes a tensor again while it misses its goal: rare, and so one chunk at a time.
    private func repeatUntilHeld(
        _ plan: TensorPlan, _ prologue: PayloadPrologue, _ file: MappedFile, _ controller: RateController?,
        _ workspace: ChunkWorkspace, _ writer: inout ShardWriter
    ) throws {
        guard let controller else { return }
        while let rules = controller.correction() {
            controller.restart(rules)
            try writer.restartPayload()
            for (chunk, rule) in rules.enumerated() {
                try Interruption.check()
                try workspace.encode(chunk: chunk, of: plan.tensor.range, in: file, as: prologue, by: rule)
                if prologue.grid.endsBand(chunk) {
                    workspace.releaseBand(chunk, of: plan.tensor.range, in: file, as: prologue)
                }
                try writer.append(chunk: workspace.encoded)
                controller.record(workspace.encoded)
            }
        }
    }

    private var totalBytes: UInt64 {
        plan.shards.reduce(0) { $0 + ($1.source.file.byteCount - $1.source.header.dataStart) }
    }

    private static func nonFinite(
        _ found: String, _ tensor: StoredTensor, _ format: FloatFormat, _ file: MappedFile
    ) -> IngotError {
        IngotError(
            .nonFinite, file: file.path.string, tensor: tensor.name, found: found, expected: "finite weights",
            remedy: "repair the source, or keep such tensors lossless with --on-nonfinite keep")
    }

    // MARK: - Other files

    private func writeCompanions(into staging: FilePath, dataBytes: UInt64) throws -> [Manifest.File] {
        var files: [Manifest.File] = []
        func record(_ name: String, _ bytes: [UInt8]) throws {
            let hash = try WholeFile.write(bytes, to: staging.appending(name))
            files.append(Manifest.File(name: name, byteCount: UInt64(bytes.count), hash: hash, isShard: false))
        }
        for file in plan.companions.copied {
            try Interruption.check()
            if file.name == CompanionFiles.configuration {
                var configuration = try ConfigurationFile(reading: file.path)
                try configuration.addQuantization(plan.options.record)
                try record(file.name, configuration.bytes)
            } else {
                let (hash, count) = try CompanionFiles.copy(file, into: staging)
                files.append(Manifest.File(name: file.name, byteCount: count, hash: hash, isShard: false))
            }
        }
        if plan.shards.count > 1 {
            let shards = plan.shards.map { shard in
                (shard.outputName, (shard.layout.payloads + shard.layout.ordinary).map(\.tensor.name))
            }
            try record(ShardIndexWriter.fileName, ShardIndexWriter.text(totalBytes: dataBytes, shards: shards))
        }
        return files
    }
}

extension CompanionFiles {
    /// Copies a companion under its own name into a directory, making the folders in between.
    package static func copy(_ file: File, into directory: FilePath) throws -> (hash: ContentHash, byteCount: UInt64) {
        var place = directory
        for part in file.name.split(separator: "/").dropLast() {
            let parent = place
            place.append(String(part))
            guard try Directory.kind(place) == nil else { continue }
            try Directory.create(place)
            try Directory.synchronize(parent)
        }
        let result = try WholeFile.copy(file.path, to: directory.appending(file.name))
        return result
    }
}

/// Refuses outputs that would lie in their own input.
package enum PathOverlap {
    /// - Throws: `cannotCreate` where the destination is the source or lies in it, or the source lies in it.
    package static func refuse(source: FilePath, destination: FilePath) throws {
        guard let from = FileIdentity(source) else { return }
        func failure(_ found: String) -> IngotError {
            IngotError(
                .cannotCreate, file: destination.string, found: found, expected: "an output apart from the input")
        }
        if let to = FileIdentity(destination) {
            if to.isSameFile(as: from) { throw failure("the output is the input") }
            if chain(source).contains(where: { $0.isSameFile(as: to) }) {
                throw failure("the input lies in the output")
            }
        }
        if try Directory.kind(source) == .directory, chain(destination).contains(where: { $0.isSameFile(as: from) }) {
            throw failure("the output lies in the input")
        }
    }

    /// The directories a path lies in, up to the root.
    private static func chain(_ path: FilePath) -> [FileIdentity] {
        var identities: [FileIdentity] = []
        var place = path.lexicallyNormalized().removingLastComponent()
        if place.isEmpty { place = "." }
        for _ in 0..<256 {
            guard let identity = FileIdentity(place) else { break }
            if identities.last?.isSameFile(as: identity) == true { break }
            identities.append(identity)
            place = place.appending("..")
        }
        return identities
    }
}
