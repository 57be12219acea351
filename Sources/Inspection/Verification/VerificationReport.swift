package import Architectures
import FileAccess
package import Quantization
import SystemPackage
package import TensorModel
package import Weights

/// Result of a verification. The bytes of an Ingot checkpoint are intact if there is a report: damage is thrown.
package struct VerificationReport: Sendable {
    /// Kind of comparison.
    package enum Comparison: String, Sendable {
        /// Hashes, certificates and weights: with the source of the conversion.
        case source
        /// Weights only: with any other checkpoint, or if the format has no hashes and certificates.
        case weights
    }

    /// How the names of two checkpoints were matched that name their tensors in different ways.
    package enum Names: Sendable, Hashable {
        /// By the tables of names of llama.cpp and Hugging Face; the checkpoint has these names, the source the others.
        case matched(checkpoint: NameCorrespondence.Names)
        /// Not at all; why.
        case unmatched(String)
    }

    /// A tensor that only one checkpoint stores, for a good reason.
    package struct Apart: Sendable {
        /// Its name, and whether it is in the source.
        package let name: TensorName, isInSource: Bool
        /// What is known about it, such as `as the rope scaling of config.json states it`.
        package let reason: String
        /// Statistics of its weights, if it is in the checkpoint and has floating-point numbers.
        package let statistics: WeightStatistics?
    }

    /// A tensor of the checkpoint.
    package struct Tensor: Sendable {
        /// Its name.
        package let name: TensorName
        /// Scheme or element type; `kept` for an unchanged tensor.
        package let scheme: String
        /// Error sums of the certificate, zero for a kept tensor; nil if the format has no certificates.
        package let certificate: ErrorSums?
        /// Sums of the certificate over activations; nil for a tensor that was not calibrated.
        package var calibrated: ActivationSums?
        /// Error sums measured against the source; nil without a source.
        package let measured: ErrorSums?
        /// Its kind and layer in the model.
        package let role: TensorRole
        /// Number of elements.
        package let elements: Int
        /// Bytes in its file, and in the source; the latter is nil if the source has no such tensor.
        package let byteCount: UInt64, sourceByteCount: UInt64?
        /// Error statistics of the weights; nil without a source, and for non-float tensors.
        package let errors: ErrorStatistics?
        /// Statistics of the decoded weights, and of the source's weights; nil for non-float tensors.
        package let restored: WeightStatistics?, original: WeightStatistics?
        /// Decoded weights in the bins of `original.histogram`; nil without a source.
        package let restoredHistogram: Histogram?
        /// How its values compare with the source's; nil without a source.
        package var agreement: ValueAgreement?

        /// Makes the description of a tensor.
        package init(
            name: TensorName, scheme: String, certificate: ErrorSums?, measured: ErrorSums? = nil, elements: Int = 0,
            byteCount: UInt64 = 0, sourceByteCount: UInt64? = nil, errors: ErrorStatistics? = nil,
            restored: WeightStatistics? = nil, original: WeightStatistics? = nil, restoredHistogram: Histogram? = nil
        ) {
            self.name = name
            self.scheme = scheme
            self.certificate = certificate
            self.measured = measured
            role = TensorRole(name)
            self.elements = elements
            self.byteCount = byteCount
            self.sourceByteCount = sourceByteCount
            self.errors = errors
            self.restored = restored
            self.original = original
            self.restoredHistogram = restoredHistogram
        }

        /// Whether its elements are codes or scales of another quantizer, entropy coded.
        package var holdsCodes = false

        /// Whether the tensor is unchanged.
        package var isKept: Bool { scheme == "kept" }

        /// Bits per element, side information included; nil for an empty tensor.
        package var bitsPerWeight: Double? { elements == 0 ? nil : Double(byteCount) * 8 / Double(elements) }

        /// Whether its error was measured against the source.
        package var isMeasured: Bool { errors != nil || measured != nil }

        /// Error sums: measured ones if there are any, otherwise those of the certificate.
        package var sums: ErrorSums { errors?.sums ?? measured ?? certificate ?? .zero }
    }

    /// Kind of comparison; nil without a source.
    package let comparison: Comparison?
    /// `ingot`, or the name of another format. Other formats have no hashes.
    package let format: String
    /// Bytes of the weight files of the source (from the manifest if there is no source), and of the checkpoint.
    package let sourceBytes: UInt64, outputBytes: UInt64
    /// The tensors, in the order of the files.
    package internal(set) var tensors: [Tensor] = []
    /// How names were matched; nil if both checkpoints name tensors in the same way, or without a comparison of weights.
    package internal(set) var names: Names?
    /// Tensors that only one checkpoint stores, for a good reason; they are not among `tensors`.
    package internal(set) var apart: [Apart] = []
    /// Hashes, certificates and tensors that do not match.
    package internal(set) var failures: [IngotError] = []
    /// Certificates over activations that were measured again (`CalibratedVerification`); nil if none were.
    package private(set) var calibrated: [CalibratedVerification.Tensor]?
    /// Whether every weight equals the other checkpoint's; nil if weights were not compared.
    package internal(set) var values: ValueExactness?
    /// Warnings to show to the user.
    package let warnings: [IngotWarning]
    /// Duration in seconds of wall-clock time.
    package internal(set) var seconds: Double = 0
    /// Whether bytes are damaged: then there are no tensors, and one failure names the damage.
    package private(set) var isDamaged = false

    /// Makes a report.
    package init(
        comparison: Comparison?, format: String = "ingot", sourceBytes: UInt64 = 0, outputBytes: UInt64 = 0,
        tensors: [Tensor] = [], failures: [IngotError] = [], warnings: [IngotWarning] = [], seconds: Double = 0
    ) {
        self.comparison = comparison
        self.format = format
        self.sourceBytes = sourceBytes
        self.outputBytes = outputBytes
        self.tensors = tensors
        self.failures = failures
        self.warnings = warnings
        self.seconds = seconds
    }

    /// Adds certificates over activations that were measured again. Those that do not hold are failures.
    package mutating func add(calibrated tensors: [CalibratedVerification.Tensor], in file: String) {
        calibrated = tensors
        for tensor in tensors where !tensor.holds {
            failures.append(
                IngotError(
                    .certificateMismatch, file: file, tensor: tensor.name,
                    found: "an error over activations of \(tensor.measured.relativeError)",
                    expected: "\(tensor.certificate.relativeError), as the certificate says"))
        }
    }

    /// The report about a checkpoint whose bytes are damaged.
    package static func damaged(_ error: IngotError) -> VerificationReport {
        var report = VerificationReport(comparison: nil, failures: [error])
        report.isDamaged = true
        return report
    }

    /// Whether the checkpoint was compared with another one.
    package var compared: Bool { comparison != nil }

    /// Whether it is an Ingot checkpoint.
    package var isSealed: Bool { format == "ingot" }
    /// Whether the files were checked against the manifest of an export.
    package internal(set) var hasManifest = false
    /// Whether every byte was checked against a hash.
    package var isIntact: Bool { isSealed || hasManifest }

    /// Whether no matrix of the source is the one that was converted: then the source is another checkpoint.
    package var isOtherSource: Bool {
        guard comparison == .source, encoded.contains(where: { $0.elements > 0 }) else { return false }
        let mismatched = Set(failures.lazy.filter { $0.code == .sourceMismatch }.compactMap(\.tensor))
        return encoded.allSatisfy { mismatched.contains($0.name) }
    }

    /// The tensors whose error may be shown: with a source, the measured ones and the kept ones.
    package var comparable: some Sequence<Tensor> {
        tensors.lazy.filter { [compared] in !compared || $0.isMeasured || $0.isKept }
    }

    /// Whether nothing failed.
    package var holds: Bool { failures.isEmpty }

    /// The sentence about `values` that every report shows: always if weights were compared, and for a conversion only if its weights are the
    /// source's, for others are expected to differ.
    package var exactness: String? {
        guard let values, comparison == .weights || values.isExact == true else { return nil }
        return values.sentence
    }

    /// Bytes saved in the weight files as a share of the source: 0.75 for a quarter of the size; 0 if the size of the source is unknown.
    package var reduction: Double { sourceBytes == 0 ? 0 : 1 - Double(outputBytes) / Double(sourceBytes) }

    /// The encoded tensors.
    package var encoded: some Sequence<Tensor> { tensors.lazy.filter { !$0.isKept } }

    /// Number of weights in encoded tensors; codes of a quantized source do not count.
    package var weights: UInt64 { encodedWeights.reduce(0) { $0 + UInt64($1.elements) } }

    /// Bits per weight over all encoded tensors of weights; nil without encoded weights.
    package var bitsPerWeight: Double? {
        weights == 0 ? nil : Double(encodedWeights.reduce(0) { $0 + $1.byteCount }) * 8 / Double(weights)
    }

    /// The encoded tensors that hold weights, not codes of a quantized source.
    private var encodedWeights: some Sequence<Tensor> { encoded.filter { !$0.holdsCodes } }
}

// MARK: - JSON

extension VerificationReport {
    /// The report as JSON, schema `ingot.verify` version 1 (Specs/json.md), with the results of claims if there are any.
    package func json(_ verdict: Verdict, with claims: ClaimsReport? = nil) -> JSONValue {
        .object(head(verdict) + [.init("tensors", .array(tensors.map(\.json)))] + tail(claims))
    }

    /// The same JSON as indented text in parts; the whole tree would take many times the memory of its text.
    package func jsonText(_ verdict: Verdict, with claims: ClaimsReport? = nil) -> some Sequence<String> {
        let opening = JSONValue.object(head(verdict)).text(indented: true)
        let closing = JSONValue.object(tail(claims)).text(indented: true)
        let count = tensors.count
        return (0..<count + 2).lazy.map { part in
            switch part {
            case 0: String(opening.dropLast(2)) + ",\n  \"tensors\": [" + (count == 0 ? "]," : "\n")
            case count + 1: String(closing.dropFirst(1)) + "\n"
            default:
                tensors[part - 1].json.text(indented: true, level: 2, isPrefixed: true)
                    + (part == count ? "\n  ]," : ",\n")
            }
        }
    }

    private func head(_ verdict: Verdict) -> [JSONValue.Member] {
        [
            .init("schema", .string("ingot.verify")), .init("schema_version", .unsigned(1)),
            .init("intact", isDamaged ? .bool(false) : isIntact ? .bool(true) : .null),
            .init("compared", .bool(compared)),
            .init("comparison", comparison.map { .string($0.rawValue) } ?? .null),
            .init("verdict", .string(verdict.rawValue)), .init("holds", .bool(verdict != .fail)),
        ] + values.json + [
            .init("names", names?.json ?? .null), .init("not_compared", .array(apart.map(\.json))),
            .init("format", .string(format)), .init("seconds", .number(seconds)),
            .init("peak_resident_bytes", .unsigned(ProcessUsage.peakResidentBytes)),
            .init("source_bytes", .unsigned(sourceBytes)), .init("output_bytes", .unsigned(outputBytes)),
            .init("reduction", .number(reduction)), .init("weights", .unsigned(weights)),
            .init("bits_per_weight", bitsPerWeight.map(JSONValue.number) ?? .null),
            .init("overall", .object(total.json)),
            .init(
                "kinds", .array(kinds.map { .object([.init("kind", .string($0.kind.rawValue))] + $0.error.json) })),
        ]
    }

    private func tail(_ claims: ClaimsReport?) -> [JSONValue.Member] {
        [
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
        ] + (claims.map { [.init("claims", $0.json)] } ?? [])
    }
}

extension VerificationReport.Names {
    /// `checkpoint` and `source`, each `gguf`, `huggingface` or null, and `unmatched`, a text or null.
    fileprivate var json: JSONValue {
        var (own, reason) = (NameCorrespondence.Names?.none, String?.none)
        switch self {
        case .matched(let checkpoint): own = checkpoint
        case .unmatched(let text): reason = text
        }
        return .object([
            .init("checkpoint", own.map { .string($0.rawValue) } ?? .null),
            .init("source", own.map { .string($0.other.rawValue) } ?? .null),
            .init("unmatched", reason.map(JSONValue.string) ?? .null),
        ])
    }
}

extension VerificationReport.Apart {
    fileprivate var json: JSONValue {
        .object([
            .init("name", .string(name.text)), .init("in_source", .bool(isInSource)),
            .init("reason", .string(reason)),
        ])
    }
}

extension VerificationReport.Tensor {
    var json: JSONValue {
        .object([
            .init("name", .string(name.text)), .init("role", role.json), .init("scheme", .string(scheme)),
            .init("elements", .unsigned(UInt64(elements))), .init("bytes", .unsigned(byteCount)),
            .init("bits_per_weight", bitsPerWeight.map(JSONValue.number) ?? .null),
            .init("source_bytes", sourceByteCount.map(JSONValue.unsigned) ?? .null),
            .init("certificate", certificate.map { .object($0.json + (calibrated?.json ?? [])) } ?? .null),
            .init("measured", (errors?.json ?? measured?.json).map(JSONValue.object) ?? .null),
            .init("value_exact", agreement.map { .bool($0 == .equal) } ?? .null),
            .init("statistics", restored?.json ?? .null), .init("source_statistics", original?.json ?? .null),
            .init("histograms", histograms),
        ])
    }

    private var histograms: JSONValue {
        guard let source = original?.histogram, let restored = restoredHistogram else { return .null }
        return .object([
            .init("from", .number(source.from)), .init("to", .number(source.to)),
            .init("source", .array(source.counts.map(JSONValue.unsigned))),
            .init("restored", .array(restored.counts.map(JSONValue.unsigned))),
        ])
    }
}
