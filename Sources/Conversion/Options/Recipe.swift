import FileAccess
package import SystemPackage
package import TensorModel

/// What to do with tensors, by patterns of their names. The first rule that matches a name decides; without one, `DefaultRecipe` does.
package struct Recipe: Sendable, Hashable {
    /// A pattern and what happens to the tensors it matches.
    package struct Rule: Sendable, Hashable {
        /// The pattern of names.
        package let pattern: NamePattern
        /// What happens.
        package let action: Action

        /// Makes a rule.
        package init(_ pattern: NamePattern, _ action: Action) {
            self.pattern = pattern
            self.action = action
        }

        /// The rule in words, for plans and reports: `keep *.gate.weight`.
        package var text: String { "\(action.text) \(pattern.text)" }
    }

    /// What happens to a tensor.
    package enum Action: Sendable, Hashable {
        /// The tensor is kept as it is.
        case keep
        /// The matrix is encoded in a scheme, or in that of the conversion if `scheme` is nil; at `bits` bits per weight, or at the rate of the
        /// conversion if `bits` is nil.
        case encode(scheme: EncodingOptions.Scheme?, bits: Double?)

        fileprivate var text: String {
            switch self {
            case .keep: "keep"
            case .encode(let scheme, let bits):
                ([scheme?.rawValue ?? (bits == nil ? "encode" : nil), bits.map { "\(Recipe.number($0)) bits" }]
                    as [String?])
                    .compactMap { $0 }.joined(separator: " ") + " for"
            }
        }
    }

    /// The rules, in the order in which they are tried.
    package var rules: [Rule]

    /// A recipe of rules.
    package init(_ rules: [Rule] = []) { self.rules = rules }

    /// The first rule that matches a name; nil if none does.
    package func rule(for name: TensorName) -> Rule? { rules.first { $0.pattern.matches(name) } }

    /// A number without needless digits: `6`, `3.5`.
    private static func number(_ value: Double) -> String {
        value == value.rounded() && value.magnitude < 1e6 ? "\(Int(value))" : "\(value)"
    }

    // MARK: - As JSON

    /// Bytes of a recipe file, and rules in it, at most.
    private static let maximumBytes: UInt64 = 4 << 20, maximumRules = 10_000

    /// The rules as the manifest and the journal record them; the form of the `rules` of a recipe file.
    var json: JSONValue {
        .array(
            rules.map { rule in
                var members: [JSONValue.Member] = [.init("pattern", .string(rule.pattern.text))]
                switch rule.action {
                case .keep: members.append(.init("keep", .bool(true)))
                case .encode(let scheme, let bits):
                    if let scheme { members.append(.init("scheme", .string(scheme.rawValue))) }
                    if let bits { members.append(.init("bits", .number(bits))) }
                }
                return .object(members)
            })
    }

    /// Reads a recipe file: `{"rules": [{"pattern": "*.down_proj.weight", "bits": 6}, {"pattern": "*.gate.weight", "keep": true}]}`.
    ///
    /// - Throws: `recipeInvalid`; errors of reading.
    package static func read(_ path: FilePath) throws -> Recipe {
        do {
            return try parse(try JSONValue.parse(try WholeFile.read(path, limit: maximumBytes)))
        } catch let error as IngotError where error.file == nil {
            throw error.inFile(path.string)
        }
    }

    private static func parse(_ value: JSONValue) throws -> Recipe {
        guard let members = value.object else { throw invalid("something else than an object", "{\"rules\": [...]}") }
        if let other = members.first(where: { $0.key != "rules" && $0.key != "comment" }) {
            throw invalid("the member `\(other.key.prefix(80))`", "`rules`, and a `comment` if you like")
        }
        guard let rules = value["rules"]?.array else { throw invalid("no list `rules`", "{\"rules\": [...]}") }
        guard rules.count <= maximumRules else { throw invalid("\(rules.count) rules", "at most \(maximumRules)") }
        return Recipe(try rules.enumerated().map { try rule($0.element, number: $0.offset + 1) })
    }

    private static func rule(_ value: JSONValue, number: Int) throws -> Rule {
        func wrong(_ found: String, _ expected: String) -> IngotError { invalid("rule \(number): \(found)", expected) }
        guard let members = value.object else {
            throw wrong("something else than an object", "an object with `pattern`")
        }
        let known: Set<String> = ["pattern", "keep", "scheme", "bits", "comment"]
        if let other = members.first(where: { !known.contains($0.key) }) {
            throw wrong("the member `\(other.key.prefix(80))`", "pattern, and keep, scheme or bits")
        }
        guard let text = value["pattern"]?.string, let pattern = NamePattern(text) else {
            throw wrong("no pattern that names tensors", "a pattern such as *.down_proj.weight")
        }
        if let keep = value["keep"] {
            guard keep == .bool(true), value["scheme"] == nil, value["bits"] == nil else {
                throw wrong("`keep` beside something else, or not true", "\"keep\": true alone")
            }
            return Rule(pattern, .keep)
        }
        let scheme = try value["scheme"].map { name in
            guard let scheme = name.string.flatMap({ EncodingOptions.Scheme(rawValue: $0) }) else {
                throw wrong("a `scheme` that does not exist", "trellis, uniform or lossless")
            }
            return scheme
        }
        let bits = try value["bits"].map { value in
            guard let bits = Recipe.number(value), RateGoal.bitsRange.contains(bits) else {
                throw wrong("`bits` that cannot be asked for", "a number from 1 to 8.5")
            }
            return bits
        }
        guard scheme != nil || bits != nil else { throw wrong("nothing to do", "keep, scheme or bits") }
        guard scheme != .lossless || bits == nil else { throw wrong("`bits` for scheme lossless", "no bits") }
        if scheme == .uniform, let bits, bits < 2 || bits != bits.rounded() {
            throw wrong("\(bits) bits for scheme uniform", "a whole number from 2 to 8")
        }
        return Rule(pattern, .encode(scheme: scheme, bits: bits))
    }

    private static func number(_ value: JSONValue) -> Double? {
        switch value {
        case .unsigned(let number): Double(number)
        case .number(let number): number
        default: nil
        }
    }

    private static func invalid(_ found: String, _ expected: String) -> IngotError {
        IngotError(
            .recipeInvalid, found: found, expected: expected,
            remedy: "correct the recipe; Specs/recipes.md describes it")
    }
}
