import ArgumentParser
import Conversion
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import Weights

/// `ingot verify`: checks a checkpoint.
struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check every byte of a checkpoint, and its error against the source.",
        usage: "ingot verify <checkpoint> [--against <source>] [options]",
        discussion: """
            Without --against, verify checks the manifest, the hashes of all files, every
            seal and every chunk; of an export, the hashes in its manifest. With --against SOURCE, it also checks the hash of each
            source tensor, measures each error, and checks it against the certificate.

            CHECKPOINT may also be an export, or SOURCE the output of another conversion:
            then verify compares the weights, without certificates. The verdict is
            COMPARED, unless --max-relative-mse or --claims can tell PASS from FAIL.

            `value-exact` means that every weight of CHECKPOINT equals that of SOURCE,
            whatever their formats and element types. If not, verify names the first weight
            that differs, in JSON also for a lossy conversion.

            A GGUF file of architecture llama or qwen2 and a Hugging Face directory are
            compared too, in both directions: names, order of rows and experts are matched.

            With --claims FILE, verify also checks limits such as largest sizes and errors.
            Claims about quality (max_kl, max_perplexity_ratio, min_top1) need texts, or an
            evaluation that was saved.

            `act err` is the relative error over activations of matrices that were quantized
            with calibration, by their certificates.

            Exit code 65: bytes are damaged. 1: the bytes are intact, but a certificate or
            a claim does not hold, or SOURCE is not the checkpoint that was converted.

            Examples:
              ingot verify llama-7b.ingot
              ingot verify llama-7b.ingot --against llama-7b
              ingot verify llama-7b-q4.gguf --against llama-7b
              ingot verify llama-7b.ingot --claims claims.json --format junit -o claims.xml
            """)

    /// Options about the checkpoint to compare with.
    struct ComparisonOptions: ParsableArguments {
        @Option(help: ArgumentHelp("Checkpoint to compare with: the source of the conversion.", valueName: "source"))
        var against: FilePath?

        @Option(
            help: ArgumentHelp(
                "With --against, for a calibrated checkpoint: the moments it was made with. Also checks the certificates over activations.",
                valueName: "file"))
        var calibration: FilePath?

        @OptionGroup var keyed: KeyOption

        func validate() throws {
            guard calibration == nil || against != nil else { throw ValidationError("--calibration needs --against.") }
        }
    }

    /// Options about the shown result.
    struct OutputOptions: ParsableArguments {
        @Option(help: "Format of the result. junit, github and sarif: the claims only.")
        var format = VerificationFormat.text

        @Option(help: ArgumentHelp("Tensors with the largest errors to list, in text and markdown.", valueName: "n"))
        var top = 10

        @Flag(help: "List all tensors, in text and markdown.")
        var all = false

        func validate() throws {
            guard top >= 0 else { throw ValidationError("--top must be 0 or more.") }
        }
    }

    /// Failures shown on a terminal; more would scroll the first ones, which tell most, off the screen.
    private static let failuresShown = 8

    @Argument(help: "An output of `ingot convert`. With --against, any checkpoint.")
    var checkpoint: FilePath

    @OptionGroup(title: "Comparison") var comparison: ComparisonOptions
    @OptionGroup(title: "Claims") var claims: ClaimsOptions
    @OptionGroup(title: "Texts for claims about quality") var quality: QualityOptions

    @OptionGroup(title: "Output") var output: OutputOptions
    @OptionGroup(title: "Output") var result: ResultOptions
    @OptionGroup(title: "Further reports of the same run") var extra: ExtraReports
    @OptionGroup(title: "Memory and jobs") var work: WorkOptions
    @OptionGroup(title: "Progress") var shown: ProgressOptions

    func validate() throws {
        guard !claims.updateBaseline || output.format == .text else {
            throw ValidationError("--update-baseline prints text: not with --format \(output.format.rawValue).")
        }
        guard !quality.isGiven || claims.claims != nil else {
            throw ValidationError("--text, --ids and --evaluation are for claims about quality: give --claims.")
        }
        guard quality.texts.areMissing || comparison.against != nil else {
            throw ValidationError("--text and --ids compare two models: give --against.")
        }
    }

    /// Title of the HTML page.
    private var title: String { comparison.against.map { "\(checkpoint) against \($0)" } ?? checkpoint.string }

    func run() async throws {
        let inputs =
            try [checkpoint] + (comparison.against.map { [$0] } ?? []) + claims.files()
            + quality.files
        try result.requireApart(from: inputs)
        try extra.requireApart(from: inputs, result.output)
        try claims.requireApart(from: checkpoint)
        let stated = try claims.read()
        do {
            try await verify(stated)
        } catch let error as IngotError {
            try tellDamage(error, stated?.path.string)
            throw error
        }
    }

    private func verify(_ stated: ClaimsFile?) async throws {
        let both = try OpenedCheckpoint.open(
            together: [checkpoint] + [comparison.against].compactMap(\.self), key: comparison.keyed.key)
        let (opened, source) = (both[0], both.count > 1 ? both[1] : nil)
        try comparison.keyed.require(in: source.map { [$0] } ?? [])
        let verification = try CheckpointVerification(
            opened, against: source, memory: work.memory.bytes, jobs: work.jobs)
        let reading = ReadingProgress(shown, totalBytes: try verification.totalBytes, files: opened.weightFiles)
        for warning in opened.warnings + (source?.warnings ?? []) { reading.warn(warning) }
        var report = try await verification.run { reading.note($0, $1, $2) }
        if let calibration = comparison.calibration, let source {
            guard let sealed = opened.sealed else {
                throw IngotError(
                    .usage, file: checkpoint.string, found: "--calibration for a checkpoint that is not sealed",
                    expected: "an output of ingot convert --calibration")
            }
            // An importance matrix becomes a file of moments, as in the conversion.
            let moments = try CalibrationMoments(
                opening: calibration, scratch: calibration.removingLastComponent())
            report.add(
                calibrated: try await CalibratedVerification(
                    sealed, against: source, moments.file, jobs: work.jobs
                ).run(), in: checkpoint.string)
        }
        reading.finish()
        for side in [opened] + (source.map { [$0] } ?? []) { try side.requireUnchanged() }
        var facts = try claims.facts(report, of: opened, against: source)
        if report.holds {
            facts.quality = try await quality.facts(
                of: opened, against: source, memory: work.memory.bytes, jobs: work.jobs, shown)
        }
        if claims.updateBaseline, report.holds { return try result.deliver(claims.updateLimits(facts, stated)) }
        let outcome = try claims.evaluate(facts, stated)
        try show(report, outcome)
        let shown = report.isOtherSource ? 1 : Verify.failuresShown
        for failure in report.failures.prefix(shown) { Console.message(RemedyText.message(failure)) }
        let hidden = report.failures.count - shown
        if hidden > 0 { Console.message("... and \(hidden) more; --format json lists all") }
        if claims.updateBaseline {
            Console.message("the claims file is left as it is: the checkpoint is not what it claims")
        }
        if outcome.verdict == .fail { throw ExitCode(1) }
    }

    private func show(_ report: VerificationReport, _ outcome: ClaimsReport) throws {
        try result.deliver(parts: rendered(report, outcome, output.format, result.style))
        try writeExtra(report, outcome)
    }

    /// Writes the further reports.
    private func writeExtra(_ report: VerificationReport, _ outcome: ClaimsReport) throws {
        for file in extra.files {
            try ReportFile.write(rendered(report, outcome, file.format, .plain), to: file.path)
        }
        if extra.github, output.format != .github {
            Console.result(parts: try rendered(report, outcome, .github, .plain))
        }
    }

    /// The result in a format, in parts. The last part ends with a newline.
    private func rendered(
        _ report: VerificationReport, _ outcome: ClaimsReport, _ format: VerificationFormat, _ style: Style
    ) throws -> AnySequence<String> {
        let claimed = claims.areGiven || report.isDamaged ? outcome : nil
        let count = output.all ? Int.max : output.top
        func lines(_ text: String) -> AnySequence<String> { AnySequence(CollectionOfOne(text + "\n")) }
        switch format {
        case .text:
            let text = VerificationText(report, outcome, style, top: count).text
            return lines(claimed.map { ClaimsText.text($0, style: style) + "\n\n" + text } ?? text)
        case .json:
            return AnySequence(
                report.jsonText(outcome.verdict, with: claimed).lazy.map { IngotErrorRenderer.json($0) })
        case .html:
            return AnySequence(
                HTMLReport.parts(title: title, json: report.jsonText(outcome.verdict, with: claimed)))
        case .csv: return lines(VerificationTable.csv(report))
        case .markdown:
            let table = report.isDamaged ? nil : VerificationTable.markdown(report, outcome.verdict, top: count)
            return lines([claimed.map { ClaimsMarkdown.text($0) }, table].compactMap { $0 }.joined(separator: "\n\n"))
        case .junit, .github, .sarif:
            return lines(try ClaimsOutput.text(outcome, format, seconds: report.seconds) ?? "")
        }
    }

    /// Reports damage of the checkpoint in formats for programs, with verdict FAIL. For people the error message is enough.
    private func tellDamage(_ error: IngotError, _ claimsFile: String?) throws {
        guard error.code.kind == .badData, ![.claimsInvalid, .reportInvalid].contains(error.code) else { return }
        let outcome = ClaimsReport.damaged(
            error, subject: checkpoint.string, file: claimsFile, words: RemedyText.words)
        let report = VerificationReport.damaged(error)
        if output.format != .text {
            try result.deliver(parts: rendered(report, outcome, output.format, .plain))
        }
        try writeExtra(report, outcome)
    }
}
