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
    public let header: SafetensorsHeader
}

/// A checkpoint in neutral form: the tensors of one file, or of a directory with one file or many.
///
/// Opening reads the headers only. Every name is in exactly one shard; an index, where there is one, agrees with the
/// shards in every tensor.
public struct Checkpoint: Sendable {
    /// The path it was opened by.
    public let path: FilePath
    /// The directory that holds it; nil where the path is that of one file.
    public let directory: FilePath?
    /// The shards, sorted by the bytes of their file names.
    public let shards: [Shard]
    /// The name of the index file; nil for a checkpoint without.
    public let indexName: String?
    /// What was odd, index first, then shard by shard.
    public let warnings: [IngotWarning]

    private let places: [TensorName: Place]

    /// Where a tensor is among the shards.
    struct Place: Sendable, Hashable {
        var shard: UInt32
        var tensor: UInt32
    }

    /// Whether there is an index.
    public var hasIndex: Bool { indexName != nil }

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

    /// Opens a safetensors file, or a directory that holds a checkpoint.
    ///
    /// A directory is read by its index (`*.safetensors.index.json`); without one it is `model.safetensors`, or the
    /// only `.safetensors` file in it. Symbolic links to regular files are followed.
    public static func open(_ path: FilePath, limits: Limits = .standard) throws -> Checkpoint {
        switch try Directory.kind(path) {
        case .directory: return try openDirectory(path, limits: limits)
        case .none:
            throw IngotError(.noInput, file: path.string, found: "nothing under this path")
        case .file, .other:
            let name = path.lastComponent?.string ?? path.string
            guard !TensorName.hasSuffix(name, ShardIndex.suffix) else {
                throw IngotError(
                    .unsupportedSource, file: path.string, found: "an index",
                    expected: "a checkpoint's directory, or a .safetensors file", remedy: "name the index's directory")
            }
            let shard = try openShard(path, name: name, limits: limits)
            return Checkpoint(
                path: path, directory: nil, shards: [shard], indexName: nil, warnings: shard.header.warnings,
                places: try places(of: [shard]))
        }
    }

    private static func openDirectory(_ path: FilePath, limits: Limits) throws -> Checkpoint {
        let listing = try DirectoryListing.read(path)
        guard let indexName = listing.indexName else {
            let shard = try openShard(path.appending(listing.lone), name: listing.lone, limits: limits)
            return Checkpoint(
                path: path, directory: path, shards: [shard], indexName: nil,
                warnings: listing.warnings(of: path, used: [listing.lone]) + shard.header.warnings,
                places: try places(of: [shard]))
        }
        let index = try ShardIndex.read(path.appending(indexName), limits: limits)
        let shards = try index.shardNames.map { name in
            let place = path.appending(name)
            guard try Directory.kind(place) != nil else {
                throw IngotError(
                    .missingShard, file: place.string, found: "no such file, though \(indexName) names it",
                    remedy: "fetch the shard, or the whole checkpoint again")
            }
            return try openShard(place, name: name, limits: limits)
        }
        let places = try places(of: shards)
        var warnings = listing.warnings(of: path, used: Set(index.shardNames))
        try index.check(against: places, shards: shards)
        let total = shards.flatMap(\.header.tensors).reduce(0) { $0 &+ $1.range.count }
        if let stated = index.totalSize, stated != Double(total) {
            warnings.append(
                IngotWarning(file: index.path, "total_size is \(whole(stated)), but the tensors take \(total) bytes"))
        }
        return Checkpoint(
            path: path, directory: path, shards: shards, indexName: indexName,
            warnings: warnings + shards.flatMap(\.header.warnings), places: places)
    }

    private static func openShard(_ path: FilePath, name: String, limits: Limits) throws -> Shard {
        let file = try MappedFile.open(path)
        let header = try SafetensorsHeader.read(file, limits: limits)
        return Shard(fileName: name, file: file, header: header)
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
        func mismatch(_ name: TensorName, file: String, _ found: String, _ expected: String) -> IngotError {
            IngotError(
                .indexMismatch, file: file, tensor: name, found: found, expected: expected,
                remedy: "index and shards are not of one checkpoint: fetch it again")
        }
        for (name, shard) in tensors {
            guard let place = places[name] else {
                throw mismatch(
                    name, file: path, "a tensor that \(shardNames[shard]) does not hold", "only tensors it holds")
            }
            guard place.shard == shard else {
                throw mismatch(
                    name, file: path, "a tensor said to be in \(shardNames[shard])",
                    "\(shardNames[Int(place.shard)]), which holds it")
            }
        }
        guard tensors.count < places.count else { return }
        let named = Set(tensors.lazy.map(\.name))
        for shard in shards {
            for tensor in shard.header.tensors where !named.contains(tensor.name) {
                throw mismatch(
                    tensor.name, file: shard.file.path.string, "a tensor that the index does not name",
                    "every tensor in the index")
            }
        }
    }
}
