import Checkpoints
import TensorModel

/// Rules for the header of a shard beyond those of safetensors (Specs/container.md, section 10, rules H1 to H8).
enum ShardRules {
    /// The largest number of features in a list, and of bytes in a feature's name.
    private static let features = 64, featureBytes = 64
    /// The members of a shard's self-description, in order.
    private static let members = ["version", "required_features", "optional_features", "writer", "codecs"]

    /// Checks the shard's self-description. Returns a warning if it names optional features, which this version does not know.
    ///
    /// - Throws: `descriptorInvalid`; `containerVersion` for other versions and for required features.
    static func selfDescription(_ header: SafetensorsHeader, _ path: String) throws -> [IngotWarning] {
        guard let text = header.metadata.value(of: ContainerFormat.metadataKey),
            let about = try? JSONValue.parse(Array(text.utf8), maximumDepth: 4),
            let version = about["version"]?.unsigned, let required = features(about["required_features"]),
            let optional = features(about["optional_features"])
        else {
            throw IngotError(
                .descriptorInvalid, file: path, offset: 8, found: "a header without Ingot's description",
                expected:
                    "a member `\(ContainerFormat.metadataKey)` of `__metadata__`, with at most \(features) features"
                    + ", each of 1 to \(featureBytes) letters, digits, `-`, `_` and `.`")
        }
        let unknown = required.filter { !ContainerFormat.knownFeatures.contains($0) }
        guard version == ContainerFormat.version, unknown.isEmpty else {
            throw IngotError(
                .containerVersion, file: path,
                found:
                    "format version \(version), \(unknown.isEmpty ? "no other features" : "features " + listed(unknown))",
                expected:
                    "version \(ContainerFormat.version), no features but \(listed(ContainerFormat.knownFeatures))")
        }
        guard about.object?.map(\.key).elementsEqual(members) == true, about["writer"]?.string != nil,
            about["codecs"]?.string != nil
        else {
            throw IngotError(
                .descriptorInvalid, file: path, offset: 8, found: "other members in Ingot's description of the shard",
                expected: members.joined(separator: ", "))
        }
        if optional.isEmpty { return [] }
        return [IngotWarning(file: path, "unknown optional features \(listed(optional)): ignored")]
    }

    /// Requires that the shard names exactly the features that its payloads use.
    ///
    /// - Throws: `descriptorInvalid`.
    static func checkFeatures(
        _ header: SafetensorsHeader, _ payloads: [SealedShard.Payload], _ path: String
    ) throws {
        let text = header.metadata.value(of: ContainerFormat.metadataKey) ?? ""
        let required = features(try? JSONValue.parse(Array(text.utf8), maximumDepth: 4)["required_features"]) ?? []
        let used = ContainerFormat.features(of: payloads.map(\.descriptor))
        guard required == used else {
            throw IngotError(
                .descriptorInvalid, file: path, offset: 8,
                found: "required features \(required.isEmpty ? "of none" : listed(required))",
                expected: used.isEmpty ? "none, as no payload has scale bytes or codes" : listed(used))
        }
    }

    /// The features of a list; nil if it is not a list, or if a feature is too long, has other characters, or there are too many.
    private static func features(_ list: JSONValue?) -> [String]? {
        guard let list = list?.array, list.count <= features else { return nil }
        let names = list.compactMap(\.string)
        let isAllowed = names.allSatisfy { name in
            (1...featureBytes).contains(name.utf8.count)
                && name.utf8.allSatisfy { byte in
                    (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                        || [UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ".")].contains(byte)
                }
        }
        return names.count == list.count && isAllowed ? names : nil
    }

    private static func listed(_ features: [String]) -> String {
        features.prefix(4).joined(separator: ", ") + (features.count > 4 ? " and \(features.count - 4) more" : "")
    }

    /// The `__metadata__` entries of the source that the shard carries; empty if it carries none.
    ///
    /// - Throws: `descriptorInvalid` if the member is not as a writer writes it.
    static func sourceMetadata(
        _ header: SafetensorsHeader, _ path: String
    ) throws -> [SafetensorsHeader.MetadataEntry] {
        guard let text = header.metadata.value(of: SourceMetadata.key) else { return [] }
        guard let entries = SourceMetadata.parse(text) else {
            throw IngotError(
                .descriptorInvalid, file: path, offset: 8, found: "a member `\(SourceMetadata.key)` no writer makes",
                expected: "an object of strings, each key once, other than {\"format\":\"pt\"}")
        }
        return entries
    }

    /// Requires that `__metadata__` has only known keys, that entries have only known fields, and that only spaces follow the header.
    ///
    /// - Throws: `descriptorInvalid`, `headerSyntax`.
    static func checkForm(_ header: SafetensorsHeader, _ path: String) throws {
        guard header.metadata.value(of: "format") == "ingot" else {
            throw IngotError(
                .descriptorInvalid, file: path, offset: 8,
                found: header.metadata.value(of: "format").map { "`format` `\($0.prefix(40))`" } ?? "no `format`",
                expected: "`format` `ingot` in `__metadata__`")
        }
        let known = ["format", ContainerFormat.metadataKey, SourceMetadata.key].map { TensorName($0) }
        for entry in header.metadata where !known.contains(TensorName(entry.key)) {
            guard entry.key.utf8.starts(with: ContainerFormat.tensorKeyPrefix.utf8) else {
                throw IngotError(
                    .descriptorInvalid, file: path, offset: 8,
                    found: "the key `\(entry.key.prefix(80))` in `__metadata__`",
                    expected: "format, ingot, \(SourceMetadata.key), and ingot: with a tensor's name")
            }
        }
        if let field = header.unknownField {
            throw IngotError(
                .headerSyntax, file: path, tensor: field.tensor, offset: 8, found: "the field `\(field.key)`",
                expected: "dtype, shape and data_offsets")
        }
        guard header.isPaddedBehind else {
            throw IngotError(
                .headerSyntax, file: path, offset: 8,
                found: "white space before the header's object, or something other than spaces after it",
                expected: "an object followed by spaces only")
        }
    }

    /// Requires that payloads come before kept tensors, that element sizes of kept tensors descend, and that no name is reserved.
    ///
    /// - Throws: `reservedName`, `invalidOffsets`.
    static func checkOrder(
        _ header: SafetensorsHeader, _ payloads: [SealedShard.Payload], _ kept: [StoredTensor], _ path: String
    ) throws {
        for tensor in header.tensors where tensor.name != ContainerFormat.sealName {
            guard !ContainerFormat.isReserved(tensor.name) else {
                throw IngotError(
                    .reservedName, file: path, tensor: tensor.name, offset: tensor.range.start,
                    found: "a tensor under a reserved name", expected: "names that do not begin with `__ingot_`")
            }
        }
        if let last = payloads.last, let first = kept.first, first.range.start < last.range.end {
            throw IngotError(
                .invalidOffsets, file: path, tensor: first.name, offset: first.range.start,
                found: "a kept tensor before the payload of \(last.name.text.prefix(80))",
                expected: "all payloads before all kept tensors")
        }
        for (one, next) in zip(kept, kept.dropFirst())
        where one.elementType.alignment < next.elementType.alignment {
            throw IngotError(
                .invalidOffsets, file: path, tensor: next.name, offset: next.range.start,
                found:
                    "elements of \(next.elementType.alignment) bytes after elements of \(one.elementType.alignment) bytes",
                expected: "kept tensors in order of falling element size")
        }
    }
}
