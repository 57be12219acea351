import Architectures
import Inspection
import Quantization
import SystemPackage
import TensorModel
import Weights

/// A comparison of two checkpoints as CSV and Markdown.
enum DiffTable {
    // MARK: - CSV

    private static let columns = [
        "name", "old_name", "status", "renamed_by", "kind", "layer", "old_dtype", "new_dtype", "old_shape", "new_shape",
        "old_scheme", "new_scheme", "old_bytes", "new_bytes", "elements", "changed", "relative_mse", "snr_db",
        "max_error", "cosine", "not_finite_changed", "regrouped", "tensors", "old_relative_activation_error",
        "new_relative_activation_error",
    ]

    /// CSV with one row per tensor (RFC 4180); cells that do not apply are empty. Names are escaped; JSON has the exact names.
    static func csv(_ diff: CheckpointDiff) -> String {
        var rows = [columns]
        rows += diff.tensors.map { tensor in
            let errors = tensor.weights?.errors
            return cells(tensor.old, tensor.new, tensor.status.rawValue, tensor.rename?.name) + [
                CSVText.number(tensor.changed), CSVText.number(errors?.sums.relativeMSE),
                CSVText.number(errors?.sums.signalToNoise), CSVText.number(errors?.sums.maxError),
                CSVText.number(errors?.cosine), CSVText.number(tensor.weights?.changedNonFinite),
                tensor.regrouping?.direction.rawValue ?? "", CSVText.number(tensor.several?.tensors.count),
            ] + activationErrors(tensor.old, tensor.new)
        }
        let none = [String](repeating: "", count: 8)
        rows += diff.added.map(TensorDifference.Side.init).map {
            cells(nil, $0, "added", nil) + none + activationErrors(nil, $0)
        }
        rows += diff.removed.map(TensorDifference.Side.init).map {
            cells($0, nil, "removed", nil) + none + activationErrors($0, nil)
        }
        return rows.map { $0.joined(separator: ",") }.joined(separator: "\n")
    }

    private static func activationErrors(
        _ old: TensorDifference.Side?, _ new: TensorDifference.Side?
    ) -> [String] {
        [CSVText.number(old?.relativeActivationError), CSVText.number(new?.relativeActivationError)]
    }

    private static func cells(
        _ old: TensorDifference.Side?, _ new: TensorDifference.Side?, _ status: String, _ rename: String?
    ) -> [String] {
        let either = new ?? old
        func both(_ value: (TensorDifference.Side) -> String) -> [String] {
            [old.map(value) ?? "", new.map(value) ?? ""]
        }
        return [
            new.map { CSVText.name($0.name.text) } ?? "", old.map { CSVText.name($0.name.text) } ?? "", status,
            rename ?? "",
            either?.role.kind.rawValue ?? "",
            CSVText.number(either?.role.layer),
        ] + both { CSVText.cell($0.elementType) } + both { CSVText.cell($0.shape.description) }
            + both { CSVText.cell($0.scheme) }
            + both { String($0.byteCount) } + [CSVText.number(either?.shape.elementCount)]
    }

    // MARK: - Markdown

    /// Markdown tables for issues and pull requests; `top` rows at most in the table of the most changed tensors.
    static func markdown(_ diff: CheckpointDiff, top: Int) -> String {
        var lines = ["# \(MarkdownText.name(diff.old.path.string)) and \(MarkdownText.name(diff.new.path.string))", ""]
        lines.append(diff.isSame ? "The same weights." : "The checkpoints differ.")
        var counts = TensorDifference.Status.allCases.map { ($0.rawValue, diff.count($0)) }
        counts.append(("renamed", diff.renamed.count))
        counts += TensorDifference.Regrouping.Direction.allCases.map { ($0.rawValue, diff.regrouped($0).count) }
        counts += [("added", diff.added.count), ("removed", diff.removed.count)]
        add(["tensors", ""], left: 1, counts.filter { $0.1 > 0 }.map { [$0.0, "\($0.1)"] }, to: &lines)
        let movers = diff.movers(top).map { tensor in
            let size = SizeChange(old: tensor.old.byteCount, new: tensor.new.byteCount)
            let sums = tensor.weights?.errors.sums
            return [
                MarkdownText.name(tensor.new.name), tensor.old.form, tensor.new.form,
                DiffText.percent(size) ?? "-", sums.map { Format.scientific($0.relativeMSE) } ?? "-",
                sums.map { Format.scientific($0.maxError) } ?? "-", "\(tensor.changed ?? 0)",
            ]
        }
        add(["changed most", "old", "new", "size", "rel MSE", "max change", "changed"], left: 3, movers, to: &lines)
        let errors = diff.activationErrors.prefix(top).map {
            [MarkdownText.name($0.new.name), DiffText.error($0.old), DiffText.error($0.new)]
        }
        add(["relative error over activations", "old", "new"], left: 1, errors, to: &lines)
        let names = diff.renamed.map { tensor in
            [
                MarkdownText.name(tensor.old.name), MarkdownText.name(tensor.new.name), tensor.rename?.name ?? "",
                tensor.rename?.sampled.map(Format.scientific) ?? "-",
            ]
        }
        add(["old name", "new name", "by", "sampled rel MSE"], left: 3, names, to: &lines)
        for direction in TensorDifference.Regrouping.Direction.allCases {
            let rows = diff.regrouped(direction).map { tensor in
                [
                    MarkdownText.name(tensor.old.name), MarkdownText.name(tensor.new.name), tensor.rename?.name ?? "",
                    "\(tensor.several?.tensors.count ?? 1)",
                    tensor.status == .same
                        ? "0" : tensor.weights.map { Format.scientific($0.errors.sums.relativeMSE) } ?? "-",
                ]
            }
            let title = direction == .fused ? "fused" : "split"
            add([title, "into", "by", "tensors", "rel MSE"], left: 3, rows, to: &lines)
        }
        for (title, tensors) in [("added", diff.added), ("removed", diff.removed)] {
            let rows = tensors.map {
                [
                    MarkdownText.name($0.name), TensorDifference.Side($0).form, $0.shape.description,
                    Format.bytes($0.byteCount),
                ]
            }
            add([title, "type", "shape", "size"], left: 3, rows, to: &lines)
        }
        for (title, rows) in [("kind", diff.sizes.kinds), ("layer", DiffText.merged(diff.sizes.layers))] {
            let sizes = (rows + [SizeChanges.Row(name: "total", size: diff.sizes.total)]).map { row in
                [
                    row.name, Format.bytes(row.size.old), Format.bytes(row.size.new), DiffText.signed(row.size),
                    DiffText.percent(row.size) ?? "-",
                ]
            }
            add([title, "old", "new", "change", "%"], left: 1, sizes, to: &lines)
        }
        let others = diff.companions.map { file in
            [MarkdownText.name(file.name), file.old.map(Format.bytes) ?? "-", file.new.map(Format.bytes) ?? "-"]
        }
        add(["other files that differ", "old", "new"], left: 1, others, to: &lines)
        return lines.joined(separator: "\n")
    }

    /// Appends an empty line and a table, unless it has no rows.
    private static func add(_ titles: [String], left: Int, _ rows: [[String]], to lines: inout [String]) {
        if !rows.isEmpty { lines += [""] + MarkdownTable(titles, left: left, rows).lines }
    }
}
