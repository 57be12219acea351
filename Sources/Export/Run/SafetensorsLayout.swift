import Checkpoints
import FileAccess
import TensorModel

/// Places the entries of safetensors files one after the other, and cuts them into shards of a size.
struct SafetensorsLayout {
    private struct Entry {
        let name: TensorName, elementType: ElementType, shape: Shape
        let byteCount: UInt64
        /// The bytes, if they are known already.
        let constant: [UInt8]?
    }

    private var shards: [[Entry]] = [[]]
    private var shardBytes: UInt64 = 0
    private let limit: UInt64

    /// - Parameter limit: bytes of a shard; a tensor that is larger has a shard of its own.
    init(limit: UInt64) { self.limit = limit }

    /// Begins a set of entries that must stay in one shard. It starts a new shard if `bytes`, their sum, does not fit the current one.
    mutating func begin(bytes: UInt64) {
        guard shardBytes > 0, shardBytes + bytes > limit else { return }
        shards.append([])
        shardBytes = 0
    }

    /// Adds an entry to the last shard, with its bytes if they are known already.
    mutating func add(_ name: TensorName, _ elementType: ElementType, _ shape: Shape, constant: [UInt8]? = nil) {
        let bytes = elementType.byteCount(of: shape) ?? 0
        shards[shards.count - 1].append(
            Entry(name: name, elementType: elementType, shape: shape, byteCount: bytes, constant: constant))
        shardBytes += bytes
    }

    /// The files, and the place of each entry.
    struct Placed {
        let files: [ExportPlan.File]
        let places: [TensorName: (file: Int, offset: UInt64)]
        /// Names of the shards with their entries, and bytes of all entries, for the index.
        let shards: [(fileName: String, tensors: [TensorName])]
        let dataBytes: UInt64
    }

    /// Names the shards and makes their headers.
    ///
    /// - Throws: an error for a name that the format does not allow.
    func place(stem: String, metadata: [SafetensorsHeader.MetadataEntry]) throws -> Placed {
        var files: [ExportPlan.File] = []
        var places: [TensorName: (file: Int, offset: UInt64)] = [:]
        var listed: [(fileName: String, tensors: [TensorName])] = []
        var dataBytes: UInt64 = 0
        for (number, entries) in shards.enumerated() {
            let name = ShardName.shard(number + 1, of: shards.count, stem: stem)
            let header = try SafetensorsWriter.header(
                tensors: entries.map {
                    .init(name: $0.name, elementType: $0.elementType, shape: $0.shape, byteCount: $0.byteCount)
                }, metadata: metadata)
            var offset = UInt64(header.count)
            var constants: [(offset: UInt64, bytes: [UInt8])] = [(0, header)]
            for entry in entries {
                places[entry.name] = (number, offset)
                if let bytes = entry.constant { constants.append((offset, bytes)) }
                offset += entry.byteCount
            }
            dataBytes += offset - UInt64(header.count)
            files.append(ExportPlan.File(name: name, byteCount: offset, constants: constants))
            listed.append((name, entries.map(\.name)))
        }
        return Placed(files: files, places: places, shards: listed, dataBytes: dataBytes)
    }
}
