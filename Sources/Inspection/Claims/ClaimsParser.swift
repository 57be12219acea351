import Container
import FileAccess
package import SystemPackage
import TensorModel

/// Reads claims files strictly: every unknown member or value is an error that names its place.
extension ClaimsFile {
    /// Parses the text of a claims file; `path` is for errors.
    package static func parse(_ bytes: [UInt8], _ path: FilePath) throws -> ClaimsFile {
        let document = try JSONValue.parse(bytes, maximumDepth: 16)
        try requireMembers(document, "", ["$schema", "schema", "version", "claims"])
        guard let schema = document["schema"] else { throw missing("schema", "\"\(schema)\"") }
        guard schema.string == ClaimsFile.schema else {
            throw failure("schema", schema, "\"\(ClaimsFile.schema)\"")
        }
        guard let version = document["version"] else { throw missing("version", "\(ClaimsFile.version)") }
        guard let number = version.wholeNumber, number >= 1 else {
            throw failure("version", version, "\(ClaimsFile.version)")
        }
        guard number <= ClaimsFile.version else {
            throw IngotError(
                .claimsInvalid, found: "version: \(number), newer than this ingot knows",
                expected: "at most \(ClaimsFile.version)", remedy: "use a newer ingot")
        }
        if let reference = document["$schema"], reference.string == nil {
            throw failure("$schema", reference, "a string")
        }
        guard let list = document["claims"] else { throw missing("claims", "a list of claims") }
        guard let values = list.array else { throw failure("claims", list, "a list of claims") }
        guard (1...maximumClaims).contains(values.count) else {
            throw failure("claims", "\(values.count) claims", "1 to \(maximumClaims)")
        }
        let lines = try lines(bytes)
        var claims: [Claim] = []
        var seen: Set<ClaimIdentity> = []
        for (index, value) in values.enumerated() {
            var claim = try ClaimReader(value, "claims[\(index)]").read()
            claim.line = index < lines.count ? lines[index] : 1
            guard seen.insert(ClaimIdentity(claim)).inserted else {
                throw failure(
                    "claims[\(index)]", "\(claim.rule.kind.rawValue) a second time at level \(claim.level.rawValue)",
                    "one limit for the same claim, tensors, text and level")
            }
            claims.append(claim)
        }
        return ClaimsFile(path, claims, schemaReference: document["$schema"]?.string)
    }

    /// Line in which each claim begins, from 1. The text must be valid JSON.
    private static func lines(_ bytes: [UInt8]) throws -> [Int] {
        var starts: [Int] = []
        var reader = JSONReader(bytes, maximumDepth: 16)
        try reader.readObject { reader, key in
            guard key == "claims" else { return try reader.skipValue() }
            try reader.readArray { reader in
                _ = reader.peek()
                starts.append(reader.position)
                try reader.skipValue()
            }
        }
        var (line, at) = (1, 0)
        return starts.map { start in
            line += bytes[at..<start].count { $0 == UInt8(ascii: "\n") }
            at = start
            return line
        }
    }

    /// Key for duplicates: two claims with the same kind, level and patterns are an error.
    private struct ClaimIdentity: Hashable {
        let kind: Claim.Kind
        let level: Claim.Level
        let patterns: [TensorName]
        let text: ContentHash?

        init(_ claim: Claim) {
            kind = claim.rule.kind
            level = claim.level
            patterns = (claim.patterns ?? []).map { TensorName($0.text) }
            text = if case .quality(_, _, let scope) = claim.rule { scope.text } else { nil }
        }
    }

    // MARK: - Errors

    /// Throws if `value` is no object, or has a member that is not in `known`.
    static func requireMembers(_ value: JSONValue, _ place: String, _ known: [String]) throws {
        guard let members = value.object else {
            throw failure(place.isEmpty ? "the file" : place, value, "an object")
        }
        for member in members where !known.contains(where: { TensorName($0) == TensorName(member.key) }) {
            let name = String(member.key.prefix(80))
            throw failure(
                place.isEmpty ? name : "\(place).\(name)", "an unknown member",
                "one of " + known.joined(separator: ", "))
        }
    }

    static func failure(_ place: String, _ found: JSONValue, _ expected: String) -> IngotError {
        failure(place, found.summary, expected)
    }

    static func failure(_ place: String, _ found: String, _ expected: String) -> IngotError {
        IngotError(.claimsInvalid, found: "\(place): \(found)", expected: expected)
    }

    static func missing(_ place: String, _ expected: String) -> IngotError {
        failure(place, "missing", expected)
    }
}

/// Parses one claim.
private struct ClaimReader {
    let value: JSONValue
    let place: String

    init(_ value: JSONValue, _ place: String) {
        self.value = value
        self.place = place
    }

    func read() throws -> Claim {
        let names = Claim.Kind.stated.map(\.rawValue)
        guard value.object != nil else { throw ClaimsFile.failure(place, value, "an object") }
        guard let name = value["claim"] else { throw ClaimsFile.missing("\(place).claim", list(names)) }
        guard let kind = name.string.flatMap(Claim.Kind.init(rawValue:)), !kind.isBuiltIn else {
            throw ClaimsFile.failure("\(place).claim", name, list(names))
        }
        try ClaimsFile.requireMembers(value, place, members(kind))
        let level = try level()
        let (patterns, isList) = try patterns()
        return Claim(
            try rule(kind), level: level ?? .error, namesLevel: level != nil, patterns: patterns,
            listsPatterns: isList, note: try note())
    }

    private func members(_ kind: Claim.Kind) -> [String] {
        let specific: [String] =
            switch kind {
            case .sourceDigests, .outputDigests: ["files"]
            case .finite, .valueExact: []
            case .divergence, .perplexityRatio, .agreement: ["limit", "confidence", "text"]
            default: ["limit"]
            }
        return ["claim"] + (kind.isAboutTensors ? ["tensors"] : []) + specific + ["level", "note"]
    }

    private func list(_ names: [String]) -> String { "one of " + names.joined(separator: ", ") }

    private func rule(_ kind: Claim.Kind) throws -> Claim.Rule {
        switch kind {
        case .totalBytes: .bytes(.total, try bytes())
        case .fileBytes: .bytes(.largestFile, try bytes())
        case .peakMemory: .bytes(.peakMemory, try bytes())
        case .sourceDigests: .digests(.source, try digests())
        case .outputDigests: .digests(.output, try digests())
        case .reduction: try figure(.reduction)
        case .bitsPerWeight: try figure(.bitsPerWeight)
        case .relativeMSE: try figure(.relativeMSE)
        case .signalToNoise: try figure(.signalToNoise)
        case .maxError: try figure(.maxError)
        case .cosine: try figure(.cosine)
        case .overallRelativeMSE: try figure(.overallRelativeMSE)
        case .overallSignalToNoise: try figure(.overallSignalToNoise)
        case .relativeActivationError: try figure(.relativeActivationError)
        case .divergence: try quality(.divergence)
        case .perplexityRatio: try quality(.perplexityRatio)
        case .agreement: try quality(.agreement)
        case .valueExact: .exactValues
        case .finite, .bytesIntact, .certificatesHold, .sourceMatches: .finite
        }
    }

    private func bytes() throws -> UInt64 {
        let expected = "a whole number of bytes, 1 or more, or one with its unit, such as \"18GiB\""
        guard let limit = value["limit"] else { throw ClaimsFile.missing("\(place).limit", expected) }
        guard let bytes = limit.string.map(ByteSize.parse) ?? limit.wholeNumber, bytes > 0 else {
            throw ClaimsFile.failure("\(place).limit", limit, expected)
        }
        return bytes
    }

    private func figure(_ rule: Claim.FigureRule) throws -> Claim.Rule {
        guard let limit = value["limit"] else { throw ClaimsFile.missing("\(place).limit", rule.range) }
        guard let number = limit.realNumber, rule.allows(number) else {
            throw ClaimsFile.failure("\(place).limit", limit, rule.range)
        }
        return .figure(rule, number)
    }

    private func quality(_ rule: Claim.QualityRule) throws -> Claim.Rule {
        guard let limit = value["limit"] else { throw ClaimsFile.missing("\(place).limit", rule.range) }
        guard let number = limit.realNumber, rule.allows(number) else {
            throw ClaimsFile.failure("\(place).limit", limit, rule.range)
        }
        var scope = Claim.QualityScope()
        if let found = value["confidence"] {
            guard let share = found.realNumber, share > 0.5, share < 1 else {
                throw ClaimsFile.failure("\(place).confidence", found, "a share above 0.5 and below 1, such as 0.95")
            }
            scope.confidence = share
        }
        if let found = value["text"] {
            guard let hash = found.string.flatMap(ContentHash.init(hexadecimal:)) else {
                throw ClaimsFile.failure("\(place).text", found, "32 hexadecimal digits, the hash of a text")
            }
            scope.text = hash
        }
        return .quality(rule, number, scope)
    }

    private func digests() throws -> [Claim.NamedDigest] {
        let expected = "an object of file names with their SHA-256 digests"
        guard let files = value["files"] else { throw ClaimsFile.missing("\(place).files", expected) }
        guard let members = files.object, !members.isEmpty else {
            throw ClaimsFile.failure("\(place).files", files, expected)
        }
        return try members.map { member in
            let own = "\(place).files[\"\(member.key.prefix(80))\"]"
            guard CheckpointNames.isContained(member.key) else {
                throw ClaimsFile.failure(own, "a path", "a file's name, relative to the checkpoint and inside of it")
            }
            guard let digest = member.value.string.flatMap(SHA256Digest.init(hexadecimal:)) else {
                throw ClaimsFile.failure(own, member.value, "64 hexadecimal digits")
            }
            return Claim.NamedDigest(file: member.key, digest: digest)
        }
    }

    private func level() throws -> Claim.Level? {
        guard let found = value["level"] else { return nil }
        guard let level = found.string.flatMap(Claim.Level.init(rawValue:)) else {
            throw ClaimsFile.failure("\(place).level", found, list(Claim.Level.allCases.map(\.rawValue)))
        }
        return level
    }

    private func note() throws -> String? {
        guard let found = value["note"] else { return nil }
        guard let note = found.string else { throw ClaimsFile.failure("\(place).note", found, "a string") }
        return note
    }

    private func patterns() throws -> (patterns: [NamePattern]?, isList: Bool) {
        guard let found = value["tensors"] else { return (nil, false) }
        let expected = "a pattern of tensor names such as \"*.q_proj.*\", or a list of them"
        if found.string != nil { return ([try pattern(found, "\(place).tensors", expected)], false) }
        guard let list = found.array, !list.isEmpty else {
            throw ClaimsFile.failure("\(place).tensors", found, expected)
        }
        return (try list.enumerated().map { try pattern($1, "\(place).tensors[\($0)]", expected) }, true)
    }

    private func pattern(_ value: JSONValue, _ place: String, _ expected: String) throws -> NamePattern {
        guard let text = value.string else { throw ClaimsFile.failure(place, value, expected) }
        guard let pattern = NamePattern(text) else {
            throw ClaimsFile.failure(place, value, "a pattern that is not empty, with an end to every `[`")
        }
        return pattern
    }
}

extension JSONValue {
    /// The value as a whole number, written as `3`, `3.0` or `3e0`; nil for anything else.
    var wholeNumber: UInt64? {
        switch self {
        case .unsigned(let value): value
        case .number(let value): UInt64(exactly: value)
        default: nil
        }
    }

    /// The value as a number; nil for anything else.
    var realNumber: Double? {
        switch self {
        case .unsigned(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    /// A short description of the value, for messages.
    var summary: String {
        switch self {
        case .array(let elements): elements.isEmpty ? "an empty list" : "a list"
        case .object(let members): members.isEmpty ? "an empty object" : "an object"
        case .number(let value) where !value.isFinite: "a number that is not finite"
        default: String(text().prefix(80))
        }
    }
}
