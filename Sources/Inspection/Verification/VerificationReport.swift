import Conversion
import FileAccess
public import Quantization
import SystemPackage
public import TensorModel

/// What a verification found; the bytes themselves are intact, or there would be no report.
public struct VerificationReport: Sendable {
    /// A tensor of the checkpoint.
    public struct Tensor: Sendable {
        /// Its name.
        public let name: TensorName
        /// How it is stored; `kept` for a tensor that stayed as it was.
        public let scheme: String
        /// Its certificate; zero for a tensor that stayed as it was.
        public let certificate: ErrorSums
        /// The error measured against the source; nil where there is none to compare with.
        public let measured: ErrorSums?
        /// What it does in its model.
        public let role: TensorRole
        /// Elements it has.
        public let elements: Int
        /// Bytes it takes in its file, and in the source; nil where the source has no such tensor.
        public let byteCount: UInt64, sourceByteCount: UInt64?
        /// What became of each weight; nil where there is no source, and for tensors that are no floating-point numbers.
        public let errors: ErrorStatistics?
        /// The weights as they are restored, and as the source has them; nil for tensors that are no floating-point numbers.
        public let restored: WeightStatistics?, original: WeightStatistics?
    }

    /// Whether there was a source to compare with.
    public let compared: Bool
    /// The tensors, in order of the files.
    public internal(set) var tensors: [Tensor] = []
    /// Claims that do not hold.
    public internal(set) var failures: [IngotError] = []
    /// What is odd but stops nothing.
    public let warnings: [IngotWarning]
    /// Wall-clock seconds.
    public internal(set) var seconds: Double = 0

    init(compared: Bool, warnings: [IngotWarning]) {
        self.compared = compared
        self.warnings = warnings
    }

    /// Whether every claim holds.
    public var holds: Bool { failures.isEmpty }

    mutating func check(
        _ name: TensorName, _ path: FilePath, found: Bool, hashMatches: Bool, certificateHolds: Bool
    ) {
        let remedy = "verify against the source it was converted from"
        if !found {
            failures.append(
                IngotError(
                    .sourceMismatch, file: path.string, tensor: name,
                    found: "the source has no such tensor of the same type and shape", remedy: remedy))
        } else if !hashMatches {
            failures.append(
                IngotError(
                    .sourceMismatch, file: path.string, tensor: name,
                    found: "the source's bytes have another hash than the converted tensor's", remedy: remedy))
        } else if !certificateHolds {
            failures.append(
                IngotError(
                    .certificateMismatch, file: path.string, tensor: name,
                    found: "an error against the source that is not the certificate's",
                    remedy: "convert the source again; the checkpoint claims what it does not keep"))
        }
    }

    /// The report as JSON, schema `ingot.verify` version 1 (Specs/json.md).
    public var json: JSONValue {
        .object([
            .init("schema", .string("ingot.verify")), .init("schema_version", .unsigned(1)),
            .init("intact", .bool(true)), .init("compared", .bool(compared)), .init("holds", .bool(holds)),
            .init("seconds", .number(seconds)),
            .init("peak_resident_bytes", .unsigned(ProcessUsage.peakResidentBytes)),
            .init(
                "tensors",
                .array(
                    tensors.map { tensor in
                        .object([
                            .init("name", .string(tensor.name.text)), .init("scheme", .string(tensor.scheme)),
                            .init("certificate", .object(tensor.certificate.json)),
                            .init("measured", tensor.measured.map { .object($0.json) } ?? .null),
                        ])
                    })),
            .init(
                "failures",
                .array(
                    failures.map { failure in
                        .object([
                            .init("code", .string(failure.code.rawValue)),
                            .init("tensor", failure.tensor.map { .string($0.text) } ?? .null),
                            .init("found", .string(failure.found)),
                        ])
                    })),
            .init("warnings", .array(warnings.map { .string(IngotErrorRenderer.text($0)) })),
        ])
    }
}
