import Checkpoints
import Container
import FileAccess
import Quantization
import SystemPackage
import TensorModel

/// Converts one shard.
///
/// Chunks are handed on by one worker at a time, in order; what they change lives here.
final class ShardConversion {
    private let shard: ConversionPlan.ShardPlan
    private let file: MappedFile
    private let rules: ChunkRules
    private let progress: (ConversionProgress) -> Void
    private var state: ConversionProgress
    private var writer: ShardWriter?
    private var hasher = ContentHasher()
    private var nonFinite = NonFiniteCount()
    private var sums = ErrorSums.zero
    /// How often a tensor was encoded again.
    private(set) var repeats = 0

    /// A tensor that does not hold its goal, however it is encoded along a trellis, or lost more than half of its energy.
    struct GoalMissed: Error {
        /// Index of its payload.
        let payload: Int
        /// What came of the goal, in words.
        let found: String
    }

    /// Prepares a conversion.
    ///
    /// - Parameter progress: told after each chunk.
    init(
        _ shard: ConversionPlan.ShardPlan, from state: ConversionProgress,
        progress: @escaping (ConversionProgress) -> Void
    ) {
        self.shard = shard
        self.progress = progress
        self.state = state
        file = shard.source.file
        rules = ChunkRules(shard)
    }

    /// Writes the output shard, seals it, and gives it its name in a directory.
    ///
    /// - Throws: `GoalMissed` for the first tensor whose form must be another one; nothing stands under the output's name then.
    func run(
        into directory: FilePath, _ pipeline: OrderedPipeline<ChunkWorkspace>
    ) async throws -> (summary: ShardWriter.Summary, progress: ConversionProgress) {
        let payloads = shard.layout.payloads
        let file = file
        let rules = rules
        writer = try ShardWriter(
            directory.appending(shard.outputName), layout: shard.layout, mode: .within(file.permissions))
        var first = 0
        while first < payloads.count {
            let counts = payloads.enumerated().map { index, payload in
                index < first ? 0 : payload.descriptor?.prologue.grid.count ?? 0
            }
            do {
                try await pipeline.run(ChunkJob.all(counts).lazy.map { ($0, rules.next($0)) }) { job, workspace in
                    guard let descriptor = payloads[job.0.payload].descriptor else { return }
                    try workspace.encode(
                        chunk: job.0.chunk, of: payloads[job.0.payload].tensor.range, in: file,
                        as: descriptor.prologue, by: job.1)
                } consume: { job, workspace in
                    try self.take(job.0, workspace)
                }
                first = payloads.count
            } catch let missed as Missed {
                try await repeatUntilHeld(missed, pipeline)
                first = missed.payload + 1
            }
        }
        for plan in shard.layout.ordinary {
            writer?.beginOrdinary()
            try file.forEachPiece(of: plan.tensor.range) { bytes, _ in try writer?.append(ordinary: bytes) }
            writer?.finishOrdinary()
            state.doneBytes += plan.tensor.range.count
        }
        progress(state)
        guard let writer = writer.take() else { preconditionFailure("a shard is converted once") }
        return (try writer.seal(), state)
    }

    /// Takes an encoded chunk, the next in order.
    private func take(_ job: ChunkJob, _ workspace: ChunkWorkspace) throws {
        let plan = shard.layout.payloads[job.payload]
        guard let prologue = plan.descriptor?.prologue else { return }
        let grid = prologue.grid
        let place = grid.place(of: job.chunk)
        try Interruption.check()
        if job.chunk == 0 {
            try writer?.beginPayload()
            hasher = ContentHasher()
            nonFinite = NonFiniteCount()
            sums = .zero
            state.tensor = plan.tensor.name
        }
        if prologue.scheme != .lossless { nonFinite.add(workspace.nonFinite) { grid.element($0, of: place) } }
        try workspace.hashSource(into: hasher, chunk: job.chunk, of: plan.tensor.range, in: file, as: prologue)
        try writer?.append(chunk: workspace.encoded)
        rules.record(job, workspace.encoded)
        sums = sums + workspace.encoded.entry.sums
        state.doneBytes += UInt64(place.count * prologue.format.byteWidth)
        state.codedBytes += UInt64(workspace.encoded.byteCount)
        state.weights += UInt64(place.count)
        if job.chunk == grid.count - 1 { try finish(plan, prologue, job, workspace) }
        progress(state)
    }

    /// Ends the payload of a tensor whose chunks have all been taken.
    private func finish(
        _ plan: TensorPlan, _ prologue: PayloadPrologue, _ job: ChunkJob, _ workspace: ChunkWorkspace
    ) throws {
        if let found = nonFinite.description(columns: plan.tensor.shape.columns) {
            throw IngotError(
                .nonFinite, file: file.path.string, tensor: plan.tensor.name, found: found, expected: "finite weights",
                remedy: .either("repair the source", or: .option(.keepNonFinite)))
        }
        if let controller = rules.finish(job) {
            if let rules = controller.correction() {
                throw Missed(payload: job.payload, controller: controller, rules: rules)
            }
            try requireHeld(controller, job.payload)
        }
        try end(job.payload, prologue)
    }

    /// Ends the payload that was begun.
    ///
    /// - Throws: `GoalMissed` where the weights are gone: no goal allows a larger error.
    private func end(_ payload: Int, _ prologue: PayloadPrologue) throws {
        let error = sums.relativeMSE
        guard error <= shard.mostError else {
            throw GoalMissed(payload: payload, found: "a relative MSE of \(error) as \(prologue.scheme.summary)")
        }
        try writer?.finishPayload(sourceHash: hasher.finish())
        state.codedBytes += UInt64(prologue.fixedBytes)
    }

    /// - Throws: `GoalMissed` where no step holds the goal of a tensor. Of a shared size, the others of the shard give what one takes
    /// more than its share (`ConversionPlan.tighten`).
    private func requireHeld(_ controller: RateController, _ payload: Int) throws {
        if let found = controller.missed, !shard.sharesBytes { throw GoalMissed(payload: payload, found: found) }
    }

    /// A tensor that missed its goal, with the rules for another try: what is under way behind it is dropped.
    private struct Missed: Error {
        let payload: Int
        let controller: RateController
        let rules: [TrellisRule]
    }

    /// Encodes a tensor again while it misses its goal.
    private func repeatUntilHeld(_ missed: Missed, _ pipeline: OrderedPipeline<ChunkWorkspace>) async throws {
        let plan = shard.layout.payloads[missed.payload]
        guard let prologue = plan.descriptor?.prologue else { return }
        let (file, controller) = (file, missed.controller)
        var rules: [TrellisRule]? = missed.rules
        while let next = rules {
            repeats += 1
            controller.restart(next)
            sums = .zero
            try writer?.restartPayload()
            try await pipeline.run(next.indices) { chunk, workspace in
                try workspace.encode(
                    chunk: chunk, of: plan.tensor.range, in: file, as: prologue, by: next[chunk], isAlone: true)
            } consume: { _, workspace in
                try Interruption.check()
                try self.writer?.append(chunk: workspace.encoded)
                controller.record(workspace.encoded)
                self.sums = self.sums + workspace.encoded.entry.sums
            }
            rules = controller.correction()
        }
        try requireHeld(controller, missed.payload)
        try end(missed.payload, prologue)
        progress(state)
    }
}
