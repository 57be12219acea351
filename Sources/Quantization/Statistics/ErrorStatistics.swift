internal import Kernels
package import TensorModel

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Statistics of the difference between a tensor w and the restored tensor w'.
///
/// Pieces of the tensor are added in order, so the sums have the same bits in every run.
package struct ErrorStatistics: Sendable {
    /// Error sums, as in certificates.
    package private(set) var sums = ErrorSums.zero
    /// Number of weights compared.
    package private(set) var count: UInt64 = 0
    /// Numbers of weights that changed, that changed their sign, and that became zero.
    package private(set) var changed: UInt64 = 0, signFlips: UInt64 = 0, zeroed: UInt64 = 0
    private var product = 0.0, restoredEnergy = 0.0
    private var bins = [UInt64](repeating: 0, count: Kernels.errorBinCount)
    /// The value of `p999Error` after `settle` has freed the bins.
    private var settled: Double?

    /// Statistics of no weights.
    package init() {}

    /// Frees the 128 KiB of bins. The statistics stay; no more pieces can be added.
    package mutating func settle() {
        settled = p999Error
        bins = []
    }

    /// Adds the comparison of a piece. Traps after `settle`.
    package mutating func add(_ piece: PieceComparison) {
        precondition(settled == nil, "a piece added to statistics that were settled")
        let found = piece.found
        sums = sums + piece.sums
        count += UInt64(piece.count)
        changed += found.changed
        signFlips += found.signFlips
        zeroed += found.zeroed
        product += found.product
        restoredEnergy += found.restoredEnergy
        let added = piece.bins
        for bin in 0..<bins.count { bins[bin] &+= UInt64(added[bin]) }
    }

    /// Adds `weights` weights that are equal bit for bit and have the sum of squares `energy`.
    package mutating func add(identical weights: UInt64, energy: Double) {
        count += weights
        sums.signal += energy
        product += energy
        restoredEnergy += energy
        bins[0] += weights
    }

    /// The cosine similarity of both tensors: 1 if both are equal, 0 if only one is all zeros.
    package var cosine: Double {
        if sums.noise == 0 { return 1 }
        let lengths = (sums.signal * restoredEnergy).squareRoot()
        return lengths == 0 ? 0 : min(1, max(-1, product / lengths))
    }

    /// The 99.9th percentile of the errors, at most 1.6 % too large.
    package var p999Error: Double {
        if let settled { return settled }
        let rank = (Double(count) * 0.999).rounded(.up)
        var below: UInt64 = 0
        for bin in bins.indices {
            below += bins[bin]
            // The first bin holds errors of exactly zero, and errors below 2^-143.
            if Double(below) >= rank {
                return bin == 0 ? 0 : min(sums.maxError, Double(Kernels.errorBinStart(bin + 1)))
            }
        }
        return sums.maxError
    }
}

/// The comparison of one piece of a tensor. A value is reused from piece to piece.
package struct PieceComparison: Sendable {
    /// Number of weights compared.
    package private(set) var count = 0
    /// The weights whose values differ; nil if all are equal.
    package private(set) var difference: PieceDifference?
    var found = Kernels.Comparison.none
    var bins = [UInt32](repeating: 0, count: Kernels.errorBinCount)

    /// A comparison of no weights.
    package init() {}

    /// Error sums, as in certificates.
    package var sums: ErrorSums { ErrorSums(signal: found.signal, noise: found.noise, maxError: found.maxError) }

    /// Compares two arrays of equal length. Replaces the comparison before.
    package mutating func compare(_ original: Span<Float>, _ restored: Span<Float>) {
        count = original.count
        for bin in 0..<bins.count { bins[bin] = 0 }
        var target = bins.mutableSpan
        found = Kernels.compareWeights(original: original, restored: restored, errorCounts: &target)
        // `changed` counts pairs of NaN, too. There are none unless the sum of the errors is NaN.
        difference =
            found.changed == 0
            ? nil : PieceDifference(original, restored, count: found.noise.isNaN ? nil : found.changed)
    }
}

extension ErrorStatistics {
    /// The statistics as members of a report: those of `ErrorSums`, `error_p999`, `cosine`, `changed`, `sign_flips`, `zeroed`.
    package var json: [JSONValue.Member] {
        sums.json + [
            .init("error_p999", .number(p999Error)), .init("cosine", .number(cosine)),
            .init("changed", .unsigned(changed)), .init("sign_flips", .unsigned(signFlips)),
            .init("zeroed", .unsigned(zeroed)),
        ]
    }
}

extension WeightStatistics {
    /// The statistics as an object of a report (Specs/json.md, `statistics`).
    package var json: JSONValue {
        func spread(_ spread: Spread?) -> JSONValue {
            guard let spread else { return .null }
            return .object([
                .init("min", .number(spread.minimum)), .init("median", .number(spread.median)),
                .init("max", .number(spread.maximum)),
            ])
        }
        return .object(
            [
                .init("count", .unsigned(count)), .init("min", .number(minimum)), .init("max", .number(maximum)),
                .init("mean", .number(mean)), .init("std", .number(standardDeviation)),
                .init("absmax", .number(absoluteMaximum)), .init("skewness", .number(skewness)),
                .init("kurtosis", .number(kurtosis)), .init("percentiles", percentiles?.json ?? .null),
                .init("percentiles_are_exact", .bool(outliersAreExact)),
                .init("zeros", .unsigned(zeros)), .init("nan", .unsigned(nan)), .init("infinite", .unsigned(infinite)),
                .init("subnormal", .unsigned(subnormal)), .init("outliers_6_sigma", .unsigned(outliers)),
                .init("outliers_are_exact", .bool(outliersAreExact)),
                .init("value_entropy_bits", valueEntropy.map(JSONValue.number) ?? .null),
                .init("code_entropy_bits", codeEntropy.map(JSONValue.number) ?? .null), .init("row_rms", spread(rows)),
                .init("column_rms", spread(columns)), .init("histogram", histogram.json),
            ] + (coded.map { [.init("coded", $0.json)] } ?? []))
    }
}

extension CodedStatistics {
    /// The statistics as an object of a report (Specs/json.md, `coded`).
    var json: JSONValue {
        func number(_ value: Double?) -> JSONValue { value.map { .number($0) } ?? .null }
        return .object([
            .init("code_entropy_bits", .number(entropy)), .init("code_bits", .unsigned(UInt64(bits))),
            .init("levels_used", .unsigned(UInt64(used))), .init("levels", .unsigned(UInt64(levels))),
            .init("scales", .unsigned(UInt64(scales))), .init("zero_scales", .unsigned(UInt64(zeros))),
            .init("negative_scales", .unsigned(UInt64(negative))),
            .init("nonfinite_scales", .unsigned(UInt64(notFinite))), .init("scale_min", number(smallest)),
            .init("scale_median", number(median)), .init("scale_max", number(largest)),
        ])
    }
}

extension Histogram {
    /// The histogram as an object of a report: `from`, `to`, `below`, `counts`, `above`.
    package var json: JSONValue {
        .object([
            .init("from", .number(from)), .init("to", .number(to)), .init("below", .unsigned(below)),
            .init("counts", .array(counts.map(JSONValue.unsigned))), .init("above", .unsigned(above)),
        ])
    }
}
