import Architectures
import Checkpoints
import Container
import Inspection
import Quantization
import TensorModel
import Weights

/// All figures of one tensor, one per line.
enum InspectionCard {
    private static let label = 13

    /// The lines of one tensor. `isSealed`: whether the checkpoint is an Ingot checkpoint.
    static func lines(_ tensor: CheckpointReport.Tensor, isSealed: Bool, _ style: Style) -> [String] {
        let width = max(60, style.width ?? 80)
        func line(_ title: String, _ text: String) -> String {
            "  " + style.faint(Format.filled(title, to: label)) + text
        }
        let name = IngotErrorRenderer.escaped(tensor.name.text)
        var lines = [style.strong(style.width == nil ? name : Format.shortened(name, to: width))]
        lines.append(line("stored", stored(tensor, isSealed: isSealed)))
        lines.append(line("in", IngotErrorRenderer.escaped(tensor.fileName)))
        let role = tensor.role.layer.map { "\(tensor.role.kind.rawValue), layer \($0)" } ?? tensor.role.kind.rawValue
        lines.append(line("role", role))
        let bits = tensor.bitsPerElement.map { ", \(NumberText.fixed($0, 3)) bits an element" } ?? ""
        lines.append(
            line(
                "size",
                "\(Format.grouped(tensor.byteCount)) bytes, \(Format.grouped(UInt64(tensor.shape.elementCount))) elements\(bits)"
            ))
        if let sums = tensor.descriptor?.sums {
            let noise = sums.noise == 0 ? "exact" : "\(NumberText.fixed(sums.signalToNoise, 2)) dB"
            lines.append(
                line(
                    "certificate",
                    "relative MSE \(Format.scientific(sums.relativeMSE)), SNR \(noise), largest error \(Format.scientific(sums.maxError))"
                ))
        }
        if let sums = tensor.descriptor?.calibrated?.sums {
            lines.append(line("calibrated", "relative error over activations \(Format.scientific(sums.relativeError))"))
        }
        guard let found = tensor.statistics else { return lines }
        let finite = found.count - found.nan - found.infinite
        if found.nan + found.infinite > 0 {
            lines.append(
                line(
                    "not finite",
                    style.bad("\(Format.grouped(found.nan)) NaN, \(Format.grouped(found.infinite)) infinite")))
        }
        if finite > 0 {
            lines += figures(found, finite, style, line)
        }
        var entropies: [String] = []
        if let bits = found.valueEntropy { entropies.append("elements \(NumberText.fixed(bits, 3)) bits") }
        if let bits = found.codeEntropy { entropies.append("codes \(NumberText.fixed(bits, 3)) bits") }
        if !entropies.isEmpty { lines.append(line("entropy", entropies.joined(separator: ", "))) }
        if let coded = found.coded { lines += InspectionCard.coded(coded, line) }
        if let rows = found.rows { lines.append(line("row RMS", spread(rows))) }
        if let columns = found.columns { lines.append(line("column RMS", spread(columns))) }
        if finite > 0 { lines += histogram(found.histogram, style, line) }
        return lines
    }

    private static func stored(_ tensor: CheckpointReport.Tensor, isSealed: Bool) -> String {
        guard tensor.stored.isReadable else {
            return "\(tensor.stored.scheme), which ingot cannot decode, \(tensor.shape.description)"
        }
        let original = "\(tensor.elementType.rawValue) \(tensor.shape.description)"
        if let form = tensor.stored.quantized {
            return "\(form.method.rawValue): \(form.summary), decoded to \(original)"
        }
        guard let descriptor = tensor.descriptor else {
            return tensor.stored.encoding.map { "\($0) blocks of \(original)" } ?? original + (isSealed ? ", kept" : "")
        }
        return "\(descriptor.scheme.summary), codec \(descriptor.codec.name), of \(original)"
    }

    /// Lines about the codes and scales of another quantizer.
    private static func coded(_ found: CodedStatistics, _ line: (String, String) -> String) -> [String] {
        var lines = [
            line(
                "codes",
                "need \(NumberText.fixed(found.entropy, 3)) of \(found.bits) bits, \(Format.grouped(UInt64(found.used))) of \(Format.grouped(UInt64(found.levels))) values occur"
            )
        ]
        guard found.scales > 0 else { return lines }
        var text = "\(Format.grouped(UInt64(found.scales)))"
        if let smallest = found.smallest, let median = found.median, let largest = found.largest {
            text +=
                " from \(Format.scientific(smallest)) to \(Format.scientific(largest)), median \(Format.scientific(median))"
        }
        for (count, word) in [(found.zeros, "zero"), (found.negative, "negative"), (found.notFinite, "not finite")]
        where count > 0 { text += ", \(Format.grouped(UInt64(count))) \(word)" }
        lines.append(line("scales", text))
        return lines
    }

    private static func figures(
        _ found: WeightStatistics, _ finite: UInt64, _ style: Style, _ line: (String, String) -> String
    ) -> [String] {
        let kurtosis = "kurtosis " + NumberText.fixed(found.kurtosis, 3)
        let many = Double(found.outliers) > InspectionText.manyOutliers * Double(finite) && found.outliers > 0
        let outliers =
            (found.outliersAreExact || found.outliers == 0 ? "" : "about ")
            + "\(Format.grouped(found.outliers)) (\(Format.percent(found.outliers, of: finite)))"
        return [
            line(
                "range",
                "\(Format.scientific(found.minimum)) to \(Format.scientific(found.maximum)), largest magnitude \(Format.scientific(found.absoluteMaximum))"
            ),
            line(
                "mean",
                "\(Format.scientific(found.mean)), standard deviation \(Format.scientific(found.standardDeviation))"),
            line(
                "tails",
                (found.kurtosis >= InspectionText.heavyKurtosis ? style.warning(kurtosis) : kurtosis) + ", skewness "
                    + NumberText.fixed(found.skewness, 3)),
        ] + percentiles(found, line) + [
            line("outliers", (many ? style.warning(outliers) : outliers) + " farther than 6 standard deviations"),
            line(
                "zeros",
                "\(Format.grouped(found.zeros)) (\(Format.percent(found.zeros, of: finite))), subnormal \(Format.grouped(found.subnormal))"
            ),
        ]
    }

    /// Two lines of three percentiles each.
    private static func percentiles(_ found: WeightStatistics, _ line: (String, String) -> String) -> [String] {
        guard let percentiles = found.percentiles else { return [] }
        let texts = zip(Percentiles.levels, percentiles.values).map {
            "\($0.percent)\($0.percent == "1" ? "st" : "th") \(Format.scientific($1))"
        }
        let half = texts.count / 2
        return [
            line("percentiles", texts[..<half].joined(separator: ", ")),
            line("", texts[half...].joined(separator: ", ") + (found.outliersAreExact ? "" : ", approximate")),
        ]
    }

    private static func spread(_ spread: WeightStatistics.Spread) -> String {
        let ratio = spread.ratio.map { ", \(NumberText.fixed($0, 2)) times the median" } ?? ", median"
        return "\(Format.scientific(spread.minimum)) to \(Format.scientific(spread.maximum))\(ratio) "
            + Format.scientific(spread.median)
    }

    private static func histogram(
        _ histogram: Histogram, _ style: Style, _ line: (String, String) -> String
    ) -> [String] {
        let from = Format.brief(histogram.from), to = Format.brief(histogram.to)
        let bins = histogram.counts.count
        let axis = from + String(repeating: " ", count: max(1, bins - from.width - to.width)) + to
        var lines = [line("histogram", style.sparkline(histogram.counts).trimmingSuffix), line("", style.faint(axis))]
        if histogram.below + histogram.above > 0 {
            lines.append(
                line("", "\(Format.grouped(histogram.below)) below, \(Format.grouped(histogram.above)) above"))
        }
        return lines
    }
}
