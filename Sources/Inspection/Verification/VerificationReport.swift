package import Architectures
import FileAccess
package import Quantization
import SystemPackage
package import TensorModel
import Weights

/// What a verification found; of a checkpoint of ours the bytes themselves are intact, or there would be no report.
package struct VerificationReport: Sendable {
    /// What a checkpoint was compared with.
    package enum Comparison: String, Sendable {
        /// The source it was converted from: hashes, certificates and weights.
        case source
        /// Any other checkpoint, or the checkpoint has no hashes and certificates: weights alone.
        case weights
    }

    /// A tensor of the checkpoint.
    package struct Tensor: Sendable {
        /// Its name.
        package let name: TensorName
        /// How it is stored; `kept` for a tensor that stayed as it was.
        package let scheme: String
        /// Its certificate, zero for a tensor that stayed as it was; nil where the format has none.
        package let certificate: ErrorSums?
        /// The error measured against the source; nil where there is none to compare with.
        package let measured: ErrorSums?
        /// What it does in its model.
        package let role: TensorRole
        /// Elements it has.
        package let elements: Int
        /// Bytes it takes in its file, and in the source; nil where the source has no such tensor.
        package let byteCount: UInt64, sourceByteCount: UInt64?
        /// What became of each weight; nil where there is no source, and for tensors that are no floating-point numbers.
        package let errors: ErrorStatistics?
        /// The weights as they are restored, and as the source has them; nil for tensors that are no floating-point numbers.
        package let restored: WeightStatistics?, original: WeightStatistics?
        /// The restored weights in the bins of `original.histogram`; nil where there is no source.
        package let restoredHistogram: Histogram?

        /// Describes a tensor.
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

        /// Whether it stayed as it was.
        package var isKept: Bool { scheme == "kept" }

        /// Bits per element, all side information counted; nil for an empty tensor.
        package var bitsPerWeight: Double? { elements == 0 ? nil : Double(byteCount) * 8 / Double(elements) }

        /// The error against the source as far as it is known: measured, or else certified.
        package var sums: ErrorSums { errors?.sums ?? measured ?? certificate ?? .zero }
    }

    /// What it was compared with, if anything.
    package let comparison: Comparison?
    /// What was verified: `ingot`, or the name of another format, which has no hashes that bytes could be held against.
    package let format: String
    /// Bytes of the weight files of the source (without one, as the manifest has it), and of ours.
    package let sourceBytes: UInt64, outputBytes: UInt64
    /// The tensors, in order of the files.
    package internal(set) var tensors: [Tensor] = []
    /// Claims that do not hold.
    package internal(set) var failures: [IngotError] = []
    /// What is odd but stops nothing.
    package let warnings: [IngotWarning]
    /// Wall-clock seconds.
    package internal(set) var seconds: Double = 0

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

    /// Whether there was something to compare with.
    package var compared: Bool { comparison != nil }

    /// Whether every byte was held against the hashes of the format, as those of ours were.
    package var isSealed: Bool { format == "ingot" }

    /// Whether every claim holds.
    package var holds: Bool { failures.isEmpty }

    /// What the weight files lost in size, as a share of the source.
    package var reduction: Double { sourceBytes == 0 ? 0 : 1 - Double(outputBytes) / Double(sourceBytes) }

    /// The tensors that are encoded.
    package var encoded: some Sequence<Tensor> { tensors.lazy.filter { !$0.isKept } }

    /// Number of weights in encoded tensors.
    package var weights: UInt64 { encoded.reduce(0) { $0 + UInt64($1.elements) } }

    /// Bits per weight over all encoded tensors; nil where there are none.
    package var bitsPerWeight: Double? {
        weights == 0 ? nil : Double(encoded.reduce(0) { $0 + $1.byteCount }) * 8 / Double(weights)
    }
}

// MARK: - JSON

extension VerificationReport {
    /// The report as JSON, schema `ingot.verify` version 1 (Specs/json.md), with the results of claims if there are any.
    package func json(with claims: ClaimsReport? = nil) -> JSONValue {
        .object(head(claims) + [.init("tensors", .array(tensors.map(\.json)))] + tail(claims))
    }

    /// The same as indented text in parts: the tree of a thousand tensors would take many times the memory of its text.
    package func jsonText(with claims: ClaimsReport? = nil) -> some Sequence<String> {
        let opening = JSONValue.object(head(claims)).text(indented: true)
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

    private func head(_ claims: ClaimsReport?) -> [JSONValue.Member] {
        [
            .init("schema", .string("ingot.verify")), .init("schema_version", .unsigned(1)),
            .init("intact", isSealed ? .bool(true) : .null), .init("compared", .bool(compared)),
            .init("comparison", comparison.map { .string($0.rawValue) } ?? .null),
            .init("holds", .bool(holds && claims?.holds != false)),
            .init("format", .string(format)), .init("seconds", .number(seconds)),
            .init("peak_resident_bytes", .unsigned(ProcessUsage.peakResidentBytes)),
            .init("source_bytes", .unsigned(sourceBytes)), .init("output_bytes", .unsigned(outputBytes)),
            .init("reduction", .number(reduction)), .init("weights", .unsigned(weights)),
            .init("bits_per_weight", bitsPerWeight.map(JSONValue.number) ?? .null),
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

extension VerificationReport.Tensor {
    var json: JSONValue {
        .object([
            .init("name", .string(name.text)), .init("role", role.json), .init("scheme", .string(scheme)),
            .init("elements", .unsigned(UInt64(elements))), .init("bytes", .unsigned(byteCount)),
            .init("bits_per_weight", bitsPerWeight.map(JSONValue.number) ?? .null),
            .init("source_bytes", sourceByteCount.map(JSONValue.unsigned) ?? .null),
            .init("certificate", certificate.map { .object($0.json) } ?? .null),
            .init("measured", (errors?.json ?? measured?.json).map(JSONValue.object) ?? .null),
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
