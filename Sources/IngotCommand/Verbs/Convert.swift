public import ArgumentParser
import Container
public import Conversion
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

    @Option(help: "Bits per code: 2, 3, 4, 5, 6 or 8; other widths round up. Scales come on top.")
    var bits = 4

    @Option(help: "Scheme: uniform, or lossless (bit-exact).")
    var scheme = ConversionOptions.Scheme.uniform

    @Option(help: "Weights that share a scale: 32, 64 or 128.")
    var groupSize = 64

    @Flag(help: "Scales without biases, as compressed-tensors has them.")
    var symmetric = false

    @Option(help: "Codec of the streams: zstd, lz4 (faster to load) or none.")
    var codec = CodecName.zstd

    @Option(
        name: .customLong("on-nonfinite"), help: "NaN or infinity in the source: fail, or keep the tensor lossless.")
    var onNonFinite = ConversionOptions.NonFinitePolicy.fail

    @Flag(help: "Replace DEST if it is an Ingot checkpoint.")
    var force = false

    @OptionGroup var work: WorkOptions
    @OptionGroup var report: ReportOptions

    func validate() throws {
        guard (2...8).contains(bits) else { throw ValidationError("--bits must be between 2 and 8.") }
        guard UniformParameters(bits: 4, groupSize: groupSize, symmetric: false) != nil else {
            throw ValidationError("--group-size must be 32, 64 or 128.")
        }
    }

    func run() async throws {
        var options = ConversionOptions()
        options.scheme = scheme
        guard
            let parameters = UniformParameters(
                bits: UniformParameters.roundingUp(bits: bits), groupSize: groupSize, symmetric: symmetric)
        else { throw ValidationError("--bits \(bits) --group-size \(groupSize) is no combination there is.") }
        options.parameters = parameters
        options.codec = codec.codec
        options.jobs = work.jobs
        options.memory = work.maxMemory.bytes
        options.nonFinite = onNonFinite
        options.force = force
        let plan = try ConversionPlan(ConversionPlan.openSource(source), options)
        for warning in plan.warnings { Console.message(IngotErrorRenderer.text(warning)) }
        var converter = try Converter(plan, to: dest)
        converter.progress = Progress.show
        let result = try await converter.run()
        Progress.clear()
        switch report.format {
        case .json: Console.result(result.json.text(indented: true))
        case .text: Console.result(ConversionText.text(result, source: source, destination: dest))
        }
    }
}

extension ConversionOptions.Scheme: ExpressibleByArgument {}
extension ConversionOptions.NonFinitePolicy: ExpressibleByArgument {}

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
