package import SystemPackage
package import TensorModel

/// The result of an evaluation, with everything that decides it.
package struct EvaluationReport: Sendable {
    /// Paths of the model and of the reference; nil without one.
    package let model: FilePath, reference: FilePath?
    /// The options.
    package let options: EvaluationOptions
    /// Scores of each text.
    package let texts: [TextScores]

    /// A report.
    package init(model: FilePath, reference: FilePath?, _ options: EvaluationOptions, _ texts: [TextScores]) {
        (self.model, self.reference, self.options, self.texts) = (model, reference, options, texts)
    }

    /// Scores of all texts together.
    package var all: TextScores { TextScores(name: "all texts", sequences: texts.flatMap(\.sequences)) }

    /// The report as JSON, schema `ingot.evaluate` version 1 (Specs/json.md).
    package var json: JSONValue {
        .object([
            .init("schema", .string("ingot.evaluate")), .init("schema_version", .unsigned(1)),
            .init("model", .string(model.string)),
            .init("reference", reference.map { .string($0.string) } ?? .null),
            .init("context", .unsigned(UInt64(options.context))),
            .init("unscored", .unsigned(UInt64(options.unscored))),
            .init("texts", .array(texts.map(\.json))), .init("all", all.json),
        ])
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
    /// The scores as JSON.
    var json: JSONValue {
        func optional(_ estimate: Estimate?) -> JSONValue { estimate?.json ?? .null }
        return .object([
            .init("name", .string(name)), .init("sequences", .unsigned(UInt64(sequences.count))),
            .init("tokens", .unsigned(UInt64(tokens))), .init("perplexity", perplexity.json),
            .init("reference_perplexity", optional(referencePerplexity)),
            .init("perplexity_ratio", optional(perplexityRatio)), .init("kl", optional(divergence)),
            .init("kl_p99", divergencePercentile(0.99).map { .number($0) } ?? .null),
            .init("kl_p999", divergencePercentile(0.999).map { .number($0) } ?? .null),
            .init("top1", optional(agreement)),
        ])
    }
}
