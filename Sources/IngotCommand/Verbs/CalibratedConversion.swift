import Calibration
import Container
import Conversion
import FileAccess
import Moments
import SystemPackage
import TensorModel
import Weights

/// A conversion that gathers its own calibration: moments, a first phase, corrections through it. Each step leaves a file or a directory,
/// so an interrupted run goes on behind the last finished step.
struct CalibratedConversion {
    let source: FilePath, destination: FilePath
    let texts: TextSources
    let options: ConversionOptions
    /// Where the intermediate files stay; nil if they go away at the end.
    let kept: FilePath?
    let shown: ProgressOptions

    /// The directory of the intermediate files.
    private var directory: FilePath {
        kept
            ?? destination.removingLastComponent().appending(
                ".\(destination.lastComponent?.string ?? "").ingot-calibration")
    }

    private var momentsPath: FilePath { directory.appending("moments.safetensors") }
    private var firstPath: FilePath { directory.appending("first-phase") }
    private var correctionPath: FilePath { directory.appending("correction.safetensors") }

    /// Gathers moments, converts in a first phase, and gathers corrections.
    ///
    /// - Parameter progress: receives the events of the first phase.
    /// - Returns: the moments of the second phase.
    /// - Throws: `textInvalid`, `momentsInvalid`; what converting and gathering throw.
    func prepare(_ progress: Progress) async throws -> CalibrationMoments {
        try Directory.create(directory)
        let opened = try EvaluatedModel(source)
        let loaded = try texts.read(for: opened)
        let modelHash = try opened.checkpoint.contentIdentity().weights
        var evaluation = EvaluationOptions()
        (evaluation.context, evaluation.tokens) = (texts.context, texts.tokens)
        (evaluation.memory, evaluation.jobs) = (options.run.memory, options.run.jobs)
        evaluation.scratch = directory
        try await gatherMoments(opened, loaded, modelHash, evaluation)
        let moments = try CalibrationMoments(MomentsFile(momentsPath))
        try await convertFirst(moments, progress)
        try await gatherCorrection(opened, loaded, modelHash, evaluation)
        return try moments.after(FirstPhase(through: firstPath, correction: correctionPath))
    }

    /// Removes the intermediate files, unless they are to stay.
    func finish() throws {
        guard kept == nil else { return }
        try Directory.removeTree(directory)
    }

    private func gatherMoments(
        _ model: EvaluatedModel, _ loaded: TextSources.Loaded, _ hash: ContentHash, _ evaluation: EvaluationOptions
    ) async throws {
        if try Directory.kind(momentsPath) != nil, isCurrent(try MomentsFile(momentsPath).description, loaded, hash) {
            return
        }
        let reading = ReadingProgress(shown, totalBytes: model.checkpoint.fileBytes, files: [])
        let calibrator = try Calibrator(
            model.weights, evaluation, blocks: .usual, gradientTokens: Calibrator.usualGradientTokens)
        if let warning = try calibrator.shortTextWarning(loaded.texts, momentsPath) { reading.warn(warning) }
        _ = try await calibrator.run(
            loaded.texts, to: momentsPath, modelHash: hash, tokenizerHash: loaded.tokenizerHash
        ) { reading.note($0, "activations", of: model.checkpoint.fileBytes) }
        reading.finish()
    }

    /// Whether moments are of this model and these texts, cut in this way.
    private func isCurrent(
        _ description: MomentsDescription, _ loaded: TextSources.Loaded, _ hash: ContentHash
    ) -> Bool {
        description.modelHash == hash.description && description.context == UInt64(texts.context)
            && description.texts.map(\.hash) == loaded.texts.map(\.text.idsHash.description)
            && description.texts.map(\.weight) == loaded.texts.map(\.weight)
            && description.texts.allSatisfy { text in texts.tokens.map { text.tokens <= UInt64($0) } ?? true }
    }

    private func convertFirst(_ moments: CalibrationMoments, _ progress: Progress) async throws {
        var first = options
        first.run.consumesSource = false
        first.run.force = true
        first.encoding.calibration = moments.hash
        if try SealedCheckpoint.isOne(firstPath),
            try SealedCheckpoint(firstPath).manifest.options == first.encoding.record
        {
            return
        }
        var converter = try Converter(source, to: firstPath, first, moments)
        converter.onEvent = progress.show
        _ = try await converter.run()
        Progress.clear()
    }

    private func gatherCorrection(
        _ model: EvaluatedModel, _ loaded: TextSources.Loaded, _ hash: ContentHash, _ evaluation: EvaluationOptions
    ) async throws {
        let manifest = try FirstPhase.manifestHash(of: firstPath)
        if try Directory.kind(correctionPath) != nil,
            try CorrectionFile(correctionPath).description.through == manifest.description
        {
            return
        }
        let reading = ReadingProgress(shown, totalBytes: model.checkpoint.fileBytes, files: [])
        let through = try EvaluatedModel(firstPath)
        try await CorrectionGatherer(model.weights, through: through.weights, evaluation, blocks: .usual).run(
            loaded.texts, to: correctionPath, modelHash: hash, manifest: manifest
        ) { reading.note($0, "corrections", of: model.checkpoint.fileBytes) }
        reading.finish()
    }
}
