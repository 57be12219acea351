import Checkpoints
import FileAccess
package import SystemPackage
package import TensorModel

/// Types or bits of matrices by name, from a file: a recipe in JSON, or another GGUF file whose types are taken (Specs/exports.md, "Recipes").
package struct ExportRecipe: Sendable, Hashable {
    /// What a rule states.
    package enum Action: Sendable, Hashable {
        /// A type of ggml; nil if Ingot does not write the type with this name.
        case type(GGUFRecipe.TensorType?, name: String)
        /// Bits of a code.
        case bits(Int)
        /// No codes.
        case keep
    }

    /// A pattern of names and what it states. The first rule that matches decides.
    package struct Rule: Sendable, Hashable {
        /// The pattern.
        package let pattern: NamePattern
        /// What is stated.
        package let action: Action
    }

    /// The file.
    package let path: FilePath
    /// The rules, in the order in which they are tried.
    package let rules: [Rule]
    /// The recipe of a GGUF file that matrices without a rule follow: of the type of most weights. Nil for a recipe in JSON.
    package let base: GGUFRecipe?

    /// Bytes of a recipe file, and rules in it, at most.
    private static let maximumBytes: UInt64 = 4 << 20, maximumRules = 100_000

    /// Reads a recipe: a GGUF file if the name ends with `.gguf`, otherwise JSON.
    ///
    /// - Throws: `recipeInvalid`; errors of reading.
    package init(_ path: FilePath) throws {
        self.path = path
        guard path.extension?.lowercased() != "gguf" else {
            let read = try ExportRecipe.types(of: path)
            (rules, base) = (read.rules, read.base)
            return
        }
        do {
            rules = try ExportRecipe.parse(
                try JSONValue.parse(try WholeFile.read(path, limit: ExportRecipe.maximumBytes)))
            base = nil
        } catch let error as IngotError where error.file == nil {
            throw error.inFile(path.string)
        }
    }

    /// A rule for each tensor of a GGUF file.
    private static func types(of path: FilePath) throws -> (rules: [Rule], base: GGUFRecipe?) {
        let checkpoint = try Checkpoint.open(path, quantized: .asStored)
        var rules: [Rule] = [], weights: [BlockType: Int] = [:]
        for tensor in checkpoint.shards.flatMap(\.header.tensors) {
            let name = tensor.encoding ?? tensor.elementType.rawValue
            let type = GGUFRecipe.TensorType(name: name)
            if case .blocks(let own) = type { weights[own, default: 0] += tensor.shape.elementCount }
            rules.append(Rule(pattern: NamePattern(name: tensor.name), action: .type(type, name: name)))
        }
        return (
            rules,
            weights.max { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) }.map { .init(mostly: $0.key) }
        )
    }

    // MARK: - JSON

    private static func parse(_ value: JSONValue) throws -> [Rule] {
        guard let members = value.object else { throw invalid("something else than an object", "{\"rules\": [...]}") }
        if let other = members.first(where: { $0.key != "rules" && $0.key != "comment" }) {
            throw invalid("the member `\(other.key.prefix(80))`", "`rules`, and a `comment` if you like")
        }
        guard let rules = value["rules"]?.array else { throw invalid("no list `rules`", "{\"rules\": [...]}") }
        guard rules.count <= maximumRules else { throw invalid("\(rules.count) rules", "at most \(maximumRules)") }
        return try rules.enumerated().map { try rule($0.element, number: $0.offset + 1) }
    }

    private static func rule(_ value: JSONValue, number: Int) throws -> Rule {
        func wrong(_ found: String, _ expected: String) -> IngotError { invalid("rule \(number): \(found)", expected) }
        guard let members = value.object else {
            throw wrong("something else than an object", "an object with `pattern`")
        }
        let known: Set<String> = ["pattern", "type", "bits", "keep", "comment"]
        if let other = members.first(where: { !known.contains($0.key) }) {
            throw wrong("the member `\(other.key.prefix(80))`", "pattern, and type, bits or keep")
        }
        guard let text = value["pattern"]?.string, let pattern = NamePattern(text) else {
            throw wrong("no pattern that names tensors", "a pattern such as *.ffn_down.weight")
        }
        let stated = [value["type"], value["bits"], value["keep"]].compactMap(\.self)
        guard stated.count == 1 else { throw wrong("\(stated.count) statements", "type, bits or keep") }
        if let type = value["type"] {
            guard let name = type.string, let found = GGUFRecipe.TensorType(name: name) else {
                throw wrong("a `type` that Ingot does not write", "a type of ggml such as Q4_K or F16")
            }
            return Rule(pattern: pattern, action: .type(found, name: name))
        }
        if let bits = value["bits"] {
            guard case .unsigned(let count) = bits, (1...8).contains(count) else {
                throw wrong("`bits` that no code has", "a whole number from 2 to 8")
            }
            return Rule(pattern: pattern, action: .bits(Int(count)))
        }
        guard value["keep"] == .bool(true) else { throw wrong("`keep` that is not true", "\"keep\": true") }
        return Rule(pattern: pattern, action: .keep)
    }

    private static func invalid(_ found: String, _ expected: String) -> IngotError {
        IngotError(
            .recipeInvalid, found: found, expected: expected,
            remedy: "correct the recipe; Specs/exports.md describes it")
    }
}

extension ExportRecipe {
    /// The rules as overrides of an export to GGUF.
    ///
    /// - Parameter earlier: overrides that come before; a rule for one name that they match need not be a type that Ingot writes.
    /// - Throws: `recipeInvalid` for rules of other formats, and for types that Ingot does not write.
    package func types(after earlier: [GGUFSettings.Override]) throws -> [GGUFSettings.Override] {
        try rules.compactMap { rule in
            guard case .type(let type, let name) = rule.action else { throw wrongFormat(rule, "a type of ggml") }
            if let type { return .init(rule.pattern, type) }
            guard !earlier.contains(where: { $0.pattern.matches(TensorName(rule.pattern.prefix)) }) else { return nil }
            throw IngotError(
                .recipeInvalid, file: path.string, tensor: TensorName(rule.pattern.prefix),
                found: "type \(name), which Ingot does not write", expected: "types that Ingot writes",
                remedy: "state another type for this tensor")
        }
    }

    /// The rules as overrides of an export in groups.
    ///
    /// - Throws: `recipeInvalid` for rules of other formats.
    package func bits() throws -> [GroupSettings.Override] {
        try rules.map { rule in
            switch rule.action {
            case .bits(let bits): .init(rule.pattern, bits: bits)
            case .keep: .init(rule.pattern, bits: nil)
            case .type: throw wrongFormat(rule, "bits, or keep")
            }
        }
    }

    private func wrongFormat(_ rule: Rule, _ expected: String) -> IngotError {
        IngotError(
            .recipeInvalid, file: path.string, found: "a rule for \(rule.pattern.text) that this format cannot follow",
            expected: expected, remedy: "correct the recipe; Specs/exports.md describes it")
    }
}
