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

            With --claims: every claim of a file, such as sizes and errors at most.

            Exit code 65: bytes are damaged. 1: intact, but a certificate or a claim does
            not hold, or SOURCE is not what was converted.
            """)

    /// Messages on a terminal: more of them push the first, which tell the most, out of sight.
    private static let failuresShown = 8

    @Argument(help: "Checkpoint that `ingot convert` made.")
    var dest: FilePath

    @Option(help: "The source it was converted from.")
    var against: FilePath?

    @OptionGroup var claims: ClaimsOptions
    @OptionGroup var work: WorkOptions
    @OptionGroup var report: VerificationReportOptions
    @OptionGroup var output: ResultOptions

    func validate() throws {
        guard !claims.updateBaseline || report.format == .text else {
            throw ValidationError("--update-baseline prints text: not with --format \(report.format.rawValue).")
        }
    }

    func run() async throws {
        let stated = try claims.read()
        do {
            try await verify(stated)
        } catch let error as IngotError {
            try ClaimsOutput.tellDamage(error, dest.string, stated?.path.string, report.format, output)
            throw error
        }
    }

    private func verify(_ stated: ClaimsFile?) async throws {
        let checkpoint = try SealedCheckpoint(dest)
        let source = try against.map { try ConversionPlan.openSource($0) }
        for warning in checkpoint.warnings + (source?.warnings ?? []) {
            Console.message(IngotErrorRenderer.text(warning))
        }
        let verifier = try Verifier(checkpoint, against: source, memory: work.maxMemory.bytes, jobs: work.jobs)
        let result = try await verifier.run()
        let facts = try claims.facts(result, of: OpenedCheckpoint(checkpoint), against: source)
        if claims.updateBaseline, result.holds { return try output.deliver(claims.updateLimits(facts, stated)) }
        let outcome = try claims.evaluate(facts, stated)
        switch report.format {
        case .json: try output.deliver(result.json(with: stated == nil ? nil : outcome).text(indented: true))
        case .text:
            let text = VerificationText.text(result, width: output.style.width)
            try output.deliver(
                stated == nil ? text : text + "\n\n" + ClaimsText.text(outcome, style: output.style))
        case .junit, .github, .markdown, .sarif:
            try output.deliver(
                ClaimsOutput.text(outcome, report.format, seconds: result.seconds, style: output.style))
        }
        for failure in result.failures.prefix(Verify.failuresShown) {
            Console.message(IngotErrorRenderer.text(failure))
        }
        let hidden = result.failures.count - Verify.failuresShown
        if hidden > 0 { Console.message("... and \(hidden) more; --format json lists all") }
        if claims.updateBaseline {
            Console.message("the claims file is left as it is: the checkpoint is not what it claims")
        }
        if !result.holds || !outcome.holds { throw ExitCode(1) }
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
