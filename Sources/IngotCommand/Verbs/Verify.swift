import ArgumentParser
import Inspection
import SystemPackage
import TensorModel
import Weights

struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check every byte of a checkpoint, and its error against the source.",
        usage: "ingot verify <checkpoint> [--against <source>] [options]",
        discussion: """
            Without --against: the manifest, all files' hashes, every seal and chunk.
            With it also: each tensor's hash, and its error, recomputed from the source.
            CHECKPOINT may be an export, and SOURCE any checkpoint: then weights are
            compared.

            With --claims: every claim of a file, such as sizes and errors at most.

            Exit code 65: bytes are damaged. 1: intact, but a certificate or a claim does
            not hold, or SOURCE is not what was converted.
            """)

    /// Messages on a terminal: more of them push the first, which tell the most, out of sight.
    private static let failuresShown = 8

    @Argument(help: "Checkpoint that `ingot convert` made; with --against, any.")
    var checkpoint: FilePath

    @Option(help: "The source it was converted from.")
    var against: FilePath?

    @OptionGroup var keyed: KeyOption
    @OptionGroup var claims: ClaimsOptions
    @OptionGroup var work: WorkOptions

    @Option(help: "Form: text, json, csv, markdown, html; of the claims alone: junit, github, sarif.")
    var format = VerificationFormat.text

    @Option(help: "How many of the tensors with the largest errors text and markdown list.")
    var top = 10

    @Flag(help: "List all tensors.")
    var all = false

    @OptionGroup var result: ResultOptions

    func validate() throws {
        guard top >= 0 else { throw ValidationError("--top must be 0 or more.") }
        guard !claims.updateBaseline || format == .text else {
            throw ValidationError("--update-baseline prints text: not with --format \(format.rawValue).")
        }
    }

    /// The title of a page.
    private var title: String { against.map { "\(checkpoint) against \($0)" } ?? checkpoint.string }

    func run() async throws {
        try result.requireApart(from: [checkpoint] + (against.map { [$0] } ?? []) + claims.files())
        try claims.requireApart(from: checkpoint)
        let stated = try claims.read()
        do {
            try await verify(stated)
        } catch let error as IngotError {
            try ClaimsOutput.tellDamage(error, checkpoint.string, stated?.path.string, format, result)
            throw error
        }
    }

    private func verify(_ stated: ClaimsFile?) async throws {
        let opened = try OpenedCheckpoint(checkpoint)
        let source = try against.map { try OpenedCheckpoint($0, key: keyed.key) }
        try keyed.require(in: source.map { [$0] } ?? [])
        for warning in opened.warnings + (source?.warnings ?? []) {
            Console.message(IngotErrorRenderer.text(warning))
        }
        let verification = try CheckpointVerification(
            opened, against: source, memory: work.maxMemory.bytes, jobs: work.jobs)
        let report = try await verification.run()
        for side in [opened] + (source.map { [$0] } ?? []) { try side.requireUnchanged() }
        let facts = try claims.facts(report, of: opened, against: source)
        if claims.updateBaseline, report.holds { return try result.deliver(claims.updateLimits(facts, stated)) }
        let outcome = try claims.evaluate(facts, stated)
        try show(report, outcome, isClaimed: stated != nil)
        for failure in report.failures.prefix(Verify.failuresShown) {
            Console.message(RemedyText.message(failure))
        }
        let hidden = report.failures.count - Verify.failuresShown
        if hidden > 0 { Console.message("... and \(hidden) more; --format json lists all") }
        if claims.updateBaseline {
            Console.message("the claims file is left as it is: the checkpoint is not what it claims")
        }
        if !report.holds || !outcome.holds { throw ExitCode(1) }
    }

    private func show(_ report: VerificationReport, _ outcome: ClaimsReport, isClaimed: Bool) throws {
        let claimed = isClaimed ? outcome : nil
        let count = all ? Int.max : top
        switch format {
        case .text:
            let text = VerificationText(report, result.style, top: count).text
            try result.deliver(claimed.map { ClaimsText.text($0, style: result.style) + "\n\n" + text } ?? text)
        case .json: try result.deliver(json: report.jsonText(with: claimed))
        case .html: try result.deliver(parts: HTMLReport.parts(title: title, json: report.jsonText(with: claimed)))
        case .csv: try result.deliver(VerificationTable.csv(report))
        case .markdown:
            let table = VerificationTable.markdown(report, top: count)
            try result.deliver(claimed.map { ClaimsMarkdown.text($0) + "\n\n" + table } ?? table)
        case .junit, .github, .sarif:
            guard let text = try ClaimsOutput.text(outcome, format, seconds: report.seconds) else { return }
            try result.deliver(text)
        }
    }
}
