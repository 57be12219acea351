package import Checkpoints
import Container
import FileAccess
import Moments
import Publishing
import Quantization
package import SystemPackage
package import TensorModel
package import Weights

/// Exports a checkpoint as a directory with codes in groups, for mlx-lm, or for transformers and vLLM with compressed-tensors.
package struct GroupExporter: Sendable {
    private let checkpoint: OpenedCheckpoint
    private let settings: GroupSettings
    private let memory: UInt64, jobs: Int
    private let force: Bool
    private let activations: ExportActivations?

    /// Prepares an export; `memory` in bytes, `jobs` bands at the same time, `force` to replace an earlier export.
    ///
    /// - Parameter activations: what is known of the activations; nil for nothing.
    package init(
        _ checkpoint: OpenedCheckpoint, _ settings: GroupSettings, _ activations: ExportActivations?, memory: UInt64,
        jobs: Int,
        force: Bool
    ) {
        (self.checkpoint, self.settings, self.activations) = (checkpoint, settings, activations)
        (self.memory, self.jobs, self.force) = (memory, jobs, force)
    }

    /// Writes the directory `output`.
    ///
    /// - Parameter progress: called with a tensor, its file, and the bytes of it that were read since the last call.
    /// - Throws: `unsupportedSource` for a matrix that does not fit; `nonFinite`; errors of reading and writing.
    package func run(
        to output: FilePath, progress: @escaping (TensorName, String, UInt64) -> Void = { _, _, _ in }
    ) async throws -> ExportSummary {
        let warnings = try checkpoint.checkForExport(to: output)
        let source = try ExportSource(checkpoint)
        var content = try ExportContent(source, as: settings.format, keepsNames: false)
        let (stem, target) = (source.stem, content.target)
        let plan = { (settings: GroupSettings) in
            try GroupPlan(checkpoint, settings, activations?.moments, stem: stem, target: target)
        }
        var settings = settings
        if let goal = settings.goal, let activations {
            settings = try await GroupAllocation(checkpoint, settings, activations, goal, plan: plan).settings(
                memory: memory, jobs: jobs
            ) { progress($0, "measuring bits", 0) }
        }
        let made = try plan(settings)
        try content.setQuantization(made.configuration(settings))
        let run = try ExportRun(checkpoint, [made.plan], activations, memory: memory, jobs: jobs)
        try ExportRun.requireRoom(made.plan.byteCount, for: output)
        let builder = try DirectoryBuilder.begin(
            output, replaceable: force ? { try ExportManifest.requireReplaceable($0) } : nil)
        let written = try await run.run(to: [builder.staging], mode: source.mode, progress: progress)
        try checkpoint.requireUnchanged()
        try content.writeFiles(into: builder.staging)
        if let index = CheckpointNames.index(of: made.plan.files.map(\.name)) {
            try WholeFile.write(
                ShardIndexWriter.text(totalBytes: made.dataBytes, shards: made.shards),
                to: builder.staging.appending(index), mode: source.mode)
        }
        let weights = try await ReadBack.check(
            made.plan, written.pieces[0], at: builder.staging, in: builder.staging, jobs: jobs)
        let manifest = try ExportManifest(
            options: settings.options + (activations?.options() ?? []), weights: weights, in: builder.staging)
        try WholeFile.write(
            manifest.bytes, to: builder.staging.appending(ExportManifest.fileName), mode: source.mode)
        try builder.publish()
        return ExportSummary(
            byteCount: made.plan.byteCount, files: made.plan.files.count, tensors: made.plan.tensors.count,
            warnings: content.warnings + warnings + made.warnings,
            chosen: settings.goal == nil ? [] : made.plan.tensors.map(\.encoding).counts)
    }
}
