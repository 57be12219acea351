import ArgumentParser
import Calibration
import Container
import Conversion
import Moments
import SystemPackage
import TensorModel
import Weights

/// `ingot plan`: predicts a conversion.
struct Plan: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Predict sizes, memory and errors of a conversion.",
        usage: "ingot plan <source> [options]",
        discussion: """
            plan takes the options of convert that decide the size. It writes no files.

            With --bits, plan reads headers only: the bits per weight are given, so the
            sizes follow from the shapes. With --sample, or if the size depends on the
            weights, plan encodes a few chunks of each matrix. --sample also searches all
            weights for NaN and infinity, which convert refuses.

            With --calibration, plan predicts a calibrated conversion, and the least
            --max-memory of it. --sample then also shows the bits of each linear layer.

            With --calibration-tokens, plan also predicts memory, files and time of
            `ingot calibrate` and `ingot evaluate` on a text of that length, with --jobs.
            It reads config.json, headers, norms and biases, and measures for about half
            a second how fast this machine is. Other work on it makes the times longer.

            Examples:
              ingot plan llama-7b --bits 3
              ingot plan llama-7b --target-size 3GiB --sample
              ingot plan llama-7b --relative-mse 5e-3 --format json
              ingot plan llama-7b --bits 3 --calibration moments.safetensors
              ingot plan llama-7b --calibration-tokens 131072
            """)

    @Argument(help: "Checkpoint to plan for: a file or a directory.")
    var source: FilePath

    @Flag(help: "Encode a sample of the weights, and predict errors too.")
    var sample = false

    @OptionGroup(title: "Quantization") var rate: RateOptions
    @OptionGroup(title: "Calibration and evaluation") var text: CalibrationPlanOptions
    @OptionGroup(title: "Memory and jobs") var work: WorkOptions
    @OptionGroup(title: "Progress") var shown: ProgressOptions
    @OptionGroup(title: "Output") var report: ReportOptions

    func validate() throws {
        if text.calibration != nil { try rate.requireCalibrable() }
    }

    func run() async throws {
        var options = try rate.options()
        options.run.jobs = work.jobs
        options.run.memory = work.memory.bytes
        var moments: CalibrationMoments?
        var warnings: [IngotWarning] = []
        if let calibration = text.calibration {
            options = rate.calibrated(options, work.isMemoryStated)
            let opened = try CalibrationMoments(opening: calibration, scratch: calibration.removingLastComponent())
            warnings = try opened.file.fitWarnings(
                OpenedCheckpoint(source, key: options.encoding.key), comparingWeights: false)
            options.encoding.calibration = opened.hash
            moments = opened
        }
        let plan = try ConversionPlan(
            ConversionPlan.openSource(source, key: options.encoding.key, quantized: options.encoding.sourceForm),
            options,
            moments)
        let reading = ReadingProgress(shown, totalBytes: 0, files: [])
        for warning in warnings + plan.warnings { reading.warn(warning) }
        let forecast = try await ConversionForecast(plan, sampling: sample)
        var calibration: CalibrationForecast?
        if let options = text.options(jobs: work.jobs) {
            calibration = try await CalibrationForecast(EvaluatedModel(source), options)
        }
        reading.finish()
        switch report.format {
        case .json:
            let members = forecast.json.object ?? []
            Console.result(.object(members + [.init("calibration", calibration?.json ?? .null)]))
        case .text:
            let text = calibration.map { "\n\n" + CalibrationForecastText.text($0) } ?? ""
            Console.result(ForecastText.text(forecast, width: Console.width) + text)
        }
    }
}

/// Options of `plan` about `calibrate` and `evaluate`.
struct CalibrationPlanOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Plan a conversion with these moments from ingot calibrate, or with an importance matrix of llama.cpp.",
            valueName: "file"))
    var calibration: FilePath?

    @Option(
        help: ArgumentHelp(
            "Also predict memory and time of calibrate and evaluate on a text of N tokens.", valueName: "n"))
    var calibrationTokens: Int?

    @Option(help: ArgumentHelp("Their --context: tokens of a sequence. Default: 512.", valueName: "n"))
    var context: Int?

    @Option(help: ArgumentHelp("--blocks of calibrate. Default: usual.", valueName: "blocks"))
    var blocks: MomentBlocks?

    @Option(help: ArgumentHelp("--gradient-tokens of calibrate. Default: 16384.", valueName: "n"))
    var gradientTokens: Int?

    @Option(
        help: ArgumentHelp(
            "Their --max-memory. The least that is enough counts if it is more. Default: 2048MiB.", valueName: "size"))
    var calibrationMemory: ByteCount?

    func validate() throws {
        if calibrationTokens == nil,
            context != nil || blocks != nil || gradientTokens != nil || calibrationMemory != nil
        {
            throw ValidationError(
                "--context, --blocks, --gradient-tokens and --calibration-memory need --calibration-tokens.")
        }
        if let gradientTokens, gradientTokens < 0 { throw ValidationError("--gradient-tokens must be 0 or more.") }
    }

    /// What is asked for; nil without `--calibration-tokens`.
    func options(jobs: Int) -> CalibrationForecast.Options? {
        guard let calibrationTokens else { return nil }
        var options = CalibrationForecast.Options(tokens: calibrationTokens)
        options.context = context ?? options.context
        options.blocks = blocks ?? options.blocks
        options.gradientTokens = gradientTokens ?? options.gradientTokens
        options.memory = calibrationMemory?.bytes ?? options.memory
        options.jobs = jobs
        return options
    }
}

/// A forecast as text for people.
enum ForecastText {
    static func text(_ forecast: ConversionForecast, width: Int?) -> String {
        let hasRules = forecast.tensors.contains { $0.rule != "default" }
        var rows = [
            ["tensor", "type", "shape", "stored as", "size", "bits", "rel MSE"] + (hasRules ? ["rule"] : [])
        ]
        for tensor in forecast.tensors {
            rows.append(
                [
                    IngotErrorRenderer.escaped(tensor.name.text), tensor.elementType.rawValue, tensor.shape.description,
                    tensor.scheme.summary, Format.bytes(tensor.byteCount), NumberText.fixed(tensor.bitsPerWeight, 2),
                    tensor.relativeMSE.map(Format.scientific) ?? "-",
                ] + (hasRules ? [tensor.rule == "default" ? "" : IngotErrorRenderer.escaped(tensor.rule)] : []))
        }
        var lines = [Format.table(rows, width: width, left: [0, 1, 3, 7]), ""]
        func add(_ label: String, _ value: String) { lines.append(Format.filled(label, to: 18) + value) }
        for (index, kind) in forecast.quantization.enumerated() { add(index == 0 ? "source" : "", kind.text) }
        add("size before", Format.bytes(forecast.sourceBytes))
        add(
            "size after",
            "\(Format.bytes(forecast.outputBytes))  (and \(Format.bytes(forecast.companionBytes)) of other files)")
        add("reduction", "\(NumberText.fixed(forecast.reduction * 100, 1)) %")
        if let bits = forecast.bitsPerWeight {
            add(
                "bits per weight",
                "\(NumberText.fixed(bits, 3))  ("
                    + (forecast.decodedWeights.map { "\($0) decoded weights, everything counted)" }
                        ?? "\(forecast.weights) weights in \(forecast.weightTensors.count) matrices)")
            )
        }
        add("kept", "\(forecast.kept.count) tensors")
        for line in RuleText.counts(forecast.kept.map(\.rule)) { add("", line) }
        if forecast.isCalibrated {
            let plain = forecast.tensors.filter { !$0.isCalibrated }
            add("calibrated", "\(forecast.tensors.count - plain.count) of \(forecast.tensors.count) matrices")
            if !plain.isEmpty {
                let names = plain.map { IngotErrorRenderer.escaped($0.name.text) }
                let shown = names.prefix(3).joined(separator: ", ") + (names.count > 3 ? ", ..." : "")
                for line in Format.wrapped("plain: " + shown, to: 58) { add("", line) }
            }
        }
        add("memory at most", Format.bytes(forecast.memoryBytes))
        if forecast.isCalibrated { add("", "--max-memory \(forecast.leastMemoryBytes >> 20)MiB at least") }
        add("read", forecast.isSampled ? "headers and a sample of the weights" : "headers")
        if !forecast.isScanned {
            add(
                "NaN and infinity",
                "not looked for (--sample does); convert \(forecast.failsOnNonFinite ? "refuses" : "keeps") them")
        }
        return lines.joined(separator: "\n")
    }
}

/// Rules that decided about tensors, in words.
enum RuleText {
    /// How many tensors each rule kept, the most frequent first, in lines: `9 vector, 4 router`; empty without tensors.
    static func counts(_ rules: [String]) -> [String] {
        let counts = Dictionary(rules.map { ($0, 1) }, uniquingKeysWith: +)
        let sorted = counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        guard !sorted.isEmpty else { return [] }
        let shown = sorted.prefix(4).map { "\($0.value) \(IngotErrorRenderer.escaped($0.key))" }
        return Format.wrapped(shown.joined(separator: ", ") + (sorted.count > shown.count ? ", ..." : ""), to: 58)
    }
}
