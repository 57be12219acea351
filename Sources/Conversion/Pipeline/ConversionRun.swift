import Checkpoints
import Container
import FileAccess
import Publishing
import Quantization
import SystemPackage
import TensorModel
import Weights
import Work

/// One run of a converter.
final class ConversionRun {
    private let options: ConversionOptions
    private let destination: FilePath
    private let onEvent: @Sendable (ConversionEvent) -> Void
    private let beforePublishing: (@Sendable (FilePath, ConversionReport) async throws -> Void)?
    private let budget: MemoryBudget
    private let followed: FollowedSource
    private let layout: CheckpointLayout
    private let limits: OutputLimits
    private var plan: ConversionPlan
    /// Nil where an earlier run had published already.
    private let work: WorkDirectory?
    /// What is finished, by position.
    private var finished: [Int: FinishedShard] = [:]
    private var state = ConversionProgress()
    /// Sources whose status changed after they were opened: their identities when all of their bytes were last compared.
    private var compared: [Int: FileIdentity] = [:]
    private var told = 0
    private var repeats = 0
    private var usage = PipelineUsage()

    init(_ converter: Converter, _ budget: MemoryBudget) async throws {
        options = converter.options
        destination = converter.destination
        beforePublishing = converter.beforePublishing
        let onEvent = converter.onEvent
        self.onEvent = onEvent
        self.budget = budget
        followed = FollowedSource(converter.source, converter.options) { name, bytes, total in
            onEvent(.waiting(name: name, bytes: bytes, total: total))
        }
        layout =
            options.follows
            ? try await followed.layout() : try CheckpointLayout.read(converter.source, key: options.key)
        if options.consumesSource { try ConsumableSource.require(layout) }
        plan = ConversionPlan(layout, options)
        let outputNames = layout.shardNames.indices.map(plan.outputName)
        limits = OutputLimits(layout, options, to: destination, outputNames: outputNames)
        do {
            work = try WorkDirectory.begin(destination, options, layout, outputNames: outputNames)
        } catch is WorkDirectory.AlreadyPublished {
            work = nil
        }
    }

    func finish() async throws -> ConversionReport {
        guard let work else { return try await publishedReport() }
        do {
            return try await convert(work)
        } catch {
            throw work.end(after: error, shards: layout.shardNames.count)
        }
    }

    /// The report of a conversion that an earlier run ended but for its traces.
    private func publishedReport() async throws -> ConversionReport {
        let checkpoint = try SealedCheckpoint(destination)
        var report = ConversionReport(sourceBytes: checkpoint.manifest.sourceBytes, skipped: [], warnings: [])
        for shard in checkpoint.shards { report.add(FinishedShard(shard, sourceBytes: 0)) }
        report.resumedShards = checkpoint.shards.count
        report.companionBytes = checkpoint.manifest.files.filter { !$0.isShard }.reduce(0) { $0 + $1.byteCount }
        try await beforePublishing?(destination, report)
        return report
    }

    // MARK: - Shards

    private func convert(_ work: WorkDirectory) async throws -> ConversionReport {
        do {
            let companions = try CompanionFiles(of: layout)
            try companions.refuseQuantizedSource()
            try limits.check(companions)
        } catch let error as IngotError
            where options.follows && ![.unsupportedSource, .cannotCreate].contains(error.code)
        {
            // Half of the configuration may be there; it is read again when nothing is under way any more.
        }
        if let index = layout.index { try limits.check(index.tensors.map(\.name)) }
        try work.removeAll(except: Set(work.state.sealed.keys.map(plan.outputName)))
        state.shardCount = layout.shardNames.count
        try await resume(work)
        try await open(work)
        var waiting = layout.shardNames.indices.filter { finished[$0] == nil }
        while !waiting.isEmpty {
            let position = try await next(of: waiting, work)
            try await convert(position, work)
            waiting.removeAll { $0 == position }
        }
        if options.follows {
            try await followed.rest(of: layout)
            try CompanionFiles(of: layout).refuseQuantizedSource()
        }
        return try await publish(work)
    }

    /// Opens and plans what is there: all of it, unless the source is followed.
    private func open(_ work: WorkDirectory) async throws {
        guard !options.follows else { return }
        if work.state.sealed.isEmpty {
            plan = try ConversionPlan(Checkpoint.open(layout.path, key: layout.key), options)
        } else {
            for position in layout.shardNames.indices where finished[position] == nil {
                try plan.add(layout.open(position), at: position)
            }
        }
        for shard in plan.openShards { try OutputLimits.check(shard) }
        if layout.index == nil, finished.isEmpty {
            try limits.check(
                plan.openShards.flatMap { ($0.layout.payloads + $0.layout.ordinary).map(\.tensor.name) })
        }
        tellWarnings()
        try work.note(plan.openShards.compactMap { try fingerprint($0.source, $0.position, work) })
        state.totalBytes = state.doneBytes + plan.openShards.reduce(0) { $0 + $1.source.dataByteCount }
        guard options.goal.isShared, options.scheme == .trellis else { return }
        if plan.openShards.allSatisfy({ work.state.rates[$0.position] != nil }) {
            for shard in plan.openShards {
                let rates = work.state.rates[shard.position] ?? [:]
                guard shard.accepts(rates, options) else {
                    throw work.damage("rates of other matrices than \(layout.shardNames[shard.position]) has")
                }
                try plan.apply(rates, at: shard.position)
            }
        } else if !finished.isEmpty {
            // The rates of the other shards depend on what the finished ones got.
            throw work.damage("finished shards of a rate over all matrices, and no rates for the others")
        } else {
            onEvent(.planning(shard: nil))
            let shards = plan.openShards
            let findings = try await plan.findings(shards, budget)
            for (shard, found) in zip(shards, findings) { try plan.apply(found, at: shard.position) }
            try work.note(zip(shards, findings).map { .rates($0.position, $1) })
        }
        tellWarnings()
    }

    /// The next shard to convert; waits for one where the source is followed.
    private func next(of positions: [Int], _ work: WorkDirectory) async throws -> Int {
        guard options.follows else { return positions[0] }
        let (position, shard) = try await followed.next(of: positions, in: layout)
        if options.consumesSource { try ConsumableSource.requireOwn(shard.file.path) }
        try plan.add(shard, at: position)
        if let planned = plan.shards[position] { try OutputLimits.check(planned) }
        tellWarnings()
        try work.note([fingerprint(shard, position, work)].compactMap { $0 })
        return position
    }

    /// Requires that a shard is the one an earlier run opened; the line for the journal where none has.
    private func fingerprint(_ shard: Shard, _ position: Int, _ work: WorkDirectory) throws -> JournalRecord? {
        let fingerprint = try SourceFingerprint(shard)
        guard let earlier = work.state.sources[position] else { return .source(position, fingerprint) }
        if let difference = fingerprint.difference(from: earlier) { throw changed(shard, difference) }
        return fingerprint == earlier ? nil : .source(position, fingerprint)
    }

    private func changed(_ shard: Shard, _ difference: String) -> IngotError {
        IngotError(
            .sourceChanged, file: shard.file.path.string, found: difference,
            expected: "the shard that the interrupted conversion read",
            remedy: .either("put the source back as it was", or: .option(.beginAnew)))
    }

    private func convert(_ position: Int, _ work: WorkDirectory) async throws {
        state.shard = layout.shardNames[position]
        state.shardNumber = finished.count + 1
        if let shard = plan.shards[position], shard.needsRates {
            onEvent(.planning(shard: state.shard))
            try plan.apply(await plan.findings([shard], budget)[0], at: position)
            tellWarnings()
        }
        guard let shard = plan.shards[position] else { return }
        try shard.source.checkRecords()
        let warned = plan.warnings.count
        let (layout, summary) = try await encode(position, work)
        let warnings = Array(plan.warnings[warned...])
        tellWarnings()
        try await requireUnchanged(shard.source, position, work)
        finished[position] = FinishedShard(
            layout, summary, name: shard.outputName, sourceBytes: shard.source.file.byteCount)
        try work.note([
            .sealed(position, SealedRecord(byteCount: summary.byteCount, seal: summary.seal, warnings: warnings))
        ])
        onEvent(.sealed(shard: shard.outputName, byteCount: summary.byteCount))
        if options.consumesSource { try await consume(shard.source, position, work) }
    }

    /// Writes an output shard; again, with other forms of its tensors or less for them, as long as a promise is not held.
    private func encode(
        _ position: Int, _ work: WorkDirectory
    ) async throws -> (layout: ShardLayout, summary: ShardWriter.Summary) {
        let onEvent = onEvent
        var tightened = 0
        while let shard = plan.shards[position] {
            let runner = ShardRunner(shard, from: state, budget) { onEvent(.progress($0)) }
            defer {
                repeats += runner.repeats
                usage.add(runner.usage)
            }
            switch try await runner.run(into: work.path) {
            case .missed(let missed): try plan.replace(missed, at: position, budget)
            case .written(let summary, let progress):
                let taken = summary.payloads.reduce(0) { $0 + $1.byteCount }
                let most = plan.mostBytes(at: position)
                if shard.sharesBytes, taken > most, tightened < ConversionRun.mostTightenings,
                    plan.tighten(by: taken - most, at: position)
                {
                    tightened += 1
                    try Directory.removeFile(work.path.appending(shard.outputName))
                    continue
                }
                guard !shard.sharesBytes || taken <= most || !options.consumesSource else {
                    throw IngotError(
                        .goalUnreachable, file: shard.source.file.path.string,
                        found: "\(taken) bytes for the matrices of this shard, which is not deleted",
                        expected: "\(most) bytes, their share of the size that was asked for")
                }
                state = progress
                return (shard.layout, summary)
            }
        }
        preconditionFailure("a shard that is converted is planned")
    }

    /// How often a shard is encoded with less for its tensors, because some of them took more than their share.
    private static let mostTightenings = 3

    // MARK: - Sources that change

    /// How often a source is compared, at most, whose status changes meanwhile.
    private static let mostComparisons = 3

    /// Requires that a source is still what was converted: by the identity of the file or, if its status changed, by all of its bytes.
    ///
    /// Hashes alone would not suffice: a band is read once to be encoded, and again to be hashed.
    ///
    /// - Throws: `sourceChanged`.
    private func requireUnchanged(_ source: Shard, _ position: Int, _ work: WorkDirectory) async throws {
        let file = source.file
        for _ in 0..<ConversionRun.mostComparisons {
            let now = FileIdentity(file.path)
            switch file.change {
            case .none: return
            case .content: throw file.wasChanged
            case .status: if let now, now == compared[position] { return }
            }
            if let earlier = work.state.sources[position],
                try SourceFingerprint(source).difference(from: earlier) != nil
            {
                throw file.wasChanged
            }
            do {
                try await compare(source, position, work)
            } catch let error as IngotError where [.certificateMismatch, .sourceMismatch].contains(error.code) {
                throw file.wasChanged
            }
            if now == FileIdentity(file.path) { compared[position] = now }
        }
        guard let now = FileIdentity(file.path), now == compared[position] else { throw file.wasChanged }
    }

    /// Requires that the output of a shard, as it is on the disk, decodes to what it claims of its source: every hash, every certificate.
    private func compare(_ source: Shard, _ position: Int, _ work: WorkDirectory) async throws {
        let path = work.path.appending(plan.outputName(position))
        let tensors = try await ShardVerification(SealedShard(path), against: source).run(budget)
        if let failed = tensors.first(where: { !$0.holds }) {
            throw IngotError(
                .certificateMismatch, file: path.string, tensor: failed.name,
                found: "an output that does not hold what it claims: its source is not deleted",
                expected: "the error of the certificate", remedy: "check memory and disk of this machine")
        }
        guard tensors.count == source.header.tensors.count else {
            throw IngotError(
                .sourceMismatch, file: path.string, found: "\(tensors.count) tensors",
                expected: "\(source.header.tensors.count), as in the source, which is not deleted")
        }
    }

    // MARK: - Consuming

    /// Verifies the output of a shard against its source, as it is on the disk, and deletes the source.
    private func consume(_ source: Shard, _ position: Int, _ work: WorkDirectory) async throws {
        let name = plan.outputName(position)
        onEvent(.verifying(shard: name))
        try MappedFile.dropCache(work.path.appending(name))
        try await requireUnchanged(source, position, work)
        var verified: FileIdentity?
        for _ in 0..<ConversionRun.mostComparisons {
            verified = FileIdentity(source.file.path)
            try await compare(source, position, work)
            if verified == FileIdentity(source.file.path) { break }
        }
        // Files may have arrived since the first shard was written.
        try limits.check(CompanionFiles(of: layout))
        try work.note([.consuming(position)])
        try ConsumableSource.delete(source, asVerified: verified)
        plan.remove(at: position)
        onEvent(.consumed(shard: layout.shardNames[position]))
    }

    // MARK: - Resuming

    /// Checks what an earlier run finished, and takes it over.
    private func resume(_ work: WorkDirectory) async throws {
        for (position, record) in work.state.sealed.sorted(by: { $0.key < $1.key }) {
            let path = work.path.appending(plan.outputName(position))
            let isConsumed =
                try work.state.consumed.contains(position) && Directory.kind(layout.shardPath(position)) == nil
            let shard: SealedShard
            do {
                shard = try SealedShard(path)
                guard shard.seal.hash == record.seal, shard.file.byteCount == record.byteCount else {
                    throw IngotError(
                        .sealInvalid, file: path.string, found: "another shard than the one the journal names")
                }
                _ = try await ShardVerification(shard) { _, _, _ in nil }.run(budget)
            } catch var error as IngotError where WorkDirectory.isDamage(error) {
                if isConsumed {
                    error.remedy =
                        "its source was consumed: fetch \(layout.shardNames[position]) again, then run the same command"
                    throw error
                }
                onEvent(
                    .warning(
                        IngotWarning(
                            file: path.string, "finished earlier, but not whole any more: converted again")))
                work.forget(position)
                try Directory.removeTree(path)
                continue
            }
            // What is wrong with its source from here on is no damage of the output.
            try await takeOver(shard, record, position, isConsumed: isConsumed, work)
        }
    }

    private func takeOver(
        _ shard: SealedShard, _ record: SealedRecord, _ position: Int, isConsumed: Bool, _ work: WorkDirectory
    ) async throws {
        let name = plan.outputName(position)
        var sourceBytes = work.state.sources[position]?.identity.byteCount ?? 0
        if !isConsumed {
            let source = try layout.open(position)
            sourceBytes = source.file.byteCount
            try requireTakenFrom(source, position, shard, work)
            if options.consumesSource { try await consume(source, position, work) }
        }
        let done = FinishedShard(shard, sourceBytes: sourceBytes, warnings: record.warnings)
        finished[position] = done
        state.doneBytes += done.dataBytes
        state.resumedBytes += done.dataBytes
        state.codedBytes += done.payloads.reduce(0) { $0 + $1.byteCount }
        state.weights += done.payloads.reduce(0) { $0 + UInt64($1.descriptor.shape.elementCount) }
        onEvent(.resumed(shard: name))
    }

    /// Requires that the source of a finished shard is the one that was converted: by its identity, or else by all of its bytes.
    private func requireTakenFrom(
        _ source: Shard, _ position: Int, _ shard: SealedShard, _ work: WorkDirectory
    ) throws {
        guard let earlier = work.state.sources[position] else { return }
        guard source.file.identity != earlier.identity else { return }
        if let difference = try SourceFingerprint(source).difference(from: earlier) {
            throw changed(source, difference)
        }
        let hashes = Dictionary(
            shard.payloads.map { ($0.name, $0.descriptor.sourceHash) }, uniquingKeysWith: { first, _ in first })
        let kept = Dictionary(shard.ordinary.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        for tensor in source.header.tensors {
            let expected = try hashes[tensor.name] ?? kept[tensor.name].map { try shard.checkOrdinary($0) }
            guard try source.bytes(of: tensor).hash() == expected else {
                throw changed(source, "other weights in \(tensor.name.text)")
            }
        }
    }

    // MARK: - The rest of the directory

    private func publish(_ work: WorkDirectory) async throws -> ConversionReport {
        let companions = try CompanionFiles(of: layout)
        try limits.check(companions)
        var report = ConversionReport(
            sourceBytes: finished.values.reduce(0) { $0 + $1.sourceBytes }, skipped: companions.skipped,
            warnings: plan.warnings)
        let shards = layout.shardNames.indices.compactMap { finished[$0] }
        for shard in shards { report.add(shard) }
        var files = shards.map { Manifest.File(name: $0.name, byteCount: $0.byteCount, hash: $0.seal, isShard: true) }
        files += try CompanionWriter(companions, options: options.record).write(
            into: work.path, beside: shards.map(\.contents), dataBytes: report.dataBytes)
        let manifest = Manifest(
            files: files, options: options.record, sourceBytes: report.sourceBytes, codecs: CodecLibraries.versions
        ).encoded()
        try Interruption.check()
        try limits.checkManifest(manifest.count, files: files.count)
        for shard in plan.openShards { try await requireUnchanged(shard.source, shard.position, work) }
        let hash = try WholeFile.write(
            manifest, to: work.path.appending(Manifest.fileName),
            mode: CompanionWriter.mode(beside: shards.map(\.name), in: work.path))
        try PromiseCheck(options, report, totalBytes: files.reduce(UInt64(manifest.count)) { $0 + $1.byteCount }).run()
        // Every limit of a reader holds for what is published.
        do {
            _ = try SealedCheckpoint(work.path)
        } catch var error as IngotError where error.code == .noInput {
            // What cannot be opened was written just now: no path of the user's is wrong.
            error.code = .inputOutput
            throw error
        }
        report.companionBytes = files.filter { !$0.isShard }.reduce(UInt64(manifest.count)) { $0 + $1.byteCount }
        report.resumedShards = shards.count { $0.isResumed }
        report.usage = usage
        report.repeats = repeats
        if let beforePublishing {
            onEvent(.verifying(shard: destination.lastComponent?.string ?? ""))
            try await beforePublishing(work.path, report)
            // It took a while, in which the source had to stay.
            for shard in plan.openShards { try await requireUnchanged(shard.source, shard.position, work) }
            try Interruption.check()
        }
        try work.publish(manifest: hash)
        return report
    }

    private func tellWarnings() {
        for warning in plan.warnings[min(told, plan.warnings.count)...] { onEvent(.warning(warning)) }
        told = plan.warnings.count
    }
}
