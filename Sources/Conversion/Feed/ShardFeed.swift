import Checkpoints
import Container
import FileAccess
import Publishing
import SystemPackage
import TensorModel

/// Where the shards of a conversion come from: a checkpoint that is all there, or a directory into which it is still being downloaded.
struct ShardFeed {
    private let source: FilePath
    private let options: ConversionOptions
    private let followed: FollowedSource

    /// Prepares a feed.
    ///
    /// - Parameter onWait: told what is waited for, and how many bytes of it are there.
    init(
        _ source: FilePath, _ options: ConversionOptions,
        onWait: @escaping @Sendable (_ name: String, _ bytes: UInt64, _ total: UInt64?) -> Void
    ) {
        self.source = source
        self.options = options
        followed = FollowedSource(source, options, onWait: onWait)
    }

    /// The files of the source; waits for the index of one that is followed.
    func layout() async throws -> CheckpointLayout {
        options.run.follows ? try await followed.layout() : try CheckpointLayout.read(source, key: options.encoding.key)
    }

    /// Requires that the files beside the shards can be converted, and that readers accept them.
    func checkCompanions(_ context: ConversionContext) throws {
        do {
            let companions = try CompanionFiles(of: context.layout)
            try companions.refuseQuantizedSource()
            try context.limits.check(companions)
        } catch let error as IngotError
            where options.run.follows && ![.unsupportedSource, .cannotCreate].contains(error.code)
        {
            // Half of the configuration may be there; it is read again when nothing is under way any more.
        }
    }

    /// Opens and plans all shards, and decides on rates that they share; nothing where the source is followed.
    ///
    /// - Parameter isResumed: whether an earlier run finished some of them.
    func open(
        _ plan: inout ConversionPlan, _ guardian: SourceGuard, isResumed: Bool, _ context: ConversionContext
    ) async throws {
        guard !options.run.follows else { return }
        let layout = context.layout
        if isResumed || !context.work.state.sealed.isEmpty {
            for position in layout.shardNames.indices where !context.work.isFinished(position) {
                try plan.add(layout.open(position), at: position)
            }
        } else {
            try plan.openAll(Checkpoint.open(layout.path, key: layout.key))
        }
        for shard in plan.openShards { try OutputLimits.check(shard) }
        if layout.index == nil, !isResumed {
            try context.limits.check(
                plan.openShards.flatMap { ($0.layout.payloads + $0.layout.ordinary).map(\.tensor.name) })
        }
        context.tellWarnings(&plan)
        try context.work.note(plan.openShards.compactMap { try guardian.fingerprint($0.source, $0.position) })
        try await planSharedRates(&plan, isResumed: isResumed, context)
        context.tellWarnings(&plan)
    }

    /// Takes the rates over all matrices from the journal, or finds them.
    private func planSharedRates(
        _ plan: inout ConversionPlan, isResumed: Bool, _ context: ConversionContext
    ) async throws {
        let (work, shards) = (context.work, plan.openShards)
        guard options.encoding.goal.isShared, options.encoding.scheme == .trellis else { return }
        if shards.allSatisfy({ work.state.rates[$0.position] != nil }) {
            for shard in shards {
                let rates = work.state.rates[shard.position] ?? [:]
                guard shard.accepts(rates, options.encoding) else {
                    throw work.damage("rates of other matrices than \(context.layout.shardNames[shard.position]) has")
                }
                try plan.apply(rates, at: shard.position)
            }
        } else if isResumed {
            // The rates of the other shards depend on what the finished ones got.
            throw work.damage("finished shards of a rate over all matrices, and no rates for the others")
        } else {
            context.tell(.planning(shard: nil))
            let findings = try await plan.findings(shards, context.budget)
            for (shard, found) in zip(shards, findings) { try plan.apply(found, at: shard.position) }
            try work.note(zip(shards, findings).map { .rates($0.position, $1) })
        }
    }

    /// The next shard to convert; waits for one, and plans it, where the source is followed.
    func next(
        of positions: [Int], _ plan: inout ConversionPlan, _ guardian: SourceGuard, _ context: ConversionContext
    ) async throws -> Int {
        guard options.run.follows else { return positions[0] }
        let (position, shard) = try await followed.next(of: positions, in: context.layout)
        if options.run.consumesSource { try ConsumableSource.requireOwn(shard.file.path) }
        try plan.add(shard, at: position)
        if let planned = plan.shards[position] { try OutputLimits.check(planned) }
        context.tellWarnings(&plan)
        try context.work.note([guardian.fingerprint(shard, position)].compactMap { $0 })
        return position
    }

    /// Waits for the rest of a download.
    func end(_ context: ConversionContext) async throws {
        guard options.run.follows else { return }
        try await followed.rest(of: context.layout)
        try CompanionFiles(of: context.layout).refuseQuantizedSource()
    }
}
