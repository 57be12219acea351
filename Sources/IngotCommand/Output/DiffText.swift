import Inspection
import Quantization
import SystemPackage
import TensorModel
import Weights

/// A comparison of two checkpoints as text for people, the most important facts first.
struct DiffText {
    private let diff: CheckpointDiff
    private let style: Style
    private let top: Int

    /// Prepares the text; lists have at most `top` lines.
    init(_ diff: CheckpointDiff, _ style: Style, top: Int) {
        (self.diff, self.style, self.top) = (diff, style, top)
    }

    /// The whole text.
    var text: String {
        if diff.isIdentical { return "\(verdict), and all other files are the same" }
        let sections = [
            [verdict, head].joined(separator: "\n"), movers, activationErrors, lists, forms,
            sizes("size by kind", diff.sizes.kinds), sizes("size by layer", DiffText.merged(diff.sizes.layers)),
            sizes("size by part of the files", diff.sizes.parts), metadata, companions,
        ]
        return sections.filter { !$0.isEmpty }.joined(separator: "\n\n")
    }

    // MARK: - Verdict

    private var verdict: String {
        let all = diff.tensors.count
        if diff.isSame {
            guard diff.weightsRead else { return style.good("the same names, shapes and types; weights were not read") }
            return style.good(
                diff.count(.same) == all ? "the same in every byte of every tensor" : "the same weights in other bytes")
        }
        return style.bad(diff.weightsRead ? "the checkpoints differ" : "the checkpoints differ in their headers")
    }

    private var head: String {
        func line(_ label: String, _ side: CheckpointDiff.Side) -> [String] {
            [
                label, path(side), side.format,
                "\(side.tensorCount) \(side.tensorCount == 1 ? "tensor" : "tensors")", Format.bytes(side.byteCount),
            ]
        }
        // The end of a path tells more than its beginning.
        func path(_ side: CheckpointDiff.Side) -> String {
            let text = IngotErrorRenderer.escaped(side.path.string)
            guard let width = style.width, case let room = max(16, width - 42), text.width > room else { return text }
            return "..." + text.suffix(room - 3)
        }
        let table = Format.table([line("old", diff.old), line("new", diff.new)], width: nil, left: [0, 1, 2])
        let total = diff.sizes.total
        let change = "size  " + DiffText.signed(total) + DiffText.percent(total).map { " (\($0))" }.orEmpty
        return [table, colored(change, total), counts].joined(separator: "\n")
    }

    private var counts: String {
        let words: [(TensorDifference.Status, String, (String) -> String)] = [
            (.changed, "changed", style.warning), (.reshaped, "reshaped", style.bad),
            (.retyped, "of another type", style.bad), (.recoded, "the same in other bytes", style.good),
            (.same, "the same", style.good), (.unread, "not read", style.faint),
        ]
        var parts = words.compactMap { status, word, color in
            let count = diff.count(status)
            return count == 0 ? nil : color("\(count) \(word)")
        }
        let renamed = diff.renamed.count
        if renamed > 0 { parts.append(style.warning("\(renamed) of them renamed")) }
        for (direction, word) in [(TensorDifference.Regrouping.Direction.fused, "fused from"), (.split, "split into")] {
            let found = diff.regrouped(direction)
            guard !found.isEmpty else { continue }
            let several = found.reduce(0) { $0 + ($1.several?.tensors.count ?? 0) }
            parts.append(style.warning("\(found.count) of them \(word) \(several)"))
        }
        if !diff.added.isEmpty { parts.append(style.warning("\(diff.added.count) added")) }
        if !diff.removed.isEmpty { parts.append(style.bad("\(diff.removed.count) removed")) }
        return Format.list("tensors:", parts.isEmpty ? ["none"] : parts)
    }

    // MARK: - Tensors

    private var movers: String {
        let movers = diff.movers(top)
        guard !movers.isEmpty else { return "" }
        var rows = [
            ["changed most", "stored as", "size", "rel MSE", "cosine", "max change", "changed"].map(style.strong)
        ]
        for tensor in movers {
            let elements = Double(max(1, tensor.new.shape.elementCount))
            let share = NumberText.fixed(Double(tensor.changed ?? 0) / elements * 100, 1) + " %"
            let size = SizeChange(old: tensor.old.byteCount, new: tensor.new.byteCount)
            let weights = tensor.weights
            let hidden = (weights?.changedNonFinite ?? 0) > 0
            rows.append([
                DiffText.name(tensor.new), tensor.new.form,
                colored(size.old == size.new ? "=" : DiffText.percent(size) ?? "-", size),
                weights.map { Format.scientific($0.errors.sums.relativeMSE) + (hidden ? "*" : "") } ?? "-",
                weights.map { DiffText.cosine($0.errors.cosine) } ?? "-",
                weights.map { Format.scientific($0.errors.sums.maxError) } ?? "-", share,
            ])
        }
        var lines = [Format.table(rows, width: style.width, left: [0, 1])]
        let more = diff.count(.changed) - movers.count
        if more > 0 {
            lines.append(style.faint("... and \(more) more that changed less; --top \(diff.count(.changed))"))
        }
        let broken = diff.tensors.filter { ($0.weights?.changedNonFinite ?? 0) > 0 }
        if !broken.isEmpty {
            let count = broken.reduce(0) { $0 + ($1.weights?.changedNonFinite ?? 0) }
            lines.append(
                style.bad("* not counting weights that became, or no longer are, NaN or infinite: \(count)"))
        }
        return lines.joined(separator: "\n")
    }

    /// Errors over activations of calibrated tensors, as the certificates of both sides state them.
    private var activationErrors: String {
        let tensors = diff.activationErrors
        guard !tensors.isEmpty, top > 0 else { return "" }
        let rows =
            [["relative error over activations", "old", "new"].map(style.strong)]
            + tensors.prefix(top).map { [DiffText.name($0.new), DiffText.error($0.old), DiffText.error($0.new)] }
        var lines = [Format.table(rows, width: style.width)]
        if tensors.count > top { lines.append(style.faint("... and \(tensors.count - top) more")) }
        if diff.hasOtherMoments {
            lines.append(style.faint("old and new have other moments: their errors are not of the same activations"))
        }
        return lines.joined(separator: "\n")
    }

    /// The relative error over activations of one side; `-` if it is not calibrated.
    static func error(_ side: TensorDifference.Side) -> String {
        side.relativeActivationError.map(Format.scientific) ?? "-"
    }

    private var lists: String {
        var sections: [String] = []
        func add(_ title: String, _ lines: [String]) {
            guard !lines.isEmpty else { return }
            let shown = lines.prefix(top).map { "  " + $0 }
            let more = lines.count > shown.count ? [style.faint("  ... and \(lines.count - shown.count) more")] : []
            sections.append(([style.strong("\(title) (\(lines.count))")] + shown + more).joined(separator: "\n"))
        }
        // Shorten names rather than the text after them.
        func line(_ tensor: TensorDifference.Side, _ text: String) -> String {
            let name = DiffText.name(tensor)
            guard let width = style.width else { return "\(name)  \(text)" }
            return "\(Format.shortened(name, to: max(16, width - 8 - text.width)))  \(text)"
        }
        func named(_ tensor: StoredWeights) -> String {
            let side = TensorDifference.Side(tensor)
            return line(side, "\(side.form) \(tensor.shape), \(Format.bytes(tensor.byteCount))")
        }
        let tensors = diff.tensors
        add("removed", diff.removed.map(named))
        add("added", diff.added.map(named))
        add(
            "another shape",
            tensors.filter { $0.status == .reshaped }.map { line($0.new, "\($0.old.shape) -> \($0.new.shape)") })
        add(
            "another type, not compared",
            tensors.filter { $0.status == .retyped }.map {
                line($0.new, "\($0.old.form) -> \($0.new.form)")
            })
        add(
            "renamed",
            diff.renamed.compactMap { tensor in
                tensor.rename.map {
                    line(tensor.old, "").trimmingSuffix + "\n    -> " + line(tensor.new, style.faint(evidence($0)))
                }
            })
        for direction in TensorDifference.Regrouping.Direction.allCases {
            add(direction.rawValue, diff.regrouped(direction).map(regrouped))
        }
        return sections.joined(separator: "\n\n")
    }

    /// A tensor that was fused from several or split into several: the names, each in a line, then what was found.
    private func regrouped(_ tensor: TensorDifference) -> String {
        func lines(_ side: TensorDifference.Side, indent: Int) -> [String] {
            side.names.enumerated().map { index, name in
                let name = IngotErrorRenderer.escaped(name.text)
                let short = style.width.map { Format.shortened(name, to: max(16, $0 - indent - 5)) } ?? name
                return (index == 0 ? "" : String(repeating: " ", count: indent) + "+ ") + short
            }
        }
        let count = tensor.several?.tensors.count ?? 1
        let word = tensor.regrouping?.direction == .split ? "split into" : "fused from"
        var facts = ["\(word) \(count) \(count == 1 ? "tensor" : "tensors")"]
        if tensor.status == .same {
            facts.append("the same bytes")
        } else if tensor.status == .recoded {
            facts.append("the same weights")
        } else if let errors = tensor.weights?.errors {
            facts.append("rel MSE \(Format.scientific(errors.sums.relativeMSE))")
        }
        if let index = tensor.worstPart, let part = tensor.regrouping?.parts[index],
            let sums = tensor.weights?.parts[index]
        {
            facts.append("most in expert \(part.expert): \(Format.scientific(sums.relativeMSE))")
        }
        let (old, new) = (lines(tensor.old, indent: 2), lines(tensor.new, indent: 5))
        let found = "       " + style.faint("(\(facts.joined(separator: ", ")))")
        return (old + ["    -> " + new[0]] + new.dropFirst() + [found]).joined(separator: "\n")
    }

    private func evidence(_ rename: TensorDifference.Rename) -> String {
        switch rename {
        case .sameBytes: "(the same bytes)"
        case .sameOriginal: "(the hash of the original is the same)"
        case .names: "(llama.cpp's and Hugging Face's names)"
        case .similarWeights(let error): "(samples: rel MSE \(Format.scientific(error)))"
        }
    }

    /// Counts of tensors by change of form, such as F16 to trellis.
    private var forms: String {
        var counts: [[String]: (count: Int, size: SizeChange)] = [:]
        for tensor in diff.tensors {
            let key = [tensor.old.form, tensor.new.form]
            guard key[0] != key[1] else { continue }
            var entry = counts[key] ?? (0, SizeChange())
            entry.count += 1
            entry.size.old += tensor.old.byteCount
            entry.size.new += tensor.new.byteCount
            counts[key] = entry
        }
        guard !counts.isEmpty else { return "" }
        let sorted = counts.sorted { a, b in
            a.value.size.old != b.value.size.old
                ? a.value.size.old > b.value.size.old : a.key.lexicographicallyPrecedes(b.key)
        }
        var rows = [["stored otherwise", "tensors", "old", "new", "change"].map(style.strong)]
        rows += sorted.map { key, value in
            [
                "\(key[0]) -> \(key[1])", "\(value.count)", Format.bytes(value.size.old),
                Format.bytes(value.size.new),
                colored(value.size.old == value.size.new ? "=" : DiffText.percent(value.size) ?? "new", value.size),
            ]
        }
        return Format.table(rows, width: style.width)
    }

    // MARK: - Sizes

    private func sizes(_ title: String, _ list: [SizeChanges.Row]) -> String {
        let total = SizeChanges.Row(name: "total", size: diff.sizes.total)
        var rows = [[title, "old", "new", "change", "%"].map(style.strong)]
        for row in list + [total] {
            let size = row.size
            rows.append([
                row.name, Format.bytes(size.old), Format.bytes(size.new), colored(DiffText.signed(size), size),
                colored(size.old == size.new ? "=" : DiffText.percent(size) ?? "new", size),
            ])
        }
        return Format.table(rows, width: style.width)
    }

    /// Merges neighbouring layers with the same sizes into one row with their sum.
    static func merged(_ rows: [SizeChanges.Row]) -> [SizeChanges.Row] {
        var merged: [(first: String, last: String, each: SizeChange, count: UInt64)] = []
        for row in rows {
            if let last = merged.last, let number = Int(last.last), row.name == String(number + 1),
                last.each == row.size
            {
                merged[merged.count - 1].last = row.name
                merged[merged.count - 1].count += 1
            } else {
                merged.append((row.name, row.name, row.size, 1))
            }
        }
        return merged.map { run in
            SizeChanges.Row(
                name: run.count == 1 ? run.first : "\(run.first) to \(run.last), each \(Format.bytes(run.each.new))",
                size: SizeChange(old: run.each.old * run.count, new: run.each.new * run.count))
        }
    }

    private var metadata: String {
        guard !diff.metadata.isEmpty else { return "" }
        func value(_ text: String?) -> String {
            guard let text else { return "-" }
            let escaped = IngotErrorRenderer.escaped(text)
            return escaped.count > 24 ? escaped.prefix(21) + "..." : escaped
        }
        let rows =
            [["metadata", "old", "new"].map(style.strong)]
            + diff.metadata.prefix(top).map {
                [IngotErrorRenderer.escaped($0.key), value($0.old), value($0.new)]
            }
        let more = diff.metadata.count - top
        return Format.table(rows, width: style.width, left: [0, 1, 2])
            + (more > 0 ? "\n" + style.faint("... and \(more) more") : "")
    }

    /// Files beside the weights that differ.
    private var companions: String {
        guard !diff.companions.isEmpty else { return "" }
        func bytes(_ count: UInt64?) -> String { count.map(Format.bytes) ?? "-" }
        let rows =
            [["other files that differ", "old", "new"].map(style.strong)]
            + diff.companions.prefix(top).map {
                [IngotErrorRenderer.escaped($0.name), bytes($0.old), bytes($0.new)]
            }
        let more = diff.companions.count - top
        return Format.table(rows, width: style.width) + (more > 0 ? "\n" + style.faint("... and \(more) more") : "")
    }

    // MARK: - Words and numbers

    private func colored(_ text: String, _ size: SizeChange) -> String {
        size.new == size.old ? text : size.new < size.old ? style.good(text) : style.warning(text)
    }

    /// Name of a tensor, or names of several, escaped.
    static func name(_ side: TensorDifference.Side) -> String { IngotErrorRenderer.escaped(side.name.text) }

    /// Change of a size with its sign, such as `-1.20 MB`; `=` for no change.
    static func signed(_ size: SizeChange) -> String {
        if size.old == size.new { return "=" }
        return size.new > size.old
            ? "+" + Format.bytes(size.new - size.old) : "-" + Format.bytes(size.old - size.new)
    }

    /// Change of a size in percent with its sign; nil if the old size is 0.
    static func percent(_ size: SizeChange) -> String? {
        size.percent.map { ($0 > 0 ? "+" : "") + NumberText.fixed($0, 1) + " %" }
    }

    /// A cosine with enough digits to differ from 1.
    private static func cosine(_ value: Double) -> String {
        value == 1 ? "1" : NumberText.fixed(min(value, 0.999999), abs(1 - value) < 0.001 ? 6 : 4)
    }
}

extension String? {
    fileprivate var orEmpty: String { self ?? "" }
}
