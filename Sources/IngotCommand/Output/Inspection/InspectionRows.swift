import Architectures
import Container
import Inspection
import Quantization
import SystemPackage
import TensorModel
import Weights

/// Report of an inspection as CSV.
enum InspectionCSV {
    private static let tensorColumns =
        "name,file,kind,layer,dtype,shape,scheme,elements,bytes,bits_per_element,min,max,mean,std,absmax,skewness,kurtosis,"
        + Percentiles.levels.map { $0.column + "," }.joined()
        + "zeros,subnormal,nan,infinite,outliers_6_sigma,value_entropy_bits,code_entropy_bits,row_rms_min,row_rms_median,row_rms_max,"
        + "column_rms_min,column_rms_median,column_rms_max,relative_mse,snr_db,max_error,relative_activation_error"
    private static let groupColumns =
        "name,tensors,elements,bytes,bits_per_element,min,max,mean,std,absmax,skewness,kurtosis,zeros,subnormal,nan,infinite,"
        + "outliers_6_sigma,value_entropy_bits,code_entropy_bits,relative_mse,mean_relative_activation_error"

    /// Rows by RFC 4180 in parts, the titles first.
    ///
    /// - Parameters:
    ///   - namesPath: whether the first column is the path of the checkpoint, for a file about several checkpoints.
    ///   - hasTitles: whether to begin with the titles.
    static func parts(
        _ report: CheckpointReport, _ view: InspectionView, namesPath: Bool = false, hasTitles: Bool = true
    ) -> some Sequence<String> {
        let groups = view.groups
        let count = groups?.count ?? report.tensors.count
        let path = namesPath ? [CSVText.name(report.path.string)] : []
        return ((hasTitles ? 0 : 1)..<count + 1).lazy.map { part in
            guard part > 0 else {
                return (namesPath ? "path," : "") + (groups == nil ? tensorColumns : groupColumns) + "\r\n"
            }
            let row = groups.map { fields($0[part - 1]) } ?? fields(report.tensors[part - 1])
            return (path + row).joined(separator: ",") + "\r\n"
        }
    }

    private static func fields(_ tensor: CheckpointReport.Tensor) -> [String] {
        let found = tensor.statistics
        let finite = found.map { $0.count > $0.nan + $0.infinite } ?? false
        let moments = finite ? found : nil
        let sums = tensor.descriptor?.sums
        var fields = [
            CSVText.name(tensor.name.text), CSVText.name(tensor.fileName), tensor.role.kind.rawValue,
            CSVText.number(tensor.role.layer), tensor.elementTypeName ?? "", CSVText.cell(tensor.shape.description),
            CSVText.cell(tensor.stored.scheme), "\(tensor.shape.elementCount)", "\(tensor.byteCount)",
            CSVText.number(tensor.bitsPerElement),
        ]
        fields += [
            CSVText.number(moments?.minimum), CSVText.number(moments?.maximum), CSVText.number(moments?.mean),
            CSVText.number(moments?.standardDeviation), CSVText.number(moments?.absoluteMaximum),
            CSVText.number(moments?.skewness), CSVText.number(moments?.kurtosis),
        ]
        fields += Percentiles.levels.indices.map { CSVText.number(moments?.percentiles?.values[$0]) }
        fields += [
            CSVText.number(found?.zeros), CSVText.number(found?.subnormal), CSVText.number(found?.nan),
            CSVText.number(found?.infinite), CSVText.number(found?.outliers), CSVText.number(found?.valueEntropy),
            CSVText.number(found?.codeEntropy),
        ]
        for spread in [found?.rows, found?.columns] {
            fields += [
                CSVText.number(spread?.minimum), CSVText.number(spread?.median), CSVText.number(spread?.maximum),
            ]
        }
        return fields + [
            CSVText.number(sums?.relativeMSE), CSVText.number(sums?.signalToNoise), CSVText.number(sums?.maxError),
            CSVText.number(tensor.descriptor?.calibrated?.sums.relativeError),
        ]
    }

    private static func fields(_ group: TensorGroup) -> [String] {
        let figures = group.figures
        let isRead = figures.count > 0
        return [
            CSVText.name(group.name.text), "\(figures.tensors)", "\(figures.elements)", "\(figures.bytes)",
            CSVText.number(figures.bitsPerElement), CSVText.number(figures.minimum), CSVText.number(figures.maximum),
            CSVText.number(figures.mean), CSVText.number(figures.standardDeviation),
            CSVText.number(figures.absoluteMaximum), CSVText.number(figures.skewness), CSVText.number(figures.kurtosis),
            CSVText.number(isRead ? figures.zeros : nil), CSVText.number(isRead ? figures.subnormal : nil),
            CSVText.number(isRead ? figures.nan : nil), CSVText.number(isRead ? figures.infinite : nil),
            CSVText.number(isRead ? figures.outliers : nil), CSVText.number(figures.valueEntropy),
            CSVText.number(figures.codeEntropy), CSVText.number(figures.relativeMSE),
            CSVText.number(figures.relativeActivationError),
        ]
    }

}

/// Report of an inspection as Markdown tables for GitHub.
enum InspectionMarkdown {
    /// The document in parts.
    static func parts(_ report: CheckpointReport, _ view: InspectionView) -> [String] {
        var lines = ["# \(MarkdownText.name(report.path.lastComponent?.string ?? report.path.string))", ""]
        lines += [InspectionText.summary(report) + ".", ""]
        let rows = view.groups?.count ?? report.tensors.count
        if let groups = view.groups, let grouping = view.grouping {
            lines += table(groups, grouping.rawValue, report)
        } else {
            lines += tensors(report)
        }
        if rows < view.rowsInAll {
            lines += ["", "\(rows) of \(view.rowsInAll) \(view.groups == nil ? "tensors" : "groups")."]
        }
        if view.grouping != .kind, view.kinds.count > 1 {
            lines += ["", "## By kind", ""] + table(view.kinds, "kind", report)
        }
        lines += ["", "## Bytes", ""] + account(report)
        return [lines.joined(separator: "\n") + "\n"]
    }

    private static func tensors(_ report: CheckpointReport) -> [String] {
        let hasCalibrated = report.tensors.contains { $0.descriptor?.calibrated != nil }
        let titles =
            ["tensor", "stored as", "shape", "size", "bits"]
            + (report.weightsRead ? figureTitles : report.isSealed ? ["relative MSE"] : [])
            + (hasCalibrated ? [activationTitle] : [])
        let rows = report.tensors.map { tensor -> [String] in
            let figures = TensorFigures(tensor)
            let head = [
                MarkdownText.name(tensor.name),
                tensor.stored.isEncoded ? tensor.stored.scheme : tensor.elementType.rawValue,
                tensor.shape.description, Format.bytes(tensor.byteCount),
                tensor.bitsPerElement.map { NumberText.fixed($0, 2) } ?? "-",
            ]
            let error = hasCalibrated ? [activationError(figures)] : []
            if report.weightsRead { return head + cells(figures) + error }
            return head + (report.isSealed ? [figures.errors.map { Format.scientific($0.relativeMSE) } ?? "-"] : [])
                + error
        }
        return MarkdownTable(titles, left: 3, rows).lines
    }

    private static func table(_ groups: [TensorGroup], _ title: String, _ report: CheckpointReport) -> [String] {
        let hasCalibrated = groups.contains { $0.figures.relativeActivationError != nil }
        let titles =
            [title, "tensors", "weights", "size", "share", "bits"] + (report.weightsRead ? figureTitles : [])
            + (hasCalibrated ? [activationTitle] : [])
        let rows = groups.map { group -> [String] in
            let figures = group.figures
            return [
                group.name.text, "\(figures.tensors)", Format.grouped(UInt64(figures.elements)),
                Format.bytes(figures.bytes), Format.percent(figures.bytes, of: report.fileBytes),
                figures.bitsPerElement.map { NumberText.fixed($0, 2) } ?? "-",
            ] + (report.weightsRead ? cells(figures) : [])
                + (hasCalibrated ? [activationError(figures)] : [])
        }
        return MarkdownTable(titles, left: 1, rows).lines
    }

    private static let figureTitles = [
        "min", "max", "mean", "std", "kurtosis", "outliers", "zeros", "not finite", "code bits", "relative MSE",
    ]

    private static let activationTitle = "relative error over activations"

    private static func activationError(_ figures: TensorFigures) -> String {
        figures.relativeActivationError.map(Format.scientific) ?? "-"
    }

    private static func cells(_ figures: TensorFigures) -> [String] {
        func number(_ value: Double?) -> String { value.map(Format.brief) ?? "-" }
        func count(_ value: UInt64) -> String { figures.count > 0 ? Format.grouped(value) : "-" }
        return [
            number(figures.minimum), number(figures.maximum), number(figures.mean), number(figures.standardDeviation),
            figures.kurtosis.map { NumberText.fixed($0, 2) } ?? "-", count(figures.outliers), count(figures.zeros),
            figures.nan + figures.infinite > 0 ? "**\(count(figures.nan + figures.infinite))**" : count(0),
            figures.codeEntropy.map { NumberText.fixed($0, 2) } ?? "-",
            figures.errors.map { Format.scientific($0.relativeMSE) } ?? "-",
        ]
    }

    private static func account(_ report: CheckpointReport) -> [String] {
        let account = report.account
        var rows = ByteAccount.Part.allCases.compactMap { part in
            account.bytes[part].map {
                [part.label(isSealed: report.isSealed), Format.grouped($0), Format.percent($0, of: account.total)]
            }
        }
        rows.append(["**total**", "**\(Format.grouped(account.total))**", ""])
        let same = account.total == report.fileBytes
        return MarkdownTable(["part", "bytes", "share"], left: 1, rows).lines
            + [
                "",
                same
                    ? "Every byte is accounted for: the total is the size of the files."
                    : "**The total is not the size of the files.**",
            ]
    }
}
