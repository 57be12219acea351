import ArgumentParser
import Calibration
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import Weights

/// Options about texts on which `verify` checks claims about quality.
struct QualityOptions: ParsableArguments {
    @OptionGroup var texts: TextSources

    @Option(
        help: ArgumentHelp(
            "Output of `ingot evaluate --format json` for claims about quality, instead of a text.", valueName: "file"))
    var evaluation: FilePath?

    func validate() throws {
        guard evaluation == nil || texts.areMissing else {
            throw ValidationError("--evaluation is of texts that were evaluated: leave out --text and --ids.")
        }
    }

    /// Files to read.
    var files: [FilePath] { texts.paths + (evaluation.map { [$0] } ?? []) }

    /// Whether something is given.
    var isGiven: Bool { evaluation != nil || !texts.areMissing }

    /// The figures: those of `evaluation`, or of an evaluation that runs now. nil if no text is given.
    ///
    /// - Parameters:
    ///   - source: the reference, with the path that it was opened with.
    ///   - memory: upper bound of the buffers in bytes.
    /// - Throws: `reportInvalid` if the evaluation is about something else; errors of the evaluation.
    func facts(
        of checkpoint: OpenedCheckpoint, against source: OpenedCheckpoint?, memory: UInt64, jobs: Int,
        _ shown: ProgressOptions
    ) async throws -> QualityFacts? {
        if let evaluation {
            let report = try QualityReport(evaluation)
            let facts = try report.facts()
            try report.requireFits(checkpoint, against: source, tokenizerHash: tokenizerHash(of: checkpoint.path))
            return facts
        }
        guard !texts.areMissing, let source else { return nil }
        let model = try EvaluatedModel(checkpoint.path)
        let reference = try EvaluatedModel(source.path)
        var options = EvaluationOptions()
        (options.context, options.unscored, options.tokens) = (texts.context, texts.context / 2, texts.tokens)
        (options.memory, options.jobs) = (memory, jobs)
        let run = try Evaluation(model, against: reference, texts.read(for: model), options)
        let bytes = checkpoint.fileBytes + source.fileBytes
        let reading = ReadingProgress(shown, totalBytes: bytes, files: [])
        let name = checkpoint.path.lastComponent?.string ?? checkpoint.path.string
        let found = try await run.run { progress in
            reading.note(progress, name, of: bytes)
        }
        reading.finish()
        return try QualityReport(found.json, path: checkpoint.path).facts()
    }

    /// Hash of the tokenizer of a checkpoint, or of the one that is given; nil if it has none.
    private func tokenizerHash(of checkpoint: FilePath) throws -> ContentHash? {
        do {
            return try Tokenizer.open(texts.tokenizer ?? checkpoint).hash
        } catch let error as IngotError where error.code == .tokenizerInvalid && texts.tokenizer == nil {
            return nil
        }
    }
}
