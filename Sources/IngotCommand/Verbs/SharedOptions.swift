public import ArgumentParser
import Container
import FileAccess
import Inspection
import Publishing
public import SystemPackage
import TensorModel
import Weights

/// A number of bytes, written as `268435456`, `256MiB` or `1GB`.
struct ByteCount: ExpressibleByArgument, CustomStringConvertible {
    /// The number of bytes.
    let bytes: UInt64

    init(_ bytes: UInt64) { self.bytes = bytes }

    init?(argument: String) {
        guard let bytes = ByteSize.parse(argument) else { return nil }
        self.bytes = bytes
    }

    var description: String { bytes % (1 << 20) == 0 ? "\(bytes >> 20)MiB" : "\(bytes)" }
    var defaultValueDescription: String { description }
}

/// Place of the weights in a PyTorch file that holds other objects too.
struct KeyOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "In PyTorch files: the dict with the weights, as keys joined by '.', such as ema.model; '.' is the "
                + "outermost dict. Default: the dict under model, state_dict, module or the like, or the outermost one."
        ))
    var key: String?

    /// Throws if a key is given and none of the checkpoints is a PyTorch file.
    func require(in checkpoints: [OpenedCheckpoint]) throws {
        guard key == nil || checkpoints.contains(where: \.hasKeys) else {
            throw IngotError(
                .usage, found: "--key for a source without PyTorch files",
                expected: "no key: only PyTorch files hold dictionaries",
                remedy: .option(.leaveOutKey))
        }
    }
}

/// Format of a result.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json
}

/// Options of the verbs that read weights.
struct WorkOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Chunks worked on at the same time.", valueName: "n"))
    var jobs = WorkOptions.processors

    @Option(
        help: ArgumentHelp(
            "Memory for buffers and mapped files at most, 64MiB or more. The program takes up to 48 MiB more. Default: 256MiB.",
            valueName: "size"))
    var maxMemory: ByteCount?

    /// The memory limit: the stated one, or the default.
    var memory: ByteCount { maxMemory ?? ByteCount(256 << 20) }
    /// Whether the user stated a limit.
    var isMemoryStated: Bool { maxMemory != nil }

    private static var processors: Int { min(64, max(1, ProcessorCount.available)) }

    func validate() throws {
        guard (1...1024).contains(jobs) else { throw ValidationError("--jobs must be between 1 and 1024.") }
    }
}

/// Options for messages during a run.
struct ProgressOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Progress on standard error. auto: a bar on a terminal, otherwise a line every 5 seconds.",
            valueName: "style"))
    var progress = ProgressStyle.auto

    @Flag(name: .shortAndLong, help: "Print the result and errors only: no progress, no warnings.")
    var quiet = false

    @Flag(name: .shortAndLong, help: "Also print where the time went.")
    var verbose = false
}

extension ProgressStyle: ExpressibleByArgument {}

/// Format of the result of `convert` and `plan`.
struct ReportOptions: ParsableArguments {
    @Option(help: "Format of the result.")
    var format = OutputFormat.text
}

extension ColorChoice: ExpressibleByArgument {}

/// Place and colours of the result.
struct ResultOptions: ParsableArguments {
    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Write the result to this file instead of standard output.", valueName: "file"))
    var output: FilePath?

    @Option(
        help: ArgumentHelp("Colours in text. auto: on a terminal, unless NO_COLOR is set.", valueName: "when"))
    var color = ColorChoice.auto

    /// Refuses an output path that is not writable, or that is one of the inputs. Call it before any work.
    func requireApart(from inputs: [FilePath]) throws {
        guard let output, case .file(let place, _) = try ReportFile.place(output) else { return }
        try PathOverlap.refuse(report: place, over: inputs)
    }

    /// Style of the result as text.
    var style: Style { output == nil || color == .always ? .forOutput(color) : .plain }

    /// Writes the result and a newline to the output file, or to standard output. A device is written to, not replaced.
    func deliver(_ text: String) throws { try deliver(parts: CollectionOfOne(text + "\n")) }

    /// Writes JSON.
    func deliver(_ json: JSONValue) throws {
        try deliver(IngotErrorRenderer.json(json.text(indented: true)))
    }

    /// Writes JSON in parts. A part must not end inside a string.
    func deliver(json parts: some Sequence<String>) throws {
        try deliver(parts: parts.lazy.map { IngotErrorRenderer.json($0) })
    }

    /// Writes a long result in parts. The last part must end with a newline.
    func deliver(parts: some Sequence<String>) throws {
        guard let output else { return Console.result(parts: parts) }
        try ReportFile.write(parts, to: output)
    }
}

extension FilePath: @retroactive ExpressibleByArgument {
    /// A path as the user typed it; nil if it is empty.
    public init?(argument: String) {
        guard !argument.isEmpty else { return nil }
        self.init(argument)
    }
}

/// Name of a codec on the command line.
enum CodecName: String, ExpressibleByArgument, CaseIterable {
    case zstd, rans, lz4, none

    /// The codec of the container.
    var codec: Codec {
        switch self {
        case .zstd: .zstd
        case .rans: .rans
        case .lz4: .lz4
        case .none: .none
        }
    }
}
