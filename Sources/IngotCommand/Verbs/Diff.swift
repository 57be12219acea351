import ArgumentParser
import Inspection
import SystemPackage
import TensorModel
import Weights

struct Diff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare two checkpoints of any formats, tensor by tensor.",
        usage: "ingot diff <old> <new> [options]",
        discussion: """
            OLD and NEW are files of weights (safetensors, PyTorch, GGUF, NumPy),
            directories with a checkpoint, or checkpoints that `ingot convert` made; what is encoded is compared as it is
            restored.
            Tensors under other names are recognized by the hash of their content, or by
            samples of their weights. Other bytes and other weights are told apart.

            Exit code 0: the same tensors with the same weights, whatever their bytes.
            1: something differs. 65: bytes are damaged; those that are the same in both
            are not decoded, and so not checked.
            """)

    /// The forms of the result.
    enum Form: String, ExpressibleByArgument, CaseIterable {
        case text, json, csv, markdown
    }

    @Argument(help: "Checkpoint before.")
    var old: FilePath

    @Argument(help: "Checkpoint after.")
    var new: FilePath

    @Option(help: "How many of the tensors that changed most are shown, and lines of other lists.")
    var top = 10

    @Option(
        help: ArgumentHelp(
            "Only tensors whose old or new name matches, such as '*.q_proj.*'; sizes are of all.",
            valueName: "pattern"),
        transform: Diff.pattern)
    var filter: NamePattern?

    @Flag(help: "Read no weights: names, shapes, types and sizes only.")
    var headersOnly = false

    @Option(help: "Form of the result: text, json, csv, markdown. csv: a row a tensor.")
    var format = Form.text

    @OptionGroup var keyed: KeyOption
    @OptionGroup var result: ResultOptions
    @OptionGroup var work: WorkOptions

    private static func pattern(_ text: String) throws -> NamePattern {
        guard let pattern = NamePattern(text) else {
            throw ValidationError("'\(text)' is no pattern: characters, *, ?, and [abc] or [a-z].")
        }
        return pattern
    }

    func validate() throws {
        guard (0...1_000_000).contains(top) else { throw ValidationError("--top must be between 0 and 1000000.") }
    }

    func run() async throws {
        try result.requireApart(from: [old, new])
        var options = CheckpointDiff.Options()
        options.pattern = filter
        options.headersOnly = headersOnly
        (options.memory, options.jobs) = (work.maxMemory.bytes, work.jobs)
        let sides = try [old, new].map { try OpenedCheckpoint($0, key: keyed.key) }
        try keyed.require(in: sides)
        let diff = try await CheckpointDiff(sides[0], sides[1], options)
        for side in sides { try side.requireUnchanged() }
        for warning in diff.warnings { Console.message(IngotErrorRenderer.text(warning)) }
        switch format {
        case .text: try result.deliver(DiffText(diff, result.style, top: top).text)
        case .json: try result.deliver(diff.json(top: top))
        case .csv: try result.deliver(DiffTable.csv(diff))
        case .markdown: try result.deliver(DiffTable.markdown(diff, top: top))
        }
        if !diff.isSame { throw ExitCode(1) }
    }
}
