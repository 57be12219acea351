public import ArgumentParser
import Container
import FileAccess
import Inspection
import Publishing
public import SystemPackage
import TensorModel
import Weights

/// A number of bytes: `268435456`, `256MiB`, `1GB`.
struct ByteCount: ExpressibleByArgument, CustomStringConvertible {
    let bytes: UInt64

    init(_ bytes: UInt64) { self.bytes = bytes }

    init?(argument: String) {
        guard let bytes = ByteSize.parse(argument) else { return nil }
        self.bytes = bytes
    }

    var description: String { bytes % (1 << 20) == 0 ? "\(bytes >> 20)MiB" : "\(bytes)" }
    var defaultValueDescription: String { description }
}

/// Where the weights are in a file that holds other things too.
struct KeyOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "In PyTorch files, the dict with the weights, as keys joined by '.': 'ema.model'. Without it: the "
                + "outermost, or the one under state_dict, model_state_dict or model."))
    var key: String?

    /// Refuses a key where no checkpoint could have one.
    func require(in checkpoints: [OpenedCheckpoint]) throws {
        guard key == nil || checkpoints.contains(where: \.hasKeys) else {
            throw IngotError(
                .usage, found: "--key, and no PyTorch file", expected: "a key for PyTorch files alone",
                remedy: .option(.leaveOutKey))
        }
    }
}

/// The form of a result.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json
}

/// Options of the verbs that go through the weights.
struct WorkOptions: ParsableArguments {
    @Option(help: "Chunks worked on at the same time.")
    var jobs = WorkOptions.processors

    @Option(help: "Memory at most, the program's own 48 MiB not counted: 64MiB or more.")
    var maxMemory = ByteCount(256 << 20)

    private static var processors: Int { min(64, max(1, ProcessorCount.available)) }

    func validate() throws {
        guard (1...1024).contains(jobs) else { throw ValidationError("--jobs must be between 1 and 1024.") }
    }
}

/// What is told of a run besides its result.
struct ProgressOptions: ParsableArguments {
    @Option(
        help: "Progress on standard error: auto (a bar on a terminal, else a line every 5 s), bar, lines, json, none.")
    var progress = ProgressStyle.auto

    @Flag(name: .shortAndLong, help: "No progress, no warnings: the result and errors only.")
    var quiet = false

    @Flag(name: .shortAndLong, help: "Tell what the time went into.")
    var verbose = false
}

extension ProgressStyle: ExpressibleByArgument {}

/// The form of the result, on verbs that print one.
struct ReportOptions: ParsableArguments {
    @Option(help: "Form of the result: text or json.")
    var format = OutputFormat.text
}

extension ColorChoice: ExpressibleByArgument {}

/// Where the result goes, and in which colours, on verbs that print one for people.
struct ResultOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: "Write the result to this file instead of standard output.")
    var output: FilePath?

    @Option(help: "Colours in text: auto (on a terminal, unless NO_COLOR is set), always, never.")
    var color = ColorChoice.auto

    /// Refuses a place that cannot be written to, and what is read or made otherwise; before any work.
    func requireApart(from inputs: [FilePath]) throws {
        guard let output, case .file(let place, _) = try ReportFile.place(output) else { return }
        try PathOverlap.refuse(report: place, over: inputs)
    }

    /// The style of text.
    var style: Style { output == nil || color == .always ? .forOutput(color) : .plain }

    /// Hands the result over; what is no file, such as a device, gets it as standard output would.
    func deliver(_ text: String) throws { try deliver(parts: CollectionOfOne(text + "\n")) }

    /// Hands JSON over.
    func deliver(_ json: JSONValue) throws {
        try deliver(IngotErrorRenderer.json(json.text(indented: true)))
    }

    /// Hands JSON over in parts, none of which ends in a string.
    func deliver(json parts: some Sequence<String>) throws {
        try deliver(parts: parts.lazy.map { IngotErrorRenderer.json($0) })
    }

    /// Hands a long result over in parts, the last of which ends its last line.
    func deliver(parts: some Sequence<String>) throws {
        guard let output else { return Console.result(parts: parts) }
        try ReportFile.write(parts, to: output)
    }
}

extension FilePath: @retroactive ExpressibleByArgument {
    /// A path as the user typed it.
    public init?(argument: String) {
        guard !argument.isEmpty else { return nil }
        self.init(argument)
    }
}

/// A codec, as the command line names it.
enum CodecName: String, ExpressibleByArgument, CaseIterable {
    case zstd, rans, lz4, none

    var codec: Codec {
        switch self {
        case .zstd: .zstd
        case .rans: .rans
        case .lz4: .lz4
        case .none: .none
        }
    }
}
