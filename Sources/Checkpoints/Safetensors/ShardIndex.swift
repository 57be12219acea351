import FileAccess
import SystemPackage
package import TensorModel

/// A shard index, `model.safetensors.index.json` or `pytorch_model.bin.index.json`: the shard of each tensor.
package struct ShardIndex {
    /// Path of the index file, for messages.
    let path: String
    /// The names of the shards, sorted by their bytes.
    package let shardNames: [String]
    /// The tensors in the order of the file, each with the position of its shard in `shardNames`.
    package let tensors: [(name: TensorName, shard: Int)]
    /// For each shard, the positions of its tensors in `tensors`.
    let byShard: [[Int]]
    /// The number of bytes of all tensors that the index states; nil if it states none. Some tools write it as a float.
    let totalSize: Double?

    /// Reads an index file and checks it without its shards.
    static func read(_ path: FilePath, of kind: WeightFiles, limits: Limits) throws -> ShardIndex {
        let file = try MappedFile.open(path)
        guard file.byteCount <= limits.documentBytes, let range = ByteRange(start: 0, count: file.byteCount) else {
            throw IngotError(
                .indexInvalid, file: path.string, found: "an index of \(file.byteCount) bytes",
                expected: "at most \(limits.documentBytes) bytes")
        }
        return try parse(try file.bytes(range), of: kind, path: path.string, limits: limits)
    }

    /// Parses and checks the text of a safetensors index.
    package static func parse(_ bytes: [UInt8], path: String, limits: Limits) throws -> ShardIndex {
        try parse(bytes, of: .safetensors, path: path, limits: limits)
    }

    /// Parses and checks the text of an index for files of one format.
    static func parse(_ bytes: [UInt8], of kind: WeightFiles, path: String, limits: Limits) throws -> ShardIndex {
        do {
            var parser = IndexParser(kind, limits: limits)
            try parser.read(bytes)
            return try parser.index(path: path)
        } catch var error as IngotError {
            if error.code == .headerSyntax || error.code == .missingField { error.code = .indexInvalid }
            throw error.inFile(path)
        }
    }
}

private struct IndexParser {
    let limits: Limits
    /// Suffix of the shards' names.
    private let suffix: String
    private var names = NameTable()
    private var tensors: [(name: TensorName, shard: Int)] = []
    private var shardNames: [String] = []
    private var positions: [TensorName: Int] = [:]
    private var folded: Set<String> = []
    private var hasWeightMap = false
    private var totalSize: Double?

    init(_ kind: WeightFiles, limits: Limits) {
        suffix = kind.shardSuffix
        self.limits = limits
    }

    mutating func read(_ bytes: [UInt8]) throws {
        var reader = JSONReader(bytes, maximumDepth: limits.documentDepth)
        var keys: Set<TensorName> = []
        try reader.readObject { reader, key in
            try noteOnce(key, in: &keys, reader)
            switch key {
            case "weight_map":
                hasWeightMap = true
                try reader.readObject { reader, key in try readEntry(&reader, TensorName(key)) }
            case "metadata" where reader.peek() == UInt8(ascii: "{"): try readMetadata(&reader)
            default: try reader.skipValue()
            }
        }
        try reader.requireEnd()
    }

    private func noteOnce(_ key: String, in keys: inout Set<TensorName>, _ reader: JSONReader) throws {
        guard keys.insert(TensorName(key)).inserted else {
            throw reader.failure("the key `\(key.prefix(80))` a second time", as: .duplicateKey)
        }
    }

    private mutating func readMetadata(_ reader: inout JSONReader) throws {
        var keys: Set<TensorName> = []
        try reader.readObject { reader, key in
            try noteOnce(key, in: &keys, reader)
            let isNumber = reader.peek().map { $0 == UInt8(ascii: "-") || (0x30...0x39).contains($0) } ?? false
            if key == "total_size", isNumber {
                totalSize = Double(try reader.readNumberText())
            } else {
                try reader.skipValue()
            }
        }
    }

    private mutating func readEntry(_ reader: inout JSONReader, _ name: TensorName) throws {
        do {
            guard name.text.utf8.count <= limits.nameBytes else {
                throw reader.failure(
                    "a name of \(name.text.utf8.count) bytes", as: .nameTooLong,
                    expected: "at most \(limits.nameBytes) bytes")
            }
            guard tensors.count < NameTable.capacity else {
                throw reader.failure("too many tensors", as: .tooManyTensors)
            }
            guard names.insert(name, at: tensors.count, stored: { tensors[$0].name }) == nil else {
                throw reader.failure("the tensor's name a second time", as: .duplicateKey)
            }
            tensors.append((name, try shard(try reader.readString(), reader)))
        } catch var error as IngotError {
            if error.code != .nameTooLong { error.tensor = name }
            throw error
        }
    }

    /// The position of a shard among those seen so far. Checks and adds a new name.
    private mutating func shard(_ name: String, _ reader: JSONReader) throws -> Int {
        if let position = positions[TensorName(name)] { return position }
        if let problem = ShardName.problem(name, suffix: suffix) {
            throw reader.failure(
                "the shard name `\(name.prefix(80))`, which \(problem)", as: .shardName,
                expected: "the plain name of a \(suffix) file beside the index")
        }
        guard folded.insert(name.lowercased()).inserted else {
            throw reader.failure(
                "the shard name `\(name)`, which differs from another only in letter case or normalization",
                as: .shardName, expected: "names that differ on every file system")
        }
        guard shardNames.count < limits.shards else {
            throw reader.failure(
                "more than \(limits.shards) shards", as: .indexInvalid, expected: "at most \(limits.shards)")
        }
        positions[TensorName(name)] = shardNames.count
        shardNames.append(name)
        return shardNames.count - 1
    }

    /// The finished index, with its shards sorted.
    consuming func index(path: String) throws -> ShardIndex {
        guard hasWeightMap, !tensors.isEmpty else {
            throw IngotError(
                .indexInvalid, found: hasWeightMap ? "an empty weight_map" : "no weight_map",
                expected: "a weight_map from tensors to shards")
        }
        let order = shardNames.indices.sorted { TensorName(shardNames[$0]) < TensorName(shardNames[$1]) }
        var ranks = [Int](repeating: 0, count: order.count)
        for (rank, position) in order.enumerated() { ranks[position] = rank }
        for index in tensors.indices { tensors[index].shard = ranks[tensors[index].shard] }
        var byShard = [[Int]](repeating: [], count: order.count)
        for index in tensors.indices { byShard[tensors[index].shard].append(index) }
        return ShardIndex(
            path: path, shardNames: order.map { shardNames[$0] }, tensors: tensors, byShard: byShard,
            totalSize: totalSize)
    }
}

extension ShardIndex {
    /// Requires that no tensor of another shard belongs to codes of a shard.
    ///
    /// - Throws: `unsupportedSource`.
    func requireWhole(_ shard: Shard, position: Int) throws {
        var modules: Set<TensorName> = []
        let endings = [".weight", ".weight_packed", ".qweight", ".codes", "_blocks"]
        for tensor in shard.header.storedTensors
        where shard.header.roles[tensor.name] != nil
            || [.u8, .i8, .f8e4m3, .f8e5m2, .i16, .i32, .u32].contains(tensor.elementType)
                && endings.contains(where: { TensorName.hasSuffix(tensor.name.text, $0) })
        {
            modules.formUnion(ShardIndex.modules(of: tensor.name))
        }
        guard !modules.isEmpty else { return }
        for (name, place) in tensors where place != position && !TensorName.hasSuffix(name.text, ".bias") {
            guard let module = ShardIndex.modules(of: name).first(where: modules.contains) else { continue }
            throw IngotError(
                .unsupportedSource, file: shard.file.path.string, tensor: name,
                found: "a tensor in \(shardNames[place]) beside codes of `\(module.text.prefix(160))` in this shard",
                expected: "all tensors of a quantized matrix in one shard, where shards are read one by one",
                remedy: "convert the whole checkpoint, without following or consuming it")
        }
    }

    /// What a tensor may be a part of: its name without the last component, or without an ending after `_`.
    private static func modules(of name: TensorName) -> [TensorName] {
        let text = name.text
        let endings = ["_blocks", "_scales", "_scale_inv", "_scale"]
        if let ending = endings.first(where: {
            TensorName.hasSuffix(text, $0) && !TensorName.hasSuffix(text, ".weight" + $0)
        }) {
            return [TensorName(TensorName.dropSuffix(text, ending))]
        }
        guard let dot = text.utf8.lastIndex(of: UInt8(ascii: ".")) else { return [] }
        let module = String(text[..<dot])
        // `P.weight.absmax` belongs to P, as `P.weight` does.
        return [TensorName(TensorName.dropSuffix(module, ".weight"))]
    }
}
