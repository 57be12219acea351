import FileAccess
package import SystemPackage
import TensorModel

/// A claims file: what a checkpoint promises (Specs/claims.md).
package struct ClaimsFile: Sendable {
    /// Version of the format this library writes, and the newest it reads.
    package static let version: UInt64 = 1
    static let schema = "ingot.claims"
    /// Bytes of a claims file at most.
    static let maximumBytes: UInt64 = 4 << 20
    /// Claims in one file at most.
    static let maximumClaims = 10_000

    /// Where it is.
    package let path: FilePath
    /// The value of `$schema`, which is for editors.
    package var schemaReference: String?
    /// The claims, in their order.
    package var claims: [Claim]

    /// Makes a file of claims; nothing is written.
    package init(_ path: FilePath, _ claims: [Claim], schemaReference: String? = nil) {
        self.path = path
        self.claims = claims
        self.schemaReference = schemaReference
    }

    /// Reads a claims file.
    ///
    /// - Throws: `noInput` where there is none, `claimsInvalid` with the JSON path of what is wrong, and what JSON can be wrong with.
    package static func read(_ path: FilePath) throws -> ClaimsFile {
        guard try Directory.kind(path) != nil else {
            throw IngotError(
                .noInput, file: path.string, found: "no such claims file",
                remedy: .both("check the path", .option(.makeClaimsFile)))
        }
        do {
            return try parse(try WholeFile.read(path, limit: maximumBytes), path)
        } catch var error as IngotError {
            // The words of the JSON reader are about headers that were fetched.
            if [.headerSyntax, .duplicateKey, .invalidText, .trailingBytes, .nestingTooDeep].contains(error.code) {
                error.remedy = "correct the claims file; Specs/claims.md describes it"
            }
            throw error.inFile(path.string)
        }
    }

    /// Writes the file as `ReportFile` does: one of the same name is replaced in one step, and keeps its mode.
    package func write() throws {
        try ReportFile.write(CollectionOfOne(String(decoding: encoded(), as: UTF8.self)), to: path)
    }

    /// The text of the file.
    package func encoded() -> [UInt8] {
        var members: [JSONValue.Member] = []
        if let schemaReference { members.append(.init("$schema", .string(schemaReference))) }
        members += [
            .init("schema", .string(ClaimsFile.schema)), .init("version", .unsigned(ClaimsFile.version)),
            .init("claims", .array(claims.map(\.json))),
        ]
        return Array((JSONValue.object(members).text(indented: true) + "\n").utf8)
    }
}

extension Claim {
    /// The claim as it stands in a file.
    var json: JSONValue {
        var members: [JSONValue.Member] = [.init("claim", .string(rule.kind.rawValue))]
        if let patterns {
            let texts = patterns.map { JSONValue.string($0.text) }
            members.append(.init("tensors", listsPatterns ? .array(texts) : texts[0]))
        }
        if let limit { members.append(.init("limit", limit)) }
        if case .digests(_, let entries) = rule {
            members.append(
                .init("files", .object(entries.map { .init($0.file, .string($0.digest.description)) })))
        }
        if namesLevel { members.append(.init("level", .string(level.rawValue))) }
        if let note { members.append(.init("note", .string(note))) }
        return .object(members)
    }

    /// The limit; nil where the claim has none.
    var limit: JSONValue? {
        switch rule {
        case .bytes(_, let limit): .unsigned(limit)
        case .figure(_, let limit): .number(limit)
        case .finite, .digests: nil
        }
    }
}
