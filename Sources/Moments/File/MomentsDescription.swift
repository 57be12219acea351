import Checkpoints
import TensorModel

/// What a file of moments says about its origin: the model, the texts, how they were cut into sequences.
package struct MomentsDescription: Sendable, Hashable {
    /// A text that activations were gathered on.
    package struct Text: Sendable, Hashable {
        /// The name of its file, without directories.
        package var name: String
        /// Hash of the text, in words of the tool that gathered.
        package var hash: String
        /// Weight of one of its tokens.
        package var weight: Double
        /// Tokens that were used.
        package var tokens: UInt64

        /// Makes a text.
        package init(name: String, hash: String, weight: Double, tokens: UInt64) {
            (self.name, self.hash, self.weight, self.tokens) = (name, hash, weight, tokens)
        }
    }

    /// Where the moments come from.
    package enum Origin: String, Sendable, Hashable {
        /// From a forward pass of Ingot.
        case calibration
        /// From an imatrix of llama.cpp: one half, the diagonal alone.
        case imatrix
    }

    /// Where the moments come from.
    package var origin = Origin.calibration
    /// The rule of the blocks.
    package var blocks = MomentBlocks.usual
    /// Halves that the text was cut into: 2, or 1 where they are not known.
    package var halves = 2
    /// Family of the model, such as `llama`; empty if it is not known.
    package var family = ""
    /// Hash of the model's weights; empty if it is not known.
    package var modelHash = ""
    /// Hash of the tokenizer; empty if it is not known.
    package var tokenizerHash = ""
    /// Tokens of a sequence; 0 if they are not known.
    package var context: UInt64 = 0
    /// Sequences of all texts; 0 if they are not known.
    package var sequences: UInt64 = 0
    /// The texts, in the order they were given.
    package var texts: [Text] = []
    /// What the file says about its gradients; nil if it has none.
    package var gradients: GradientsDescription?

    /// A description without a word about the origin.
    package init() {}
}

// MARK: - Metadata

extension MomentsDescription {
    /// The value of `format`.
    package static let format = "ingot.moments"
    /// The version that is written, and the only one that is read.
    static let version = "1"

    /// The entries of `__metadata__`, in the order of the file.
    var metadata: [SafetensorsHeader.MetadataEntry] {
        return [
            .init("format", MomentsDescription.format), .init("format_version", MomentsDescription.version),
            .init("origin", origin.rawValue), .init("blocks", blocks.text), .init("halves", "\(halves)"),
            .init("family", family), .init("model", modelHash), .init("tokenizer", tokenizerHash),
            .init("context", "\(context)"), .init("sequences", "\(sequences)"),
            .init("texts", MomentsDescription.json(texts)),
        ] + (gradients?.metadata ?? [])
    }

    /// Reads the entries of a file's `__metadata__`.
    ///
    /// - Throws: `momentsInvalid` if the file is none of moments, is of another version, or an entry is missing or wrong.
    init(_ metadata: [SafetensorsHeader.MetadataEntry]) throws {
        func failure(_ found: String, _ expected: String) -> IngotError {
            IngotError(.momentsInvalid, found: found, expected: expected)
        }
        func entry(_ key: String) throws -> String {
            guard let value = metadata.value(of: key) else {
                throw failure("no metadata entry `\(key)`", "a file of moments, with that entry")
            }
            return value
        }
        func number(_ key: String) throws -> UInt64 {
            let text = try entry(key)
            guard let value = UInt64(text) else {
                throw failure("`\(text.prefix(80))` for the metadata entry `\(key)`", "a whole number")
            }
            return value
        }
        let format = try entry("format")
        guard format == MomentsDescription.format else {
            throw failure("the format `\(format.prefix(80))`", "`\(MomentsDescription.format)`")
        }
        let version = try entry("format_version")
        guard version == MomentsDescription.version else {
            throw failure("version \(version.prefix(80)) of the format", "version \(MomentsDescription.version)")
        }
        let (origin, blocks) = (try entry("origin"), try entry("blocks"))
        guard let origin = Origin(rawValue: origin) else {
            throw failure("the origin `\(origin.prefix(80))`", "calibration or imatrix")
        }
        guard let blocks = MomentBlocks(text: blocks) else {
            throw failure("the blocks `\(blocks.prefix(80))`", "usual, full, diagonal or blocks:N")
        }
        let halves = try number("halves")
        guard halves == 1 || halves == 2 else { throw failure("\(halves) halves", "1 or 2") }
        (self.origin, self.blocks, self.halves) = (origin, blocks, Int(halves))
        (family, modelHash, tokenizerHash) = (try entry("family"), try entry("model"), try entry("tokenizer"))
        (context, sequences) = (try number("context"), try number("sequences"))
        texts = try MomentsDescription.texts(try entry("texts"))
        gradients = try GradientsDescription(metadata)
    }

    /// Texts as the metadata have them.
    static func json(_ texts: [Text]) -> String {
        JSONValue.array(
            texts.map { text -> JSONValue in
                .object([
                    .init("name", .string(text.name)), .init("hash", .string(text.hash)),
                    .init("weight", .number(text.weight)), .init("tokens", .unsigned(text.tokens)),
                ])
            }
        ).text()
    }

    /// Reads texts as the metadata have them.
    ///
    /// - Throws: `momentsInvalid`.
    static func texts(_ json: String) throws -> [Text] {
        let failure = IngotError(
            .momentsInvalid, found: "texts that are no list of name, hash, weight and tokens",
            expected: "a list in JSON in the metadata entry `texts`")
        guard let list = try? JSONValue.parse(Array(json.utf8)).array else { throw failure }
        return try list.map { value in
            let weight: Double? =
                switch value["weight"] {
                case .number(let weight): weight
                case .unsigned(let weight): Double(weight)
                default: nil
                }
            guard let name = value["name"]?.string, let hash = value["hash"]?.string,
                let tokens = value["tokens"]?.unsigned, let weight, weight.isFinite, weight > 0
            else { throw failure }
            return Text(name: name, hash: hash, weight: weight, tokens: tokens)
        }
    }
}
