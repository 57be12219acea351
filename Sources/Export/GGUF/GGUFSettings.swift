package import Quantization
import TensorModel

/// How a checkpoint is exported to GGUF files.
package struct GGUFSettings: Sendable {
    /// The files, one for each recipe. At least one.
    package let recipes: [GGUFRecipe]
    /// Whether every matrix has the recipe's own type, instead of llama.cpp's mix.
    package let isPure: Bool
    /// How scales are found.
    package let rounding: ExportRounding
    /// Whether another type is used where rows are no whole blocks; otherwise that is an error.
    package let allowsFallback: Bool
    /// Whether codes of another quantizer may be quantized again.
    package let allowsRequantizing: Bool
    /// Bytes of a file at most, unless one tensor has more; nil for one file.
    package let shardBytes: UInt64?

    /// Settings.
    package init(
        _ recipes: [GGUFRecipe], isPure: Bool, _ rounding: ExportRounding, allowsFallback: Bool,
        allowsRequantizing: Bool, shardBytes: UInt64?
    ) {
        precondition(!recipes.isEmpty, "GGUFSettings: no file")
        (self.recipes, self.isPure, self.rounding) = (recipes, isPure, rounding)
        (self.allowsFallback, self.allowsRequantizing) = (allowsFallback, allowsRequantizing)
        self.shardBytes = shardBytes
    }

    /// What the manifest records.
    var options: [JSONValue.Member] {
        [
            .init("to", .string("gguf")), .init("types", .array(recipes.map { .string($0.rawValue) })),
            .init("pure", .bool(isPure)), .init("rounding", .string(rounding.rawValue)),
        ]
    }
}
