import ArgumentParser
import Container
import Conversion
import FileAccess
import Inspection
import Moments
import Quantization
import SystemPackage
import TensorModel
import Weights
import Work

/// `ingot convert`: quantizes a checkpoint.
struct Convert: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Quantize a checkpoint and seal it with hashes.",
        usage: "ingot convert <source> <dest> [options]",
        discussion: """
            SOURCE is a checkpoint in a file or a directory: safetensors, GGUF, PyTorch
            (.bin, .pt, .pth) or NumPy (.npy, .npz). Code in PyTorch files is not run. One
            part of a split GGUF file stands for all parts.

            DEST is a new directory. It appears at the end, complete.

            Matrices of F32, F16 and BF16 are quantized. Embeddings and output heads get
            two bits more than other matrices. All other tensors are kept unchanged.

            A checkpoint that another program quantized is decoded first. FP8, MXFP4 and
            NVFP4 need no option. Integers and codebooks (GPTQ, AWQ, MLX, NF4 and others)
            need --allow-requantize. With --scheme lossless all of them keep their codes and
            scales bit-exact, entropy coded where that is smaller.

            To resume an interrupted run, give the same command again. The finished shards
            wait in .DEST.ingot-partial beside DEST, with the journal .DEST.ingot-journal.
            They are checked before they are used.

            With --text, the conversion is calibrated: it gathers the activations of texts,
            spends bits where the model needs them, and corrects output and down projections
            in a second phase. --bits is then the average over the linear layers.

            Examples:
              ingot convert llama-7b llama-7b.ingot --bits 4
              ingot convert llama-7b llama-7b.ingot --target-size 3GiB --codec rans
              ingot convert llama-7b llama-7b.ingot --bits 3 --text code.txt --text prose.txt
            """)

    /// Options about the files of SOURCE and DEST.
    struct FileOptions: ParsableArguments {
        @Flag(help: "Replace DEST if it is an Ingot checkpoint.")
        var force = false

        @Flag(
            help: "Discard the finished shards of an interrupted run and start again, for example with other options.")
        var restart = false

        @Flag(help: "Delete each shard of SOURCE after its output is on the disk and verified.")
        var consumeSource = false

        @Flag(help: "Wait for shards of SOURCE that are still being downloaded.")
        var follow = false

        @Option(
            help: ArgumentHelp(
                "With --follow: stop if nothing arrives for this many seconds. Default: no limit.",
                valueName: "seconds"))
        var followTimeout: Int?

        @Option(
            help: ArgumentHelp(
                "Publish DEST only if all claims of level error in this file hold (Specs/claims.md).",
                valueName: "file"))
        var claims: FilePath?

        func validate() throws {
            guard claims == nil || !consumeSource else {
                throw ValidationError("--claims needs SOURCE until all is done: not with --consume-source.")
            }
            guard follow || followTimeout == nil else { throw ValidationError("--follow-timeout needs --follow.") }
            guard followTimeout ?? 1 >= 1 else { throw ValidationError("--follow-timeout must be at least 1.") }
        }
    }

    @Argument(help: "Checkpoint to convert: a file or a directory.")
    var source: FilePath

    @Argument(help: "Directory to create.")
    var dest: FilePath

    @OptionGroup(title: "Quantization") var rate: RateOptions
    @OptionGroup(title: "Calibration") var calibrated: CalibrationOptions

    @OptionGroup(title: "Source and destination") var files: FileOptions
    @OptionGroup(title: "Memory and jobs") var work: WorkOptions
    @OptionGroup(title: "Progress") var shown: ProgressOptions
    @OptionGroup(title: "Output") var report: ReportOptions

    func validate() throws {
        guard !files.follow || rate.targetSize == nil && rate.bpw == nil else {
            throw ValidationError("--target-size and --bpw need the whole source: not with --follow.")
        }
        let isCalibrated = calibrated.calibration != nil || !calibrated.texts.areMissing
        guard !files.follow || !isCalibrated else {
            throw ValidationError("A calibrated conversion needs the whole source: not with --follow.")
        }
        if isCalibrated { try rate.requireCalibrable() }
    }

    func run() async throws {
        let stated = try files.claims.map { try ClaimsFile.read($0) }
        var options = try rate.options()
        options.run.jobs = work.jobs
        options.run.memory = work.memory.bytes
        options.run.force = files.force
        options.run.restarts = files.restart
        options.run.consumesSource = files.consumeSource
        options.run.follows = files.follow
        options.run.patience = files.followTimeout.map { .seconds($0) }
        let progress = Progress(shown.progress, isQuiet: shown.quiet)
        let isCalibrated = calibrated.calibration != nil || !calibrated.texts.areMissing
        if isCalibrated { options = rate.calibrated(options, work.isMemoryStated) }
        var moments = try calibrated.moments(beside: dest)
        if let file = moments?.file {
            let opened = try OpenedCheckpoint(source, key: rate.keyed.key)
            for warning in try file.fitWarnings(opened, comparingWeights: true) { progress.show(.warning(warning)) }
        }
        var gathering: CalibratedConversion?
        if !calibrated.texts.areMissing {
            // Refuse an output that is there before hours of work.
            _ = try Converter(source, to: dest, options)
            gathering = CalibratedConversion(
                source: source, destination: dest, texts: calibrated.texts, options: options,
                kept: calibrated.keepIntermediates, shown: shown)
            moments = try await gathering?.prepare(progress)
        }
        var converter = try Converter(source, to: dest, options, moments)
        converter.onEvent = progress.show
        let gate = stated.map {
            ClaimsGate($0, source: source, destination: dest, options)
        }
        if let gate { converter.beforePublishing = { try await gate.check($0, $1) } }
        let result = try await converter.run()
        try gathering?.finish()
        Progress.clear()
        switch report.format {
        case .json: Console.result(result.json(with: gate?.report))
        case .text:
            let text = ConversionText.text(result, source: source, destination: dest, isVerbose: shown.verbose)
            let claimed = gate?.report.map { "\n\n" + ClaimsText.text($0, style: .forOutput(.auto)) }
            Console.result(text + (claimed ?? ""))
        }
    }
}

/// Report of a conversion as text for people.
enum ConversionText {
    /// What was asked for, if it is bits per matrix: `4 asked, embeddings and head 6`; nil for other goals.
    private static func asked(_ report: ConversionReport) -> String? {
        guard report.options.scheme == .trellis, case .bits(let bits) = report.options.goal else { return nil }
        func text(_ value: Double) -> String { value == value.rounded() ? "\(Int(value))" : "\(value)" }
        let rules = Set(report.tensors.map { report.rule($0) })
        let others = rules.subtracting(["default", "embedding or head"])
        return "\(text(bits)) asked"
            + (rules.contains("embedding or head")
                ? ", embeddings and head \(text(DefaultRecipe.bitsOfEmbeddings(bits)))" : "")
            + (others.isEmpty ? "" : ", others by rules")
    }

    static func text(
        _ report: ConversionReport, source: FilePath, destination: FilePath, isVerbose: Bool
    ) -> String {
        var lines = [
            "\(IngotErrorRenderer.escaped(source.string)) -> \(IngotErrorRenderer.escaped(destination.string))"
        ]
        func add(_ label: String, _ value: String) { lines.append("  " + Format.filled(label, to: 18) + value) }
        for (index, kind) in report.quantization.enumerated() { add(index == 0 ? "source" : "", kind.text) }
        add("size before", Format.bytes(report.sourceBytes))
        add(
            "size after",
            "\(Format.bytes(report.outputBytes))  (and \(Format.bytes(report.companionBytes)) of other files)")
        add("reduction", "\(NumberText.fixed(report.reduction * 100, 1)) %")
        if let bits = report.bitsPerWeight {
            add(
                "bits per weight",
                "\(NumberText.fixed(bits, 3))  ("
                    + (report.decodedWeights.map { "\($0) decoded weights, everything counted)" }
                        ?? "\(report.weights) weights in \(report.weightTensors.count) matrices)"))
            if let asked = asked(report) { add("", asked) }
        }
        if let codes = report.codes {
            add(
                "codes and scales",
                "\(Format.bytes(codes.sourceBytes)) -> \(Format.bytes(codes.byteCount)), tensors: \(codes.tensors), "
                    + "\(NumberText.fixed(codes.reduction * 100, 1)) % smaller, bit-exact")
        }
        add("kept", "\(report.keptCount) tensors, \(Format.bytes(report.keptBytes))")
        for line in RuleText.counts(report.kept.map { report.rule($0) }) { add("", line) }
        if let calibration = report.calibration {
            for (label, line) in CalibrationSummaryText.lines(calibration, of: report.tensors.count) {
                add(label, line)
            }
        }
        if let worst = report.worst {
            add("worst tensor", IngotErrorRenderer.escaped(worst.name.text))
            let sums = worst.descriptor.sums
            if let calibrated = worst.descriptor.calibrated {
                add("", "relative error over activations \(Format.scientific(calibrated.sums.relativeError))")
            }
            let error = "relative MSE \(Format.scientific(sums.relativeMSE))"
            add("", error + ", SNR \(NumberText.fixed(sums.signalToNoise, 1)) dB, \(worst.descriptor.scheme.summary)")
        }
        if report.seconds > 0, report.convertedBytes > 0 {
            let rate = Double(report.convertedBytes) / report.seconds
            add(
                "throughput",
                "\(Format.bytes(UInt64(rate)))/s of source, \(report.jobs) jobs, \(NumberText.fixed(report.seconds, 2)) s"
            )
        }
        add("peak memory", Format.bytes(ProcessUsage.peakResidentBytes))
        if report.resumedShards > 0 {
            add("resumed", "\(report.resumedShards) of \(report.shardCount) shards were finished by an earlier run")
        }
        if report.resumedTensors > 0 {
            add(
                report.resumedShards > 0 ? "" : "resumed",
                "\(report.resumedTensors) of \(report.tensors.count) matrices were encoded by an earlier run")
        }
        if isVerbose, report.seconds > 0 {
            let all = report.seconds * Double(report.jobs)
            func share(_ seconds: Double) -> String { "\(NumberText.fixed(seconds / all * 100, 1)) %" }
            let (working, consuming) = (report.usage.working.seconds, report.usage.consuming.seconds)
            add("workers' time", "\(share(working)) quantizing, \(share(consuming)) hashing and writing,")
            add("", "\(share(max(0, all - working - consuming))) waiting")
            if let times = report.feedback {
                func part(_ name: String, _ time: Duration) -> String {
                    "\(NumberText.fixed(time.seconds, 2)) s \(name)"
                }
                let products = part("carrying errors", times.products)
                add("error feedback", part("factors", times.factors) + ", " + part("search", times.search) + ",")
                add("", products + ", " + part("errors over activations", times.sums))
            }
            add(
                "encoded again",
                "\(report.repeatedTensors) of \(report.tensors.count) matrices, \(report.repeats) times, to hold their rate"
            )
            add(
                "processor time",
                "\(NumberText.fixed(ProcessUsage.processorSeconds, 2)) s, \(share(ProcessUsage.processorSeconds)) "
                    + "of what \(report.jobs) jobs could use")
        }
        for (name, reason) in report.skipped {
            add("left behind", "\(IngotErrorRenderer.escaped(name)) (\(IngotErrorRenderer.escaped(reason)))")
        }
        return lines.joined(separator: "\n")
    }
}
