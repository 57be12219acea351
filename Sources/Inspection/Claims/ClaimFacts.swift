import Checkpoints
import Container
import FileAccess
import Quantization
package import SystemPackage
package import TensorModel
package import Weights

/// What is known of a checkpoint, for claims to be held against.
package struct ClaimFacts: Sendable {
    /// A file and its size.
    package struct File: Sendable, Hashable {
        /// Its path, relative to the checkpoint's directory.
        package let name: String
        /// Its bytes.
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
        /// Whether it is encoded; else it is stored as it was.
        package let isEncoded: Bool
        /// Its elements, and the bytes they take.
        package let elements: Int, byteCount: UInt64
        /// Its error; nil where nothing is known of it.
        package let error: Error?
        /// Weights that are NaN or infinite; nil where they were not counted.
        package let nonFinite: UInt64?

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

    /// What was lost of a tensor.
    package struct Error: Sendable {
        /// The figures; `cosine` is nil where it was not measured.
        package let relativeMSE: Double, signalToNoise: Double, maxError: Double, cosine: Double?
        /// Whether they were measured against the source, rather than read off the certificate.
        package let isMeasured: Bool

        /// Makes an error.
        package init(
            relativeMSE: Double, signalToNoise: Double, maxError: Double, cosine: Double?, isMeasured: Bool
        ) {
            self.relativeMSE = relativeMSE
            self.signalToNoise = signalToNoise
            self.maxError = maxError
            self.cosine = cosine
            self.isMeasured = isMeasured
        }
    }

    /// The directory of the checkpoint, or its only file.
    package var path: FilePath
    /// Every file of the checkpoint.
    package var files: [File]
    /// The bytes of its weight files, and of the source's; nil where the source's are not known.
    package var outputBytes: UInt64, sourceBytes: UInt64?
    /// Its tensors.
    package var tensors: [Tensor]
    /// Bytes that the conversion had resident at the worst moment; nil where nobody knows.
    package var peakMemory: UInt64?
    /// Names of the weight files, and where the source is: a directory or its only file.
    package var weightFiles: [String], sourcePath: FilePath?
    /// Names of the source's weight files.
    package var sourceFiles: [String] = []
    /// Whether every byte was held against hashes, as those of our checkpoints are.
    package var isSealed = true
    /// What the checkpoint was compared with, if anything.
    package var comparison: VerificationReport.Comparison?
    /// Certificates and hashes that do not hold.
    package var failures: [IngotError]

    /// Makes facts of their parts.
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

    /// Gathers what a verification of a checkpoint found, and the sizes of its files.
    package init(
        _ report: VerificationReport, of checkpoint: OpenedCheckpoint, against source: OpenedCheckpoint?
    ) throws {
        path = checkpoint.path
        isSealed = report.isSealed
        comparison = report.comparison
        files = try ClaimFacts.files(of: checkpoint.path)
        outputBytes = checkpoint.fileBytes
        weightFiles = checkpoint.weightFiles
        if case .sealed(let sealed) = checkpoint.content { sourceBytes = sealed.manifest.sourceBytes }
        if let source {
            sourceBytes = source.fileBytes
            sourceFiles = source.weightFiles
            sourcePath = source.path
        }
        let verified = Dictionary(report.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let disputed = Set(report.failures.compactMap(\.tensor))
        let (isSealed, compared) = (report.isSealed, report.compared)
        tensors = checkpoint.tensors.map { stored in
            let found = verified[stored.name]
            return Tensor(
                stored.name, isEncoded: stored.isEncoded, elements: stored.shape.elementCount,
                byteCount: stored.byteCount,
                error: found.flatMap {
                    Error($0, stored, isSealed: isSealed, isSame: compared && !disputed.contains(stored.name))
                },
                nonFinite: stored.elementType.isInteger
                    ? 0 : (found?.restored).map { $0.nan + $0.infinite })
        }
        failures = report.failures
    }

    /// Every regular file of a directory, however deep; the file itself where the path is that of one.
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
    /// What a verification says of a tensor; nil where it says nothing.
    init?(_ tensor: VerificationReport.Tensor, _ stored: StoredWeights, isSealed: Bool, isSame: Bool) {
        // What is no number and was compared has the same bytes, or would be disputed.
        let isLossless = stored.descriptor == nil && (isSealed || isSame)
        if let errors = tensor.errors {
            self.init(errors.sums, cosine: errors.cosine, isMeasured: true)
        } else if let measured = tensor.measured {
            self.init(measured, cosine: nil, isMeasured: true)
        } else if isLossless {
            // Its hash says that it is as it was.
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
            cosine: cosine ?? (sums.noise == 0 ? 1 : nil), isMeasured: isMeasured)
    }
}

extension ElementType {
    /// Whether no value of the type can be other than finite.
    var isInteger: Bool {
        switch self {
        case .bool, .u8, .i8, .u16, .i16, .u32, .i32, .u64, .i64: true
        default: false
        }
    }
}
