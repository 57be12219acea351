import Calibration
import TensorModel
import Weights

extension ReadingProgress {
    /// Shows how far a forward pass has come, as a share of the bytes of its models.
    func note(_ progress: EvaluationProgress, _ model: String, of bytes: UInt64) {
        let share = Double(progress.done) / Double(progress.total)
        note(TensorName(model), model, total: UInt64(share * Double(bytes)))
    }
}

/// An evaluation of opened models on texts, as `evaluate` and `verify` run it.
struct Evaluation {
    private let model: EvaluatedModel, reference: EvaluatedModel?
    private let loaded: TextSources.Loaded
    private let options: EvaluationOptions
    private let evaluator: Evaluator

    /// Prepares an evaluation.
    ///
    /// - Throws: what `Evaluator` throws.
    init(
        _ model: EvaluatedModel, against reference: EvaluatedModel?, _ loaded: TextSources.Loaded,
        _ options: EvaluationOptions
    ) throws {
        evaluator = try Evaluator(model.weights, against: reference?.weights, options)
        (self.model, self.reference, self.loaded, self.options) = (model, reference, loaded, options)
    }

    /// Runs the texts through the models, and hashes what the report names.
    ///
    /// - Throws: errors of the evaluation and of reading; `sourceChanged` if a model changed meanwhile.
    func run(progress: @escaping (EvaluationProgress) -> Void) async throws -> EvaluationReport {
        let texts = loaded.texts.map(\.text)
        let scores = try await evaluator.run(texts, progress: progress)
        let identity = try EvaluatedIdentity(model)
        let other = try reference.map { try EvaluatedIdentity($0) }
        try model.checkpoint.requireUnchanged()
        try reference?.checkpoint.requireUnchanged()
        return EvaluationReport(
            identity, against: other, tokenizerHash: loaded.tokenizerHash, options, texts, scores)
    }
}
