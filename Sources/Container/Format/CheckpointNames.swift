import Checkpoints
import TensorModel

/// Rules for the names of a checkpoint's files (Specs/container.md, section 10, rules N1 to N5).
package enum CheckpointNames {
    /// Stems of shard names. All shards of a checkpoint have the same one.
    static let stems = ["model", "adapter_model", "diffusion_pytorch_model"]
    /// The file name of the index for these shards; nil for a single shard, which has no index.
    package static func index(of shards: [String]) -> String? {
        guard shards.count > 1, let stem = stem(of: shards[0]) else { return nil }
        return stem + ShardName.indexSuffix
    }

    /// The stem of the output's shards, by the names of the source's files. PEFT finds adapters and diffusers finds models by their stems,
    /// which stay; every other source becomes `model`.
    package static func stem(ofSource files: [String]) -> String {
        stems.dropFirst().first { stem in
            files.allSatisfy { $0.utf8.starts(with: (stem + ".").utf8) || $0.utf8.starts(with: (stem + "-").utf8) }
        } ?? stems[0]
    }

    private static func stem(of shard: String) -> String? {
        stems.first { shard.utf8.starts(with: ($0 + "-").utf8) || shard == $0 + ShardName.suffix }
    }

    /// Requires that the files of a manifest, sorted by name, have the names that a writer gives them.
    ///
    /// - Throws: the error that `failure` makes of found and expected; `missingShard` if there is no index.
    static func check(_ files: [Manifest.File], _ failure: (String, String?) -> IngotError) throws {
        let shards = files.filter(\.isShard).map(\.name)
        guard let first = shards.first else { throw failure("a manifest without a shard", "at least one shard") }
        let stem = stem(of: first) ?? stems[0]
        for (place, name) in shards.enumerated() {
            let expected = ShardName.shard(place + 1, of: shards.count, stem: stem)
            guard TensorName(name) == TensorName(expected) else {
                throw failure("the name `\(name)` for shard \(place + 1) of \(shards.count)", "`\(expected)`")
            }
        }
        let index = index(of: shards)
        var hasIndex = false
        for file in files where !file.isShard {
            guard TensorName(file.name) != TensorName(Manifest.fileName) else {
                throw failure("the manifest in its own list", "every other file of the directory")
            }
            guard !TensorName.hasSuffix(file.name.lowercased(), ShardName.suffix) else {
                throw failure("`\(file.name)` listed as no shard", "files of this suffix to be shards, with a seal")
            }
            if let index, TensorName(file.name) == TensorName(index) {
                hasIndex = true
            } else if TensorName.hasSuffix(file.name, ShardName.indexSuffix) {
                throw failure("the index `\(file.name)`", index.map { "`\($0)` alone" } ?? "no index beside one shard")
            }
        }
        if let index, !hasIndex {
            throw IngotError(
                .missingShard, found: "\(shards.count) shards without an index in the manifest",
                expected: "`\(index)`, which names each tensor's shard")
        }
    }

    /// Whether a relative path stays in its directory: no empty component, no `.`, no `..`, no NUL.
    package static func isContained(_ name: String) -> Bool {
        let parts = name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        return !name.utf8.contains(0)
            && parts.allSatisfy { !$0.isEmpty && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8) }
    }
}
