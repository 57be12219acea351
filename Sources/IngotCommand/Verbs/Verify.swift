import ArgumentParser
import Checkpoints
import Container
import Conversion
import Inspection
import Quantization
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
    @OptionGroup var report: PageOptions

    func run() async throws {
        let checkpoint = try SealedCheckpoint(dest)
        let source = try against.map { try ConversionPlan.openSource($0) }
        for warning in checkpoint.warnings + (source?.warnings ?? []) {
            Console.message(IngotErrorRenderer.text(warning))
        }
        let verifier = try Verifier(checkpoint, against: source, memory: work.maxMemory.bytes, jobs: work.jobs)
        let result = try await verifier.run()
        switch report.format {
        case .json: Console.result(result.json.text(indented: true))
        case .html:
            Console.result(
                HTMLReport.page(title: against.map { "\(dest) against \($0)" } ?? dest.string, json: result.json))
        case .text: Console.result(VerificationText.text(result, width: Console.width))
        }
        for failure in result.failures.prefix(Verify.failuresShown) {
            Console.message(IngotErrorRenderer.text(failure))
        }
        let hidden = result.failures.count - Verify.failuresShown
        if hidden > 0 { Console.message("... and \(hidden) more; --format json lists all") }
        if !result.holds { throw ExitCode(1) }
    }
}

/// The report of a verification, for people.
enum VerificationText {
    static func text(_ report: VerificationReport, width: Int?) -> String {
        let head = ["tensor", "stored as", "rel MSE", "SNR dB", "max error"]
        var rows = [head]
        for tensor in report.tensors where tensor.scheme != "kept" {
            let sums = tensor.measured ?? tensor.certificate
            rows.append([
                IngotErrorRenderer.escaped(tensor.name.text), tensor.scheme, Format.scientific(sums.relativeMSE),
                sums.noise == 0 ? "exact" : Format.fixed(sums.signalToNoise, 1), Format.scientific(sums.maxError),
            ])
        }
        var lines = rows.count > 1 ? [Format.table(rows, width: width, left: [0, 1]), ""] : []
        let kept = report.tensors.count { $0.scheme == "kept" }
        lines.append("\(report.tensors.count) tensors, \(kept) of them kept as they were; every byte is intact")
        if report.compared {
            lines.append(
                report.holds
                    ? "the source is the one that was converted, and every certificate holds"
                    : "\(report.failures.count) claims do not hold")
        } else {
            lines.append(
                "not compared with a source: the errors are the certificates' (--against SOURCE measures them)")
        }
        return lines.joined(separator: "\n")
    }
}
