import Container
import Inspection
import Quantization
import TensorModel
import Weights

/// What to show of an inspection.
struct InspectionView {
    /// How tensors are grouped into rows; nil for one row per tensor.
    var grouping: TensorGroup.Key?
    /// The groups; nil without grouping.
    var groups: [TensorGroup]?
    /// Groups by kind of all selected tensors, also of those that `--top` leaves out.
    var kinds: [TensorGroup] = []
    /// Number of tensors or groups before `--top`.
    var rowsInAll = 0
    /// Whether to show all figures of each tensor.
    var hasDetails = false
}

/// Report of an inspection as text for people.
enum InspectionText {
    /// The report in parts.
    static func parts(_ report: CheckpointReport, _ view: InspectionView, _ style: Style) -> [String] {
        var lines: [String] = []
        if let groups = view.groups, let grouping = view.grouping {
            let table = groupTable(groups, grouping.rawValue, report)
            lines += table.lines(style) + leftOut(table, "--format csv", style)
        } else if view.hasDetails {
            for tensor in report.tensors {
                lines += InspectionCard.lines(tensor, isSealed: report.isSealed, style) + [""]
            }
            if !lines.isEmpty { lines.removeLast() }
        } else {
            let table = tensorTable(report, style)
            lines += table.lines(style) + leftOut(table, "--details or --format csv", style)
        }
        let rows = view.groups?.count ?? report.tensors.count
        if rows < view.rowsInAll {
            lines.append(style.faint("\(rows) of \(view.rowsInAll) \(view.groups == nil ? "tensors" : "groups")"))
        }
        let strange = notFinite(report.tensors, style)
        if !strange.isEmpty { lines += [""] + strange }
        if view.grouping != .kind, view.kinds.count > 1 {
            lines += [""] + groupTable(view.kinds, "kind", report).lines(style)
        }
        if let model = report.model { lines += [""] + InspectionModel.lines(model, style) }
        if !report.quantization.isEmpty { lines += [""] + quantization(report, style) }
        lines += [""] + account(report, style) + ["", summary(report)]
        return [lines.joined(separator: "\n") + "\n"]
    }

    /// A line for each kind of codes, with its share of the weights and its number of tensors.
    private static func quantization(_ report: CheckpointReport, _ style: Style) -> [String] {
        [style.strong("quantized")]
            + report.quantization.map { "  \($0.text), \($0.tensors) \($0.tensors == 1 ? "tensor" : "tensors")" }
    }

    /// A note about columns that do not fit the terminal; `remedy` names the options that show them.
    private static func leftOut(_ table: TextTable, _ remedy: String, _ style: Style) -> [String] {
        let titles = table.leftOut(style)
        guard let width = style.width, !titles.isEmpty else { return [] }
        let note = "not shown at \(width) columns: \(titles.joined(separator: ", ")) (\(remedy))"
        return Format.wrapped(note, to: width).map(style.faint)
    }

    // MARK: - Tables

    private static func tensorTable(_ report: CheckpointReport, _ style: Style) -> TextTable {
        let title = report.weightsRead ? 0 : 90
        var table = TextTable([
            .init("tensor", isLeft: true), .init("as", isLeft: true),
            .init("shape", isLeft: true, rank: report.weightsRead ? 4 : 0),
            .init("size"), .init("bits"), .init("min", rank: 12), .init("mean", rank: 11), .init("std", rank: title),
            .init("|max|", rank: title), .init("kurt", rank: title), .init(">6 sd", rank: title),
            .init("zeros", rank: 9),
            .init("code bits", rank: 7), .init("rel MSE", rank: report.weightsRead ? 5 : 2),
            .init("act err", rank: report.weightsRead ? 3 : 1), .init("file", isLeft: true, rank: 14),
            .init("-4sd..+4", isLeft: true, rank: title),
        ])
        let severalFiles = report.files.count > 1
        table.rows = report.tensors.map { tensor in
            let isKept = tensor.descriptor == nil && report.isSealed
            let base: TextTable.Tone = isKept ? .faint : .plain
            let figures = TensorFigures(tensor)
            let bad = figures.nan + figures.infinite > 0
            let cells = figureCells(figures, base, style)
            return [
                .init(IngotErrorRenderer.escaped(tensor.name.text), bad ? .bad : base), .init(form(tensor), base),
                .init(tensor.shape.description, base), .init(Format.bytes(tensor.byteCount), base),
                .init(tensor.bitsPerElement.map { NumberText.fixed($0, 2) } ?? "-", base),
            ] + cells.dropLast() + [
                .init(severalFiles ? IngotErrorRenderer.escaped(tensor.fileName) : "", .faint), cells[cells.count - 1],
            ]
        }
        return table
    }

    /// Form of a tensor: `F16`, `trellis`, `u4 g64`.
    static func form(_ tensor: CheckpointReport.Tensor) -> String {
        guard let descriptor = tensor.descriptor else { return tensor.stored.encoding ?? tensor.elementType.rawValue }
        guard case .uniform(let parameters) = descriptor.scheme else { return descriptor.scheme.summary }
        return "u\(parameters.bits)\(parameters.symmetric ? "s" : "") g\(parameters.groupSize)"
    }

    private static func groupTable(_ groups: [TensorGroup], _ title: String, _ report: CheckpointReport) -> TextTable {
        let rank = report.weightsRead ? 0 : 90
        var table = TextTable([
            .init(title, isLeft: true), .init("tensors", rank: 1), .init("weights", rank: 3), .init("size"),
            .init("share", rank: 2),
            .init("bits"), .init("min", rank: 12), .init("mean", rank: 11), .init("std", rank: rank),
            .init("|max|", rank: rank),
            .init("kurt", rank: rank), .init(">6 sd", rank: rank), .init("zeros", rank: 9), .init("code bits", rank: 7),
            .init("rel MSE", rank: 5), .init("act err", rank: 3),
            .init("-4sd..+4", isLeft: true, rank: rank == 0 ? 4 : rank),
        ])
        let all = report.fileBytes
        table.rows = groups.map { group in
            let figures = group.figures
            return [
                .init(group.name.text, figures.nan + figures.infinite > 0 ? .bad : .plain), .init("\(figures.tensors)"),
                .init(Format.count(UInt64(figures.elements))), .init(Format.bytes(figures.bytes)),
                .init(Format.percent(figures.bytes, of: all)),
                .init(figures.bitsPerElement.map { NumberText.fixed($0, 2) } ?? "-"),
            ] + figureCells(figures, .plain, Style(isColored: false, usesBlocks: true, width: nil))
        }
        return table
    }

    /// Cells from `min` to the histogram; empty if weights were not read.
    private static func figureCells(
        _ figures: TensorFigures, _ base: TextTable.Tone, _ style: Style
    ) -> [TextTable.Cell] {
        func number(_ value: Double?) -> String { value.map(Format.brief) ?? "" }
        let kurtosis = figures.kurtosis
        let heavy = (kurtosis ?? 0) >= heavyKurtosis
        let many = Double(figures.outliers) > manyOutliers * Double(figures.count) && figures.outliers > 0
        return [
            .init(number(figures.minimum), base), .init(number(figures.mean), base),
            .init(number(figures.standardDeviation), base), .init(number(figures.absoluteMaximum), base),
            .init(
                kurtosis.map {
                    $0 < 999.5 ? NumberText.fixed($0, $0 < 9.95 ? 2 : $0 < 99.5 ? 1 : 0) : Format.count(UInt64($0))
                } ?? "", heavy ? .warning : base),
            .init(figures.count > 0 ? Format.count(figures.outliers) : "", many ? .warning : base),
            .init(figures.count > 0 ? Format.count(figures.zeros) : "", base),
            .init(figures.codeEntropy.map { NumberText.fixed($0, 2) } ?? "", base),
            .init(figures.errors.map { Format.scientific($0.relativeMSE) } ?? "", base),
            .init(figures.relativeActivationError.map(Format.scientific) ?? "", base),
            .init(figures.mean == nil ? "" : style.sparkline(merged(figures.histogram, to: 8)), base),
        ]
    }

    /// Kurtosis of heavy tails; a normal distribution has 3, a Laplace distribution 6.
    static let heavyKurtosis = 10.0
    /// Share of weights beyond 6 standard deviations that is far above that of a normal distribution.
    static let manyOutliers = 1e-4

    /// Merges neighbouring bins into `count` bins.
    static func merged(_ bins: [UInt64], to count: Int) -> [UInt64] {
        guard bins.count > count else { return bins }
        let each = bins.count / count
        return (0..<count).map { place in bins[place * each..<(place + 1) * each].reduce(0, +) }
    }

    // MARK: - Below the table

    private static let maximumNamed = 10

    /// Lines about tensors with NaN or infinity.
    private static func notFinite(_ tensors: [CheckpointReport.Tensor], _ style: Style) -> [String] {
        let bad = tensors.filter { ($0.statistics?.nan ?? 0) + ($0.statistics?.infinite ?? 0) > 0 }
        guard !bad.isEmpty else { return [] }
        var lines = [style.bad("not finite, in \(bad.count) \(bad.count == 1 ? "tensor" : "tensors"):")]
        for tensor in bad.prefix(maximumNamed) {
            let counts = [(tensor.statistics?.nan ?? 0, "NaN"), (tensor.statistics?.infinite ?? 0, "infinite")]
                .filter { $0.0 > 0 }.map { "\(Format.grouped($0.0)) \($0.1)" }.joined(separator: ", ")
            let room = max(20, (style.width ?? 1000) - 4 - counts.width)
            lines.append(
                "  " + style.bad(counts) + "  "
                    + Format.shortened(IngotErrorRenderer.escaped(tensor.name.text), to: room))
        }
        if bad.count > maximumNamed { lines.append("  and \(bad.count - maximumNamed) more (--sort nonfinite)") }
        return lines
    }

    /// Table of the bytes of each part of the files.
    private static func account(_ report: CheckpointReport, _ style: Style) -> [String] {
        let account = report.account
        var table = TextTable([
            .init("bytes", isLeft: true), .init(""), .init("share"), .init("", isLeft: true, rank: 1),
        ])
        let maximum = account.bytes.values.max() ?? 1
        for part in ByteAccount.Part.allCases {
            guard let bytes = account.bytes[part] else { continue }
            table.rows.append([
                .init(part.label(isSealed: report.isSealed)), .init(Format.grouped(bytes)),
                .init(Format.percent(bytes, of: account.total)),
                .init(style.bar(bytes, of: maximum, columns: 20), .faint),
            ])
        }
        table.rows.append([
            .init("total", .strong), .init(Format.grouped(account.total), .strong),
            .init(Format.bytes(account.total), .strong), .init(""),
        ])
        let files = report.files.count == 1 ? "the file's size" : "the size of the \(report.files.count) files"
        let claim =
            account.total == report.fileBytes
            ? style.faint("every byte is accounted for: the total is \(files)")
            : style.bad("the total is not \(files), \(Format.grouped(report.fileBytes))")
        return table.lines(style) + [claim]
    }

    /// One line: format, shards, tensors, elements, size.
    static func summary(_ report: CheckpointReport) -> String {
        let kind = report.isSealed ? "Ingot checkpoint" : "\(report.formatName) checkpoint"
        let count = report.files.count
        return "\(kind), \(count) \(count == 1 ? "shard" : "shards"), \(report.tensorCount) tensors, "
            + "\(Format.grouped(UInt64(report.elements))) elements, \(Format.bytes(report.account.total))"
    }
}

extension ByteAccount.Part {
    /// Name of the part for people.
    func label(isSealed: Bool) -> String {
        switch self {
        case .header: "header"
        case .tensors: isSealed ? "kept tensors" : "tensors"
        case .tables: "chunk tables and their checksums"
        case .codes: "codes"
        case .escapes: "escapes"
        case .extras: "row classes, low bits, patches"
        case .scales: isSealed ? "scales and biases" : "scales"
        case .zeroPoints: "zero points and biases"
        case .codebooks: "codebooks"
        case .planes: "lossless planes"
        case .padding: "padding"
        case .seal: "seal: checksums of everything"
        }
    }
}

extension Style {
    /// A bar of at most `columns` columns, in proportion to `part` of `whole`.
    func bar(_ part: UInt64, of whole: UInt64, columns: Int) -> String {
        guard whole > 0, part > 0 else { return "" }
        let eighths = max(1, Int((Double(part) / Double(whole) * Double(columns * 8)).rounded()))
        guard usesBlocks else { return String(repeating: "#", count: max(1, eighths / 8)) }
        let ends = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
        return String(repeating: "█", count: eighths / 8) + ends[eighths % 8]
    }
}
