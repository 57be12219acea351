import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Work

/// Repeats, and time of the workers, over all shards.
struct ConversionEffort: Sendable {
    /// How many times tensors were encoded again because they missed their goal, and which tensors.
    var repeats = 0, repeatedTensors: Set<TensorName> = []
    /// Number of tensors that earlier runs encoded in shards that they did not finish, and bytes of those tensors in the source.
    var resumedTensors = 0, resumedBytes: UInt64 = 0
    /// Time of the workers: encoding, and writing.
    var usage = PipelineUsage()
}

/// Writes one output shard, and again with other forms or smaller goals of its tensors until every promise holds.
struct ShardEncoding {
    private let context: ConversionContext

    /// A shard is encoded with smaller goals at most this many times, if its payloads exceed their share of a size.
    private static let maximumTightenings = 3

    /// Prepares to encode shards of a conversion.
    init(_ context: ConversionContext) { self.context = context }

    /// A complete output shard.
    struct Encoded {
        /// Its tensors in order, with their final schemes.
        let layout: ShardLayout
        /// Its bytes and seal, with the descriptors of its payloads.
        let summary: ShardWriter.Summary
        /// The progress of the conversion after it.
        let progress: ConversionProgress
    }

    /// Encodes the shard at a position of the plan. It goes on from the payloads that an earlier run encoded by the same plan.
    ///
    /// - Throws: `goalUnreachable` if a goal cannot be met, `nonFinite`; errors of reading and writing.
    func encode(
        _ position: Int, _ plan: inout ConversionPlan, _ sourceGuard: SourceGuard, _ progress: ConversionProgress,
        _ effort: inout ConversionEffort
    ) async throws -> Encoded {
        let (work, tell) = (context.work, context.tell)
        var tightened = 0
        var earlier = try await EarlierPayloads(context).takeOver(plan.shards[position], sourceGuard)
        effort.resumedTensors += earlier?.payloads.count ?? 0
        effort.resumedBytes += earlier?.sourceBytes ?? 0
        while let shard = plan.shards[position] {
            // A later run cannot repeat smaller goals: they follow from the size of the whole shard.
            let recording = tightened > 0 ? nil : recording(shard)
            let runner = ShardRunner(
                shard, from: progress, after: earlier, recording, context.calibration, context.budget
            ) {
                tell(.progress($0))
            }
            let outcome = try await runner.run(into: context.work.path)
            effort.repeats += runner.repeats
            effort.repeatedTensors.formUnion(runner.repeatedTensors)
            effort.usage.add(runner.usage)
            switch outcome {
            case .missed(let missed):
                earlier = nil
                work.forgetPayloads(position)
                let replacement = try plan.replace(missed, at: position, context.budget)
                if let replacement, tightened == 0 { try work.note([.replaced(position, replacement)]) }
            case .written(let summary, let progress):
                if tightened < ShardEncoding.maximumTightenings,
                    plan.tightenCalibrated(summary.payloads.map(\.byteCount), at: position)
                {
                    tightened += 1
                    earlier = nil
                    work.forgetPayloads(position)
                    try Directory.removeFile(context.outputPath(position))
                    continue
                }
                let taken = summary.payloads.reduce(0) { $0 + $1.byteCount }
                let maximum = shard.maximumBytes
                if shard.sharesBytes, taken > maximum, tightened < ShardEncoding.maximumTightenings,
                    plan.tighten(by: taken - maximum, at: position)
                {
                    tightened += 1
                    earlier = nil
                    work.forgetPayloads(position)
                    try Directory.removeFile(context.outputPath(position))
                    continue
                }
                guard !shard.sharesBytes || taken <= maximum || !context.options.run.consumesSource else {
                    throw IngotError(
                        .goalUnreachable, file: shard.source.file.path.string,
                        found: "\(taken) bytes for the matrices of this shard, which is not deleted",
                        expected: "\(maximum) bytes, their share of the size that was asked for")
                }
                return Encoded(layout: shard.layout, summary: summary, progress: progress)
            }
        }
        preconditionFailure("a shard that is converted is planned")
    }

    /// Records payloads of a shard in the journal.
    private func recording(_ shard: ConversionPlan.ShardPlan) -> ShardRunner.Recording {
        let (work, position) = (context.work, shard.position)
        return ShardRunner.Recording(everyBytes: context.options.run.recordedBytes) { payloads in
            let hash = shard.hash
            let isBegun = work.state.unfinished[position]?.plan == hash
            try work.note((isBegun ? [] : [.encoding(position, hash)]) + [.encoded(position, payloads)])
        }
    }
}
