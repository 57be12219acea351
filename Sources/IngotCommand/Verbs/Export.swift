import ArgumentParser
import Checkpoints
import Container
import Export
import FileAccess
import SystemPackage
package import TensorModel
import Weights

/// `ingot export`: writes a checkpoint for runtimes.
struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a checkpoint as plain weights that runtimes load.",
        usage: "ingot export <checkpoint> <out> [options]",
        discussion: """
            OUT is a new directory. It appears at the end, complete. With --to safetensors,
            it has plain weights in the Hugging Face layout, which transformers and other
            runtimes load. For a GGUF file of a Llama, Mixtral or Qwen2 model, and for a
            checkpoint made of one, it makes names, config.json and tokenizer from the
            metadata. Codes of other quantizers become the weights they stand for.

            Examples:
              ingot export llama-7b.ingot llama-7b-4bit
              ingot export llama-7b.ingot llama-7b-4bit --dtype bf16
              ingot export llama-7b.ingot llama-7b-4bit --dtype f16 --force
              ingot export deepseek-fp8 deepseek-bf16
            """)

    /// Options about the files to write.
    struct OutputOptions: ParsableArguments {
        @Option(name: .customLong("to"), help: ArgumentHelp("Format of OUT.", valueName: "format"))
        var target = ExportTargetFormat.safetensors

        @Option(help: "Element type of all F16, BF16 and F32 tensors. Default: that of each source tensor.")
        var dtype: FloatFormat?

        @Flag(
            help: "Keep names and rows of a GGUF source. Default: those of Hugging Face, for Llama-type models."
        )
        var keepNames = false

        @OptionGroup var keyed: KeyOption

        @Flag(help: "Replace OUT if it is an earlier export.")
        var force = false
    }

    @Argument(help: "An output of `ingot convert`, or any other checkpoint.")
    var checkpoint: FilePath

    @Argument(help: "Directory to create.")
    var out: FilePath

    @OptionGroup(title: "Output") var output: OutputOptions
    @OptionGroup(title: "Codes") var codes: CodeOptions
    @OptionGroup(title: "Memory and jobs") var work: WorkOptions
    @OptionGroup(title: "Progress") var shown: ProgressOptions

    func validate() throws {
        try codes.validate(for: output.target)
        guard !output.keepNames || output.target == .safetensors else {
            throw ValidationError("--keep-names is for --to safetensors.")
        }
    }

    func run() async throws {
        let opened = try OpenedCheckpoint(checkpoint, key: output.keyed.key)
        try output.keyed.require(in: [opened])
        let reading = ReadingProgress(
            shown, totalBytes: opened.tensors.reduce(0) { $0 + $1.byteCount }, files: opened.weightFiles)
        for warning in opened.warnings { reading.warn(warning) }
        let summary = try await export(opened) { reading.note($0, $1, $2) }
        reading.finish()
        for warning in summary.warnings { reading.warn(warning) }
        Console.result(
            "\(IngotErrorRenderer.escaped(out.string)): \(summary.tensors) tensors in \(summary.files) "
                + "\(summary.files == 1 ? "file" : "files"), \(Format.bytes(summary.byteCount))")
    }

    private func export(
        _ opened: OpenedCheckpoint, progress: @escaping (TensorName, String, UInt64) -> Void
    ) async throws -> ExportSummary {
        let (memory, jobs) = (work.memory.bytes, work.jobs)
        switch output.target {
        case .safetensors:
            return try await SafetensorsExporter(
                opened, as: output.dtype, memory: memory, jobs: jobs, force: output.force, keepsNames: output.keepNames
            ).run(to: out, progress: progress)
        case .mlx, .compressedTensors:
            return try await GroupExporter(
                opened, codes.groups(output.target, dtype: output.dtype), codes.moments(beside: out), memory: memory,
                jobs: jobs,
                force: output.force
            ).run(to: out, progress: progress)
        case .gguf: throw ValidationError("--to gguf is not there yet.")
        }
    }
}

extension FloatFormat: ExpressibleByArgument {
    /// The format with a name such as `bf16`; nil for an unknown name.
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
