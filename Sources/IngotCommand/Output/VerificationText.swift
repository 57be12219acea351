import Architectures
import Inspection
import Quantization
import TensorModel
import Weights

/// Report of a verification as text for people: the verdict and the offenders, then the largest errors, then errors by kind.
struct VerificationText {
    private let report: VerificationReport
    private let claims: ClaimsReport
    private let style: Style
    private let top: Int

    /// Number of offenders shown in full, and number shown by name, so that the verdict stays on the first screen.
    private static let detailed = 2, named = 5

    /// Prepares the text; the table of tensors has at most `top` rows.
    init(_ report: VerificationReport, _ claims: ClaimsReport, _ style: Style, top: Int) {
        self.report = report
        self.claims = claims
        self.style = style
        self.top = top
    }

    /// The whole text.
    var text: String {
        var sections = [verdict]
        // Of an export alone no error is known.
        if report.isOtherSource || report.hasManifest && !report.compared {
            return (sections + [closing]).joined(separator: "\n\n")
        }
        if !report.failures.isEmpty { sections.append(offenders) }
        if let unusual { sections.append(unusual) }
        if let table { sections.append(table) }
        if let kinds { sections.append(kinds) }
        sections.append(closing)
        return sections.joined(separator: "\n\n")
    }

    // MARK: - Verdict

    /// The verdict in colour.
    private var word: String {
        let word = claims.verdict.rawValue
        return switch claims.verdict {
        case .pass: style.good(word)
        case .fail: style.bad(word)
        case .compared: style.strong(word)
        }
    }

    private var verdict: String {
        if report.isOtherSource {
            return "\(word)  the source is not the checkpoint that was converted: all matrices differ"
        }
        guard report.holds else {
            let names = Set(report.failures.compactMap(\.tensor))
            let what = names.count == 1 ? "1 tensor is not" : "\(names.count) tensors are not"
            let meant = report.comparison == .weights ? "the source's" : "what the checkpoint claims"
            let all = names.count > report.tensors.count ? "" : " (of \(report.tensors.count))"
            return ([("\(word)  \(what) \(meant)\(all)")] + exactness).joined(separator: "\n")
        }
        if report.hasManifest, !report.compared { return "\(word)  \(Format.bytes(report.outputBytes)), intact" }
        var facts: [String] = []
        if report.weights > 0 {
            let sums = report.total.sums
            facts.append("relative MSE \(ErrorText.relative(sums))")
            if sums.noise > 0 { facts.append("SNR \(ErrorText.signalToNoise(sums)) dB") }
            facts.append("\(ErrorText.bits(report.bitsPerWeight)) bits per weight")
        }
        let share = abs(report.reduction) * 100
        let size =
            "\(Format.bytes(report.sourceBytes)) -> \(Format.bytes(report.outputBytes)), "
            + "\(NumberText.fixed(share, 1)) % \(report.reduction < 0 ? "larger" : "smaller")"
        var head = facts.isEmpty ? [size] : [facts.joined(separator: ", "), size]
        if claims.verdict == .fail {
            let (count, all) = (claims.failed.count, claims.results.count)
            head.insert("\(count) of \(all) claims \(count == 1 ? "does" : "do") not hold", at: 0)
        }
        return (["\(word)  \(head.joined(separator: "\n\(indent)"))"] + exactness).joined(separator: "\n")
    }

    /// Spaces as wide as the verdict.
    private var indent: String { String(repeating: " ", count: claims.verdict.rawValue.width + 2) }

    /// Lines about whether every weight equals the other checkpoint's; empty if the report has no sentence about it.
    private var exactness: [String] {
        let lines = report.exactness.map { wrapped($0) } ?? []
        return lines.map { indent + (report.values?.isExact == true ? style.good($0) : $0) } + names
    }

    /// Lines about names that were matched, and about tensors that only one checkpoint stores.
    private var names: [String] {
        let apart = report.apart.prefix(VerificationText.named).map { tensor in
            "\(tensor.name.text)\(tensor.isInSource ? " of the source" : ""): \(tensor.reason)"
        }
        let more = report.apart.count - apart.count
        let lines = [report.names?.sentence].compactMap(\.self) + apart + (more > 0 ? ["... and \(more) more"] : [])
        return lines.flatMap { wrapped($0) }.map { indent + $0 }
    }

    /// Escaped text in lines of the terminal's width, less that of the verdict.
    private func wrapped(_ text: String) -> [String] {
        let text = IngotErrorRenderer.escaped(text)
        return style.width.map { Format.wrapped(text, to: max(40, $0 - indent.width)) } ?? [text]
    }

    /// Offenders: the first ones with all details, then names.
    private var offenders: String {
        let tensors = Dictionary(report.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var blocks = report.failures.prefix(VerificationText.detailed).map { detail($0, tensors) }
        let rest = report.failures.dropFirst(VerificationText.detailed)
        if !rest.isEmpty {
            var lines = rest.prefix(VerificationText.named).map { failure in
                "  \(style.bad(name(failure))): \(reason(failure))"
            }
            if rest.count > lines.count { lines.append("  ... and \(rest.count - lines.count) more") }
            blocks.append(lines.map(cut).joined(separator: "\n"))
        }
        return blocks.joined(separator: "\n")
    }

    private func detail(_ failure: IngotError, _ tensors: [TensorName: VerificationReport.Tensor]) -> String {
        let tensor = failure.tensor.flatMap { tensors[$0] }
        let stored = tensor.map { style.faint("  (\($0.scheme))") } ?? ""
        var lines = ["  \(style.bad(name(failure)))\(stored)"] + indented(failure.found)
        if let tensor, let errors = tensor.errors {
            var rows = [["", "rel MSE", "SNR dB", "max error", "cosine", "changed", "sign flips"]]
            rows.append(
                ["    measured"] + figures(errors.sums)
                    + [ErrorText.cosine(errors), "\(errors.changed)", "\(errors.signFlips)"])
            if let certificate = tensor.certificate {
                let claim = tensor.isKept ? "    kept" : "    certified"
                rows.append([claim] + figures(certificate) + ["", tensor.isKept ? "0" : "", ""])
            }
            lines.append(Format.table(rows, width: nil))
        }
        return (lines + indented("to do: \(failure.remedy.text(RemedyText.words))")).joined(separator: "\n")
    }

    /// Text in indented lines of the terminal's width.
    private func indented(_ text: String) -> [String] {
        let text = IngotErrorRenderer.escaped(text)
        guard let width = style.width else { return ["    \(text)"] }
        return Format.wrapped(text, to: max(20, width - 4)).map { "    \($0)" }
    }

    private func figures(_ sums: ErrorSums) -> [String] {
        [ErrorText.relative(sums), ErrorText.signalToNoise(sums), Format.scientific(sums.maxError)]
    }

    private func name(_ failure: IngotError) -> String {
        let name = failure.tensor.map { IngotErrorRenderer.escaped($0.text) } ?? "checkpoint"
        return style.width.map { Format.shortened(name, to: max(24, $0 - 24)) } ?? name
    }

    private func reason(_ failure: IngotError) -> String {
        failure.code == .certificateMismatch ? "not its certificate's error" : "not the source's tensor"
    }

    /// Cuts a line to the width of the terminal, if it has no colours.
    private func cut(_ line: String) -> String {
        guard let width = style.width, line.width > width, !line.contains("\u{1B}") else { return line }
        return line.prefix(max(1, width - 3)) + "..."
    }

    /// Note about NaN and infinite weights; nil if there are none. They are no error of the conversion.
    private var unusual: String? {
        let tensors = report.tensors.filter { ($0.restored?.nan ?? 0) + ($0.restored?.infinite ?? 0) > 0 }
        guard let first = tensors.first, let weights = first.restored else { return nil }
        let others = tensors.count > 1 ? ", and \(tensors.count - 1) more tensors have some" : ""
        return style.warning("NaN or infinity in ")
            + "\(IngotErrorRenderer.escaped(first.name.text)): \(weights.nan) NaN, \(weights.infinite) infinite\(others)"
    }

    // MARK: - Tensors

    /// A column of the table of tensors, and its rank: the order in which columns are left out on a narrow terminal.
    private struct Column {
        let title: String
        let priority: Int
        let cell: (VerificationReport.Tensor) -> String
    }

    private var columns: [Column] {
        var columns = [
            Column(title: "stored as", priority: 5) { $0.scheme },
            Column(title: "rel MSE", priority: 1) { ErrorText.relative($0.sums) },
            Column(title: "SNR dB", priority: 2) { ErrorText.signalToNoise($0.sums) },
            Column(title: "max error", priority: 3) { Format.scientific($0.sums.maxError) },
        ]
        if report.tensors.contains(where: { $0.calibrated != nil }) {
            columns.insert(Column(title: "act err", priority: 0) { ErrorText.activation($0) }, at: 2)
        }
        guard report.compared else { return columns }
        columns += [
            Column(title: "p99.9", priority: 6) { $0.errors.map { Format.scientific($0.p999Error) } ?? "-" },
            Column(title: "cosine", priority: 7) { $0.errors.map(ErrorText.cosine) ?? "-" },
            Column(title: "flips", priority: 4) { $0.errors.map { "\($0.signFlips)" } ?? "-" },
            Column(title: "zeroed", priority: 8) { $0.errors.map { "\($0.zeroed)" } ?? "-" },
        ]
        return columns
    }

    /// Fewest columns for names.
    private static let minimumNameWidth = 24

    private var table: String? {
        let (shown, count) = report.worst(top)
        guard !shown.isEmpty else { return nil }
        var columns = columns
        func width(_ column: Column) -> Int {
            shown.reduce(column.title.width) { max($0, column.cell($1).width) } + 2
        }
        while let limit = style.width, columns.count > 1,
            columns.reduce(VerificationText.minimumNameWidth, { $0 + width($1) }) > limit,
            let last = columns.indices.max(by: { columns[$0].priority < columns[$1].priority })
        {
            columns.remove(at: last)
        }
        let broken = Set(report.failures.compactMap(\.tensor))
        var rows = [["tensor"] + columns.map(\.title)]
        rows += shown.map { tensor in
            [IngotErrorRenderer.escaped(tensor.name.text)] + columns.map { $0.cell(tensor) }
        }
        let left: Set<Int> = columns.first?.title == "stored as" ? [0, 1] : [0]
        // Colour line by line: a name shortened inside a colour would lose the end of the colour.
        let lines = Format.table(rows, width: style.width, left: left).split(separator: "\n").enumerated().map {
            index, line in
            if index == 0 { return style.strong(String(line)) }
            return broken.contains(shown[index - 1].name) ? style.bad(String(line)) : String(line)
        }
        let measured = report.compared ? "measured against the source" : "as certified"
        let title =
            shown.count < count
            ? "The \(shown.count) largest errors of \(count), \(measured) (--all lists all):"
            : "Errors, \(measured):"
        return ([title] + lines).joined(separator: "\n")
    }

    // MARK: - Kinds

    private var kinds: String? {
        let kinds = report.kinds
        guard report.weights > 0 else { return nil }
        func row(_ name: String, _ error: KindError) -> [String] {
            [
                name, "\(error.tensors)", "\(error.weights)", ErrorText.bits(error.bitsPerWeight),
                ErrorText.relative(error.sums), ErrorText.signalToNoise(error.sums),
            ] + (report.compared ? ["\(error.signFlips)"] : [])
        }
        let head =
            ["kind", "tensors", "weights", "bits/weight", "rel MSE", "SNR dB"] + (report.compared ? ["flips"] : [])
        let rows = [head] + kinds.map { row($0.kind.rawValue, $0.error) } + [row("all encoded", report.total)]
        let lines = Format.table(rows, width: style.width).split(separator: "\n").map(String.init)
        return ([style.strong(lines[0])] + lines.dropFirst()).joined(separator: "\n")
    }

    // MARK: - End

    private var closing: String {
        let kept = report.tensors.count(where: \.isKept)
        let intact = report.isIntact ? "every byte is intact" : "the format has no hashes of its bytes"
        let count = "\(report.tensors.count) tensors"
        var lines = [
            report.hasManifest && !report.compared ? "\(count); \(intact)" : "\(count), \(kept) of them kept; \(intact)"
        ]
        if let calibrated = report.calibrated {
            let sums = calibrated.reduce(ActivationSums()) { $0 + $1.measured }
            lines.append(
                "\(calibrated.count(where: \.holds)) of \(calibrated.count) certificates over activations hold; "
                    + "relative error \(Format.scientific(sums.relativeError))")
        }
        if let line = activationError { lines.append(line) }
        lines.append("\(word): \(explanation)")
        return lines.joined(separator: "\n")
    }

    /// The mean and the largest relative error over activations, by the certificates of calibrated matrices; nil if there are none.
    private var activationError: String? {
        let found = report.tensors.compactMap { tensor in tensor.calibrated.map { (tensor.name, $0.relativeError) } }
        guard let worst = found.max(by: { $0.1 < $1.1 }) else { return nil }
        let mean = found.reduce(0) { $0 + $1.1 } / Double(found.count)
        let name = Format.shortened(IngotErrorRenderer.escaped(worst.0.text), to: max(24, (style.width ?? 120) - 16))
        return
            "\(found.count) calibrated \(found.count == 1 ? "matrix" : "matrices"), relative error over activations: "
            + "mean \(Format.scientific(mean)),\n  worst \(Format.scientific(worst.1)) in \(name)"
    }

    /// The reason for the verdict.
    private var explanation: String {
        let failed = claims.failed.filter { !$0.kind.isBuiltIn }.count
        switch (claims.verdict, report.comparison) {
        case (.fail, _) where report.isOtherSource: return "verify against the source it was converted from"
        case (.fail, .weights?) where !report.holds: return "\(report.failures.count) tensors are not the source's"
        case (.fail, _) where !report.holds:
            return "\(report.failures.count) tensors are not what the checkpoint claims"
        case (.fail, _): return "\(failed) \(failed == 1 ? "claim does" : "claims do") not hold"
        case (.compared, _):
            return "nothing judges these weights: give --max-relative-mse or --claims"
        case (.pass, nil) where report.hasManifest:
            return
                "every file has the hash of its manifest; not compared with a source (--against SOURCE measures errors)"
        case (.pass, nil):
            return "not compared with a source: the errors are the certificates' (--against SOURCE measures them)"
        case (.pass, .source?): return "the source is the one that was converted, and every certificate holds"
        case (.pass, .weights?): return "every tensor of the source is there, and its error is within the limits"
        }
    }
}

extension VerificationReport.Names {
    /// How names were matched, such as `names: llama.cpp's here, Hugging Face's in the source`.
    var sentence: String {
        switch self {
        case .matched(let own): "names: \(own.text) here, \(own.other.text) in the source"
        case .unmatched(let reason): "names: llama.cpp's and Hugging Face's, not matched: \(reason)"
        }
    }
}
