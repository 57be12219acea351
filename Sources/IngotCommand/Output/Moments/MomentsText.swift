import Architectures
import Moments
import SystemPackage
import TensorModel

/// Report about a file of moments, or an importance matrix, as text for people.
enum MomentsText {
    private static let label = 10

    /// The report in parts.
    static func parts(_ summary: MomentsSummary, _ style: Style) -> [String] {
        // A column with a rank is left out where the file says nothing of it.
        var table = TextTable([
            .init("input", isLeft: true), .init("columns"), .init("block", rank: 3), .init("tokens", rank: 4),
            .init("per column", rank: 1), .init("dead", rank: 6), .init("max/min", rank: 5), .init("halves", rank: 1),
            .init("shrinkage", rank: 2),
        ])
        table.rows = summary.rows.map { row in
            let isFew = row.tokensPerColumn ?? .infinity < MomentsWarnings.fewTokens
            let isHigh = row.disagreement ?? 0 > MomentsWarnings.highDisagreement
            return [
                .init(row.input.text), .init("\(row.columns)"),
                .init(row.blockWidth == 1 ? "diagonal" : row.blockWidth == row.columns ? "full" : "\(row.blockWidth)"),
                .init(row.tokens.map { Format.count($0) } ?? ""),
                .init(row.tokensPerColumn.map(Format.brief) ?? "", isFew ? .warning : .plain),
                .init(row.deadColumns > 0 ? "\(row.deadColumns)" : ""),
                .init(row.diagonalRatio.map(Format.brief) ?? ""),
                .init(row.disagreement.map { NumberText.fixed($0, 3) } ?? "", isHigh ? .warning : .plain),
                .init(row.shrinkage.map { NumberText.trimmed($0, 2) } ?? ""),
            ]
        }
        var lines = table.lines(style)
        if let width = style.width, case let titles = table.leftOut(style), !titles.isEmpty {
            let note = "not shown at \(width) columns: \(titles.joined(separator: ", ")) (--format csv)"
            lines += Format.wrapped(note, to: width).map(style.faint)
        }
        if let gradients = summary.gradients { lines += [""] + self.gradients(gradients, style) }
        lines += [""] + facts(summary, style)
        let bytes = "\(Format.grouped(summary.byteCount)) bytes"
        lines += ["", "\(summary.form): \(summary.rows.count) inputs of linear layers, \(bytes)"]
        return [lines.joined(separator: "\n") + "\n"]
    }

    /// The means of the gradients and of the sensitivities of each kind of matrix.
    private static func gradients(_ gradients: GradientsSummary, _ style: Style) -> [String] {
        var table = TextTable([
            .init("gradients", isLeft: true), .init("matrices"), .init("rows"), .init("mean square"),
            .init("sensitivity"),
        ])
        table.rows = gradients.rows.map {
            [
                .init($0.kind.rawValue), .init("\($0.matrices)"), .init("\($0.rows)"),
                .init(Format.scientific($0.mean)), .init(Format.scientific($0.sensitivity)),
            ]
        }
        return table.lines(style)
    }

    private static func facts(_ summary: MomentsSummary, _ style: Style) -> [String] {
        func text(_ text: String) -> String { IngotErrorRenderer.escaped(text) }
        var rows: [(String, String)] = []
        if let description = summary.description {
            rows += [
                ("origin", description.origin.rawValue), ("blocks", description.blocks.text),
                ("family", text(description.family)), ("model", text(description.modelHash)),
                ("tokenizer", text(description.tokenizerHash)),
            ]
            rows += description.texts.map { one in
                let weight = NumberText.trimmed(one.weight, 6)
                return ("text", "\(text(one.name)), \(Format.grouped(one.tokens)) tokens, weight \(weight)")
            }
        } else {
            rows += summary.texts.map { ("text", text($0)) }
        }
        let counts = [
            summary.sequences.map { "\(Format.grouped($0)) \(summary.description == nil ? "chunks" : "sequences")" },
            summary.context.map { "\(Format.grouped($0)) tokens each" },
        ].compactMap { $0 }
        rows.append(("length", counts.joined(separator: ", ")))
        if let gradients = summary.gradients {
            let seen =
                "\(Format.grouped(UInt64(gradients.seenTokens))) of \(Format.grouped(UInt64(gradients.vocabulary)))"
            rows += [
                ("gradients", "of \(Format.grouped(gradients.description.tokens)) tokens"),
                ("embedding", "\(seen) tokens occur"),
            ]
        }
        return rows.filter { !$0.1.isEmpty }.map { style.faint(Format.filled($0.0, to: label)) + $0.1 }
    }
}

/// Report about a file of moments as CSV.
enum MomentsCSV {
    /// Rows by RFC 4180 in parts, the titles first.
    static func parts(_ summary: MomentsSummary) -> [String] {
        let titles =
            "input,layer,kind,expert,columns,block_columns,tokens,tokens_per_column,dead_columns,diagonal_ratio,halves_disagreement,shrinkage\r\n"
        return [titles]
            + summary.rows.map { row in
                [
                    row.input.text, CSVText.number(row.input.layer), row.input.kind.rawValue,
                    CSVText.number(row.input.expert), "\(row.columns)", "\(row.blockWidth)", CSVText.number(row.tokens),
                    CSVText.number(row.tokensPerColumn), "\(row.deadColumns)", CSVText.number(row.diagonalRatio),
                    CSVText.number(row.disagreement), CSVText.number(row.shrinkage),
                ].joined(separator: ",") + "\r\n"
            }
    }
}

/// Report about a file of moments as JSON, schema `ingot.moments` version 1 (Specs/json.md).
enum MomentsJSON {
    /// The document.
    static func document(_ summary: MomentsSummary) -> JSONValue {
        func text(_ text: String?) -> JSONValue { text.flatMap { $0.isEmpty ? nil : .string($0) } ?? .null }
        func whole(_ number: UInt64?) -> JSONValue { number.map { .unsigned($0) } ?? .null }
        let description = summary.description
        let texts =
            description?.texts.map { one -> JSONValue in
                .object([
                    .init("name", .string(one.name)), .init("hash", text(one.hash)),
                    .init("weight", .number(one.weight)),
                    .init("tokens", .unsigned(one.tokens)),
                ])
            } ?? summary.texts.map { .object([.init("name", .string($0))]) }
        return .object([
            .init("schema", .string("ingot.moments")), .init("schema_version", .unsigned(1)),
            .init("path", .string(summary.path.string)), .init("form", .string(summary.form)),
            .init("bytes", .unsigned(summary.byteCount)), .init("origin", text(description?.origin.rawValue)),
            .init("blocks", text(description?.blocks.text)),
            .init("family", text(description?.family)), .init("model", text(description?.modelHash)),
            .init("tokenizer", text(description?.tokenizerHash)), .init("context", whole(summary.context)),
            .init("sequences", whole(summary.sequences)), .init("texts", .array(texts)),
            .init("inputs", .array(summary.rows.map(input))),
            .init("gradients", summary.gradients.map(gradients) ?? .null),
            .init("warnings", .array(summary.warnings.map { .string($0.message) })),
        ])
    }

    private static func gradients(_ gradients: GradientsSummary) -> JSONValue {
        .object([
            .init("tokens", .unsigned(gradients.description.tokens)),
            .init("row_order", .string(gradients.description.rowOrder.rawValue)),
            .init("vocabulary", .unsigned(UInt64(gradients.vocabulary))),
            .init("tokens_seen", .unsigned(UInt64(gradients.seenTokens))),
            .init(
                "kinds",
                .array(
                    gradients.rows.map {
                        .object([
                            .init("kind", .string($0.kind.rawValue)), .init("matrices", .unsigned(UInt64($0.matrices))),
                            .init("rows", .unsigned(UInt64($0.rows))), .init("mean_square", .number($0.mean)),
                            .init("sensitivity", .number($0.sensitivity)),
                        ])
                    })),
        ])
    }

    private static func input(_ row: MomentsSummary.Row) -> JSONValue {
        func number(_ value: Double?) -> JSONValue { value.map { .number($0) } ?? .null }
        func whole(_ value: Int?) -> JSONValue { value.map { .unsigned(UInt64($0)) } ?? .null }
        return .object([
            .init("input", .string(row.input.text)), .init("layer", whole(row.input.layer)),
            .init("kind", .string(row.input.kind.rawValue)), .init("expert", whole(row.input.expert)),
            .init("columns", whole(row.columns)), .init("block_columns", whole(row.blockWidth)),
            .init("tokens", row.tokens.map { .unsigned($0) } ?? .null),
            .init("tokens_per_column", number(row.tokensPerColumn)), .init("dead_columns", whole(row.deadColumns)),
            .init("diagonal_ratio", number(row.diagonalRatio)),
            .init("halves_disagreement", number(row.disagreement)), .init("shrinkage", number(row.shrinkage)),
        ])
    }
}
