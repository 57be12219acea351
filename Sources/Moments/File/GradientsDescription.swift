import Checkpoints
import TensorModel

/// What a file of moments says about its gradients.
package struct GradientsDescription: Sendable, Hashable {
    /// The order of the rows of queries and keys within a head. Rotary positions turn pairs of rows.
    package enum RowOrder: String, Sendable, Hashable {
        /// Row i is turned with row i + half the length of a head, as in checkpoints of Hugging Face.
        case halves
        /// Row 2 i is turned with row 2 i + 1, as in GGUF files of architecture `llama`.
        case neighbours
    }

    /// Tokens that the gradients were taken on.
    package var tokens: UInt64
    /// The order of the rows of queries and keys.
    package var rowOrder: RowOrder

    /// Makes a description.
    package init(tokens: UInt64, rowOrder: RowOrder = .halves) { (self.tokens, self.rowOrder) = (tokens, rowOrder) }

    /// The only kind of gradients: squares of gradients of the log-probability of labels that the model draws itself.
    private static let fisher = "fisher"

    /// The entries of `__metadata__`, in the order of the file. A file without gradients has none of them.
    var metadata: [SafetensorsHeader.MetadataEntry] {
        [
            .init("gradients", GradientsDescription.fisher), .init("gradient_tokens", "\(tokens)"),
            .init("gradient_rows", rowOrder.rawValue),
        ]
    }

    /// Reads the entries of a file's `__metadata__`; nil if the file has no gradients.
    ///
    /// - Throws: `momentsInvalid` if an entry is missing or wrong.
    init?(_ metadata: [SafetensorsHeader.MetadataEntry]) throws {
        func failure(_ key: String, _ expected: String) -> IngotError {
            let value = metadata.value(of: key).map { "`\($0.prefix(80))` for" } ?? "no"
            return IngotError(.momentsInvalid, found: "\(value) metadata entry `\(key)`", expected: expected)
        }
        guard let kind = metadata.value(of: "gradients"), kind != "none" else { return nil }
        guard kind == GradientsDescription.fisher else { throw failure("gradients", "fisher or none") }
        guard let tokens = metadata.value(of: "gradient_tokens").flatMap({ UInt64($0) }), tokens > 0 else {
            throw failure("gradient_tokens", "a whole number from 1 on")
        }
        guard let order = metadata.value(of: "gradient_rows").flatMap({ RowOrder(rawValue: $0) }) else {
            throw failure("gradient_rows", "halves or neighbours")
        }
        self.init(tokens: tokens, rowOrder: order)
    }
}
