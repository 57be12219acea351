package import Checkpoints
import Container
import FileAccess
import Moments
import Publishing
package import SystemPackage
package import TensorModel
package import Weights

/// Exports a checkpoint as GGUF files, for llama.cpp: a file for each recipe, from one reading of the source.
package struct GGUFExporter: Sendable {
    private let checkpoint: OpenedCheckpoint
    private let settings: GGUFSettings
    private let activations: ExportActivations?
    private let memory: UInt64, jobs: Int
    private let force: Bool

    /// Prepares an export; `memory` in bytes, `jobs` bands at the same time, `force` to replace an earlier export.
    ///
    /// - Parameter activations: what is known of the activations; nil for nothing.
    package init(
        _ checkpoint: OpenedCheckpoint, _ settings: GGUFSettings, _ activations: ExportActivations?, memory: UInt64,
        jobs: Int,
        force: Bool
    ) {
        (self.checkpoint, self.settings, self.activations) = (checkpoint, settings, activations)
        (self.memory, self.jobs, self.force) = (memory, jobs, force)
    }

    /// Writes the file `output`, if its name ends with `.gguf` and there is one recipe, or a directory of files.
    ///
    /// - Parameter progress: called with a tensor, its file, and the bytes of it that were read since the last call.
    /// - Throws: `unsupportedSource` for a model that GGUF has no layout for, or a matrix that does not fit; `nonFinite`; errors of reading
    ///   and writing.
    package func run(
        to output: FilePath, progress: @escaping (TensorName, String, UInt64) -> Void = { _, _, _ in }
    ) async throws -> ExportSummary {
        var warnings = try checkpoint.checkForExport(to: output)
        let source = try ExportSource(checkpoint)
        let content = try GGUFContent(checkpoint)
        var settings = settings
        if let goal = settings.goal {
            settings = try await allocated(for: goal, content, progress)
        }
        let planner = GGUFPlanner(checkpoint, content, settings, activations?.moments)
        let file = output.extension == "gguf" ? output.stem : nil
        if file != nil, settings.recipes.count > 1 {
            throw IngotError(
                .usage, file: output.string, found: "one file for \(settings.recipes.count) types",
                expected: "a directory, which gets a file for each type")
        }
        var plans: [ExportPlan] = []
        for recipe in settings.recipes {
            let kind = settings.goal?.label ?? recipe.rawValue
            let stem = file ?? "\(output.lastComponent?.string ?? "model")-\(kind)"
            let made = try planner.plan(recipe, stem: stem)
            plans.append(made.plan)
            warnings += made.warnings
        }
        warnings += content.warnings
        let run = try ExportRun(checkpoint, plans, activations, memory: memory, jobs: jobs)
        let bytes = plans.reduce(0) { $0 + $1.byteCount }
        try ExportRun.requireRoom(bytes, for: output)
        let target = ExportTargetPlace(output, isFile: file != nil, force: force)
        let builder = try target.begin(plans.flatMap { $0.files.map(\.name) })
        let staging = builder.staging
        let written = try await run.run(to: plans.map { _ in staging }, mode: source.mode, progress: progress)
        try checkpoint.requireUnchanged()
        var files: [ExportManifest.File] = []
        for (plan, pieces) in zip(plans, written.pieces) {
            guard let first = plan.files.first else { continue }
            files += try await ReadBack.check(
                plan, pieces, at: staging.appending(first.name), in: staging, jobs: jobs)
        }
        try target.publish(
            builder, ExportManifest(options: settings.options + (try activations?.options() ?? []), files: files),
            mode: source.mode)
        return ExportSummary(
            byteCount: bytes, files: plans.reduce(0) { $0 + $1.files.count },
            tensors: plans.reduce(0) { $0 + $1.tensors.count }, warnings: warnings,
            chosen: settings.goal == nil ? [] : plans.flatMap(\.tensors).map(\.encoding).counts)
    }

    /// The settings with types that are chosen for a goal.
    private func allocated(
        for goal: SizeGoal, _ content: GGUFContent, _ progress: @escaping (TensorName, String, UInt64) -> Void
    ) async throws -> GGUFSettings {
        guard let activations else {
            throw IngotError(
                .usage, file: checkpoint.path.string, found: "a size without a calibration",
                expected: "a file of moments with gradients, which tell where bits matter")
        }
        return try await GGUFAllocation(checkpoint, content, settings, activations, goal).settings(
            memory: memory, jobs: jobs
        ) { name in progress(name, "measuring types", 0) }
    }
}
