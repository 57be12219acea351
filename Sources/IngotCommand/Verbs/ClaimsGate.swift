import Checkpoints
import Container
import Conversion
import FileAccess
import Inspection
import Synchronization
import SystemPackage
import TensorModel
import Weights

/// Checks the finished output of a conversion against claims before it is published.
final class ClaimsGate: Sendable {
    private let claims: ClaimsFile
    private let source: FilePath, destination: FilePath
    private let options: ConversionOptions
    private let found = Mutex<ClaimsReport?>(nil)

    /// Prepares the check of a conversion.
    init(_ claims: ClaimsFile, source: FilePath, destination: FilePath, _ options: ConversionOptions) {
        self.claims = claims
        self.source = source
        self.destination = destination
        self.options = options
    }

    /// Results of the claims; nil before `check`.
    var report: ClaimsReport? { found.withLock { $0 } }

    /// Verifies a directory against the source, and evaluates the claims.
    ///
    /// - Throws: `claimFailed` if a claim of level `error` fails.
    func check(_ directory: FilePath, _ conversion: ConversionReport) async throws {
        // Read before the verification adds to the peak.
        let peak = ProcessUsage.peakResidentBytes
        let checkpoint = try SealedCheckpoint(directory)
        let original = try Checkpoint.open(
            source, key: options.encoding.key, quantized: options.encoding.sourceForm)
        let result = try await Verifier(
            checkpoint, against: original, memory: options.run.memory, jobs: options.run.jobs
        )
        .run()
        var facts = try ClaimFacts(result, of: OpenedCheckpoint(checkpoint), against: OpenedCheckpoint(original))
        facts.peakMemory = peak
        let report = try ClaimEvaluation(facts).run(
            claims.claims, subject: destination.string, file: claims.path.string, words: RemedyText.words)
        found.withLock { $0 = report }
        guard let worst = report.failed.first else { return }
        Console.message(ClaimsText.text(report, style: .plain))
        let count = report.failed.count
        let isPublished = directory == destination
        throw IngotError(
            .claimFailed, file: directory.string,
            tensor: worst.kind.isAboutTensors ? worst.offender.map { TensorName($0) } : nil,
            found: "\(worst.title): \(worst.finding)"
                + (count > 1 ? "; \(count - 1) more \(count == 2 ? "claim fails" : "claims fail")" : ""),
            expected: "every claim of \(claims.path) to hold"
                + (isPublished ? "; an earlier run published the checkpoint" : ", or nothing is published"),
            remedy: .text(
                "convert with other options and --restart, or correct the claims"
                    + (isPublished ? "" : "; the output is kept in \(directory)")))
    }
}

extension ConversionReport {
    /// The report as JSON, with the results of claims if there are any.
    func json(with claims: ClaimsReport?) -> JSONValue {
        guard let claims, let members = json.object else { return json }
        return .object(members + [.init("claims", claims.json)])
    }
}
