import Checkpoints
import Container
import FileAccess
import Quantization
package import SystemPackage
package import TensorModel
package import Weights

/// Known facts about a checkpoint, input of `ClaimEvaluation`.
package struct ClaimFacts: Sendable {
    /// A file and its size.
    package struct File: Sendable, Hashable {
        /// Path relative to the directory of the checkpoint.
        package let name: String
        /// Size in bytes.
        package let byteCount: UInt64

        /// Makes an entry.
        package init(name: String, byteCount: UInt64) {
            self.name = name
            self.byteCount = byteCount
        }
    }

    /// A tensor.
    package struct Tensor: Sendable {
        /// Its name.
        package let name: TensorName
        /// Whether it is encoded; otherwise it is stored unchanged.
        package let isEncoded: Bool
        /// Number of its elements, and of the bytes they take in the file.
        package let elements: Int, byteCount: UInt64
        /// Its error; nil if unknown.
        package let error: Error?
        /// Number of NaN and infinite weights; nil if they were not counted.
        package let nonFinite: UInt64?
        /// Error over activations; nil for a tensor that is not calibrated.
        package var activationError: ActivationError?
        /// Whether only this checkpoint stores it, for a good reason (`VerificationReport.Apart`): it has no error.
        package var isApart = false

        /// Makes a tensor.
        package init(
            _ name: TensorName, isEncoded: Bool, elements: Int, byteCount: UInt64, error: Error?, nonFinite: UInt64?
        ) {
            self.name = name
            self.isEncoded = isEncoded
            self.elements = elements
            self.byteCount = byteCount
            self.error = error
            self.nonFinite = nonFinite
        }
    }

    /// Error over activations of a calibrated tensor.
    package struct ActivationError: Sendable, Hashable {
        /// tr(E H E^T) / tr(W H W^T) (Specs/trellis.md, "Certificate").
        package let relative: Double
        /// Whether it was measured with the source and the moments; otherwise it comes from the certificate.
        package let isMeasured: Bool

        /// Makes an error.
        package init(relative: Double, isMeasured: Bool) { (self.relative, self.isMeasured) = (relative, isMeasured) }
    }

    /// Error of a tensor.
    package struct Error: Sendable {
        /// Error figures: `signalToNoise` in dB; `cosine` is nil if it was not measured.
        package let relativeMSE: Double, signalToNoise: Double, maxError: Double, cosine: Double?
        /// Whether the figures were measured against the source; otherwise they come from the certificate.
        package let isMeasured: Bool
        /// Sums of the squares of the errors, and of the weights.
        package let noise: Double, signal: Double

        /// Makes an error.
        package init(
            relativeMSE: Double, signalToNoise: Double, maxError: Double, cosine: Double?, isMeasured: Bool,
            noise: Double = 0, signal: Double = 0
        ) {
            (self.noise, self.signal) = (noise, signal)
            self.relativeMSE = relativeMSE
            self.signalToNoise = signalToNoise
            self.maxError = maxError
            self.cosine = cosine
            self.isMeasured = isMeasured
        }
    }

    /// Directory of the checkpoint, or its only file.
    package var path: FilePath
    /// Every file of the checkpoint.
    package var files: [File]
    /// Bytes of the weight files, and of the source's weight files; the latter is nil if unknown.
    package var outputBytes: UInt64, sourceBytes: UInt64?
    /// Its tensors.
    package var tensors: [Tensor]
    /// Peak resident memory of the conversion in bytes; nil if unknown.
    package var peakMemory: UInt64?
    /// Figures of an evaluation against the source; nil if there is none.
    package var quality: QualityFacts?
    /// Names of the weight files, and path of the source: a directory or its only file.
    package var weightFiles: [String], sourcePath: FilePath?
    /// Names of the source's weight files.
    package var sourceFiles: [String] = []
    /// Whether every byte was checked against a hash, as in Ingot checkpoints.
    package var isSealed = true
    /// Whether every byte was checked against a hash.
    package var isIntact = true
    /// Kind of comparison; nil without a source.
    package var comparison: VerificationReport.Comparison?
    /// Whether every weight equals the source's; nil if weights were not compared.
    package var values: ValueExactness?
    /// Certificates and hashes that do not hold.
    package var failures: [IngotError]

    /// Makes facts from their parts.
    package init(
        path: FilePath, files: [File], outputBytes: UInt64, sourceBytes: UInt64?, tensors: [Tensor],
        peakMemory: UInt64? = nil, weightFiles: [String] = [], sourcePath: FilePath? = nil,
        failures: [IngotError] = []
    ) {
        self.path = path
        self.files = files
        self.outputBytes = outputBytes
        self.sourceBytes = sourceBytes
        self.tensors = tensors
        self.peakMemory = peakMemory
        self.weightFiles = weightFiles
        self.sourcePath = sourcePath
        comparison = sourcePath == nil ? nil : .source
        self.failures = failures
    }

    /// Takes the facts from a verification, and the sizes of all files from the file system.
    package init(
        _ report: VerificationReport, of checkpoint: OpenedCheckpoint, against source: OpenedCheckpoint?
    ) throws {
        path = checkpoint.path
        isSealed = report.isSealed
        isIntact = report.isIntact
        comparison = report.comparison
        files = try ClaimFacts.files(of: checkpoint.path)
        outputBytes = checkpoint.fileBytes
        weightFiles = checkpoint.weightFiles
        if case .sealed(let sealed) = checkpoint.content { sourceBytes = sealed.manifest.sourceBytes }
        if let source {
            sourceBytes = source.sizeBefore
            sourceFiles = source.weightFiles
            sourcePath = source.path
        }
        let verified = Dictionary(report.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let disputed = Set(report.failures.compactMap(\.tensor))
        let (isSealed, compared) = (report.isSealed, report.compared)
        let apart = Dictionary(
            report.apart.lazy.filter { !$0.isInSource }.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let measured = Dictionary(
            (report.calibrated ?? []).map { ($0.name, $0.measured) }, uniquingKeysWith: { first, _ in first })
        tensors = checkpoint.tensors.map { stored in
            let found = verified[stored.name]
            var tensor = Tensor(
                stored.name, isEncoded: stored.isEncoded, elements: stored.shape.elementCount,
                byteCount: stored.byteCount,
                error: found.flatMap {
                    Error($0, stored, isSealed: isSealed, isSame: compared && !disputed.contains(stored.name))
                },
                nonFinite: stored.elementType.isInteger
                    ? 0 : (found?.restored ?? apart[stored.name]?.statistics).map { $0.nan + $0.infinite })
            tensor.isApart = apart[stored.name] != nil
            if let sums = measured[stored.name] ?? stored.descriptor?.calibrated?.sums {
                tensor.activationError = ActivationError(
                    relative: sums.relativeError, isMeasured: measured[stored.name] != nil)
            }
            return tensor
        }
        values = report.values
        failures = report.failures
    }

    /// Every regular file below a directory; if `path` is a file, that file.
    private static func files(of path: FilePath) throws -> [File] {
        guard try Directory.kind(path) == .directory else {
            return [File(name: path.lastComponent?.string ?? "", byteCount: FileIdentity(path)?.byteCount ?? 0)]
        }
        return try Directory.tree(path).compactMap { name, isText in
            let place = path.appending(FilePath(name).components)
            guard isText, try Directory.kind(place) == .file else { return nil }
            return FileIdentity(place).map { File(name: name, byteCount: $0.byteCount) }
        }
    }
}

extension ClaimFacts.Error {
    /// Error of a tensor according to a verification; nil if unknown.
    init?(_ tensor: VerificationReport.Tensor, _ stored: StoredWeights, isSealed: Bool, isSame: Bool) {
        // Compared non-float tensors have the same bytes, or `isSame` is false.
        let isLossless = stored.descriptor == nil && (isSealed || isSame)
        if let errors = tensor.errors {
            self.init(errors.sums, cosine: errors.cosine, isMeasured: true)
        } else if let measured = tensor.measured {
            self.init(measured, cosine: nil, isMeasured: true)
        } else if isLossless {
            // Its hash shows that it is unchanged.
            self.init(.zero, cosine: 1, isMeasured: isSame)
        } else if isSealed {
            self.init(tensor.certificate ?? .zero, cosine: nil, isMeasured: false)
        } else {
            return nil
        }
    }

    private init(_ sums: ErrorSums, cosine: Double?, isMeasured: Bool) {
        self.init(
            relativeMSE: sums.relativeMSE, signalToNoise: sums.signalToNoise, maxError: sums.maxError,
            cosine: cosine ?? (sums.noise == 0 ? 1 : nil), isMeasured: isMeasured,
            noise: sums.noise, signal: sums.signal)
    }
}

extension ElementType {
    /// Whether all values of the type are finite: integers and booleans.
    var isInteger: Bool {
        switch self {
        case .bool, .u8, .i8, .u16, .i16, .u32, .i32, .u64, .i64: true
        default: false
        }
    }
}
