import Checkpoints
import Container
import FileAccess
package import SystemPackage
package import TensorModel
package import Weights

/// The part of a plan that needs all shards. Once it is frozen, each shard can be converted by itself.
package struct FrozenPlan: Sendable {
    /// The part of one shard.
    struct Shard: Sendable {
        /// File names of the source shard and of the output shard.
        let source: String, output: String
        /// Fingerprint of the source shard.
        let fingerprint: SourceFingerprint
        /// What was found for the matrices of scheme `trellis`, by tensor name.
        let findings: [TensorName: RatePlanner.Finding]
    }

    /// The options that decide the bytes, as the manifest records them.
    package let options: [JSONValue.Member]
    /// All shards, by position.
    let shards: [Shard]

    /// Freezes what was found for the open shards of a plan.
    ///
    /// - Parameter findings: by position among the open shards, then by payload.
    /// - Throws: errors of reading the fingerprints.
    init(_ plan: ConversionPlan, _ findings: [ConversionPlan.Findings]) throws {
        options = plan.options.encoding.record
        shards = try zip(plan.openShards, findings).map { shard, found in
            let names = shard.layout.payloads.map(\.tensor.name)
            return Shard(
                source: shard.source.fileName, output: shard.outputName,
                fingerprint: try SourceFingerprint(shard.source),
                findings: Dictionary(found.map { (names[$0.key], $0.value) }, uniquingKeysWith: { first, _ in first }))
        }
    }

    // MARK: - As a file

    private static let schema = "ingot.frozen-plan", version: UInt64 = 1
    /// Bytes of a file at most: a million tensors take about 400 MB.
    private static let maximumBytes: UInt64 = 1 << 30

    /// The plan as JSON. Rates are the bits of binary64, so that a plan that was read back gives the same bytes.
    package var json: JSONValue {
        .object([
            .init("schema", .string(FrozenPlan.schema)), .init("schema_version", .unsigned(FrozenPlan.version)),
            .init("writer", .string(ContainerFormat.writer)), .init("codecs", .string(CodecLibraries.versions)),
            .init("options", .object(options)),
            .init(
                "shards",
                .array(
                    shards.map { shard in
                        .object([
                            .init("source", .string(shard.source)), .init("output", .string(shard.output)),
                            .init("fingerprint", shard.fingerprint.json),
                            .init(
                                "tensors",
                                .object(
                                    shard.findings.sorted { $0.key < $1.key }.map { .init($0.key.text, $0.value.json) })
                            ),
                        ])
                    })),
        ])
    }

    /// Reads a plan; nil if this version with these codec libraries did not write it.
    package init?(_ value: JSONValue) {
        guard value["schema"]?.string == FrozenPlan.schema, value["schema_version"]?.unsigned == FrozenPlan.version,
            value["writer"]?.string == ContainerFormat.writer, value["codecs"]?.string == CodecLibraries.versions,
            let options = value["options"]?.object, let entries = value["shards"]?.array
        else { return nil }
        self.options = options
        var shards: [Shard] = []
        for entry in entries {
            guard let source = entry["source"]?.string, let output = entry["output"]?.string,
                let fingerprint = entry["fingerprint"].flatMap({ SourceFingerprint($0) }),
                let tensors = entry["tensors"]?.object
            else { return nil }
            var findings: [TensorName: RatePlanner.Finding] = [:]
            for tensor in tensors {
                guard let finding = RatePlanner.Finding(tensor.value),
                    findings.updateValue(finding, forKey: TensorName(tensor.key)) == nil
                else { return nil }
            }
            shards.append(Shard(source: source, output: output, fingerprint: fingerprint, findings: findings))
        }
        self.shards = shards
    }

    /// Writes the plan to a file.
    package func write(to path: FilePath) throws { try WholeFile.write(Array(json.text().utf8), to: path) }

    /// Reads a plan from a file.
    ///
    /// - Throws: `reportInvalid` if this version did not write the file.
    package static func read(_ path: FilePath) throws -> FrozenPlan {
        let value = try? JSONValue.parse(try WholeFile.read(path, limit: maximumBytes))
        guard let plan = value.flatMap({ FrozenPlan($0) }) else {
            throw IngotError(
                .reportInvalid, file: path.string, found: "no frozen plan of this version",
                expected: "a plan that \(ContainerFormat.writer) with \(CodecLibraries.versions) wrote")
        }
        return plan
    }
}

extension ConversionPlan {
    /// Finds the rates of all open shards and freezes them.
    ///
    /// - Throws: what planning throws.
    package func freeze(_ budget: MemoryBudget) async throws -> FrozenPlan {
        try FrozenPlan(self, await findings(openShards, budget))
    }

    /// Gives the open shards the rates of a frozen plan.
    ///
    /// - Throws: `sourceChanged` if a shard is not the one that was planned, or has other tensors.
    package mutating func apply(_ frozen: FrozenPlan) throws {
        let planned = Dictionary(
            frozen.shards.map { (TensorName($0.source), $0) }, uniquingKeysWith: { first, _ in first })
        for shard in openShards {
            func changed(_ found: String) -> IngotError {
                IngotError(
                    .sourceChanged, file: shard.source.file.path.string, found: found,
                    expected: "the shard that the plan was made for")
            }
            guard let part = planned[TensorName(shard.source.fileName)], part.output == shard.outputName else {
                throw changed("a shard that the plan does not name")
            }
            let now = try SourceFingerprint(shard.source)
            if let difference = now.difference(from: part.fingerprint) { throw changed(difference) }
            try apply(findings(part.findings, of: shard, orThrow: changed("other tensors")), at: shard.position)
        }
    }

    /// Findings by payload instead of by tensor name.
    private func findings(
        _ named: [TensorName: RatePlanner.Finding], of shard: ShardPlan, orThrow error: IngotError
    ) throws -> Findings {
        var left = named
        var findings: Findings = [:]
        for (index, payload) in shard.layout.payloads.enumerated() {
            if let finding = left.removeValue(forKey: payload.tensor.name) { findings[index] = finding }
        }
        guard left.isEmpty, shard.accepts(findings, options.encoding) else { throw error }
        return findings
    }
}
