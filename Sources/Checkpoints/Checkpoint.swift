package import FileAccess
package import SystemPackage
package import TensorModel

/// A file of a checkpoint: its name, its bytes, and its checked header.
package struct Shard: Sendable {
    /// The name, without directory.
    package let fileName: String
    /// The file with the bytes.
    package let file: MappedFile
    /// The checked header.
    package let header: ShardHeader

    /// The size that a conversion of the shard is compared with: of a PyTorch file the bytes of the tensors that are read, since it may
    /// hold states of the training too; of other formats the bytes of the file.
    package var sizeBefore: UInt64 { header.format == .pytorch ? min(file.byteCount, storedByteCount) : file.byteCount }

    /// Bytes of all tensors of the shard.
    package var dataByteCount: UInt64 { header.tensors.reduce(0) { $0 &+ $1.byteCount } }

    /// Bytes of all tensors as they are stored.
    package var storedByteCount: UInt64 { header.storedTensors.reduce(0) { $0 &+ $1.byteCount } }
}

/// A checkpoint in any format: the tensors of one file, or of a directory with one or more files.
///
/// Opening reads only the headers. Every name is in exactly one shard. If there is an index, it agrees with the shards in every tensor.
package struct Checkpoint: Sendable {
    /// The files of the checkpoint.
    package let layout: CheckpointLayout
    /// The shards, sorted by the bytes of their file names.
    package let shards: [Shard]
    /// Oddities of the index, then of each shard in order.
    package let warnings: [IngotWarning]

    private let places: [TensorName: Place]

    /// The position of a tensor's shard, and the position of the tensor in that shard.
    struct Place: Sendable, Hashable {
        var shard: UInt32
        var tensor: UInt32
    }

    /// The path by which it was opened.
    package var path: FilePath { layout.path }

    /// The directory of the checkpoint; nil if the path names one file.
    package var directory: FilePath? { layout.directory }

    /// Whether the checkpoint has an index.
    package var hasIndex: Bool { layout.indexName != nil }

    /// Number of tensors in all shards.
    package var tensorCount: Int { shards.reduce(0) { $0 + $1.header.tensors.count } }

    /// Bytes of all tensors in all shards.
    package var dataByteCount: UInt64 { shards.reduce(0) { $0 &+ $1.dataByteCount } }

    /// The tensor with this name or this alias, and its shard; nil if there is none.
    package func tensor(named name: TensorName) -> (shard: Shard, tensor: StoredTensor)? {
        guard let place = places[name] else { return nil }
        let shard = shards[Int(place.shard)]
        return (shard, shard.header.tensors[Int(place.tensor)])
    }

    /// Opens a file of weights, or a directory with a checkpoint (`CheckpointLayout.read`), with all shards.
    ///
    /// - Parameters:
    ///   - key: keys that lead to the weights in a PyTorch file, joined by `.`; nil for the usual ones.
    ///   - limits: limits of what is read.
    ///   - undecodable: what becomes of tensors that Ingot cannot decode.
    ///   - quantized: what becomes of codes of other quantizers.
    /// - Throws: the errors of `CheckpointLayout.read` and `ShardHeader.read`; `missingShard`; `indexMismatch` if index and shards
    ///   disagree, or if a name is in two shards; `unsupportedSource` for codes that cannot be decoded.
    package static func open(
        _ path: FilePath, key: String? = nil, limits: Limits = .standard,
        undecodable: UndecodableTensors = .refused, quantized: QuantizedSources = .decoded
    ) throws -> Checkpoint {
        let layout = try CheckpointLayout.read(path, key: key, limits: limits)
        let shards = try layout.shardNames.indices.map {
            try layout.openUnchecked($0, limits: limits, undecodable: undecodable)
        }
        for (position, shard) in shards.enumerated() {
            try GGUFSplit.check(shard, position: position, of: shards.count)
        }
        try GGUFSplit.checkTotal(shards)
        let places = try places(of: shards)
        var warnings = layout.warnings
        if let index = layout.index {
            try index.check(against: places, shards: shards)
            let total = shards.flatMap(\.header.tensors).reduce(0) { $0 &+ $1.byteCount }
            if let stated = index.totalSize, stated != Double(total) {
                warnings.append(
                    IngotWarning(
                        file: index.path, "total_size is \(whole(stated)), but the tensors take \(total) bytes"))
            }
        }
        warnings += shards.flatMap(\.header.warnings)
        guard quantized == .decoded else {
            return Checkpoint(layout: layout, shards: shards, warnings: warnings, places: places)
        }
        let (decoded, found) = try decode(shards, places, in: layout, undecodable)
        let isChanged = decoded.contains { !$0.header.roles.isEmpty }
        return Checkpoint(
            layout: layout, shards: decoded, warnings: warnings + found,
            places: isChanged ? try Checkpoint.places(of: decoded) : places)
    }

    /// Turns codes of other quantizers into decoded tensors.
    ///
    /// - Throws: `unsupportedSource`; `headerSyntax` or a similar code for a configuration that is no JSON object.
    static func decode(
        _ shards: [Shard], _ places: [TensorName: Place], in layout: CheckpointLayout, _ undecodable: UndecodableTensors
    ) throws -> (shards: [Shard], warnings: [IngotWarning]) {
        guard shards.contains(where: { $0.header.format != .gguf }) else { return (shards, []) }
        var (type, stated): (FloatFormat?, QuantizationConfiguration?) = (nil, nil)
        do {
            if let directory = layout.directory { (type, stated) = try QuantizationConfiguration.read(in: directory) }
        } catch let error as IngotError {
            // Only codes need a configuration.
            var pass = QuantizedPass(shards, places, nil, elementType: nil, .listed)
            let (decoded, warnings) = try pass.run()
            guard decoded.contains(where: { !$0.header.roles.isEmpty }) || !warnings.isEmpty else {
                return (decoded, [])
            }
            guard undecodable == .listed else { throw error }
            let warning = IngotWarning(
                file: error.file ?? "", "cannot be read, so the quantization is not described: \(error.found)")
            return (decoded, [warning] + warnings)
        }
        var pass = QuantizedPass(shards, places, stated, elementType: type, undecodable)
        return try pass.run()
    }

    /// Finds the place of each tensor and alias. Throws `indexMismatch` if a name is in two shards.
    static func places(of shards: [Shard]) throws -> [TensorName: Place] {
        var places: [TensorName: Place] = [:]
        places.reserveCapacity(shards.reduce(0) { $0 + $1.header.tensors.count })
        func add(_ name: TensorName, _ place: Place, _ shard: Shard) throws {
            guard let other = places.updateValue(place, forKey: name) else { return }
            throw IngotError(
                .indexMismatch, file: shard.file.path.string, tensor: name,
                offset: shard.header.tensors[Int(place.tensor)].range.start,
                found: "a tensor that is also in \(shards[Int(other.shard)].fileName)",
                expected: "every tensor in one shard", remedy: "the shards are not of one checkpoint: fetch it again")
        }
        for (shardIndex, shard) in shards.enumerated() {
            for (tensorIndex, tensor) in shard.header.tensors.enumerated() {
                try add(tensor.name, Place(shard: UInt32(shardIndex), tensor: UInt32(tensorIndex)), shard)
            }
            for alias in shard.header.aliases {
                guard let target = places[alias.target] else { preconditionFailure("an alias of a tensor of the file") }
                try add(alias.name, target, shard)
            }
        }
        return places
    }

    /// A number as text, without a fraction if it is whole.
    private static func whole(_ value: Double) -> String {
        UInt64(exactly: value).map(String.init) ?? String(value)
    }
}

extension ShardHeader {
    /// The names of all tensors, then of all aliases.
    fileprivate var names: [TensorName] { tensors.map(\.name) + aliases.map(\.name) }
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
            for name in shard.header.names where !named.contains(name) { throw unnamed(name, shard) }
        }
    }

    /// Requires that a shard holds exactly the tensors that the index places in it.
    func check(_ shard: Shard, position: Int) throws {
        let held = Set(shard.header.names)
        let stated = byShard[position]
        for place in stated where !held.contains(tensors[place].name) { throw missing(tensors[place].name, position) }
        guard stated.count < held.count else { return }
        let named = Set(stated.lazy.map { tensors[$0].name })
        for name in shard.header.names where !named.contains(name) { throw unnamed(name, shard) }
    }

    private func missing(_ name: TensorName, _ shard: Int) -> IngotError {
        mismatch(name, file: path, "a tensor that \(shardNames[shard]) does not hold", "only tensors it holds")
    }

    private func unnamed(_ name: TensorName, _ shard: Shard) -> IngotError {
        mismatch(
            name, file: shard.file.path.string, "a tensor that the index does not name",
            "every tensor in the index")
    }

    private func mismatch(_ name: TensorName, file: String, _ found: String, _ expected: String) -> IngotError {
        IngotError(
            .indexMismatch, file: file, tensor: name, found: found, expected: expected,
            remedy: "index and shards are not of one checkpoint: fetch it again")
    }
}
