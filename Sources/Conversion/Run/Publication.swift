import Checkpoints
import Container
import FileAccess
import Publishing
import SystemPackage
import TensorModel

/// The end of a conversion: the files beside the shards, the last checks, and the directory's name.
struct Publication {
    private let context: ConversionContext
    private let check: Converter.Check?

    /// Prepares a publication.
    ///
    /// - Parameter check: called with the finished directory; what it throws keeps the directory from its name.
    init(_ context: ConversionContext, _ check: Converter.Check?) {
        self.context = context
        self.check = check
    }

    /// Writes what is missing, checks every promise by the bytes that were written, and publishes.
    ///
    /// - Parameter shards: all of them, in order.
    func publish(
        _ shards: [FinishedShard], _ plan: inout ConversionPlan, _ guardian: inout SourceGuard,
        _ effort: ConversionEffort
    ) async throws -> ConversionReport {
        let (work, options) = (context.work, context.options)
        let companions = try CompanionFiles(of: context.layout)
        try context.limits.check(companions)
        var report = ConversionReport(
            sourceBytes: shards.reduce(0) { $0 + $1.sourceBytes }, skipped: companions.skipped,
            warnings: plan.warnings)
        for shard in shards { report.add(shard) }
        var files = shards.map { Manifest.File(name: $0.name, byteCount: $0.byteCount, hash: $0.seal, isShard: true) }
        files += try CompanionWriter(companions, options: options.encoding.record).write(
            into: work.path, beside: shards.map(\.contents), dataBytes: report.dataBytes)
        let manifest = Manifest(
            files: files, options: options.encoding.record, sourceBytes: report.sourceBytes,
            codecs: CodecLibraries.versions
        ).encoded()
        try Interruption.check()
        try context.limits.checkManifest(manifest.count, files: files.count)
        for shard in plan.openShards { try await guardian.requireUnchanged(shard.source, shard.position) }
        let hash = try WholeFile.write(
            manifest, to: work.path.appending(Manifest.fileName),
            mode: CompanionWriter.mode(beside: shards.map(\.name), in: work.path))
        try PromiseCheck(
            options.encoding, report, totalBytes: files.reduce(UInt64(manifest.count)) { $0 + $1.byteCount }
        ).run()
        try requireReadable()
        report.companionBytes = files.filter { !$0.isShard }.reduce(UInt64(manifest.count)) { $0 + $1.byteCount }
        report.resumedShards = shards.count { $0.isResumed }
        report.usage = effort.usage
        report.repeats = effort.repeats
        if let check {
            context.tell(.verifying(shard: context.destination.lastComponent?.string ?? ""))
            try await check(work.path, report)
            // It took a while, in which the source had to stay.
            for shard in plan.openShards { try await guardian.requireUnchanged(shard.source, shard.position) }
            try Interruption.check()
        }
        try work.publish(manifest: hash)
        return report
    }

    /// Requires that our own reader opens what is published: every limit of a reader holds for it.
    private func requireReadable() throws {
        do {
            _ = try SealedCheckpoint(context.work.path)
        } catch var error as IngotError where error.code == .noInput {
            // What cannot be opened was written just now: no path of the user's is wrong.
            error.code = .inputOutput
            throw error
        }
    }

    /// The report of a conversion that an earlier run published: its traces alone were left.
    static func earlierReport(_ destination: FilePath, _ check: Converter.Check?) async throws -> ConversionReport {
        let checkpoint = try SealedCheckpoint(destination)
        var report = ConversionReport(sourceBytes: checkpoint.manifest.sourceBytes, skipped: [], warnings: [])
        for shard in checkpoint.shards { report.add(FinishedShard(shard, sourceBytes: 0)) }
        report.resumedShards = checkpoint.shards.count
        report.companionBytes = checkpoint.manifest.files.filter { !$0.isShard }.reduce(0) { $0 + $1.byteCount }
        try await check?(destination, report)
        return report
    }
}
