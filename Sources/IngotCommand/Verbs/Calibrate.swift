import ArgumentParser
import Calibration
import FileAccess
import Moments
import Publishing
import SystemPackage
import TensorModel
import Weights

/// `ingot calibrate`: second moments of the inputs of a model's linear layers.
struct Calibrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Gather activation statistics of a model on text.",
        usage: "ingot calibrate <model> --ids <file>[:<weight>] ... --output <file> [options]",
        discussion: """
            MODEL is a checkpoint with a config.json, as for `ingot evaluate`. Each text
            runs through the model in sequences of --context tokens. The file has, for
            each distinct input of linear layers, the second moments over all tokens, and
            those of two halves of the sequences apart. `ingot inspect` shows the file.

            A weight after a colon says how much a token of that text counts.

            An interrupted run keeps the layers that it finished; the same command goes
            on behind them.

            Examples:
              ingot calibrate llama-7b --ids code.npy:2 --ids prose.npy -o moments.safetensors
              ingot calibrate llama-7b --ids code.npy --blocks diagonal -o diagonal.safetensors
              ingot inspect moments.safetensors
            """)

    /// Options about what is gathered.
    struct GatheringOptions: ParsableArguments {
        @Option(
            name: .customLong("ids"),
            help: ArgumentHelp(
                "Text as token ids: a .npy or safetensors file with one vector of whole numbers, and the weight of its tokens. May be given several times.",
                valueName: "file[:weight]"))
        var ids: [WeightedPath] = []

        @Option(help: ArgumentHelp("Tokens of a sequence.", valueName: "n"))
        var context = 512

        @Option(help: ArgumentHelp("Tokens of each text at most. Default: all.", valueName: "n"))
        var tokens: Int?

        @Option(
            help: ArgumentHelp(
                "Blocks of the matrices of moments: usual (whole up to 4096 columns, else blocks of 2048), full, diagonal, or blocks:N.",
                valueName: "blocks"))
        var blocks = MomentBlocks.usual

        @Option(name: .shortAndLong, help: ArgumentHelp("File to write.", valueName: "file"))
        var output: FilePath

        func validate() throws {
            if ids.isEmpty { throw ValidationError("No text: give --ids.") }
            if let tokens, tokens < context { throw ValidationError("--tokens must be one --context or more.") }
        }
    }

    @Argument(help: "Model to gather statistics of.")
    var model: FilePath

    @OptionGroup(title: "Texts and moments") var texts: GatheringOptions
    @OptionGroup(title: "Memory and jobs") var work: Evaluate.EvaluationWork
    @OptionGroup(title: "Progress") var shown: ProgressOptions

    func run() async throws {
        Interruption.install()
        try PathOverlap.refuse(report: texts.output, over: [model] + texts.ids.map(\.path))
        let opened = try EvaluatedModel(model)
        let loaded = try texts.ids.map { item in
            WeightedText(
                TokenizedText(name: item.path.string, ids: try TokenFile.read(item.path), begin: []),
                weight: item.weight)
        }
        var options = EvaluationOptions()
        (options.context, options.tokens) = (texts.context, texts.tokens)
        (options.memory, options.jobs, options.scratch) = (work.maxMemory.bytes, work.jobs, work.scratch)
        let bytes = opened.checkpoint.fileBytes
        let reading = ReadingProgress(shown, totalBytes: bytes, files: [])
        let file = model.lastComponent?.string ?? model.string
        let resumed = try await Calibrator(opened.weights, options, blocks: texts.blocks).run(
            loaded, to: texts.output
        ) { progress in
            let share = Double(progress.done) / Double(progress.total)
            reading.note(TensorName(file), file, total: UInt64(share * Double(bytes)))
        }
        try opened.checkpoint.requireUnchanged()
        reading.finish()
        let size = FileIdentity(texts.output)?.byteCount ?? 0
        let kept = resumed > 0 ? ", \(resumed) inputs by an earlier run" : ""
        Console.result("\(IngotErrorRenderer.escaped(texts.output.string)): \(Format.bytes(size)) of moments\(kept)")
    }
}

/// A path, and a weight after a colon; without one the weight is 1.
struct WeightedPath: ExpressibleByArgument {
    let path: FilePath
    let weight: Double

    init?(argument: String) {
        guard !argument.isEmpty else { return nil }
        if let colon = argument.lastIndex(of: ":"), colon != argument.startIndex,
            let weight = Double(argument[argument.index(after: colon)...])
        {
            guard weight > 0, weight <= 1e6 else { return nil }
            (path, self.weight) = (FilePath(String(argument[..<colon])), weight)
        } else {
            (path, weight) = (FilePath(argument), 1)
        }
    }
}

extension MomentBlocks: ExpressibleByArgument {
    /// A rule as the user typed it; nil if there is none of this name.
    package init?(argument: String) { self.init(text: argument) }
    package var defaultValueDescription: String { text }
}
