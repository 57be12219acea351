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
        usage: "ingot calibrate <model> --text <file> ... -o <file> [options]",
        discussion: """
            MODEL is a checkpoint as for `ingot evaluate`. Each text runs through the model
            in sequences of --context tokens. The file has, for each distinct input of
            linear layers, the second moments over all tokens, and those of two halves of
            the sequences apart. `ingot inspect` shows the file.

            A weight after a colon says how much a token of that text counts.

            An interrupted run keeps the layers that it finished; the same command goes
            on behind them.

            Examples:
              ingot calibrate llama-7b --text code.txt:2 --text prose.txt -o m.safetensors
              ingot calibrate llama-7b --ids ids.npy --blocks diagonal -o d.safetensors
              ingot inspect m.safetensors
            """)

    /// Options about what is gathered.
    struct GatheringOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "Blocks of the matrices of moments: usual (whole up to 4096 columns, else blocks of 2048), full, diagonal, or blocks:N.",
                valueName: "blocks"))
        var blocks = MomentBlocks.usual

        @Option(name: .shortAndLong, help: ArgumentHelp("File to write.", valueName: "file"))
        var output: FilePath
    }

    @Argument(help: "Model to gather statistics of.")
    var model: FilePath

    @OptionGroup(title: "Texts") var texts: TextSources
    @OptionGroup(title: "Moments") var gathered: GatheringOptions
    @OptionGroup(title: "Memory and jobs") var work: Evaluate.EvaluationWork
    @OptionGroup(title: "Progress") var shown: ProgressOptions

    func validate() throws { try texts.require() }

    func run() async throws {
        Interruption.install()
        try PathOverlap.refuse(report: gathered.output, over: [model] + texts.paths)
        let opened = try EvaluatedModel(model)
        let loaded = try texts.read(for: opened)
        var options = EvaluationOptions()
        (options.context, options.tokens) = (texts.context, texts.tokens)
        (options.memory, options.jobs, options.scratch) = (work.maxMemory.bytes, work.jobs, work.scratch)
        let bytes = opened.checkpoint.fileBytes
        let reading = ReadingProgress(shown, totalBytes: bytes, files: [])
        let file = model.lastComponent?.string ?? model.string
        let resumed = try await Calibrator(opened.weights, options, blocks: gathered.blocks).run(
            loaded.texts, to: gathered.output, modelHash: opened.checkpoint.contentIdentity().weights,
            tokenizerHash: loaded.tokenizerHash
        ) { progress in
            let share = Double(progress.done) / Double(progress.total)
            reading.note(TensorName(file), file, total: UInt64(share * Double(bytes)))
        }
        try opened.checkpoint.requireUnchanged()
        reading.finish()
        let size = FileIdentity(gathered.output)?.byteCount ?? 0
        let kept = resumed > 0 ? ", \(resumed) inputs by an earlier run" : ""
        Console.result("\(IngotErrorRenderer.escaped(gathered.output.string)): \(Format.bytes(size)) of moments\(kept)")
    }
}

extension MomentBlocks: ExpressibleByArgument {
    /// A rule as the user typed it; nil if there is none of this name.
    package init?(argument: String) { self.init(text: argument) }
    package var defaultValueDescription: String { text }
}
