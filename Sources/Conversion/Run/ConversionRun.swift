import Checkpoints
import Container
import FileAccess
import Publishing
import SystemPackage
import TensorModel
import Weights

/// One run: a feed delivers shards, each is encoded, and the output is published at the end.
struct ConversionRun {
    private let context: ConversionContext
    private let beforePublishing: Converter.Check?
    private var feed: ShardFeed
    private var sourceGuard: SourceGuard
    private var plan: ConversionPlan
    /// Finished shards by position.
    private var finished: [Int: FinishedShard] = [:]
    private var progress = ConversionProgress()
    private var effort = ConversionEffort()

    /// A run to finish, or the output that an earlier run published.
    enum Start {
        /// A run that holds the lock of the output.
        case run(ConversionRun)
        /// An earlier run had published the output.
        case published
    }

    /// Finds the files of the source, takes the lock of the output, and reads the journal of an earlier run.
    ///
    /// - Throws: `usage` if the source cannot be consumed as asked, `cannotCreate` if the output exists or work of another conversion would
    ///   be lost, `locked`; errors of reading the source's index.
    static func begin(_ converter: Converter, _ budget: MemoryBudget) async throws -> Start {
        let (options, tell) = (converter.options, converter.onEvent)
        let feed = ShardFeed(converter.source, options) { name, bytes, total in
            tell(.waiting(name: name, bytes: bytes, total: total))
        }
        let layout = try await feed.layout()
        if options.run.consumesSource { try ConsumableSource.require(layout) }
        let names = layout.shardNames.indices.map { ConversionPlan.outputName($0, of: layout) }
        let limits = OutputLimits(layout, options, to: converter.destination, outputNames: names)
        switch try WorkDirectory.begin(converter.destination, options, layout, outputNames: names) {
        case .published: return .published
        case .work(let work):
            let context = ConversionContext(
                options: options, destination: converter.destination, layout: layout,
                source: WholeSource(layout, options.encoding.sourceForm), limits: limits, budget: budget,
                calibration: converter.moments.map { ShardCalibration($0, budget) }, work: work, tell: tell)
            return .run(ConversionRun(context, feed, converter))
        }
    }

    private init(_ context: ConversionContext, _ feed: ShardFeed, _ converter: Converter) {
        self.context = context
        self.feed = feed
        beforePublishing = converter.beforePublishing
        sourceGuard = SourceGuard(context)
        plan = ConversionPlan(context.layout, context.options, converter.moments)
        progress.shardCount = context.layout.shardNames.count
    }

    /// Converts all shards and publishes the output. The remedy of an error says whether finished shards stay.
    mutating func finish() async throws -> ConversionReport {
        do {
            return try await convert()
        } catch {
            throw context.work.end(after: error, shards: context.layout.shardNames.count)
        }
    }

    private mutating func convert() async throws -> ConversionReport {
        try feed.checkCompanions(context)
        if let index = context.layout.index { try context.limits.check(index.tensors.map(\.name)) }
        try context.work.removeOthers(context.layout.shardNames.indices.map(context.outputName))
        for shard in try await EarlierShards(context).takeOver(&plan, &sourceGuard) {
            finished[shard.position] = shard.finished
            let payloads = shard.finished.payloads
            progress.add(
                resumed: shard.finished.dataBytes, coded: payloads.reduce(0) { $0 + $1.byteCount },
                payloads.reduce(0) { $0 + $1.descriptor.shape.elementCount })
        }
        try await feed.open(&plan, sourceGuard, isResumed: !finished.isEmpty, context)
        let quantization = sourceQuantization
        if !context.options.run.follows {
            progress.totalBytes = progress.doneBytes + plan.openShards.reduce(0) { $0 + $1.source.dataByteCount }
        }
        var waiting = context.layout.shardNames.indices.filter { finished[$0] == nil }
        while !waiting.isEmpty {
            let position = try await feed.next(of: waiting, &plan, sourceGuard, context)
            try await convert(position)
            waiting.removeAll { $0 == position }
        }
        try await feed.end(context)
        var report = try await Publication(context, beforePublishing).publish(
            context.layout.shardNames.indices.compactMap { finished[$0] }, &plan, &sourceGuard, effort)
        report.quantization = quantization
        return report
    }

    /// The codes of other quantizers in the source; empty if it has none, or if not all shards are there.
    private var sourceQuantization: [SourceQuantization] {
        // Codes that are kept are described as what they stand for.
        if finished.isEmpty, !context.options.encoding.keepsCodes {
            return SourceQuantization.kinds(of: plan.openShards.map(\.source))
        }
        let whole = try? Checkpoint.open(context.layout.path, key: context.layout.key, undecodable: .listed)
        return SourceQuantization.kinds(of: whole?.shards ?? [])
    }

    private mutating func convert(_ position: Int) async throws {
        progress.shard = context.layout.shardNames[position]
        progress.shardNumber = finished.count + 1
        try await planRates(position)
        guard let shard = plan.shards[position] else { return }
        try shard.source.checkRecords()
        let warned = plan.warnings.count
        for tensor in shard.source.header.tensors {
            try plan.warn(tensor.form?.checkScales(of: tensor.name, shape: tensor.shape))
        }
        try plan.apply(context.work.state.replaced[position] ?? [], at: position, context.work)
        let encoded = try await ShardEncoding(context).encode(position, &plan, sourceGuard, progress, &effort)
        progress = encoded.progress
        let warnings = Array(plan.warnings[warned...])
        context.tellWarnings(&plan)
        try await sourceGuard.requireUnchanged(shard.source, position)
        let summary = encoded.summary
        finished[position] = FinishedShard(
            encoded.layout, summary, name: shard.outputName, sourceBytes: shard.source.sizeBefore)
        try context.work.note([
            .sealed(position, SealedRecord(byteCount: summary.byteCount, seal: summary.seal, warnings: warnings))
        ])
        context.tell(.sealed(shard: shard.outputName, byteCount: summary.byteCount))
        if context.options.run.consumesSource {
            try await Consumption(context).consume(shard.source, position, &plan, &sourceGuard)
        }
    }

    /// Plans the rates of a shard that has none, or takes them from the journal of an earlier run.
    private mutating func planRates(_ position: Int) async throws {
        guard let shard = plan.shards[position], shard.needsRates else { return }
        let work = context.work
        if let rates = work.state.rates[position] {
            guard shard.accepts(rates, context.options.encoding) else {
                throw work.damage("rates of other matrices than \(progress.shard) has")
            }
            try plan.apply(rates, at: position)
        } else {
            context.tell(.planning(shard: progress.shard))
            let findings = try await plan.findings([shard], context.budget)[0]
            try work.note([.rates(position, findings)])
            try plan.apply(findings, at: position)
        }
        context.tellWarnings(&plan)
    }
}
