import Checkpoints
import FileAccess
import TensorModel
import TestSupport

/// Targets for checkpoints of PyTorch, llama.cpp and NumPy, and for their parts.
enum CheckpointTargets {
    /// Bytes of tensors to read per input, at most.
    private static let maximumBytes: UInt64 = 1 << 20

    /// A zip archive. Records must not overlap.
    static func zipArchive(_ bytes: [UInt8]) throws {
        try FuzzFiles.with(bytes, "x.zip") { place in
            let file = try MappedFile.open(place)
            let archive = try ZipArchive.read(file)
            var end: UInt64 = 0
            for entry in archive.entries {
                require(entry.headerStart >= end, "records over each other, or in another order")
                require(entry.range.start > entry.headerStart, "data before its header")
                end = entry.range.end
                require(archive[entry.name] == entry, "another record under the name \(entry.name)")
                let parts = entry.name.split(separator: "/", omittingEmptySubsequences: false)
                require(!parts.contains("..") && parts.first != "", "a name that leads out: \(entry.name)")
                do {
                    let data = try archive.bytes(of: entry, in: file, limit: maximumBytes)
                    require(UInt64(data.count) == entry.range.count, "\(data.count) bytes")
                } catch let error as IngotError {
                    require(error.code == .checksum, "\(error)")
                }
            }
            require(end <= archive.directoryStart, "records in the directory")
        }
    }

    /// A pickle. Tensors must refer to existing storages and lie in the file.
    static func pickle(_ bytes: [UInt8]) throws {
        let objects = try PickleMachine.run(bytes, at: 0)
        for tensor in objects.tensors {
            require(objects.storages.indices.contains(tensor.storage), "no storage \(tensor.storage)")
            require(tensor.strides.count == tensor.shape.dimensions.count, "\(tensor.strides.count) strides")
            require(tensor.place < UInt64(bytes.count), "a tensor behind the end")
        }
    }

    /// A PyTorch checkpoint. An input that begins like a zip archive is the file; any other input is a pickle, after eight bytes with the
    /// sizes of four storages.
    static func pytorch(_ bytes: [UInt8]) throws {
        guard bytes.first != 0x50 else { return try file(bytes, "x.pt") }
        var input = InputBytes(bytes)
        let storages = (0..<4).map { index in
            let count = (input.byte() | input.byte() << 8) % 2048
            return (String(index), (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ index) })
        }
        try file(PyTorchImage.archive(input.rest, storages: storages).bytes, "x.pt")
    }

    /// A NumPy array, or an archive of arrays.
    static func numpy(_ bytes: [UInt8]) throws { try file(bytes, bytes.first == 0x50 ? "x.npz" : "x.npy") }

    /// A GGUF file. Every file that is opened whole is listed too, with the same tensors; tensors that are only listed are never read.
    static func gguf(_ bytes: [UInt8]) throws {
        try FuzzFiles.with(bytes, "x.gguf") { place in
            let file = try MappedFile.open(place)
            let listed = try GGUFFile.readHeader(file, undecodable: .listed)
            for tensor in listed.tensors {
                require(tensor.range.end <= file.byteCount, "\(tensor.name): behind the end")
                guard !tensor.isReadable, tensor.byteCount > 0 else { continue }
                var buffer: [UInt8] = [0]
                do {
                    try tensor.bytes(in: file).read(0, count: 1, into: &buffer)
                    require(false, "\(tensor.name) was read")
                } catch let error as IngotError {
                    require(error.code == .unsupportedSource, "\(error)")
                }
            }
            guard listed.tensors.allSatisfy(\.isReadable) else { return }
            require(try GGUFFile.readHeader(file).tensors == listed.tensors, "another list")
        }
        try self.file(bytes, "x.gguf")
    }

    /// A file of a checkpoint; reads every tensor.
    static func file(_ bytes: [UInt8], _ name: String) throws {
        try FuzzFiles.with(bytes, name) { place in
            let checkpoint = try Checkpoint.open(place)
            for shard in checkpoint.shards {
                let header = shard.header
                require(header.headerByteCount <= shard.file.byteCount, "a header larger than the file")
                var left = maximumBytes
                for tensor in header.tensors {
                    require(
                        tensor.elementType.byteCount(of: tensor.shape) == tensor.byteCount,
                        "\(tensor.name): \(tensor.byteCount) bytes")
                    require(tensor.range.end <= shard.file.byteCount, "\(tensor.name): behind the end")
                    guard tensor.byteCount <= left else { continue }
                    left -= tensor.byteCount
                    try check(tensor, in: shard.file)
                }
                for alias in header.aliases {
                    require(checkpoint.tensor(named: alias.name) != nil, "an alias of nothing")
                }
                for warning in header.warnings { require(!warning.message.isEmpty, "a warning without words") }
                do { try shard.checkRecords() } catch let error as IngotError {
                    require(error.code == .checksum, "\(error)")
                }
            }
        }
    }

    /// Requires that a tensor has the same bytes, read whole and in pieces of odd length.
    private static func check(_ tensor: StoredTensor, in file: MappedFile) throws {
        let bytes = tensor.bytes(in: file)
        let whole = try bytes.all()
        require(UInt64(whole.count) == tensor.byteCount, "\(whole.count) bytes of \(tensor.name)")
        var pieces: [UInt8] = []
        try bytes.forEachPiece(pieceBytes: whole.count < 4096 ? 97 : 4099) { bytes, _ in
            for index in bytes.indices { pieces.append(bytes[index]) }
        }
        require(pieces == whole, "\(tensor.name): other bytes in pieces")
    }
}
