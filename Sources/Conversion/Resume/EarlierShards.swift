import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// Takes over the output shards that an earlier run finished.
struct EarlierShards {
    private let context: ConversionContext

    /// Prepares to take over shards; reads nothing yet.
    init(_ context: ConversionContext) { self.context = context }

    /// Verifies every finished shard and takes over those that are intact. A damaged one is removed, and will be converted again.
    ///
    /// - Returns: the shards that were taken over, by rising position.
    /// - Throws: `sourceChanged`; the damage of a shard whose source was consumed.
    func takeOver(
        _ plan: inout ConversionPlan, _ sourceGuard: inout SourceGuard
    ) async throws -> [(position: Int, finished: FinishedShard)] {
        let work = context.work
        var taken: [(position: Int, finished: FinishedShard)] = []
        for (position, record) in work.state.sealed.sorted(by: { $0.key < $1.key }) {
            let path = context.outputPath(position)
            let isConsumed =
                try work.state.consumed.contains(position)
                && Directory.kind(context.layout.shardPath(position)) == nil
            let shard: SealedShard
            do {
                shard = try SealedShard(path)
                guard shard.seal.hash == record.seal, shard.file.byteCount == record.byteCount else {
                    throw IngotError(
                        .sealInvalid, file: path.string, found: "another shard than the one the journal names")
                }
                _ = try await ShardVerification(shard) { _, _, _ in nil }.run(context.budget)
            } catch var error as IngotError where WorkDirectory.isDamage(error) {
                if isConsumed {
                    let name = context.layout.shardNames[position]
                    error.remedy = "its source was consumed: fetch \(name) again, then run the same command"
                    throw error
                }
                context.tell(
                    .warning(
                        IngotWarning(file: path.string, "finished earlier, but not whole any more: converted again")))
                work.forget(position)
                try Directory.removeTree(path)
                continue
            }
            // Errors of the source from here on do not mean that the output is damaged.
            let finished = try await takeOver(shard, record, position, isConsumed: isConsumed, &plan, &sourceGuard)
            taken.append((position, finished))
        }
        return taken
    }

    private func takeOver(
        _ shard: SealedShard, _ record: SealedRecord, _ position: Int, isConsumed: Bool, _ plan: inout ConversionPlan,
        _ sourceGuard: inout SourceGuard
    ) async throws -> FinishedShard {
        var sourceBytes = context.work.state.sources[position]?.identity.byteCount ?? 0
        if !isConsumed {
            let source = try context.source.shard(position)
            sourceBytes = source.sizeBefore
            try sourceGuard.requireTakenFrom(source, position, shard)
            if context.options.run.consumesSource {
                try await Consumption(context).consume(source, position, &plan, &sourceGuard)
            }
        }
        context.tell(.resumed(shard: context.outputName(position)))
        return FinishedShard(shard, sourceBytes: sourceBytes, warnings: record.warnings)
    }
}
