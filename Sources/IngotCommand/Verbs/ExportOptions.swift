import ArgumentParser
import Export
import Moments
import Quantization
import SystemPackage
import TensorModel
import Weights

/// Formats that `ingot export` writes.
enum ExportTargetFormat: String, ExpressibleByArgument, CaseIterable {
    case safetensors, gguf, mlx
    case compressedTensors = "compressed-tensors"

    /// Whether matrices become codes in groups.
    var hasGroups: Bool { self == .mlx || self == .compressedTensors }
}

extension ExportRounding: ExpressibleByArgument {}
extension GroupSettings.Mode: ExpressibleByArgument {}

/// The recipes of `--type`, separated by commas.
struct GGUFRecipes: ExpressibleByArgument {
    /// At least one, each once.
    let recipes: [GGUFRecipe]

    init?(argument: String) {
        let found = argument.split(separator: ",", omittingEmptySubsequences: false).map {
            GGUFRecipe(name: String($0))
        }
        let recipes = found.compactMap(\.self)
        guard !found.isEmpty, recipes.count == found.count, Set(recipes).count == recipes.count else { return nil }
        self.recipes = recipes
    }

    static var allValueStrings: [String] { GGUFRecipe.allCases.map(\.rawValue) }
}

/// Weights that share a scale: a number, or `channel` for a whole row.
struct GroupSizeArgument: ExpressibleByArgument {
    /// The number; nil for a whole row.
    let size: Int?

    init?(argument: String) {
        size = argument == "channel" ? nil : Int(argument)
        guard size != nil || argument == "channel" else { return nil }
    }
}

/// A pattern with the type of the tensors it matches, written as `*.ffn_down.weight=Q6_K`.
struct TypeForPattern: ExpressibleByArgument {
    /// The pattern of names.
    let pattern: NamePattern
    /// The type.
    let type: GGUFRecipe.TensorType

    init?(argument: String) {
        // A name may have `=` itself: the last one divides.
        guard let sign = argument.lastIndex(of: "="), let pattern = NamePattern(String(argument[..<sign])),
            let type = GGUFRecipe.TensorType(name: String(argument[argument.index(after: sign)...]))
        else { return nil }
        (self.pattern, self.type) = (pattern, type)
    }
}

/// Options of `export` about codes.
struct CodeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            With gguf: type of the file, by llama.cpp's names, such as Q4_K_M. Several types, separated by commas, make several files from \
            one reading. F16, F32 and BF16 are plain weights.
            """, valueName: "type"))
    var type: GGUFRecipes?

    @Option(
        help: ArgumentHelp(
            """
            With gguf or mlx, and --calibration: bits per weight of all tensors at most. The type or the bits of each matrix are chosen by \
            what its errors cost, measured with the calibration.
            """, valueName: "bits"))
    var bpw: Double?

    @Option(
        help: ArgumentHelp("As --bpw: bytes of all files of weights at most, such as 2.5GB.", valueName: "size"))
    var targetSize: ByteCount?

    @Option(
        help: ArgumentHelp(
            """
            JSON file with types or bits by name (Specs/exports.md), or with gguf another GGUF file, whose types are taken. Options for \
            single matrices come before it; the other matrices follow --type, --bits or --bpw.
            """, valueName: "file"))
    var recipe: FilePath?

    @Flag(help: "With gguf: every matrix has the type that names the file. Default: llama.cpp's mixes.")
    var pure = false

    @Option(
        help: ArgumentHelp(
            "With gguf: type of the matrices whose names match, such as '*.ffn_down.weight=Q6_K'. May be given more than once.",
            valueName: "pattern=type"))
    var typeFor: [TypeForPattern] = []

    @Option(
        help: ArgumentHelp(
            "With mlx: affine, whole numbers with a scale and a bias. mxfp4: 4 bits in groups of 32, without a bias.",
            valueName: "mode"))
    var mode: GroupSettings.Mode?

    @Option(
        help: ArgumentHelp(
            "With mlx: bits of a code, 2, 3, 4, 5, 6 or 8. With compressed-tensors: 4 or 8.", valueName: "n"))
    var bits: Int?

    @Option(
        help: ArgumentHelp(
            """
            With mlx and compressed-tensors: weights that share a scale, 32, 64 or 128. Default: 64; 128 with compressed-tensors. channel, \
            with compressed-tensors: a scale for each row.
            """, valueName: "n"))
    var groupSize: GroupSizeArgument?

    @Option(
        help: ArgumentHelp(
            "searched: scales of the least squared error. reference: the bytes of the runtime's own quantizer.",
            valueName: "how"))
    var rounding = ExportRounding.searched

    @Option(
        help: ArgumentHelp(
            """
            Moments of the inputs of linear layers, from ingot calibrate, or an importance matrix of llama.cpp: weighs the error of each \
            column, and carries errors on to later columns.
            """, valueName: "file"))
    var calibration: FilePath?

    @Option(
        help: ArgumentHelp(
            "With --calibration and --through: corrections from ingot calibrate --through, for a second phase.",
            valueName: "file"))
    var correction: FilePath?

    @Option(
        help: ArgumentHelp(
            "The first phase: an export with the same options. Output and down projections differ, all other tensors are the same.",
            valueName: "export"))
    var through: FilePath?

    @Option(
        help: ArgumentHelp(
            "With mlx and compressed-tensors: keep the matrices whose names match. May be given more than once.",
            valueName: "pattern"))
    var keep: [NamePattern] = []

    @Option(
        help: ArgumentHelp(
            "With mlx and compressed-tensors: bits of the matrices whose names match, such as '*.down_proj.weight=6'. May be given more than once.",
            valueName: "pattern=n"))
    var bitsFor: [BitsForPattern] = []

    @Flag(
        help: "Quantize again what another program quantized to integers or codebooks. Default: an error."
    )
    var allowRequantize = false

    @Flag(help: "Use another type where the rows of a matrix do not fit, and say so. Default: an error.")
    var allowFallback = false

    @Option(
        help: ArgumentHelp(
            "Size of a file of weights at most, unless one tensor is larger. Default: one file with gguf, otherwise 5GiB.",
            valueName: "size"))
    var maxShardSize: ByteCount?

    /// Requires that only options of the format are given.
    func validate(for format: ExportTargetFormat) throws {
        func refuse(_ option: String, _ isGiven: Bool, _ formats: String) throws {
            if isGiven { throw ValidationError("\(option) is for \(formats): not with --to \(format.rawValue).") }
        }
        if format != .gguf {
            try refuse("--type", type != nil, "--to gguf")
            try refuse("--pure", pure, "--to gguf")
            try refuse("--type-for", !typeFor.isEmpty, "--to gguf")
        } else if type == nil, goal == nil, recipe?.extension?.lowercased() != "gguf" {
            throw ValidationError("--to gguf needs --type, such as --type Q4_K_M.")
        }
        try refuse("--bpw", bpw != nil && format != .gguf && format != .mlx, "--to gguf and --to mlx")
        try refuse("--target-size", targetSize != nil && format != .gguf && format != .mlx, "--to gguf and --to mlx")
        try validateGoal()
        try refuse("--mode", mode != nil && format != .mlx, "--to mlx")
        guard mode != .mxfp4 || bits == nil && groupSize == nil && goal == nil else {
            throw ValidationError(
                "--mode mxfp4 has 4 bits in groups of 32: not with --bits, --group-size, --bpw and --target-size.")
        }
        if !format.hasGroups {
            let formats = "--to mlx and --to compressed-tensors"
            try refuse("--bits", bits != nil, formats)
            try refuse("--group-size", groupSize != nil, formats)
            try refuse("--keep", !keep.isEmpty, formats)
            try refuse("--bits-for", !bitsFor.isEmpty, formats)
        }
        if format == .safetensors {
            try refuse("--recipe", recipe != nil, "codes")
            try refuse("--calibration", calibration != nil, "codes")
            try refuse("--rounding", rounding != .searched, "codes")
            try refuse("--allow-fallback", allowFallback, "codes")
            try refuse("--allow-requantize", allowRequantize, "codes")
            try refuse("--max-shard-size", maxShardSize != nil, "codes")
        }
        guard (correction == nil) == (through == nil), correction == nil || calibration != nil else {
            throw ValidationError("--correction and --through go together, and with --calibration.")
        }
        guard calibration == nil || rounding == .searched || correction == nil else {
            throw ValidationError("--correction needs --rounding searched.")
        }
        guard bitsFor.allSatisfy({ $0.bits == $0.bits.rounded() }) else {
            throw ValidationError("--bits-for needs a whole number of bits here.")
        }
    }

    /// Requires that a size stands alone, and with a calibration.
    private func validateGoal() throws {
        guard goal != nil else { return }
        let given = [type != nil, bits != nil, bpw != nil, targetSize != nil].count { $0 }
        guard given == 1 else { throw ValidationError("--type, --bits, --bpw and --target-size exclude each other.") }
        guard !pure else { throw ValidationError("--pure is for --type.") }
        guard calibration != nil else {
            throw ValidationError("--bpw and --target-size need --calibration: it tells where bits matter.")
        }
        guard bpw.map({ $0 >= 1 && $0 <= 32 }) ?? true else { throw ValidationError("--bpw must be 1 to 32.") }
    }

    /// The size that types are chosen for; nil if they are stated.
    private var goal: SizeGoal? { bpw.map { .bitsPerWeight($0) } ?? targetSize.map { .bytes($0.bytes) } }

    /// The settings of an export to GGUF.
    ///
    /// - Throws: `recipeInvalid`; errors of reading a recipe.
    func gguf() throws -> GGUFSettings {
        let read = try recipe.map { try ExportRecipe($0) }
        let stated = typeFor.map { GGUFSettings.Override($0.pattern, $0.type) }
        let recipes = type?.recipes ?? (goal == nil ? [read?.base ?? .q8_0] : [])
        return GGUFSettings(
            recipes, goal: goal, isPure: pure, overrides: stated + (try read?.types(after: stated) ?? []), rounding,
            allowsFallback: allowFallback, allowsRequantizing: allowRequantize, shardBytes: maxShardSize?.bytes)
    }

    /// What `--calibration` and the files of a second phase tell; nil if they were not given.
    ///
    /// - Parameter warn: called with a warning if the moments are those of another model with the same shapes.
    /// - Throws: `momentsInvalid` if the moments are those of a model with other shapes; errors of reading.
    func activations(
        of source: OpenedCheckpoint, beside out: FilePath, warn: (IngotWarning) -> Void
    ) throws -> ExportActivations? {
        guard let calibration else { return nil }
        let moments = try MomentsFile.open(calibration, scratch: out.removingLastComponent())
        try moments.file.fitWarnings(source, comparingWeights: true).forEach(warn)
        let known = ExportActivations(moments.file, hash: moments.hash)
        try known.requireUse(by: source, of: calibration)
        if goal != nil { try known.requireGradients(of: calibration) }
        guard let correction, let through else { return known }
        return try ExportActivations(moments.file, hash: moments.hash, correction: correction, through: through)
    }

    /// The settings of an export to a format with groups.
    func groups(_ format: ExportTargetFormat, dtype: FloatFormat?) throws -> GroupSettings {
        let runtime = format == .mlx ? GroupSettings.Runtime.mlx : .compressedTensors
        let read = try recipe.map { try ExportRecipe($0) }
        let usual = mode == .mxfp4 ? 32 : runtime == .mlx ? 64 : 128
        return try GroupSettings(
            runtime, mode: mode ?? .affine, bits: bits ?? 4, groupSize: groupSize.map(\.size) ?? usual, goal: goal,
            rounding, format: dtype,
            overrides: keep.map { .init($0, bits: nil) } + bitsFor.map { .init($0.pattern, bits: Int($0.bits)) }
                + (try read?.bits() ?? []),
            allowsFallback: allowFallback, allowsRequantizing: allowRequantize,
            shardBytes: maxShardSize?.bytes ?? 5 << 30)
    }
}
