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
        abstract: "Write a checkpoint as files that runtimes load.",
        usage: "ingot export <checkpoint> <out> [options]",
        discussion: """
            OUT appears at the end, complete. Formats:

              safetensors         plain weights, for transformers and most runtimes
              gguf                a file OUT.gguf, or a directory, for llama.cpp
              mlx                 a directory for mlx-lm
              compressed-tensors  a directory for transformers and vLLM

            Names, config.json and tokenizer are translated between Hugging Face and
            GGUF for Llama, Mistral, Mixtral and Qwen2 models. Codes of other quantizers
            become the weights they stand for, unless they are what is asked for.

            Scales are searched: no tensor has a larger error than the runtime's own
            quantizer gives it. With --calibration, the error of each weight is carried
            on to later columns. --rounding reference gives the bytes of the runtime's
            quantizer. A manifest has the hashes of all files, which ingot verify checks.

            Examples:
              ingot export llama-7b llama-7b-Q4_K_M.gguf --to gguf --type Q4_K_M
              ingot export llama-7b llama-7b-mlx --to mlx --bits 4 --group-size 64
              ingot export llama-7b.ingot llama-7b-4bit --dtype bf16
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

    @Argument(help: "Directory to create. With gguf and one type, also a file whose name ends with .gguf.")
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
        guard output.dtype == nil || output.target != .gguf else {
            throw ValidationError("--dtype is not for --to gguf: --type F16, BF16 or F32 writes plain weights.")
        }
    }

    func run() async throws {
        let opened = try OpenedCheckpoint(checkpoint, key: output.keyed.key)
        try output.keyed.require(in: [opened])
        let reading = ReadingProgress(
            shown, totalBytes: opened.tensors.reduce(0) { $0 + $1.byteCount }, files: opened.weightFiles)
        for warning in opened.warnings { reading.warn(warning) }
        let activations = try codes.activations(of: opened, beside: out) { reading.warn($0) }
        let summary = try await export(opened, activations) { reading.note($0, $1, $2) }
        reading.finish()
        for warning in summary.warnings { reading.warn(warning) }
        Console.result(
            "\(IngotErrorRenderer.escaped(out.string)): \(summary.tensors) tensors in \(summary.files) "
                + "\(summary.files == 1 ? "file" : "files"), \(Format.bytes(summary.byteCount))")
        if !summary.chosen.isEmpty {
            Console.result("chosen: " + summary.chosen.map { "\($0.matrices) x \($0.type)" }.joined(separator: ", "))
        }
    }

    private func export(
        _ opened: OpenedCheckpoint, _ activations: ExportActivations?,
        progress: @escaping (TensorName, String, UInt64) -> Void
    ) async throws -> ExportSummary {
        // Factors of the moments need more than plain rounding.
        let usual: UInt64 = codes.calibration != nil && !work.isMemoryStated ? 2 << 30 : work.memory.bytes
        let (memory, jobs) = (usual, work.jobs)
        switch output.target {
        case .safetensors:
            return try await SafetensorsExporter(
                opened, as: output.dtype, memory: memory, jobs: jobs, force: output.force, keepsNames: output.keepNames
            ).run(to: out, progress: progress)
        case .mlx, .compressedTensors:
            return try await GroupExporter(
                opened, codes.groups(output.target, dtype: output.dtype), activations,
                memory: memory,
                jobs: jobs,
                force: output.force
            ).run(to: out, progress: progress)
        case .gguf:
            return try await GGUFExporter(
                opened, try codes.gguf(), activations, memory: memory, jobs: jobs,
                force: output.force
            ).run(to: out, progress: progress)
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
