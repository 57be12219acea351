import Checkpoints
import Inspection
import TensorModel

/// What the files say about the model, as a short section of an inspection's text.
enum InspectionModel {
    private static let label = 14
    /// Maximum number of Unicode scalars of a text from a file. One character may have a million accents.
    private static let maximumScalars = 200

    /// A heading, and one line for each fact or group of facts that is stated.
    static func lines(_ model: ModelDescription, _ style: Style) -> [String] {
        let width = max(60, style.width ?? 80)
        let rows = rows(model).compactMap { title, facts -> String? in
            let facts = facts.compactMap { $0 }
            guard !facts.isEmpty else { return nil }
            let text = Format.cut(facts.joined(separator: ", "), to: width - label - 2)
            return "  " + style.faint(Format.filled(title, to: label)) + text
        }
        return [style.strong("model")] + rows
    }

    private static func rows(_ model: ModelDescription) -> [(title: String, facts: [String?])] {
        func count(_ value: UInt64?, _ noun: String) -> String? {
            value.map { "\(Format.grouped($0)) \(noun)\($0 == 1 ? "" : "s")" }
        }
        let fileType = model.fileType.map { number in model.fileTypeName.map { "\($0) (\(number))" } ?? "\(number)" }
        return [
            ("architecture", [text(model.architecture)]),
            ("name", [text(model.name)]),
            ("parameters", [model.parameters.map { Format.grouped($0) } ?? text(model.sizeLabel)]),
            (
                "layers",
                [
                    model.layers.map { Format.grouped($0) },
                    model.embeddingLength.map { "embedding length \(Format.grouped($0))" },
                    count(model.heads, "head"), count(model.keyValueHeads, "key-value head"),
                ]
            ),
            ("context", [count(model.contextLength, "token")]),
            ("element type", [text(model.elementType)]),
            ("file type", [fileType, model.quantizationVersion.map { "quantization version \($0)" }]),
            ("tokenizer", [text(model.tokenizer), count(model.tokens, "token")]),
            ("vocabulary", [model.tokens == nil ? count(model.vocabulary, "token") : nil]),
            ("licence", [text(model.licence)]),
        ]
    }

    /// A text from a file, made safe to print; nil for an empty one.
    private static func text(_ text: String?) -> String? {
        guard let text, !text.isEmpty else { return nil }
        return IngotErrorRenderer.escaped(String(String.UnicodeScalarView(text.unicodeScalars.prefix(maximumScalars))))
    }
}

extension Format {
    /// A text of at most `width` characters; one that was longer ends with `...`.
    fileprivate static func cut(_ text: String, to width: Int) -> String {
        text.width > width ? text.prefix(width - 3) + "..." : text
    }
}
