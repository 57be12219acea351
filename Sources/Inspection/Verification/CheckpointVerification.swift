import Container
import SystemPackage
import TensorModel
package import Weights

/// Verifies a checkpoint of any format, as far as the format and the comparison allow.
///
/// Of an Ingot checkpoint, every byte is checked. Against its plain source, hashes, certificates and errors are checked too. An export,
/// or a comparison with another Ingot checkpoint, compares weights only.
package struct CheckpointVerification: Sendable {
    private let checkpoint: OpenedCheckpoint, source: OpenedCheckpoint?
    private let memory: UInt64, jobs: Int

    /// Prepares a verification.
    ///
    /// - Parameters:
    ///   - memory: bytes of buffers at most.
    ///   - jobs: chunks worked on at the same time.
    /// - Throws: `noInput` for a format without hashes if `source` is nil.
    package init(_ checkpoint: OpenedCheckpoint, against source: OpenedCheckpoint?, memory: UInt64, jobs: Int) throws {
        guard checkpoint.isSealed || source != nil else {
            throw IngotError(
                .noInput, file: checkpoint.path.string, found: "no \(Manifest.fileName): not a checkpoint of Ingot's",
                remedy: .option(.nameCheckpointOrSource))
        }
        self.checkpoint = checkpoint
        self.source = source
        self.memory = memory
        self.jobs = jobs
    }

    /// Runs the verification.
    ///
    /// - Throws: an error that names the damage; `usage` if `memory` is below the smallest budget. Hashes and certificates that do not hold
    ///   are in the report.
    package func run() async throws -> VerificationReport {
        guard case .sealed(let sealed) = checkpoint.content else { return try await compareWeights() }
        switch source?.content {
        case nil: return try await Verifier(sealed, against: nil, memory: memory, jobs: jobs).run()
        case .plain(let plain): return try await Verifier(sealed, against: plain, memory: memory, jobs: jobs).run()
        case .sealed:
            let intact = try await Verifier(sealed, against: nil, memory: memory, jobs: jobs, measures: false).run()
            var report = try await compareWeights()
            report.failures = intact.failures + report.failures
            report.seconds += intact.seconds
            return report
        }
    }

    private func compareWeights() async throws -> VerificationReport {
        guard let source else { preconditionFailure("weights are compared with something") }
        return try await PlainVerification(checkpoint, against: source, memory: memory, jobs: jobs).run()
    }
}
