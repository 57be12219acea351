import FileAccess
package import SystemPackage
import TensorModel

/// A claims file: promises about a checkpoint (Specs/claims.md).
package struct ClaimsFile: Sendable {
    /// Version that is written, and newest version that is read.
    package static let version: UInt64 = 1
    /// Value of `schema`.
    static let schema = "ingot.claims"
    /// Largest claims file, in bytes.
    static let maximumBytes: UInt64 = 4 << 20
    /// Claims per file at most.
    static let maximumClaims = 10_000

    /// Path of the file.
    package let path: FilePath
    /// Value of `$schema`, for editors.
    package var schemaReference: String?
    /// The claims, in file order.
    package var claims: [Claim]

    /// Makes a claims file in memory.
    package init(_ path: FilePath, _ claims: [Claim], schemaReference: String? = nil) {
        self.path = path
        self.claims = claims
        self.schemaReference = schemaReference
    }

    /// Reads a claims file.
    ///
    /// - Throws: `noInput` if there is no file; `claimsInvalid` with the JSON path of the fault; errors of reading JSON.
    package static func read(_ path: FilePath) throws -> ClaimsFile {
        guard try Directory.kind(path) != nil else {
            throw IngotError(
                .noInput, file: path.string, found: "no such claims file",
                remedy: .both("check the path", .option(.makeClaimsFile)))
        }
        do {
            return try parse(try WholeFile.read(path, limit: maximumBytes), path)
        } catch var error as IngotError {
            // The JSON reader's own texts speak of headers.
            if [.headerSyntax, .duplicateKey, .invalidText, .trailingBytes, .nestingTooDeep].contains(error.code) {
                error.remedy = "correct the claims file; Specs/claims.md describes it"
            }
            throw error.inFile(path.string)
        }
    }

    /// Writes the file as `ReportFile` does: replaces an existing file in one step and keeps its permissions.
    package func write() throws {
        try ReportFile.write(CollectionOfOne(String(decoding: encoded(), as: UTF8.self)), to: path)
    }

    /// Text of the file.
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
    /// The claim as JSON of a claims file.
    var json: JSONValue {
        var members: [JSONValue.Member] = [.init("claim", .string(rule.kind.rawValue))]
        if let patterns {
            let texts = patterns.map { JSONValue.string($0.text) }
            members.append(.init("tensors", listsPatterns ? .array(texts) : texts[0]))
        }
        if let limit { members.append(.init("limit", limit)) }
        if case .quality(_, _, let scope) = rule {
            if let confidence = scope.confidence { members.append(.init("confidence", .number(confidence))) }
            if let text = scope.text { members.append(.init("text", .string(text.description))) }
        }
        if case .digests(_, let entries) = rule {
            members.append(
                .init("files", .object(entries.map { .init($0.file, .string($0.digest.description)) })))
        }
        if namesLevel { members.append(.init("level", .string(level.rawValue))) }
        if let note { members.append(.init("note", .string(note))) }
        return .object(members)
    }

    /// The limit as JSON; nil for claims without a limit.
    var limit: JSONValue? {
        switch rule {
        case .bytes(_, let limit): .unsigned(limit)
        case .figure(_, let limit), .quality(_, let limit, _): .number(limit)
        case .finite, .exactValues, .digests: nil
        }
    }
}
