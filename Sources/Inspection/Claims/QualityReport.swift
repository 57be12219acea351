package import FileAccess
package import SystemPackage
package import TensorModel
package import Weights

/// Reads figures from the report of `ingot evaluate --format json` (Specs/json.md).
package struct QualityReport: Sendable {
    private let json: JSONValue
    private let path: FilePath

    /// Reads a report.
    ///
    /// - Throws: `reportInvalid` if the file is no such report; errors of reading.
    package init(_ path: FilePath) throws {
        self.path = path
        do {
            json = try JSONValue.parse(try WholeFile.read(path, limit: Limits.standard.documentBytes))
        } catch let error as IngotError where error.code.kind == .badData {
            throw IngotError(
                .reportInvalid, file: path.string, found: error.found, expected: "the JSON of an evaluation",
                remedy: .option(.nameEvaluation))
        }
    }

    /// A report in memory; `path` is for errors.
    package init(_ json: JSONValue, path: FilePath) { (self.json, self.path) = (json, path) }

    private func failure(_ found: String, _ expected: String) -> IngotError {
        IngotError(
            .reportInvalid, file: path.string, found: found, expected: expected, remedy: .option(.nameEvaluation))
    }

    /// Requires that the report is about a checkpoint, its source and its tokenizer.
    ///
    /// - Parameters:
    ///   - source: the reference; it may be nil for a sealed checkpoint, which knows the hash of its source.
    ///   - tokenizerHash: nil if no tokenizer is known.
    /// - Throws: `reportInvalid` if a hash differs; `usage` if the reference is not known.
    package func requireFits(
        _ checkpoint: OpenedCheckpoint, against source: OpenedCheckpoint?, tokenizerHash: ContentHash?
    ) throws {
        let identity = try checkpoint.contentIdentity()
        try require("model.weights_xxh3_128", json["model"]?["weights_xxh3_128"], identity.weights, "this checkpoint")
        let reference: ContentHash
        if checkpoint.isSealed {
            reference = identity.source
        } else if let source {
            reference = try source.contentIdentity().weights
        } else {
            throw IngotError(
                .usage, file: checkpoint.path.string, found: "a checkpoint that does not state its source",
                expected: "the source, to compare with the reference of \(path)", remedy: .option(.compareWithSource))
        }
        try require(
            "reference.weights_xxh3_128", json["reference"]?["weights_xxh3_128"], reference,
            "the source of this checkpoint")
        let tokenizer = json["tokenizer_xxh3_128"]
        guard tokenizer != .null else { return }
        guard let tokenizerHash else {
            throw failure(
                "tokenizer_xxh3_128: \(tokenizer?.summary ?? "missing")", "ids: this checkpoint has no tokenizer")
        }
        try require("tokenizer_xxh3_128", tokenizer, tokenizerHash, "the tokenizer of this checkpoint")
    }

    private func require(_ place: String, _ found: JSONValue?, _ expected: ContentHash, _ owner: String) throws {
        guard found?.string.flatMap(ContentHash.init(hexadecimal:)) == expected else {
            throw failure("\(place): \(found?.summary ?? "missing")", "\(expected), the hash of \(owner)")
        }
    }

    /// The figures.
    ///
    /// - Throws: `reportInvalid` for another kind or version of report, and for figures that are missing or no numbers.
    package func facts() throws -> QualityFacts {
        guard json["schema"]?.string == "ingot.evaluate" else {
            throw failure("schema: \(json["schema"]?.summary ?? "missing")", "\"ingot.evaluate\"")
        }
        guard json["schema_version"]?.unsigned == 1 else {
            throw failure("schema_version: \(json["schema_version"]?.summary ?? "missing")", "1")
        }
        guard let all = json["all"], let texts = json["texts"]?.array, !texts.isEmpty else {
            throw failure("no texts", "the figures of one text or more")
        }
        return QualityFacts(
            all: try figures(all, "all", name: "all texts"),
            texts: try texts.enumerated().map { index, text in
                let place = "texts[\(index)]"
                let hash = text["text_xxh3_128"]?.string ?? text["ids_xxh3_128"]?.string
                guard let hash = hash.flatMap(ContentHash.init(hexadecimal:)) else {
                    throw failure("\(place) without a hash", "text_xxh3_128 or ids_xxh3_128")
                }
                return (hash, try figures(text, place, name: text["name"]?.string ?? place))
            })
    }

    private func figures(_ value: JSONValue, _ place: String, name: String) throws -> QualityFacts.Figures {
        guard let sequences = value["sequences"]?.unsigned.flatMap({ Int(exactly: $0) }), sequences > 0 else {
            throw failure("\(place).sequences: \(value["sequences"]?.summary ?? "missing")", "a number from 1 on")
        }
        func estimate(_ key: String) throws -> QualityFacts.Estimate {
            guard let member = value[key], member.object != nil else {
                throw failure(
                    "\(place).\(key): \(value[key]?.summary ?? "missing")", "a figure of a comparison with a reference")
            }
            let error = member["standard_error"]
            guard let found = member["value"]?.realNumber, found.isFinite,
                error == .null || error?.realNumber.map({ $0.isFinite && $0 >= 0 }) == true
            else { throw failure("\(place).\(key): \(member.text().prefix(80))", "a value and a standard error") }
            return QualityFacts.Estimate(found, sequences > 1 ? error?.realNumber : nil)
        }
        return QualityFacts.Figures(
            name: name, sequences: sequences, divergence: try estimate("kl"),
            perplexityRatio: try estimate("perplexity_ratio"), agreement: try estimate("top1"))
    }
}
