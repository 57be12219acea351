import ArgumentParser
import Conversion
import SystemPackage
import TensorModel

/// A pattern with the bits of the tensors it matches, written as `*.down_proj.weight=6`.
struct BitsForPattern: ExpressibleByArgument {
    /// The pattern of names.
    let pattern: NamePattern
    /// Bits per weight.
    let bits: Double

    init?(argument: String) {
        // A name may have `=` itself: the last one divides.
        guard let sign = argument.lastIndex(of: "="), let pattern = NamePattern(String(argument[..<sign])),
            let bits = Double(argument[argument.index(after: sign)...]), RateGoal.bitsRange.contains(bits)
        else { return nil }
        self.pattern = pattern
        self.bits = bits
    }
}

/// Options for single tensors, of the verbs `convert` and `plan`.
struct RecipeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Keep the tensors whose names match, such as '*.gate.weight'. May be given more than once.",
            valueName: "pattern"))
    var keep: [NamePattern] = []

    @Option(
        help: ArgumentHelp(
            "Bits per weight of the matrices whose names match, such as '*.down_proj.weight=6'. May be given more than once.",
            valueName: "pattern=n"))
    var bitsFor: [BitsForPattern] = []

    @Option(
        help: ArgumentHelp(
            "JSON file of rules by name (Specs/recipes.md). The first rule that matches decides; --keep and --bits-for come before it.",
            valueName: "file"))
    var recipe: FilePath?

    /// The rules, those of the command line first.
    func recipe(scheme: EncodingOptions.Scheme) throws -> Recipe {
        let rules =
            keep.map { Recipe.Rule($0, .keep) }
            + (try bitsFor.map { entry in
                guard scheme != .lossless else {
                    throw ValidationError("--bits-for is for quantizing: not with --scheme lossless.")
                }
                guard scheme == .trellis || entry.bits >= 2 && entry.bits <= 8 && entry.bits == entry.bits.rounded()
                else {
                    throw ValidationError("--bits-for must be 2 to 8, a whole number, with --scheme uniform.")
                }
                return Recipe.Rule(entry.pattern, .encode(scheme: nil, bits: entry.bits))
            })
        return Recipe(rules + (try recipe.map { try Recipe.read($0).rules } ?? []))
    }
}
