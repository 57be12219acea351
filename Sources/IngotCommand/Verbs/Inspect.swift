import ArgumentParser
import Container
import Inspection
import Quantization
import SystemPackage
import TensorModel

struct Inspect: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the tensors of a checkpoint, and where its bytes go.",
        usage: "ingot inspect <path> [options]",
        discussion: """
            PATH is a safetensors file, a directory of them, or a checkpoint that
            `ingot convert` made. Headers and tables are read, no weights.
            """)

    @Argument(help: "Checkpoint to look into.")
    var path: FilePath

    @OptionGroup var report: PageOptions

    func run() throws {
        let result = try CheckpointReport(path)
        for warning in result.warnings { Console.message(IngotErrorRenderer.text(warning)) }
        switch report.format {
        case .json: Console.result(result.json.text(indented: true))
        case .html: Console.result(HTMLReport.page(title: path.string, json: result.json))
        case .text: Console.result(InspectionText.text(result, width: Console.width))
        }
    }
}

/// The report of an inspection, for people.
enum InspectionText {
    static func text(_ report: CheckpointReport, width: Int?) -> String {
        var rows = [["tensor", "type", "shape", "stored as", "size", "bits", "rel MSE"]]
        for tensor in report.tensors {
            let sums = tensor.descriptor?.sums
            rows.append([
                IngotErrorRenderer.escaped(tensor.name.text), tensor.elementType.rawValue, tensor.shape.description,
                tensor.descriptor?.scheme.summary ?? "as it is", Format.bytes(tensor.byteCount),
                tensor.bitsPerElement.map { Format.fixed($0, 2) } ?? "-",
                sums.map { Format.scientific($0.relativeMSE) } ?? "-",
            ])
        }
        var lines = [Format.table(rows, width: width, left: [0, 1, 3])]
        lines.append("")
        let kind = report.isSealed ? "Ingot checkpoint" : "safetensors"
        let count = report.files.count
        lines.append(
            "\(kind), \(count) \(count == 1 ? "shard" : "shards"), \(report.tensors.count) tensors, "
                + "\(report.elements) elements, \(Format.bytes(report.account.total))")
        let account = report.account
        let parts = ByteAccount.Part.allCases.compactMap { part in
            account.bytes[part].map { "\(part.rawValue) \($0)" }
        }
        lines.append(Format.list("bytes:", parts + ["total \(account.total)"]))
        return lines.joined(separator: "\n")
    }
}
