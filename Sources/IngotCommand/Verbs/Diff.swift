import ArgumentParser
import Inspection
import SystemPackage
import TensorModel
import Weights

/// `ingot diff`: compares two checkpoints.
struct Diff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare two checkpoints of any formats, tensor by tensor.",
        usage: "ingot diff <old> <new> [options]",
        discussion: """
            OLD and NEW are checkpoints, each in a file or a directory: safetensors,
            PyTorch, GGUF, NumPy, or an output of `ingot convert`. Quantized weights are
            decoded before the comparison. The result tells tensors with other weights from
            tensors with the same weights in other bytes.

            A renamed tensor is recognized by the hash of its content, or by a sample of
            its weights. So are experts of a layer that are a tensor each in one
            checkpoint and one tensor of rank 3 in the other, also with gate and up
            projections stacked; transposed and interleaved ones are not.

            Of matrices that were quantized with calibration, the relative error over
            activations is listed, as the certificates of both checkpoints state it.

            Exit code 0: the names and the weights are the same; bytes may differ. 1: the
            checkpoints differ. 65: bytes are damaged. A tensor with the same bytes in both
            checkpoints is not decoded, so damage in it is not found.

            Examples:
              ingot diff llama-7b llama-7b-finetuned
              ingot diff llama-7b llama-7b.ingot --top 20
              ingot diff llama-7b llama-7b.gguf --headers-only --format markdown
            """)

    /// Format of the result.
    enum Form: String, ExpressibleByArgument, CaseIterable {
        case text, json, csv, markdown
    }

    /// Options about the tensors to compare.
    struct ComparisonOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "Only tensors whose old or new name matches, such as '*.q_proj.*'. Sizes still count all tensors.",
                valueName: "pattern"),
            transform: ComparisonOptions.pattern)
        var filter: NamePattern?

        @Flag(help: "Read no weights: compare names, shapes, element types and sizes only.")
        var headersOnly = false

        @OptionGroup var keyed: KeyOption

        private static func pattern(_ text: String) throws -> NamePattern {
            guard let pattern = NamePattern(text) else {
                throw ValidationError("'\(text)' is no pattern: characters, *, ?, and [abc] or [a-z].")
            }
            return pattern
        }
    }

    /// Options about the shown result.
    struct OutputOptions: ParsableArguments {
        @Option(
            help: ArgumentHelp("Lines of each list at most, such as the tensors that changed most.", valueName: "n"))
        var top = 10

        @Option(help: "Format of the result. csv: one row per tensor.")
        var format = Form.text

        func validate() throws {
            guard (0...1_000_000).contains(top) else { throw ValidationError("--top must be between 0 and 1000000.") }
        }
    }

    @Argument(help: "Checkpoint before the change.")
    var old: FilePath

    @Argument(help: "Checkpoint after the change.")
    var new: FilePath

    @OptionGroup(title: "Comparison") var comparison: ComparisonOptions
    @OptionGroup(title: "Output") var output: OutputOptions
    @OptionGroup(title: "Output") var result: ResultOptions
    @OptionGroup(title: "Memory and jobs") var work: WorkOptions
    @OptionGroup(title: "Progress") var shown: ProgressOptions

    func run() async throws {
        try result.requireApart(from: [old, new])
        var options = CheckpointDiff.Options()
        options.pattern = comparison.filter
        options.headersOnly = comparison.headersOnly
        (options.memory, options.jobs) = (work.memory.bytes, work.jobs)
        let sides = try OpenedCheckpoint.open(together: [old, new], key: comparison.keyed.key)
        try comparison.keyed.require(in: sides)
        let reading = ReadingProgress(
            shown, totalBytes: sides[1].tensors.reduce(0) { $0 + $1.byteCount }, files: sides[1].weightFiles)
        let diff = try await CheckpointDiff(sides[0], sides[1], options) { reading.note($0, $1, $2) }
        for side in sides { try side.requireUnchanged() }
        reading.finish()
        for warning in diff.warnings { reading.warn(warning) }
        switch output.format {
        case .text: try result.deliver(DiffText(diff, result.style, top: output.top).text)
        case .json: try result.deliver(diff.json(top: output.top))
        case .csv: try result.deliver(DiffTable.csv(diff))
        case .markdown: try result.deliver(DiffTable.markdown(diff, top: output.top))
        }
        if !diff.isSame { throw ExitCode(1) }
    }
}
