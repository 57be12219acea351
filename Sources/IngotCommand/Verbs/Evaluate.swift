import ArgumentParser
import Calibration
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import Weights

/// `ingot evaluate`: perplexity of a model, and its divergence from a reference.
struct Evaluate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure perplexity, and divergence from a reference.",
        usage: "ingot evaluate <model> --text <file> ... [options]",
        discussion: """
            MODEL and REFERENCE are GGUF files, outputs of `ingot convert` and
            `ingot export`, or safetensors or PyTorch files with a config.json beside them.
            Models of type llama, mistral, qwen2 and mixtral are supported.

            A text is cut into sequences of --context tokens. Predictions in the second
            half of each sequence are scored, as llama.cpp's perplexity does. Errors are
            standard errors over sequences; those of the ratio are of paired differences.
            The KL divergence is in nats per token.

            Weights are read layer by layer, and decoded on the way, so a model does not
            have to fit in memory.

            Examples:
              ingot evaluate llama-7b.ingot --against llama-7b --text code.txt
              ingot evaluate llama-7b.ingot --text code.txt --text prose.txt --tokens 65536
              ingot evaluate llama-7b.ingot --ids ids.npy --format json
            """)

    /// Options about what is evaluated.
    struct ScoreOptions: ParsableArguments {
        @Option(help: ArgumentHelp("Model to compare with, usually the original.", valueName: "reference"))
        var against: FilePath?

        @Option(
            help: ArgumentHelp(
                "Tokens at the start of a sequence that are not scored. Default: half of them.", valueName: "n"))
        var unscored: Int?
    }

    /// Memory and jobs; more memory than other verbs, for the states of tokens.
    struct EvaluationWork: ParsableArguments {
        @Option(help: ArgumentHelp("Bands of weights worked on at the same time.", valueName: "n"))
        var jobs = min(64, max(1, ProcessorCount.available))

        @Option(help: ArgumentHelp("Memory for buffers at most.", valueName: "size"))
        var maxMemory = ByteCount(2 << 30)

        @Option(
            help: ArgumentHelp(
                "Directory of a scratch file, if states of tokens do not fit in memory.", valueName: "directory"))
        var scratch: FilePath = "/tmp"

        func validate() throws {
            guard (1...1024).contains(jobs) else { throw ValidationError("--jobs must be between 1 and 1024.") }
        }
    }

    @Argument(help: "Model to evaluate.")
    var model: FilePath

    @OptionGroup(title: "Texts") var texts: TextSources
    @OptionGroup(title: "Reference and scores") var scored: ScoreOptions
    /// Options about the format of the result.
    struct OutputOptions: ParsableArguments {
        @Option(help: "Format of the result.")
        var format = EvaluateFormat.text
    }

    @OptionGroup(title: "Output") var report: OutputOptions
    @OptionGroup(title: "Output") var result: ResultOptions
    @OptionGroup(title: "Memory and jobs") var work: EvaluationWork
    @OptionGroup(title: "Progress") var shown: ProgressOptions

    func validate() throws { try texts.require() }

    func run() async throws {
        Interruption.install()
        try result.requireApart(from: [model] + texts.paths + (scored.against.map { [$0] } ?? []))
        let opened = try EvaluatedModel(model)
        let reference = try scored.against.map { try EvaluatedModel($0) }
        let loaded = try texts.read(for: opened)
        var options = EvaluationOptions()
        options.context = texts.context
        options.unscored = scored.unscored ?? texts.context / 2
        options.tokens = texts.tokens
        options.memory = work.maxMemory.bytes
        options.jobs = work.jobs
        options.scratch = work.scratch
        let evaluation = try Evaluation(opened, against: reference, loaded, options)
        let bytes = opened.checkpoint.fileBytes + (reference?.checkpoint.fileBytes ?? 0)
        let reading = ReadingProgress(shown, totalBytes: bytes, files: [])
        let file = model.lastComponent?.string ?? model.string
        let found = try await evaluation.run { progress in
            reading.note(progress, file, of: bytes)
        }
        reading.finish()
        switch report.format {
        case .text: try result.deliver(EvaluationText.text(found))
        case .json: try result.deliver(found.json)
        case .csv: try result.deliver(parts: EvaluationCSV.parts(found))
        case .html:
            let title = scored.against.map { "\(model) against \($0)" } ?? model.string
            try result.deliver(parts: HTMLReport.parts(title: title, json: [found.json.text()]))
        }
    }
}

/// Format of an evaluation.
enum EvaluateFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, csv, html
}
