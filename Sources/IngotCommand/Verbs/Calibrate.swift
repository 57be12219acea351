import ArgumentParser
import Calibration
import Container
import Conversion
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

            A backward pass adds what an allocation of bits needs: for each output of a
            matrix the mean square of the gradient of log p at labels that the model
            draws itself. It runs on whole sequences, --gradient-tokens at most.

            An interrupted run keeps the layers that it finished; the same command goes
            on behind them. Without --force no existing file is replaced.

            Examples:
              ingot calibrate llama-7b --text code.txt:2 --text prose.txt -o m.safetensors
              ingot calibrate llama-7b --ids ids.npy --blocks diagonal -o d.safetensors
              ingot calibrate llama-7b --text code.txt -o m.safetensors --imatrix m.gguf
              ingot inspect m.safetensors
            """)

    /// Options about what is gathered.
    struct GatheringOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "Blocks of the matrices of moments: usual (whole up to 4096 columns, else blocks of 2048), full, diagonal, or blocks:N.",
                valueName: "blocks"))
        var blocks = MomentBlocks.usual

        @Option(
            help: ArgumentHelp(
                "Tokens that gradients are taken on at most, one sequence at least; 0 for no gradients.", valueName: "n"
            ))
        var gradientTokens = Calibrator.usualGradientTokens

        @Option(name: .shortAndLong, help: ArgumentHelp("File to write.", valueName: "file"))
        var output: FilePath

        @Option(
            help: ArgumentHelp(
                "Also write an importance matrix of llama.cpp: in GGUF if FILE ends in .gguf, else in the older binary form.",
                valueName: "file"))
        var imatrix: FilePath?

        @Option(
            help: ArgumentHelp(
                "A conversion or an export of MODEL with --calibration: write corrections of its output and down projections instead of moments, for a second phase.",
                valueName: "checkpoint"))
        var through: FilePath?

        @Flag(help: "Replace existing files of moments and importance matrices.")
        var force = false
    }

    @Argument(help: "Model to gather statistics of.")
    var model: FilePath

    @OptionGroup(title: "Texts") var texts: TextSources
    @OptionGroup(title: "Moments") var gathered: GatheringOptions
    @OptionGroup(title: "Memory and jobs") var work: Evaluate.EvaluationWork
    @OptionGroup(title: "Progress") var shown: ProgressOptions

    func validate() throws {
        try texts.require()
        guard gathered.gradientTokens >= 0 else { throw ValidationError("--gradient-tokens must be 0 or more.") }
    }

    func run() async throws {
        Interruption.install()
        let (output, imatrix) = try outputs()
        let opened = try EvaluatedModel(model)
        let loaded = try texts.read(for: opened)
        var options = EvaluationOptions()
        (options.context, options.tokens) = (texts.context, texts.tokens)
        (options.memory, options.jobs, options.scratch) = (work.maxMemory.bytes, work.jobs, work.scratch)
        let bytes = opened.checkpoint.fileBytes
        let reading = ReadingProgress(shown, totalBytes: bytes, files: [])
        let file = model.lastComponent?.string ?? model.string
        if let through = gathered.through {
            let gatherer = try CorrectionGatherer(
                opened.weights, through: EvaluatedModel(through).weights, options, blocks: gathered.blocks)
            try await gatherer.run(
                loaded.texts, to: output, modelHash: opened.checkpoint.contentIdentity().weights,
                manifest: Calibrate.manifestHash(of: through)
            ) { reading.note($0, file, of: bytes) }
            try opened.checkpoint.requireUnchanged()
            reading.finish()
            Console.result("\(size(gathered.output, output)) of corrections")
            return
        }
        let calibrator = try Calibrator(
            opened.weights, options, blocks: gathered.blocks, gradientTokens: gathered.gradientTokens)
        if let warning = try calibrator.shortTextWarning(loaded.texts, gathered.output) { reading.warn(warning) }
        let resumed = try await calibrator.run(
            loaded.texts, to: output, modelHash: opened.checkpoint.contentIdentity().weights,
            tokenizerHash: loaded.tokenizerHash, imatrix: imatrix
        ) { progress in
            reading.note(progress, progress.isOfGradients ? "\(file): gradients" : file, of: bytes)
        }
        try opened.checkpoint.requireUnchanged()
        for warning in try MomentsSummary(MomentsFile(output)).warningsAfterTheRun { reading.warn(warning) }
        reading.finish()
        let kept = resumed > 0 ? ", \(resumed) inputs by an earlier run" : ""
        Console.result("\(size(gathered.output, output)) of moments\(kept)")
        if let name = gathered.imatrix, let imatrix { Console.result("\(size(name, imatrix.path)) of importance") }
    }

    /// The hash of the manifest of a conversion or of an export.
    private static func manifestHash(of path: FilePath) throws -> ContentHash {
        try SealedCheckpoint.isOne(path) ? FirstPhase.manifestHash(of: path) : ExportManifest.hash(of: path)
    }

    /// A file as the user named it, and its size.
    private func size(_ name: FilePath, _ path: FilePath) -> String {
        "\(IngotErrorRenderer.escaped(name.string)): \(Format.bytes(FileIdentity(path)?.byteCount ?? 0))"
    }

    // MARK: - Outputs

    /// The files to write, symbolic links resolved.
    ///
    /// - Throws: `cannotCreate` if one exists and is not to be replaced, overlaps an input or the other, or is a device.
    private func outputs() throws -> (moments: FilePath, imatrix: ImatrixOutput?) {
        let inputs = [model] + texts.paths
        let output = try place(gathered.output, apartFrom: inputs)
        guard let imatrix = gathered.imatrix else { return (output, nil) }
        let place = try place(imatrix, apartFrom: inputs + [output])
        return (output, ImatrixOutput(place, imatrix.extension?.lowercased() == "gguf" ? .gguf : .older))
    }

    private func place(_ path: FilePath, apartFrom others: [FilePath]) throws -> FilePath {
        guard case .file(let place, let exists) = try ReportFile.place(path) else {
            throw IngotError(
                .cannotCreate, file: path.string, found: "something that is not a file", expected: "a name for a file")
        }
        try PathOverlap.refuse(report: place, over: others, isEarlierResult: true)
        guard exists else { return place }
        guard gathered.force else { try DirectoryBuilder.refuseExisting(path) }
        let isCorrection = (try? CorrectionFile(place)) != nil
        guard isCorrection || (try? MomentsSummary.read(place, readsAll: false))?.rows.isEmpty == false else {
            throw IngotError(
                .cannotCreate, file: path.string, found: "a file that is no file of moments",
                expected: "a file of moments or an importance matrix to replace",
                remedy: "name another file, or delete this one first")
        }
        return place
    }
}

extension MomentBlocks: ExpressibleByArgument {
    /// A rule as the user typed it; nil if there is none of this name.
    package init?(argument: String) { self.init(text: argument) }
    package var defaultValueDescription: String { text }
}
