import ArgumentParser
import Calibration
import FileAccess
import SystemPackage
import TensorModel
import Weights

/// `ingot evaluate`: perplexity of a model, and its divergence from a reference.
struct Evaluate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure perplexity, and divergence from a reference.",
        usage: "ingot evaluate <model> --ids <file> ... [--against <reference>] [options]",
        discussion: """
            MODEL and REFERENCE are checkpoints in a directory with a config.json:
            safetensors or PyTorch files, or outputs of `ingot convert` and `ingot export`.
            Models of type llama, mistral, qwen2 and mixtral are supported.

            A text is cut into sequences of --context tokens. Predictions in the second
            half of each sequence are scored, as llama.cpp's perplexity does. Errors are
            standard errors over sequences; those of the ratio are of paired differences.
            The KL divergence is in nats per token.

            Weights are read layer by layer, and decoded on the way, so a model does not
            have to fit in memory.

            Examples:
              ingot evaluate llama-7b.ingot --against llama-7b --ids code.npy
              ingot evaluate llama-7b.ingot --ids code.npy --ids prose.npy --tokens 65536
            """)

    /// Options about what is evaluated.
    struct TextOptions: ParsableArguments {
        @Option(
            name: .customLong("ids"),
            help: ArgumentHelp(
                "Text as token ids: a .npy or safetensors file with one vector of whole numbers. May be given several times.",
                valueName: "file"))
        var ids: [FilePath] = []

        @Option(help: ArgumentHelp("Model to compare with, usually the original.", valueName: "reference"))
        var against: FilePath?

        @Option(help: ArgumentHelp("Tokens of a sequence.", valueName: "n"))
        var context = 512

        @Option(
            help: ArgumentHelp(
                "Tokens at the start of a sequence that are not scored. Default: half of them.", valueName: "n"))
        var unscored: Int?

        @Option(help: ArgumentHelp("Tokens of each text at most. Default: all.", valueName: "n"))
        var tokens: Int?

        func validate() throws {
            if ids.isEmpty { throw ValidationError("No text: give --ids.") }
            if let tokens, tokens < context { throw ValidationError("--tokens must be one --context or more.") }
        }
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

    @OptionGroup(title: "Texts and reference") var texts: TextOptions
    /// Options about the format of the result.
    struct OutputOptions: ParsableArguments {
        @Option(help: "Format of the result.")
        var format = EvaluateFormat.text
    }

    @OptionGroup(title: "Output") var report: OutputOptions
    @OptionGroup(title: "Output") var result: ResultOptions
    @OptionGroup(title: "Memory and jobs") var work: EvaluationWork
    @OptionGroup(title: "Progress") var shown: ProgressOptions

    func run() async throws {
        Interruption.install()
        try result.requireApart(from: [model] + texts.ids + (texts.against.map { [$0] } ?? []))
        let opened = try EvaluatedModel(model)
        let reference = try texts.against.map { try EvaluatedModel($0) }
        let loaded = try texts.ids.map { path in
            TokenizedText(name: path.string, ids: try TokenFile.read(path), begin: [])
        }
        var options = EvaluationOptions()
        options.context = texts.context
        options.unscored = texts.unscored ?? texts.context / 2
        options.tokens = texts.tokens
        options.memory = work.maxMemory.bytes
        options.jobs = work.jobs
        options.scratch = work.scratch
        let evaluator = try Evaluator(opened.weights, against: reference?.weights, options)
        let bytes = opened.checkpoint.fileBytes + (reference?.checkpoint.fileBytes ?? 0)
        let reading = ReadingProgress(shown, totalBytes: bytes, files: [])
        let file = model.lastComponent?.string ?? model.string
        let scores = try await evaluator.run(loaded) { progress in
            let share = Double(progress.done) / Double(progress.total)
            reading.note(TensorName(file), file, total: UInt64(share * Double(bytes)))
        }
        try opened.checkpoint.requireUnchanged()
        try reference?.checkpoint.requireUnchanged()
        reading.finish()
        let found = EvaluationReport(
            model: model, reference: texts.against, options, scores, isSealed: opened.checkpoint.isSealed)
        switch report.format {
        case .text: try result.deliver(EvaluationText.text(found))
        case .json: try result.deliver(found.json)
        case .csv: try result.deliver(parts: EvaluationCSV.parts(found))
        }
    }
}

/// Format of an evaluation.
enum EvaluateFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, csv
}
