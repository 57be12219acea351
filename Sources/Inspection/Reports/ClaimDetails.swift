import TensorModel

/// Text of a claim's result that several report formats share.
enum ClaimDetails {
    /// Limit, measured value and offender, one per line.
    static func text(_ result: ClaimResult) -> String {
        var lines = [result.kind.meaning]
        if let limit = result.limit { lines.append("limit: \(limit.text)") }
        if let measured = result.measured { lines.append("measured: \(measured.text)") }
        if let offender = result.offender { lines.append("worst: \(IngotErrorRenderer.escaped(offender))") }
        if result.offenders > 1 { lines.append("offenders: \(result.offenders)") }
        if let basis = result.basis { lines.append("basis: \(basis.rawValue)") }
        return lines.joined(separator: "\n")
    }
}
