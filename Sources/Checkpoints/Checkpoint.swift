public import FileAccess
public import SystemPackage
public import TensorModel

/// A file of a checkpoint: its name, its bytes, and its header, checked.
public struct Shard: Sendable {
    /// The name, without directory.
    public let fileName: String
    /// The bytes.
    public let file: MappedFile
    /// What the file holds.
    public let header: ShardHeader
}

/// A checkpoint in neutral form: the tensors of one file, or of a directory with one file or many.
///
/// Opening reads the headers only. Every name is in exactly one shard; an index, where there is one, agrees with the
/// shards in every tensor.
public struct Checkpoint: Sendable {
    /// Which files it consists of.
    public let layout: CheckpointLayout
    /// The shards, sorted by the bytes of their file names.
    public let shards: [Shard]
    /// What was odd, index first, then shard by shard.
    public let warnings: [IngotWarning]

    private let places: [TensorName: Place]

    /// Where a tensor is among the shards.
    struct Place: Sendable, Hashable {
        var shard: UInt32
        var tensor: UInt32
    }

    /// The path it was opened by.
    public var path: FilePath { layout.path }

    /// The directory that holds it; nil where the path is that of one file.
    public var directory: FilePath? { layout.directory }

    /// Whether there is an index.
    public var hasIndex: Bool { layout.indexName != nil }

    /// Number of tensors in all shards.
    public var tensorCount: Int { places.count }

    /// Bytes of data in all shards, headers not counted.
    public var dataByteCount: UInt64 {
        shards.reduce(0) { $0 &+ ($1.file.byteCount &- $1.header.dataStart) }
    }

    /// The tensor of a name and the shard it is in, or nil where there is none.
    public func tensor(named name: TensorName) -> (shard: Shard, tensor: StoredTensor)? {
        guard let place = places[name] else { return nil }
        let shard = shards[Int(place.shard)]
        return (shard, shard.header.tensors[Int(place.tensor)])
    }

    /// Opens a file of any format we read, or a directory that holds a checkpoint (`CheckpointLayout.read`), with all of its
    /// shards.
    public static func open(_ path: FilePath, limits: Limits = .standard) throws -> Checkpoint {
        let layout = try CheckpointLayout.read(path, limits: limits)
        let shards = try layout.shardNames.indices.map { try layout.openUnchecked($0, limits: limits) }
        for (position, shard) in shards.enumerated() {
            try GGUFSplit.check(shard, position: position, of: shards.count)
        }
        try GGUFSplit.checkTotal(shards)
        let places = try places(of: shards)
        var warnings = layout.warnings
        if let index = layout.index {
            try index.check(against: places, shards: shards)
            let total = shards.flatMap(\.header.tensors).reduce(0) { $0 &+ $1.range.count }
            if let stated = index.totalSize, stated != Double(total) {
                warnings.append(
                    IngotWarning(
                        file: index.path, "total_size is \(whole(stated)), but the tensors take \(total) bytes"))
            }
        }
        return Checkpoint(
            layout: layout, shards: shards, warnings: warnings + shards.flatMap(\.header.warnings), places: places)
    }

    /// Where each tensor is; a name in two shards is an error.
    private static func places(of shards: [Shard]) throws -> [TensorName: Place] {
        var places: [TensorName: Place] = [:]
        places.reserveCapacity(shards.reduce(0) { $0 + $1.header.tensors.count })
        for (shardIndex, shard) in shards.enumerated() {
            for (tensorIndex, tensor) in shard.header.tensors.enumerated() {
                let place = Place(shard: UInt32(shardIndex), tensor: UInt32(tensorIndex))
                if let other = places.updateValue(place, forKey: tensor.name) {
                    throw IngotError(
                        .indexMismatch, file: shard.file.path.string, tensor: tensor.name, offset: tensor.range.start,
                        found: "a tensor that is also in \(shards[Int(other.shard)].fileName)",
                        expected: "every tensor in one shard",
                        remedy: "the shards are not of one checkpoint: fetch it again")
                }
            }
        }
        return places
    }

    /// A number as it was meant: whole, where it is.
    private static func whole(_ value: Double) -> String {
        UInt64(exactly: value).map(String.init) ?? String(value)
    }
}

extension ShardIndex {
    /// Requires that index and shards agree in every tensor.
    func check(against places: [TensorName: Checkpoint.Place], shards: [Shard]) throws {
        for (name, shard) in tensors {
            guard let place = places[name] else { throw missing(name, shard) }
            guard place.shard == shard else {
                throw mismatch(
                    name, file: path, "a tensor said to be in \(shardNames[shard])",
                    "\(shardNames[Int(place.shard)]), which holds it")
            }
        }
        guard tensors.count < places.count else { return }
        let named = Set(tensors.lazy.map(\.name))
        for shard in shards {
            for tensor in shard.header.tensors where !named.contains(tensor.name) { throw unnamed(tensor, shard) }
        }
    }

    /// Requires that a shard holds the tensors that the index says it does, and no others.
    func check(_ shard: Shard, position: Int) throws {
        let held = Set(shard.header.tensors.lazy.map(\.name))
        var count = 0
        for (name, place) in tensors where place == position {
            guard held.contains(name) else { throw missing(name, position) }
            count += 1
        }
        guard count < shard.header.tensors.count else { return }
        let named = Set(tensors.lazy.filter { $0.shard == position }.map(\.name))
        for tensor in shard.header.tensors where !named.contains(tensor.name) { throw unnamed(tensor, shard) }
    }

    private func missing(_ name: TensorName, _ shard: Int) -> IngotError {
        mismatch(name, file: path, "a tensor that \(shardNames[shard]) does not hold", "only tensors it holds")
    }

    private func unnamed(_ tensor: StoredTensor, _ shard: Shard) -> IngotError {
        mismatch(
            tensor.name, file: shard.file.path.string, "a tensor that the index does not name",
            "every tensor in the index")
    }

    private func mismatch(_ name: TensorName, file: String, _ found: String, _ expected: String) -> IngotError {
        IngotError(
            .indexMismatch, file: file, tensor: name, found: found, expected: expected,
            remedy: "index and shards are not of one checkpoint: fetch it again")
    }
}
