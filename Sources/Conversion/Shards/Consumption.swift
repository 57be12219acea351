import Checkpoints
import FileAccess
import Publishing
import SystemPackage
import TensorModel

/// Verifies the output of a shard, read back from the disk, against its source, and deletes the source.
struct Consumption {
    private let context: ConversionContext

    /// Prepares to consume shards of a conversion.
    init(_ context: ConversionContext) { self.context = context }

    /// Verifies the output of a sealed shard and deletes its source. The journal has a line for it before the deletion.
    ///
    /// - Throws: `certificateMismatch`, `sourceMismatch`, `sourceChanged`, `cannotCreate` (`OutputLimits`); I/O errors. The source then
    ///   stays.
    func consume(
        _ source: Shard, _ position: Int, _ plan: inout ConversionPlan, _ sourceGuard: inout SourceGuard
    ) async throws {
        context.tell(.verifying(shard: context.outputName(position)))
        try MappedFile.dropCache(context.outputPath(position))
        try await sourceGuard.requireUnchanged(source, position)
        var verified: FileIdentity?
        for _ in 0..<SourceGuard.maximumComparisons {
            verified = FileIdentity(source.file.path)
            try await sourceGuard.compare(source, position)
            if verified == FileIdentity(source.file.path) { break }
        }
        // New files may have arrived since the first shard was written.
        try context.limits.check(CompanionFiles(of: context.layout))
        try context.work.note([.consuming(position)])
        try ConsumableSource.delete(source, asVerified: verified)
        plan.remove(at: position)
        context.tell(.consumed(shard: context.layout.shardNames[position]))
    }
}
