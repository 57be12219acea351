import Checkpoints
import Container
import FileAccess
import Publishing
import Quantization
package import SystemPackage
import TensorModel
import Weights
import Work

/// Converts a checkpoint: plans, quantizes and seals shard by shard, and publishes the directory.
///
/// A run that ends early leaves its finished shards beside DEST; the next with the same source and options goes on from there.
package struct Converter: Sendable {
    /// The checkpoint to convert.
    package let source: FilePath
    /// Where the converted one will be.
    package let destination: FilePath
    /// What is asked for.
    package let options: ConversionOptions
    /// Told what happens, by one thread at a time.
    package var onEvent: @Sendable (ConversionEvent) -> Void = { _ in }
    /// A check of a finished directory, with the report of its conversion.
    package typealias Check = @Sendable (FilePath, ConversionReport) async throws -> Void
    /// Called with the finished directory before it gets its name: what it throws keeps it from that, and a `claimFailed` leaves the
    /// directory for another run. If an earlier run published the output, called with that.
    package var beforePublishing: Check?
    private let budget: MemoryBudget

    /// Prepares a conversion.
    ///
    /// - Throws: `usage` where options contradict each other or the budget of memory is too small, `cannotCreate` where source and
    ///   destination overlap.
    package init(_ source: FilePath, to destination: FilePath, _ options: ConversionOptions) throws {
        self.source = source
        self.destination = destination
        self.options = options
        try options.requireConsistent()
        budget = try MemoryBudget(bytes: options.run.memory, jobs: options.run.jobs)
        try PathOverlap.refuse(source: source, destination: destination)
    }

    /// Converts and publishes.
    package func run() async throws -> ConversionReport {
        let clock = ContinuousClock()
        let begin = clock.now
        try ConversionPlan.refuseSealed(source)
        var report =
            switch try await ConversionRun.begin(self, budget) {
            case .published: try await Publication.earlierReport(destination, beforePublishing)
            case .run(var run): try await run.finish()
            }
        report.seconds = (clock.now - begin).seconds
        report.jobs = budget.jobs
        return report
    }
}
