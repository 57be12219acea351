import Container
import FileAccess
import Publishing
import SystemPackage
package import TensorModel
package import Weights

/// Verifies a checkpoint of any format, as far as the format and the comparison allow.
///
/// Of an Ingot checkpoint, every byte is checked, and of an export with its manifest. Against its plain source, hashes, certificates and errors are checked too. An export,
/// or a comparison with another Ingot checkpoint, compares weights only. So does a comparison of names of GGUF with names of Hugging Face.
package struct CheckpointVerification: Sendable {
    private let checkpoint: OpenedCheckpoint, source: OpenedCheckpoint?
    private let memory: UInt64, jobs: Int
    /// The manifest of an export; nil for any other checkpoint.
    private let manifest: ExportManifest?

    /// Prepares a verification.
    ///
    /// - Parameters:
    ///   - memory: bytes of buffers at most.
    ///   - jobs: chunks worked on at the same time.
    /// - Throws: `noInput` for a format without hashes if `source` is nil.
    package init(_ checkpoint: OpenedCheckpoint, against source: OpenedCheckpoint?, memory: UInt64, jobs: Int) throws {
        manifest = checkpoint.isSealed ? nil : try ExportManifest(of: checkpoint.path)
        guard checkpoint.isSealed || source != nil || manifest != nil else {
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
    ///
    /// - Parameter progress: called with a tensor, its file, and the bytes of it that were verified since the last call; `totalBytes` at the
    ///   end.
    package func run(
        progress: @escaping (TensorName, String, UInt64) -> Void = { _, _, _ in }
    ) async throws -> VerificationReport {
        guard case .sealed(let sealed) = checkpoint.content else { return try await verifyPlain(progress) }
        guard let source else {
            return try await Verifier(sealed, against: nil, memory: memory, jobs: jobs).run(progress: progress)
        }
        switch source.content {
        case .plain(let plain) where try !comparesWeights(source):
            return try await Verifier(sealed, against: plain, memory: memory, jobs: jobs).run(progress: progress)
        case .plain, .sealed:
            let intact = try await Verifier(sealed, against: nil, memory: memory, jobs: jobs, measures: false).run(
                progress: progress)
            var report = try await compareWeights(progress)
            report.failures = intact.failures + report.failures
            report.seconds += intact.seconds
            return report
        }
    }

    /// Checks the files of an export against its manifest, and compares the weights if there is a source.
    private func verifyPlain(
        _ progress: @escaping (TensorName, String, UInt64) -> Void
    ) async throws -> VerificationReport {
        if let manifest {
            let known = Set(manifest.files.map { TensorName($0.name) })
            if let other = checkpoint.weightFiles.first(where: { !known.contains(TensorName($0)) }) {
                throw IngotError(
                    .manifestInvalid, file: try ExportManifest.path(of: checkpoint.path).string,
                    found: "a manifest of other files", expected: "`\(other)` among its files",
                    remedy: "put the manifest beside the file that it belongs to, or export again")
            }
            let isDirectory = try Directory.kind(checkpoint.path) == .directory
            try manifest.check(in: isDirectory ? checkpoint.path : checkpoint.path.removingLastComponent())
        }
        var report =
            source == nil
            ? VerificationReport(
                comparison: nil, format: checkpoint.formatName, sourceBytes: checkpoint.fileBytes,
                outputBytes: checkpoint.fileBytes,
                tensors: checkpoint.tensors.map {
                    VerificationReport.Tensor(
                        name: $0.name, scheme: $0.isEncoded ? $0.scheme : $0.elementType.rawValue, certificate: nil,
                        elements: $0.shape.elementCount, byteCount: $0.byteCount)
                },
                warnings: checkpoint.warnings)
            : try await compareWeights(progress)
        report.hasManifest = manifest != nil
        return report
    }

    /// Whether the weights of a sealed checkpoint are compared with a source that names its tensors in another way: then it was not converted
    /// from this source.
    private func comparesWeights(_ source: OpenedCheckpoint) throws -> Bool {
        if source.isSealed { return true }
        if case .matched = try NameCorrespondence.find(checkpoint, source) { return true }
        return false
    }

    /// The bytes that a run tells to `progress` altogether.
    ///
    /// - Throws: errors of reading.
    package var totalBytes: UInt64 {
        get throws {
            let bytes = checkpoint.tensors.reduce(0) { $0 + $1.byteCount }
            guard checkpoint.isSealed, let source, try comparesWeights(source) else { return bytes }
            return 2 * bytes
        }
    }

    private func compareWeights(
        _ progress: @escaping (TensorName, String, UInt64) -> Void
    ) async throws -> VerificationReport {
        guard let source else { preconditionFailure("weights are compared with something") }
        return try await PlainVerification(checkpoint, against: source, memory: memory, jobs: jobs).run(
            progress: progress)
    }
}
