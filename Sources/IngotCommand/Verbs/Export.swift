import ArgumentParser
import Container
import Export
import SystemPackage
package import TensorModel

struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turn a checkpoint back into a format that runtimes load.",
        usage: "ingot export <checkpoint> <out> [options]",
        discussion: """
            OUT is a directory that must not exist yet. Format safetensors: plain weights
            in the Hugging Face layout, which transformers and others load.
            """)

    enum Target: String, ExpressibleByArgument, CaseIterable {
        case safetensors
    }

    @Argument(help: "Checkpoint that `ingot convert` made.")
    var checkpoint: FilePath

    @Argument(help: "Directory to make.")
    var out: FilePath

    @Option(name: .customLong("to"), help: "Format to write: safetensors.")
    var target = Target.safetensors

    @Option(help: "Element type of all F16, BF16 and F32 tensors: f16, bf16 or f32. Default: each tensor's own.")
    var dtype: FloatFormat?

    @Flag(help: "Replace OUT if it is an earlier export.")
    var force = false

    @OptionGroup var work: WorkOptions

    func run() async throws {
        let sealed = try SealedCheckpoint(checkpoint)
        for warning in sealed.warnings { Console.message(IngotErrorRenderer.text(warning)) }
        let exporter = try SafetensorsExporter(
            sealed, as: dtype, memory: work.maxMemory.bytes, jobs: work.jobs, force: force)
        let summary = try await exporter.run(to: out)
        Console.result(
            "\(IngotErrorRenderer.escaped(out.string)): \(summary.tensors) tensors in \(summary.shards) "
                + "\(summary.shards == 1 ? "shard" : "shards"), \(Format.bytes(summary.byteCount))")
    }
}

extension FloatFormat: ExpressibleByArgument {
    /// The format of a name such as `bf16`.
    package init?(argument: String) {
        guard let format = FloatFormat.allCases.first(where: { $0.elementType.rawValue.lowercased() == argument })
        else {
            return nil
        }
        self = format
    }

    /// All names, for the help text.
    package static var allValueStrings: [String] { allCases.map { $0.elementType.rawValue.lowercased() } }
}
