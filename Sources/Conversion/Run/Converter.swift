import Checkpoints
import Container
import FileAccess
import Publishing
import Quantization
package import SystemPackage
import TensorModel
import Weights
import Work

/// Converts a checkpoint: plans, encodes and seals shard by shard, and publishes the output directory.
///
/// A run that ends early leaves its finished shards, and encoded tensors of the next one, beside the output. The next run with the same source and options continues from them.
package struct Converter: Sendable {
    /// The checkpoint to convert.
    package let source: FilePath
    /// Path of the output directory.
    package let destination: FilePath
    /// The options of the conversion.
    package let options: ConversionOptions
    /// Receives the events of the conversion, one at a time.
    package var onEvent: @Sendable (ConversionEvent) -> Void = { _ in }
    /// A check of the finished directory. It gets the path and the report, and throws if the directory must not be published.
    package typealias Check = @Sendable (FilePath, ConversionReport) async throws -> Void
    /// Called with the finished directory before it is published. If it throws, the directory is not published; after `claimFailed` the
    /// work stays for another run. If an earlier run had published the output, it is called with that output.
    package var beforePublishing: Check?
    private let budget: MemoryBudget
    /// The moments of a calibrated conversion; nil for any other.
    let moments: CalibrationMoments?

    /// Prepares a conversion; reads no weights.
    ///
    /// - Parameter moments: of a calibrated conversion; nil for any other.
    /// - Throws: `usage` if options contradict each other or the memory budget is too small, `cannotCreate` if source and destination
    ///   overlap.
    package init(
        _ source: FilePath, to destination: FilePath, _ options: ConversionOptions, _ moments: CalibrationMoments? = nil
    ) throws {
        self.source = source
        self.destination = destination
        var options = options
        options.encoding.calibration = moments?.hash
        options.encoding.through = moments?.phase?.manifest
        options.encoding.correction = moments?.phase?.hash
        self.options = options
        self.moments = moments
        try options.requireConsistent()
        budget = try MemoryBudget(bytes: options.run.memory, jobs: options.run.jobs, bands: moments?.bands)
        try PathOverlap.refuse(source: source, destination: destination)
    }

    /// Converts the source and publishes the output.
    ///
    /// - Returns: the report. If an earlier run had published the output, it has only the figures that the output records.
    /// - Throws: the first error. Its remedy says whether finished shards stay for another run.
    package func run() async throws -> ConversionReport {
        let clock = ContinuousClock()
        let begin = clock.now
        try ConversionPlan.refuseSealed(source)
        var report =
            switch try await ConversionRun.begin(self, budget) {
            case .published:
                try await Publication.earlierReport(
                    destination, options.encoding, beforePublishing)
            case .run(var run): try await run.finish()
            }
        report.seconds = (clock.now - begin).seconds
        report.jobs = budget.jobs
        report.calibration = moments.map { CalibrationSummary(report, $0) }
        report.feedback = moments?.effort.times
        return report
    }
}
