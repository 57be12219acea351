package import FileAccess
package import SystemPackage
package import TensorModel
package import Weights

/// A model of an evaluation.
package struct EvaluatedIdentity: Sendable {
    /// The path that it was opened with; the name of its format.
    package let path: FilePath, format: String
    /// What identifies its weights.
    package let content: ContentIdentity

    /// The identity of a model. It reads all weights of a checkpoint that is not sealed.
    ///
    /// - Throws: errors of reading.
    package init(_ model: EvaluatedModel) throws {
        path = model.checkpoint.path
        format = model.checkpoint.formatName
        content = try model.checkpoint.contentIdentity()
    }
}

/// The result of an evaluation, with everything that decides it.
package struct EvaluationReport: Sendable {
    /// A text, and its scores.
    package struct Text: Sendable {
        /// Hash of the text in UTF-8; nil for a file of ids.
        package let textHash: ContentHash?
        /// Hash of its ids.
        package let idsHash: ContentHash
        /// Its scores, with its name.
        package let scores: TextScores
    }

    /// The model, and the reference; nil without one.
    package let model: EvaluatedIdentity, reference: EvaluatedIdentity?
    /// Hash of the tokenizer (`Tokenizer.hash`); nil if all texts are ids.
    package let tokenizerHash: ContentHash?
    /// The options.
    package let options: EvaluationOptions
    /// The texts.
    package let texts: [Text]

    /// A report.
    ///
    /// - Parameter scores: for each text its scores.
    package init(
        _ model: EvaluatedIdentity, against reference: EvaluatedIdentity?, tokenizerHash: ContentHash?,
        _ options: EvaluationOptions, _ texts: [TokenizedText], _ scores: [TextScores]
    ) {
        (self.model, self.reference, self.tokenizerHash, self.options) = (model, reference, tokenizerHash, options)
        self.texts = zip(texts, scores).map { Text(textHash: $0.textHash, idsHash: $0.idsHash, scores: $1) }
    }

    /// Scores of all texts together.
    package var all: TextScores { TextScores(name: "all texts", sequences: texts.flatMap(\.scores.sequences)) }

    /// Scores of each text, and behind them those of all texts together if there are several.
    package var rows: [TextScores] { texts.map(\.scores) + (texts.count > 1 ? [all] : []) }

    /// The report as JSON, schema `ingot.evaluate` version 1 (Specs/json.md).
    package var json: JSONValue {
        .object([
            .init("schema", .string("ingot.evaluate")), .init("schema_version", .unsigned(1)),
            .init("model", model.json), .init("reference", reference?.json ?? .null),
            .init("tokenizer_xxh3_128", tokenizerHash.json),
            .init("context", .unsigned(UInt64(options.context))),
            .init("unscored", .unsigned(UInt64(options.unscored))),
            .init("most_tokens", options.tokens.map { .unsigned(UInt64($0)) } ?? .null),
            .init("texts", .array(texts.map(\.json))), .init("all", .object(all.members)),
        ])
    }
}

extension Optional<ContentHash> {
    fileprivate var json: JSONValue { map { .string($0.description) } ?? .null }
}

extension EvaluatedIdentity {
    /// The model as JSON.
    fileprivate var json: JSONValue {
        .object([
            .init("path", .string(path.string)), .init("format", .string(format)),
            .init("weights_xxh3_128", .string(content.weights.description)),
            .init("source_xxh3_128", .string(content.source.description)),
        ])
    }
}

extension EvaluationReport.Text {
    /// The text as JSON.
    fileprivate var json: JSONValue {
        var members: [JSONValue.Member] = [
            .init("name", .string(scores.name)), .init("text_xxh3_128", textHash.json),
            .init("ids_xxh3_128", .string(idsHash.description)),
        ]
        members += scores.members
        members.append(.init("per_sequence", scores.perSequence))
        return .object(members)
    }
}

extension Estimate {
    /// The estimate as JSON.
    var json: JSONValue {
        .object([
            .init("value", .number(value)), .init("standard_error", standardError.map { .number($0) } ?? .null),
        ])
    }
}

extension TextScores {
    /// The scores as members of a JSON object.
    fileprivate var members: [JSONValue.Member] {
        func optional(_ estimate: Estimate?) -> JSONValue { estimate?.json ?? .null }
        func percentile(_ share: Double) -> JSONValue { divergencePercentile(share).map { .number($0) } ?? .null }
        return [
            .init("sequences", .unsigned(UInt64(sequences.count))), .init("tokens", .unsigned(UInt64(tokens))),
            .init("perplexity", perplexity.json), .init("reference_perplexity", optional(referencePerplexity)),
            .init("perplexity_ratio", optional(perplexityRatio)), .init("kl", optional(divergence)),
            .init("kl_p99", percentile(0.99)), .init("kl_p999", percentile(0.999)), .init("top1", optional(agreement)),
        ]
    }

    /// The means of each sequence as JSON: a list per figure.
    fileprivate var perSequence: JSONValue {
        func list(_ figure: (SequenceScores) -> Double) -> JSONValue {
            .array(sequences.map { .number(figure($0)) })
        }
        var members: [JSONValue.Member] = [.init("loss", list { TextScores.mean($0.losses) })]
        if isCompared {
            members += [
                .init("reference_loss", list { TextScores.mean($0.referenceLosses) }),
                .init("kl", list { TextScores.mean($0.divergences) }),
                .init("top1", list { Double($0.agreements) / Double($0.losses.count) }),
            ]
        }
        return .object(members)
    }
}
