import Checkpoints
import FileAccess
import SystemPackage
import TensorModel

/// Checks that each tensor is in one shard and that the index agrees (Specs/container.md, section 10, rules T1 to T3).
struct SealedIndex {
    private let path: FilePath
    private let shards: [SealedShard]
    private let names: [TensorName]
    /// The number of each tensor, counted over all shards; the number of the first tensor of each shard.
    private var numbers: [TensorName: Int] = [:]
    private var starts: [Int] = []
    private var seen: [Bool]
    private var isSizeStated = false

    /// Requires that no tensor is in two shards and, with several shards, that the index maps each tensor to its shard.
    ///
    /// - Parameter directory: the directory of the checkpoint.
    /// - Throws: `indexMismatch`; `missingShard` if there is no index; errors of the JSON reader.
    static func check(_ shards: [SealedShard], _ directory: FilePath, limits: Limits) throws {
        var index = try SealedIndex(shards, directory)
        guard shards.count > 1 else { return }
        do {
            let file = try SealedCheckpoint.existing(index.path)
            try index.read(try WholeFile.read(file, limit: limits.documentBytes), limits)
        } catch let error as IngotError {
            throw error.inFile(index.path.string)
        }
    }

    private init(_ shards: [SealedShard], _ directory: FilePath) throws {
        self.shards = shards
        let files = shards.map { $0.file.path.lastComponent?.string ?? "" }
        names = files.map { TensorName($0) }
        path = directory.appending(CheckpointNames.index(of: files) ?? "")
        numbers.reserveCapacity(shards.reduce(0) { $0 + $1.payloads.count + $1.kept.count })
        for shard in shards {
            starts.append(numbers.count)
            for name in shard.payloads.lazy.map(\.name) + shard.kept.lazy.map(\.name) {
                guard numbers.updateValue(numbers.count, forKey: name) == nil else {
                    throw IngotError(
                        .indexMismatch, file: shard.file.path.string, tensor: name, found: "a tensor of another shard",
                        expected: "every tensor in one shard")
                }
            }
        }
        seen = [Bool](repeating: false, count: shards.count > 1 ? numbers.count : 0)
    }

    private func failure(_ tensor: TensorName? = nil, _ found: String, _ expected: String) -> IngotError {
        IngotError(
            .indexMismatch, file: path.string, tensor: tensor, found: found, expected: expected,
            remedy: "the checkpoint is damaged: fetch it again, or convert the source again")
    }

    private mutating func read(_ bytes: [UInt8], _ limits: Limits) throws {
        var reader = JSONReader(bytes, maximumDepth: limits.documentDepth)
        var keys: [String] = []
        try reader.readObject { reader, key in
            guard !keys.contains(key) else {
                throw reader.failure("`\(key.prefix(80))` a second time", as: .duplicateKey)
            }
            keys.append(key)
            switch key {
            case "metadata":
                try reader.readObject { reader, key in
                    guard key == "total_size", !isSizeStated else {
                        throw failure(nil, "`\(key.prefix(80))` in `metadata`", "`total_size` alone, once")
                    }
                    isSizeStated = true
                    let total = totalBytes
                    let stated = try reader.readNumberText()
                    guard UInt64(stated) == total else {
                        throw failure(
                            nil, "a total_size of \(stated.prefix(40))",
                            "\(total), the bytes of all entries but the seals'")
                    }
                }
            case "weight_map":
                try reader.readObject { reader, key in
                    try take(TensorName(key), in: TensorName(try reader.readString()))
                }
            default: throw failure(nil, "the member `\(key.prefix(80))`", "metadata and weight_map")
            }
        }
        try reader.requireEnd()
        guard isSizeStated, keys.count == 2 else {
            throw failure(
                nil, "an index without `total_size` or `weight_map`", "metadata with total_size, and weight_map")
        }
        if let missing = seen.firstIndex(of: false) {
            let name = numbers.first { $0.value == missing }?.key
            throw failure(name, "no entry of the tensor", "`\(names[shard(of: missing)])`, which holds it")
        }
    }

    /// Checks an entry of the index and marks its tensor as seen.
    private mutating func take(_ tensor: TensorName, in file: TensorName) throws {
        guard let number = numbers[tensor] else {
            throw failure(tensor, "a tensor that no shard holds", "the tensors of the shards alone")
        }
        guard !seen[number] else { throw failure(tensor, "a second entry of the tensor", "one") }
        seen[number] = true
        let holder = names[shard(of: number)]
        guard file == holder else {
            throw failure(tensor, "the shard `\(file.text.prefix(80))`", "`\(holder)`, which holds it")
        }
    }

    /// The index of the shard that holds a tensor, by the tensor's number.
    private func shard(of number: Int) -> Int {
        var low = 0
        var high = starts.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= number { low = middle } else { high = middle }
        }
        return low
    }

    /// Bytes of all entries, except the seals.
    private var totalBytes: UInt64 {
        shards.reduce(0) { sum, shard in
            shard.kept.reduce(shard.payloads.reduce(sum) { $0 + $1.range.count }) { $0 + $1.range.count }
        }
    }
}
