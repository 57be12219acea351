import ArgumentParser
import Checkpoints
import Container
import Conversion
import Inspection
import SystemPackage
import TensorModel

struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check every byte of a checkpoint, and its error against the source.",
        usage: "ingot verify <dest> [--against <source>] [options]",
        discussion: """
            Without --against: the manifest, all files' hashes, every seal and chunk.
            With it also: each tensor's hash, and its error, recomputed from the source.

            Exit code 65: bytes are damaged. 1: intact, but a certificate does not hold,
            or SOURCE is not what was converted.
            """)

    /// Messages on a terminal: more of them push the first, which tell the most, out of sight.
    private static let failuresShown = 8

    @Argument(help: "Checkpoint that `ingot convert` made.")
    var dest: FilePath

    @Option(help: "The source it was converted from.")
    var against: FilePath?

    @OptionGroup var work: WorkOptions

    @Option(help: "Form of the result: text, json, csv, markdown or html.")
    var format = VerificationFormat.text

    @Option(help: "How many of the tensors with the largest errors text and markdown list.")
    var top = 10

    @Flag(help: "List all tensors.")
    var all = false

    @OptionGroup var result: ResultOptions

    func validate() throws {
        guard top >= 0 else { throw ValidationError("--top must be 0 or more.") }
    }

    /// The title of a page.
    private var title: String { against.map { "\(dest) against \($0)" } ?? dest.string }

    func run() async throws {
        let checkpoint = try SealedCheckpoint(dest)
        let source = try against.map { try ConversionPlan.openSource($0) }
        for warning in checkpoint.warnings + (source?.warnings ?? []) {
            Console.message(IngotErrorRenderer.text(warning))
        }
        let verifier = try Verifier(checkpoint, against: source, memory: work.maxMemory.bytes, jobs: work.jobs)
        let report = try await verifier.run()
        let count = all ? Int.max : top
        switch format {
        case .json where result.output == nil:
            report.writeJSON { Console.part($0) }
            Console.part([UInt8(ascii: "\n")])
        case .json: try result.deliver(report.json.text(indented: true))
        case .text: try result.deliver(VerificationText(report, result.style, top: count).text)
        case .html: try result.deliver(HTMLReport.page(title: title, json: report.json))
        case .csv: try result.deliver(VerificationTable.csv(report))
        case .markdown: try result.deliver(VerificationTable.markdown(report, top: count))
        }
        for failure in report.failures.prefix(Verify.failuresShown) {
            Console.message(IngotErrorRenderer.text(failure))
        }
        let hidden = report.failures.count - Verify.failuresShown
        if hidden > 0 { Console.message("... and \(hidden) more; --format json lists all") }
        if !report.holds { throw ExitCode(1) }
    }
}

/// The form of a verification's result.
enum VerificationFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, csv, markdown, html
}
