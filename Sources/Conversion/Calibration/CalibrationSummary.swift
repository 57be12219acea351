import Container
import Quantization
package import TensorModel

/// Why a calibrated conversion quantized a matrix without calibration. The raw value is the reason in words, for reports.
package enum ReasonForPlain: String, Sendable, Hashable, CaseIterable {
    /// Embeddings have no input of activations.
    case embedding
    /// The name is that of no linear layer that Ingot knows.
    case unknownName = "no known name of a linear layer"
    /// One tensor holds the matrices of all experts.
    case allExperts = "experts in one tensor"
    /// The file has no moments of its input.
    case noMoments = "no moments of its input"
    /// The moments of its input have another number of columns.
    case otherColumns = "moments with other columns"
    /// No token of the text reached it, as may happen to an expert.
    case noTokens = "no token reached it"
    /// A rule asks for another scheme than `trellis`.
    case otherScheme = "another scheme by a rule"
    /// No calibrated form suits its values: zeros only, few distinct values, or an overflow of the sums.
    case unsuited = "values that no step suits"
}

/// What a calibrated conversion calibrated, and what not.
package struct CalibrationSummary: Sendable {
    /// A matrix that was quantized without calibration.
    package struct Plain: Sendable, Hashable {
        /// Its name, and the reason.
        package let name: TensorName, reason: ReasonForPlain
    }

    /// Number of calibrated matrices.
    package let matrices: Int
    /// Mean of their relative errors over activations (`ActivationSums.relativeError`); each matrix counts the same. Nil if there are none.
    ///
    /// It is no ratio of sums: layers with large activations would decide that alone.
    package let meanError: Double?
    /// The matrix with the largest error over activations; nil if there are none.
    package let worst: ConversionReport.Tensor?
    /// The matrices that were quantized without calibration, in the order of the files. Lossless ones are none of them.
    package let plain: [Plain]

    /// Sums up a report.
    ///
    /// - Parameter moments: those of the conversion.
    init(_ report: ConversionReport, _ moments: CalibrationMoments) {
        let errors = report.tensors.compactMap { $0.descriptor.calibrated?.sums.relativeError }
        matrices = errors.count
        meanError = errors.isEmpty ? nil : errors.reduce(0, +) / Double(errors.count)
        worst = errors.isEmpty ? nil : report.worst
        plain = report.tensors.filter { $0.descriptor.calibrated == nil && $0.descriptor.scheme != .lossless }.map {
            Plain(name: $0.name, reason: CalibrationSummary.reason($0, report, moments))
        }
    }

    private static func reason(
        _ tensor: ConversionReport.Tensor, _ report: ConversionReport, _ moments: CalibrationMoments
    ) -> ReasonForPlain {
        if case .nothing(let reason) = moments.found(tensor.name, tensor.descriptor.shape) { return reason }
        let scheme = report.choice(tensor).scheme
        if case .trellis = scheme { return .unsuited }
        return .otherScheme
    }

    /// The summary as JSON (Specs/json.md, `calibration` of `ingot.convert`).
    var json: JSONValue {
        .object([
            .init("matrices", .unsigned(UInt64(matrices))),
            .init("mean_relative_activation_error", meanError.map(JSONValue.number) ?? .null),
            .init(
                "worst",
                worst.map { tensor in
                    .object(
                        [.init("name", .string(tensor.name.text))] + (tensor.descriptor.calibrated?.sums.json ?? []))
                } ?? .null),
            .init(
                "plain",
                .array(
                    plain.map { matrix in
                        .object([
                            .init("name", .string(matrix.name.text)), .init("reason", .string(matrix.reason.rawValue)),
                        ])
                    })),
        ])
    }
}
