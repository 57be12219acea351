import Checkpoints
import Container
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// Takes over the tensors that an earlier run encoded in a shard that it did not finish.
struct EarlierPayloads {
    private let context: ConversionContext

    /// Prepares to take over payloads; reads nothing yet.
    init(_ context: ConversionContext) { self.context = context }

    /// Checks the payloads that the journal names: fronts, checksums, and that every chunk decodes. It takes those before the first that is
    /// damaged.
    ///
    /// - Parameter shard: the plan of the shard. Payloads of another plan are not taken.
    /// - Returns: nil if there is nothing to take over.
    /// - Throws: `sourceChanged` if a tensor of the source is not the one that was encoded; errors of reading.
    func takeOver(_ shard: ConversionPlan.ShardPlan?, _ sourceGuard: SourceGuard) async throws -> UnfinishedShard? {
        guard let shard, let record = context.work.state.unfinished[shard.position], !record.payloads.isEmpty else {
            return nil
        }
        // A journal that somebody edited can name more tensors than the shard has.
        guard record.plan == shard.hash, record.payloads.count <= shard.layout.payloads.count,
            var unfinished = try open(shard, record)
        else {
            try forget(shard)
            return nil
        }
        try await keepIntact(&unfinished)
        let taken = unfinished.payloads.count
        if taken < record.payloads.count {
            context.tell(
                .warning(
                    IngotWarning(
                        file: unfinished.file.path.string, tensor: shard.layout.payloads[taken].tensor.name,
                        "encoded earlier, but not whole any more: converted again from here on")))
        }
        guard taken > 0 else {
            try forget(shard)
            return nil
        }
        try sourceGuard.requireTakenFrom(shard.source, shard.layout, unfinished)
        try context.work.take(unfinished, record.plan, shard.position)
        context.tell(.continued(shard: shard.outputName, tensors: taken, of: shard.layout.payloads.count))
        return unfinished
    }

    /// Keeps the payloads before the first that does not decode, or not to its certificate.
    private func keepIntact(_ unfinished: inout UnfinishedShard) async throws {
        while !unfinished.payloads.isEmpty {
            do {
                try await PayloadVerification(unfinished).run(context.budget)
                return
            } catch let error as IngotError where WorkDirectory.isDamage(error) {
                // Payloads before this one can be damaged too: look at them again.
                unfinished.keep(unfinished.payloads.firstIndex { $0.name == error.tensor } ?? 0)
            }
        }
    }

    /// Opens the unfinished file; nil if it is gone.
    private func open(
        _ shard: ConversionPlan.ShardPlan, _ record: UnfinishedRecord
    ) throws -> UnfinishedShard? {
        do {
            return try UnfinishedShard(context.outputPath(shard.position), shard.layout, record.payloads)
        } catch let error as IngotError where error.code == .noInput {
            return nil
        }
    }

    /// Removes an unfinished file that nothing is taken from.
    private func forget(_ shard: ConversionPlan.ShardPlan) throws {
        context.work.forgetPayloads(shard.position)
        try Directory.removeTree(AtomicFile.temporaryPath(of: context.outputPath(shard.position)))
    }
}

extension UnfinishedShard {
    /// Bytes of the tensors of its payloads in the source.
    var sourceBytes: UInt64 {
        payloads.reduce(0) { $0 + $1.descriptor.sourceBytes }
    }
}
