import ArgumentParser
import Container
import Conversion
import FileAccess
import Inspection
import Quantization
import SystemPackage
import TensorModel
import Work

struct Convert: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Quantize a checkpoint and seal it.",
        usage: "ingot convert <source> <dest> [options]",
        discussion: """
            SOURCE is a safetensors or GGUF file, one of torch.save's (.bin, .pt, .pth; no
            code of theirs is run) or NumPy's (.npy, .npz), or a directory with a checkpoint
            in the Hugging Face layout or in GGUF; a part of a split GGUF file stands for
            all. DEST is a directory that must not exist yet: it appears, complete, at the
            end.

            Matrices of F32, F16 and BF16 are quantized; embeddings and output heads get
            two bits more; everything else is kept as it is.

            A run that was interrupted is resumed by the same command: shards that were
            finished are checked and kept. They wait in .DEST.ingot-partial beside DEST,
            with .DEST.ingot-journal.
            """)

    @Argument(help: "Checkpoint to convert: a file or a directory.")
    var source: FilePath

    @Argument(help: "Directory to make.")
    var dest: FilePath

    @OptionGroup var rate: RateOptions

    @Flag(help: "Replace DEST if it is an Ingot checkpoint.")
    var force = false

    @Flag(help: "Throw away what an interrupted run of other options finished, and begin anew.")
    var restart = false

    @Flag(help: "Delete each shard of SOURCE once its output is on the disk and verified against it.")
    var consumeSource = false

    @Flag(help: "Wait for shards of SOURCE that are still being downloaded.")
    var follow = false

    @Option(help: "With --follow: give up when nothing has arrived for so many seconds.")
    var followTimeout: Int?

    @Option(help: "Publish only what holds the claims of this file (Specs/claims.md).")
    var claims: FilePath?

    @OptionGroup var work: WorkOptions
    @OptionGroup var shown: ProgressOptions
    @OptionGroup var report: ReportOptions

    func validate() throws {
        guard !follow || rate.targetSize == nil && rate.bpw == nil else {
            throw ValidationError("--target-size and --bpw need the whole source: not with --follow.")
        }
        guard claims == nil || !consumeSource else {
            throw ValidationError("--claims needs SOURCE until all is done: not with --consume-source.")
        }
        guard follow || followTimeout == nil else { throw ValidationError("--follow-timeout needs --follow.") }
        guard followTimeout ?? 1 >= 1 else { throw ValidationError("--follow-timeout must be at least 1.") }
    }

    func run() async throws {
        let stated = try claims.map { try ClaimsFile.read($0) }
        var options = try rate.options()
        options.run.jobs = work.jobs
        options.run.memory = work.maxMemory.bytes
        options.run.force = force
        options.run.restarts = restart
        options.run.consumesSource = consumeSource
        options.run.follows = follow
        options.run.patience = followTimeout.map { .seconds($0) }
        let progress = Progress(shown.progress, isQuiet: shown.quiet)
        var converter = try Converter(source, to: dest, options)
        converter.onEvent = progress.show
        let gate = stated.map {
            ClaimsGate($0, source: source, destination: dest, options)
        }
        if let gate { converter.beforePublishing = { try await gate.check($0, $1) } }
        let result = try await converter.run()
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

/// The report of a conversion, for people.
enum ConversionText {
    static func text(
        _ report: ConversionReport, source: FilePath, destination: FilePath, isVerbose: Bool
    ) -> String {
        var lines = [
            "\(IngotErrorRenderer.escaped(source.string)) -> \(IngotErrorRenderer.escaped(destination.string))"
        ]
        func add(_ label: String, _ value: String) { lines.append("  " + Format.filled(label, to: 18) + value) }
        add("size before", Format.bytes(report.sourceBytes))
        add(
            "size after",
            "\(Format.bytes(report.outputBytes))  (and \(Format.bytes(report.companionBytes)) of other files)")
        add("reduction", "\(NumberText.fixed(report.reduction * 100, 1)) %")
        if let bits = report.bitsPerWeight {
            add(
                "bits per weight",
                "\(NumberText.fixed(bits, 3))  (\(report.weights) weights in \(report.tensors.count) matrices)")
        }
        add("kept", "\(report.keptCount) tensors, \(Format.bytes(report.keptBytes))")
        if let worst = report.worst {
            add("worst tensor", IngotErrorRenderer.escaped(worst.name.text))
            let sums = worst.descriptor.sums
            let error = "relative MSE \(Format.scientific(sums.relativeMSE))"
            add("", error + ", SNR \(NumberText.fixed(sums.signalToNoise, 1)) dB, \(worst.descriptor.scheme.summary)")
        }
        if report.seconds > 0 {
            let rate = Double(report.sourceBytes) / report.seconds
            add(
                "throughput",
                "\(Format.bytes(UInt64(rate)))/s of source, \(report.jobs) jobs, \(NumberText.fixed(report.seconds, 2)) s"
            )
        }
        add("peak memory", Format.bytes(ProcessUsage.peakResidentBytes))
        if report.resumedShards > 0 {
            add("resumed", "\(report.resumedShards) of \(report.shardCount) shards were finished by an earlier run")
        }
        if isVerbose, report.seconds > 0 {
            let all = report.seconds * Double(report.jobs)
            func share(_ seconds: Double) -> String { "\(NumberText.fixed(seconds / all * 100, 1)) %" }
            let (working, consuming) = (report.usage.working.seconds, report.usage.consuming.seconds)
            add("workers' time", "\(share(working)) quantizing, \(share(consuming)) hashing and writing,")
            add("", "\(share(max(0, all - working - consuming))) waiting")
            add("encoded again", "\(report.repeats) of \(report.tensors.count) matrices, to hold their rate")
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
