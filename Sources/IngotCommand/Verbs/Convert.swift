import ArgumentParser
import Container
import Conversion
import FileAccess
import Quantization
import SystemPackage
import TensorModel

struct Convert: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Quantize a checkpoint and seal it.",
        usage: "ingot convert <source> <dest> [options]",
        discussion: """
            SOURCE is a safetensors file, or a directory with one or more of them in the
            Hugging Face layout. DEST is a directory that must not exist yet: it appears,
            complete, at the end.

            Matrices of F32, F16 and BF16 are quantized; embeddings and output heads get
            two bits more; everything else is kept as it is.
            """)

    @Argument(help: "Checkpoint to convert: a safetensors file or a directory.")
    var source: FilePath

    @Argument(help: "Directory to make.")
    var dest: FilePath

    @OptionGroup var rate: RateOptions

    @Flag(help: "Replace DEST if it is an Ingot checkpoint.")
    var force = false

    @OptionGroup var work: WorkOptions
    @OptionGroup var report: ReportOptions

    func run() async throws {
        var options = try rate.options()
        options.jobs = work.jobs
        options.memory = work.maxMemory.bytes
        options.force = force
        let plan = try ConversionPlan(ConversionPlan.openSource(source), options)
        for warning in plan.warnings { Console.message(IngotErrorRenderer.text(warning)) }
        var converter = try Converter(plan, to: dest)
        converter.progress = Progress.show
        let result = try await converter.run()
        Progress.clear()
        for warning in result.warnings.dropFirst(plan.warnings.count) {
            Console.message(IngotErrorRenderer.text(warning))
        }
        switch report.format {
        case .json: Console.result(result.json.text(indented: true))
        case .text: Console.result(ConversionText.text(result, source: source, destination: dest))
        }
    }
}

/// The report of a conversion, for people.
enum ConversionText {
    static func text(_ report: ConversionReport, source: FilePath, destination: FilePath) -> String {
        var lines = [
            "\(IngotErrorRenderer.escaped(source.string)) -> \(IngotErrorRenderer.escaped(destination.string))"
        ]
        func add(_ label: String, _ value: String) { lines.append("  " + Format.filled(label, to: 18) + value) }
        add("size before", Format.bytes(report.sourceBytes))
        add(
            "size after",
            "\(Format.bytes(report.outputBytes))  (and \(Format.bytes(report.companionBytes)) of other files)")
        add("reduction", "\(Format.fixed(report.reduction * 100, 1)) %")
        if let bits = report.bitsPerWeight {
            add(
                "bits per weight",
                "\(Format.fixed(bits, 3))  (\(report.weights) weights in \(report.tensors.count) matrices)")
        }
        add("kept as they are", "\(report.keptCount) tensors, \(Format.bytes(report.keptBytes))")
        if let worst = report.worst {
            add("worst tensor", IngotErrorRenderer.escaped(worst.name.text))
            let sums = worst.descriptor.sums
            let error = "relative MSE \(Format.scientific(sums.relativeMSE))"
            add("", error + ", SNR \(Format.fixed(sums.signalToNoise, 1)) dB, \(worst.descriptor.scheme.summary)")
        }
        if report.seconds > 0 {
            let rate = Double(report.sourceBytes) / report.seconds
            add(
                "throughput",
                "\(Format.bytes(UInt64(rate)))/s of source, \(report.jobs) jobs, \(Format.fixed(report.seconds, 2)) s")
        }
        add("peak memory", Format.bytes(ProcessUsage.peakResidentBytes))
        for (name, reason) in report.skipped { add("left behind", "\(IngotErrorRenderer.escaped(name)) (\(reason))") }
        return lines.joined(separator: "\n")
    }
}
