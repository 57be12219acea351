package import Quantization
package import TensorModel

/// How a checkpoint is exported to GGUF files.
package struct GGUFSettings: Sendable {
    /// The files, one for each recipe. At least one, unless there is a goal.
    package private(set) var recipes: [GGUFRecipe]
    /// The size of the one file, whose types are chosen for it; nil if recipes name the types.
    package let goal: SizeGoal?
    /// Whether every matrix has the recipe's own type, instead of llama.cpp's mix.
    package let isPure: Bool
    /// Other types for matrices by name; the first that matches counts.
    package private(set) var overrides: [Override]
    /// How scales are found.
    package let rounding: ExportRounding
    /// Whether another type is used where rows are no whole blocks; otherwise that is an error.
    package let allowsFallback: Bool
    /// Whether codes of another quantizer may be quantized again.
    package let allowsRequantizing: Bool
    /// Bytes of a file at most, unless one tensor has more; nil for one file.
    package let shardBytes: UInt64?

    /// Another type for matrices by name.
    package struct Override: Sendable, Hashable {
        /// The names: those in the GGUF file, or those in the source.
        package let pattern: NamePattern
        /// The type.
        package let type: GGUFRecipe.TensorType

        /// An override.
        package init(_ pattern: NamePattern, _ type: GGUFRecipe.TensorType) {
            (self.pattern, self.type) = (pattern, type)
        }
    }

    /// Settings.
    package init(
        _ recipes: [GGUFRecipe], goal: SizeGoal? = nil, isPure: Bool, overrides: [Override], _ rounding: ExportRounding,
        allowsFallback: Bool, allowsRequantizing: Bool, shardBytes: UInt64?
    ) {
        precondition(recipes.isEmpty == (goal != nil), "GGUFSettings: either recipes or a goal")
        (self.recipes, self.isPure, self.rounding) = (recipes, isPure, rounding)
        self.goal = goal
        (self.allowsFallback, self.allowsRequantizing) = (allowsFallback, allowsRequantizing)
        (self.overrides, self.shardBytes) = (overrides, shardBytes)
    }

    /// The same settings with types that were chosen for the goal.
    ///
    /// - Parameter recipe: names the file's type.
    func allocated(_ recipe: GGUFRecipe, _ types: [Override]) -> GGUFSettings {
        var settings = self
        settings.recipes = [recipe]
        settings.overrides += types
        return settings
    }

    /// What the manifest records.
    var options: [JSONValue.Member] {
        [
            .init("to", .string("gguf")), .init("types", .array(recipes.map { .string($0.rawValue) })),
            .init("pure", .bool(isPure)), .init("rounding", .string(rounding.rawValue)),
        ]
            + (goal.map { [$0.option] } ?? [])
            + (overrides.isEmpty
                ? []
                : [
                    .init(
                        "overrides",
                        .array(
                            overrides.map {
                                .object([
                                    .init("pattern", .string($0.pattern.text)), .init("type", .string($0.type.name)),
                                ])
                            }))
                ])
    }
}
