import Checkpoints
import Container
import FileAccess
import Publishing
import SystemPackage
import TensorModel

/// The end of a conversion: writes the files beside the shards, checks everything, and publishes the directory.
struct Publication {
    private let context: ConversionContext
    private let check: Converter.Check?

    /// Prepares a publication.
    ///
    /// - Parameter check: called with the finished directory; if it throws, the directory is not published.
    init(_ context: ConversionContext, _ check: Converter.Check?) {
        self.context = context
        self.check = check
    }

    /// Writes companions, index and manifest, checks every promise by the bytes that were written, and publishes the directory.
    ///
    /// - Parameter shards: all output shards, in order.
    /// - Throws: `goalUnreachable` if a promise does not hold, `sourceChanged` if the source changed meanwhile, `cannotCreate` if the
    ///   output would exceed a limit of its readers or the target changed; what `check` throws.
    func publish(
        _ shards: [FinishedShard], _ plan: inout ConversionPlan, _ sourceGuard: inout SourceGuard,
        _ effort: ConversionEffort
    ) async throws -> ConversionReport {
        let (work, options) = (context.work, context.options)
        let companions = try CompanionFiles(of: context.layout)
        try context.limits.check(companions)
        var report = ConversionReport(
            options.encoding, sourceBytes: shards.reduce(0) { $0 + $1.sourceBytes }, skipped: companions.skipped,
            warnings: plan.warnings)
        for shard in shards { report.add(shard) }
        var files = shards.map { Manifest.File(name: $0.name, byteCount: $0.byteCount, hash: $0.seal, isShard: true) }
        let first = try firstSource(plan, sourceGuard)
        files += try CompanionWriter(
            companions, first.flatMap { SourceMetadataFile($0) }, options: options.encoding.record,
            keepsQuantization: options.encoding.keepsCodes
        ).write(into: work.path, beside: shards.map(\.contents), dataBytes: report.dataBytes)
        // The files of open shards are checked below, and compared if need be.
        if plan.openShards.first?.position != 0 { try first?.file.checkUnchanged() }
        let manifest = Manifest(
            files: files, options: options.encoding.record, sourceBytes: report.sourceBytes,
            codecs: CodecLibraries.versions
        ).encoded()
        try Interruption.check()
        try context.limits.checkManifest(manifest.count, files: files.count)
        for shard in plan.openShards { try await sourceGuard.requireUnchanged(shard.source, shard.position) }
        let hash = try WholeFile.write(
            manifest, to: work.path.appending(Manifest.fileName),
            mode: CompanionWriter.mode(beside: shards.map(\.name), in: work.path))
        try PromiseCheck(
            options.encoding, report, totalBytes: files.reduce(UInt64(manifest.count)) { $0 + $1.byteCount }
        ).run()
        try requireReadable()
        report.companionBytes = files.filter { !$0.isShard }.reduce(UInt64(manifest.count)) { $0 + $1.byteCount }
        report.resumedShards = shards.count { $0.isResumed }
        report.resumedTensors = effort.resumedTensors
        report.convertedBytes -= min(report.convertedBytes, effort.resumedBytes)
        report.usage = effort.usage
        (report.repeatedTensors, report.repeats) = (effort.repeatedTensors.count, effort.repeats)
        if let check {
            context.tell(.verifying(shard: context.destination.lastComponent?.string ?? ""))
            try await check(work.path, report)
            // The check took time: make sure that the source did not change meanwhile.
            for shard in plan.openShards { try await sourceGuard.requireUnchanged(shard.source, shard.position) }
            try Interruption.check()
        }
        try work.publish(manifest: hash)
        return report
    }

    /// The first file of the source, whose metadata is carried over; nil if it was consumed, which no GGUF file is.
    ///
    /// - Throws: `sourceChanged` if an earlier run finished its shard, and the file is another one now.
    private func firstSource(_ plan: ConversionPlan, _ sourceGuard: SourceGuard) throws -> Shard? {
        if let shard = plan.shards.first ?? nil { return shard.source }
        guard !context.options.run.consumesSource, try Directory.kind(context.layout.shardPath(0)) != nil else {
            return nil
        }
        let shard = try context.source.shard(0)
        _ = try sourceGuard.fingerprint(shard, 0)
        return shard
    }

    /// Requires that this program opens the directory that it is about to publish, so that the limits of readers hold.
    private func requireReadable() throws {
        do {
            _ = try SealedCheckpoint(context.work.path)
        } catch var error as IngotError where error.code == .noInput {
            // The program wrote this directory itself: the error is no wrong path of the user.
            error.code = .inputOutput
            throw error
        }
    }

    /// The report of an output that an earlier run had published before it was killed. Figures that only that run knew are 0.
    ///
    /// - Parameter check: called with the published directory.
    /// - Throws: what opening the output or `check` throws.
    static func earlierReport(
        _ destination: FilePath, _ options: EncodingOptions, _ check: Converter.Check?
    ) async throws -> ConversionReport {
        let checkpoint = try SealedCheckpoint(destination)
        var report = ConversionReport(
            options, sourceBytes: checkpoint.manifest.sourceBytes, skipped: [], warnings: [])
        for shard in checkpoint.shards { report.add(FinishedShard(shard, sourceBytes: 0)) }
        report.resumedShards = checkpoint.shards.count
        report.companionBytes = checkpoint.manifest.files.filter { !$0.isShard }.reduce(0) { $0 + $1.byteCount }
        try await check?(destination, report)
        return report
    }
}
