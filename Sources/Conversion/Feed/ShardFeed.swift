import Checkpoints
import Container
import FileAccess
import Publishing
import SystemPackage
import TensorModel

/// Delivers the shards of the source: of a complete checkpoint, or of a directory that is still being downloaded.
struct ShardFeed {
    private let source: FilePath
    private let options: ConversionOptions
    private let followed: FollowedSource

    /// Prepares a feed; reads nothing yet.
    ///
    /// - Parameter onWait: called while waiting, with the name of a file, the bytes of it that have arrived, and its size (nil if unknown).
    init(
        _ source: FilePath, _ options: ConversionOptions,
        onWait: @escaping @Sendable (_ name: String, _ bytes: UInt64, _ total: UInt64?) -> Void
    ) {
        self.source = source
        self.options = options
        followed = FollowedSource(source, options, onWait: onWait)
    }

    /// The names and paths of the files of the source. For a followed source it waits for the index.
    ///
    /// - Throws: errors of reading; what `FollowedSource.layout` throws.
    func layout() async throws -> CheckpointLayout {
        options.run.follows ? try await followed.layout() : try CheckpointLayout.read(source, key: options.encoding.key)
    }

    /// Requires that the source is not quantized already, unless its codes are kept, and that readers will accept the files beside the shards.
    ///
    /// - Throws: `unsupportedSource`, `cannotCreate`; errors of reading, unless the source is followed.
    func checkCompanions(_ context: ConversionContext) throws {
        do {
            let companions = try CompanionFiles(of: context.layout)
            try companions.refuseQuantizedSource(keepsCodes: options.encoding.keepsCodes)
            try context.limits.check(companions)
        } catch let error as IngotError
            where options.run.follows && ![.unsupportedSource, .cannotCreate].contains(error.code)
        {
            // Half of the configuration may have arrived; it is read again when the download is complete.
        }
    }

    /// Opens and plans all shards that are not finished, and the rates for all matrices together. Does nothing for a followed source.
    ///
    /// - Parameter isResumed: whether an earlier run finished some shards.
    /// - Throws: `sourceChanged` if a shard is not the one in the journal, `cannotCreate` if the journal does not fit the source or a limit
    ///   of readers is exceeded; what planning throws.
    func open(
        _ plan: inout ConversionPlan, _ sourceGuard: SourceGuard, isResumed: Bool, _ context: ConversionContext
    ) async throws {
        guard !options.run.follows else { return }
        let layout = context.layout
        if isResumed || !context.work.state.sealed.isEmpty {
            for position in layout.shardNames.indices where !context.work.isFinished(position) {
                try plan.add(context.source.shard(position), at: position)
            }
        } else {
            try plan.openAll(
                Checkpoint.open(layout.path, key: layout.key, quantized: options.encoding.sourceForm))
        }
        for shard in plan.openShards { try OutputLimits.check(shard) }
        if layout.index == nil, !isResumed {
            try context.limits.check(
                plan.openShards.flatMap { ($0.layout.payloads + $0.layout.kept).map(\.tensor.name) })
        }
        context.tellWarnings(&plan)
        try context.work.note(plan.openShards.compactMap { try sourceGuard.fingerprint($0.source, $0.position) })
        try await planSharedRates(&plan, isResumed: isResumed, context)
        context.tellWarnings(&plan)
    }

    /// Takes the rates for all matrices together from the journal, or plans them and records them there.
    private func planSharedRates(
        _ plan: inout ConversionPlan, isResumed: Bool, _ context: ConversionContext
    ) async throws {
        let (work, shards) = (context.work, plan.openShards)
        guard options.encoding.sharesRate else { return }
        if shards.allSatisfy({ work.state.rates[$0.position] != nil }) {
            for shard in shards {
                let rates = work.state.rates[shard.position] ?? [:]
                guard shard.accepts(rates, options.encoding) else {
                    throw work.damage("rates of other matrices than \(context.layout.shardNames[shard.position]) has")
                }
                try plan.apply(rates, at: shard.position)
            }
        } else if isResumed {
            // The rates of the other shards depend on those of the finished shards.
            throw work.damage("finished shards of a rate over all matrices, and no rates for the others")
        } else {
            context.tell(.planning(shard: nil))
            let findings = try await plan.findings(shards, context.budget)
            for (shard, found) in zip(shards, findings) { try plan.apply(found, at: shard.position) }
            try work.note(zip(shards, findings).map { .rates($0.position, $1) })
        }
    }

    /// The position of the next shard to convert. For a followed source it waits for a shard, opens it and plans it.
    ///
    /// - Parameter positions: the shards that are not converted yet, by rising position; at least one.
    /// - Throws: what `FollowedSource.next` throws; what planning throws.
    func next(
        of positions: [Int], _ plan: inout ConversionPlan, _ sourceGuard: SourceGuard, _ context: ConversionContext
    ) async throws -> Int {
        guard options.run.follows else { return positions[0] }
        let (position, shard) = try await followed.next(of: positions, in: context.layout)
        if options.run.consumesSource { try ConsumableSource.requireOwn(shard.file.path) }
        try plan.add(shard, at: position)
        if let planned = plan.shards[position] { try OutputLimits.check(planned) }
        context.tellWarnings(&plan)
        try context.work.note([sourceGuard.fingerprint(shard, position)].compactMap { $0 })
        return position
    }

    /// For a followed source: waits until the download is complete.
    ///
    /// - Throws: `unsupportedSource` if the configuration says that the source is quantized; what `FollowedSource.rest` throws.
    func end(_ context: ConversionContext) async throws {
        guard options.run.follows else { return }
        try await followed.rest(of: context.layout)
        try CompanionFiles(of: context.layout).refuseQuantizedSource(keepsCodes: options.encoding.keepsCodes)
    }
}
