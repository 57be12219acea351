import Checkpoints
import Container
import FileAccess
import Quantization
import Synchronization
import SystemPackage
import TensorModel
import Weights
import Work

/// Converts one shard: reads, encodes and writes its chunks, and encodes a tensor again if it missed its goal.
///
/// One value converts one shard once.
final class ShardRunner {
    private let shard: ConversionPlan.ShardPlan
    private let budget: MemoryBudget
    /// Of each payload: the source's bytes, the prologue, the number of chunks, and the rate.
    private let tensors: [TensorBytes], prologues: [PayloadPrologue?], counts: [Int], rates: [TensorRate?]
    private let progress: (ConversionProgress) -> Void
    private var state: ConversionProgress
    private let earlier: UnfinishedShard?
    private let recording: Recording?
    private let calibration: ShardCalibration?
    private var writer: ShardWriter?
    private var tensor = TensorSoFar()
    private var miss: Miss?
    /// How many times a tensor was encoded again.
    private(set) var repeats = 0
    /// The tensors that were encoded again.
    private(set) var repeatedTensors: Set<TensorName> = []
    /// Time of the workers: encoding, and writing.
    private(set) var usage = PipelineUsage()

    /// A tensor that scheme `trellis` cannot bring to its goal, or whose relative MSE is above the limit of the shard.
    struct GoalMissed: Sendable {
        /// Index of the payload in the layout of the shard.
        let payload: Int
        /// The size or the error that was reached, in words.
        let found: String
    }

    /// How the complete payloads of an unfinished shard are recorded, so that a later run can go on from them.
    struct Recording {
        /// Bytes of complete payloads after which they are made durable and recorded.
        let everyBytes: UInt64
        /// Records payloads that are on the disk.
        let note: ([WrittenPayload]) throws -> Void
    }

    /// The result of a run.
    enum Outcome: Sendable {
        /// The output shard is complete and has its name in the directory.
        case written(ShardWriter.Summary, ConversionProgress)
        /// A tensor needs another form, the first such tensor of the shard. No file has the name of the shard.
        case missed(GoalMissed)
    }

    /// Sums over the chunks of the tensor that is being written.
    private struct TensorSoFar {
        var nonFinite = NonFiniteCount()
        var sums = ErrorSums.zero
        /// Sums over activations of a calibrated tensor.
        var calibrated = ActivationSums()
    }

    /// The reason why a run over the chunks ended early. Chunks of later tensors that were in flight are dropped.
    private enum Miss {
        /// A tensor missed its goal, and is encoded again with these rules, one per chunk.
        case tryAgain(payload: Int, RateController, [TrellisRule])
        /// A tensor needs another form.
        case final(GoalMissed)
    }

    /// An encoded run of chunks.
    private struct EncodedRun: Sendable {
        var chunks = [EncodedChunk()]
        /// Sums over activations of a band of a calibrated tensor.
        var calibrated = ActivationSums()
        /// The hash of the tensor in the source; nil until the last chunk of the tensor.
        var sourceHash: ContentHash?
    }

    /// The buffers of one worker.
    private struct EncodingWorkspace {
        var encoder = ChunkEncoder()
        var bands = BandEncoder()
        var scratch: [UInt8] = []
    }

    /// Prepares the conversion of a shard.
    ///
    /// - Parameters:
    ///   - state: the progress of the conversion before this shard.
    ///   - earlier: the payloads that an earlier run encoded by the same plan; nil if there are none.
    ///   - recording: nil if payloads are not recorded.
    ///   - calibration: the moments and factors of calibrated tensors; nil if there are none.
    ///   - progress: called after each chunk, one call at a time.
    init(
        _ shard: ConversionPlan.ShardPlan, from state: ConversionProgress, after earlier: UnfinishedShard?,
        _ recording: Recording?, _ calibration: ShardCalibration?, _ budget: MemoryBudget,
        progress: @escaping (ConversionProgress) -> Void
    ) {
        self.shard = shard
        tensors = shard.layout.payloads.map { shard.source.bytes(of: $0.tensor) }
        prologues = shard.layout.payloads.map { $0.descriptor?.prologue }
        counts = prologues.map { $0?.grid.count ?? 0 }
        rates = shard.encodings.map(\.rate)
        self.progress = progress
        self.state = state
        self.earlier = earlier
        self.recording = recording
        self.calibration = calibration
        self.budget = budget
        for (plan, payload) in zip(shard.layout.payloads, earlier?.payloads ?? []) {
            let holdsCodes = payload.descriptor.holdsCodes
            self.state.add(
                resumed: plan.tensor.byteCount, coded: holdsCodes ? 0 : payload.range.count,
                holdsCodes ? 0 : plan.tensor.shape.elementCount)
        }
    }

    /// Writes the output shard, seals it, and gives it its name in a directory.
    ///
    /// If it fails, the payloads that were recorded stay in the unfinished file.
    ///
    /// - Throws: `nonFinite` if a quantized tensor has NaN or infinity; errors of reading and writing.
    func run(into directory: FilePath) async throws -> Outcome {
        let path = directory.appending(shard.outputName)
        let mode = NewFileMode.within(shard.source.file.permissions)
        if let earlier {
            writer = try ShardWriter(
                continuing: path, earlier, layout: shard.layout, mode: mode, bufferBytes: budget.writerBytes)
        } else {
            writer = try ShardWriter(path, layout: shard.layout, mode: mode, bufferBytes: budget.writerBytes)
        }
        do {
            if let missed = try await encodeAll(from: writer?.payloadCount ?? 0) { return drop(missed) }
            try copyKept()
        } catch {
            recordLast()
            throw error
        }
        guard let writer = writer.take() else { preconditionFailure("a shard is converted once") }
        let summary = try writer.seal()
        shard.source.file.finishReading()
        return .written(summary, state)
    }

    /// Encodes all payloads from `first` on.
    ///
    /// - Returns: the miss of the first tensor that needs another form.
    private func encodeAll(from first: Int) async throws -> GoalMissed? {
        var first = first
        while first < shard.layout.payloads.count {
            if shard.isCopied(first) {
                try copy(first)
                first += 1
                continue
            }
            let end = (first..<counts.count).first(where: shard.isCopied) ?? counts.count
            try await encode(first..<end)
            switch miss {
            case nil: first = end
            case .final(let missed)?: return missed
            case .tryAgain(let payload, let controller, let rules)?:
                if let missed = try await repeatUntilHeld(payload, controller, rules) { return missed }
                first = payload + 1
            }
            miss = nil
        }
        return nil
    }

    /// Copies a payload of the first phase.
    ///
    /// - Throws: `sourceMismatch` if it is of other weights.
    private func copy(_ index: Int) throws {
        let plan = shard.layout.payloads[index]
        guard let (payload, earlier) = calibration?.earlier(plan.tensor.name) else {
            preconditionFailure("a copied payload that no first phase has")
        }
        guard try shard.source.bytes(of: plan.tensor).hash() == payload.descriptor.sourceHash else {
            throw IngotError(
                .sourceMismatch, file: shard.source.file.path.string, tensor: plan.tensor.name,
                found: "other weights than the first phase was made of", expected: "the same source in both phases")
        }
        try writer?.copyPayload(payload, from: earlier)
        state.tensor = plan.tensor.name
        state.doneBytes += plan.tensor.byteCount
        state.codedBytes += payload.range.count
        state.weights += UInt64(plan.tensor.shape.elementCount)
        progress(state)
        try recordSometimes()
    }

    private func copyKept() throws {
        for plan in shard.layout.kept {
            writer?.beginKept()
            try shard.source.bytes(of: plan.tensor).forEachPiece { bytes, _ in try writer?.append(kept: bytes) }
            writer?.finishKept()
            state.doneBytes += plan.tensor.byteCount
        }
        progress(state)
    }

    // MARK: - Recording what is done

    /// Records complete payloads if enough bytes are not recorded yet.
    private func recordSometimes() throws {
        guard let recording, let unrecorded = writer?.unsynchronizedBytes, unrecorded >= recording.everyBytes else {
            return
        }
        try record(recording)
    }

    /// Records the complete payloads of a run that failed, if it is worth a file: if payloads are recorded, or enough bytes are complete.
    private func recordLast() {
        guard let recording, let unrecorded = writer?.unsynchronizedBytes, unrecorded > 0,
            unrecorded >= recording.everyBytes || writer?.keepsFile == true
        else { return }
        // The error of the run is the one to report.
        try? record(recording)
    }

    private func record(_ recording: Recording) throws {
        guard let written = try writer?.synchronize() else { return }
        try recording.note(written)
    }

    /// Removes the unfinished file of a shard whose tensor needs another form.
    private func drop(_ missed: GoalMissed) -> Outcome {
        writer?.discard()
        writer = nil
        return .missed(missed)
    }

    // MARK: - Chunks

    /// Encodes and writes the chunks of some payloads; stops if a tensor misses its goal.
    private func encode(_ payloads: Range<Int>) async throws {
        let policy = Mutex(RatePolicy(rates, prologues))
        try await run(runs(payloads)) { run, chunk in
            policy.withLock { $0.rule(of: chunk, payload: run.payload) }
        } consume: { run, output in
            for (chunk, encoded) in zip(run.chunks, output.chunks) {
                policy.withLock { $0.record(encoded, payload: run.payload) }
                try self.take(encoded, chunk, run.payload)
            }
            self.tensor.calibrated = self.tensor.calibrated + output.calibrated
            guard let hash = output.sourceHash else { return .proceed }
            try self.finish(run.payload, policy.withLock { $0.finish(run.payload) }, hash)
            return self.miss == nil ? .proceed : .stop
        }
    }

    /// The runs of some payloads: of whole bands for calibrated payloads, of one chunk each for others.
    private func runs(_ payloads: Range<Int>) -> [ChunkRun] {
        payloads.flatMap { payload -> [ChunkRun] in
            let length = shard.isCalibrated(payload) ? prologues[payload]?.grid.chunksPerBand ?? 1 : 1
            return stride(from: 0, to: counts[payload], by: length).map {
                ChunkRun(payload: payload, chunks: $0..<min($0 + length, counts[payload]))
            }
        }
    }

    private func run(
        _ runs: some Sequence<ChunkRun>,
        rule: @escaping @Sendable (ChunkRun, Int) -> TrellisRule?,
        consume: @escaping (ChunkRun, EncodedRun) throws -> PipelineFlow
    ) async throws {
        let (tensors, prologues, calibration) = (tensors, prologues, calibration)
        let plans = shard.layout.payloads
        var reader = budget.bandReader()
        usage.add(
            try await budget.pipeline { EncodingWorkspace() }.run(runs, makeOutput: { EncodedRun() }) {
                run -> [ReadChunk] in
                guard let prologue = prologues[run.payload] else { return [] }
                return try run.chunks.map {
                    try reader.read($0, of: tensors[run.payload], prologue.grid, prologue.elementType)
                }
            } work: { run, read, workspace, output in
                guard let prologue = prologues[run.payload] else { return }
                while output.chunks.count < run.chunks.count { output.chunks.append(EncodedChunk()) }
                output.sourceHash = read.last?.hash
                output.calibrated = ActivationSums()
                if let calibration, prologue.sideBytes > 0 {
                    let first = run.chunks.lowerBound
                    output.calibrated = try workspace.bands.encode(
                        run.chunks.count, firstRow: prologue.grid.place(of: first).row, as: prologue,
                        by: rule(run, first) ?? TrellisRule(step: 1),
                        try calibration.encoding(of: plans[run.payload].tensor), measures: true,
                        into: &output.chunks
                    ) { tile in
                        try read[tile].elements(
                            prologue.grid.place(of: first + tile), of: tensors[run.payload],
                            columns: prologue.grid.columns, prologue.elementType, scratch: &workspace.scratch)
                    }
                    calibration.add(workspace.bands.takeTimes())
                    return
                }
                for (index, chunk) in run.chunks.enumerated() {
                    let elements = try read[index].elements(
                        prologue.grid.place(of: chunk), of: tensors[run.payload], columns: prologue.grid.columns,
                        prologue.elementType, scratch: &workspace.scratch)
                    workspace.encoder.encode(elements, as: prologue, by: rule(run, chunk), into: &output.chunks[index])
                }
            } consume: { run, output in
                try consume(run, output)
            })
    }

    /// Writes an encoded chunk, in order.
    private func take(_ encoded: EncodedChunk, _ chunk: Int, _ payload: Int) throws {
        let plan = shard.layout.payloads[payload]
        guard let prologue = plan.descriptor?.prologue else { return }
        let grid = prologue.grid
        let place = grid.place(of: chunk)
        if chunk == 0 {
            try writer?.beginPayload(
                side: prologue.sideBytes > 0 ? calibration?.encoding(of: plan.tensor).sideInformation ?? [] : [])
            tensor = TensorSoFar()
            state.tensor = plan.tensor.name
        }
        if prologue.scheme != .lossless { tensor.nonFinite.add(encoded.nonFinite) { grid.element($0, of: place) } }
        try writer?.append(chunk: encoded)
        tensor.sums = tensor.sums + encoded.entry.sums
        state.doneBytes += UInt64(place.count * prologue.elementType.byteWidth)
        if plan.descriptor?.holdsCodes == false {
            state.codedBytes += UInt64(encoded.byteCount)
            state.weights += UInt64(place.count)
        }
        progress(state)
    }

    /// Ends the payload of a tensor after its last chunk, or sets `miss` if it missed its goal.
    private func finish(_ payload: Int, _ controller: RateController?, _ hash: ContentHash) throws {
        let plan = shard.layout.payloads[payload]
        if let found = tensor.nonFinite.description(columns: plan.tensor.shape.columns) {
            throw NonFiniteScan.refusal(shard.source, plan.tensor.name, found)
        }
        sourceHash = hash
        if var controller {
            if let rules = controller.correction() {
                miss = .tryAgain(payload: payload, controller, rules)
                return
            }
            if let missed = missed(controller, payload) {
                miss = .final(missed)
                return
            }
        }
        if let missed = try end(payload) { miss = .final(missed) }
    }

    /// Hash of the source bytes of the tensor that was read last.
    private var sourceHash: ContentHash?

    /// Ends the payload that was begun.
    ///
    /// - Returns: the miss if the relative MSE exceeds `shard.maximumError`; then the payload is not ended.
    private func end(_ payload: Int) throws -> GoalMissed? {
        guard let prologue = shard.layout.payloads[payload].descriptor?.prologue, let hash = sourceHash else {
            return nil
        }
        // A calibrated tensor may have a larger error of weights for a smaller one of its outputs.
        let error = prologue.sideBytes > 0 ? tensor.calibrated.relativeError : tensor.sums.relativeMSE
        guard error <= shard.maximumError else {
            return GoalMissed(payload: payload, found: "a relative MSE of \(error) as \(prologue.scheme.summary)")
        }
        try writer?.finishPayload(sourceHash: hash, calibrated: prologue.sideBytes > 0 ? tensor.calibrated : nil)
        if prologue.elementType.quantizable != nil { state.codedBytes += UInt64(prologue.fixedBytes) }
        progress(state)
        try recordSometimes()
        return nil
    }

    /// The miss of a tensor whose goal no step meets. nil if the goal is a share of a size: then the other tensors of the shard give up
    /// bytes (`ConversionPlan.tighten`).
    private func missed(_ controller: RateController, _ payload: Int) -> GoalMissed? {
        guard let found = controller.missed, !shard.sharesBytes else { return nil }
        return GoalMissed(payload: payload, found: found)
    }

    /// Encodes a tensor again until it meets its goal or no other step is expected to.
    private func repeatUntilHeld(
        _ payload: Int, _ controller: RateController, _ rules: [TrellisRule]
    ) async throws -> GoalMissed? {
        var controller = controller
        var rules: [TrellisRule]? = rules
        repeatedTensors.insert(shard.layout.payloads[payload].tensor.name)
        while let next = rules {
            repeats += 1
            controller.restart(next)
            tensor.sums = .zero
            try writer?.restartPayload()
            var encoded = controller
            let runs = next.indices.map { ChunkRun(payload: payload, chunks: $0..<$0 + 1) }
            try await run(runs) { _, chunk in
                next[chunk]
            } consume: { _, output in
                for chunk in output.chunks {
                    try self.writer?.append(chunk: chunk)
                    encoded.record(chunk)
                    self.tensor.sums = self.tensor.sums + chunk.entry.sums
                }
                return .proceed
            }
            controller = encoded
            rules = controller.correction()
        }
        if let missed = missed(controller, payload) { return missed }
        return try end(payload)
    }
}
