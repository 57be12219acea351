import Checkpoints
import FileAccess
import Publishing
import SystemPackage
import TensorModel
import Weights
import Work

/// Reads a written export back: the reader of its format must find every tensor where it was meant to be, with the bytes that were meant.
struct ReadBack {
    /// The hash and size of each file of weights.
    ///
    /// - Parameters:
    ///   - path: the file, or the directory of the files.
    ///   - jobs: pieces read at the same time.
    /// - Throws: `checksum` or another error that names the file, if it differs from what was meant.
    static func check(
        _ plan: ExportPlan, _ written: [[ExportRun.Written.Piece]], at path: FilePath, in directory: FilePath, jobs: Int
    ) async throws -> [ExportManifest.File] {
        // As weights, so that configuration and codes must agree; as stored, for the places.
        _ = try OpenedCheckpoint(path)
        let stored = try Checkpoint.open(path, quantized: .asStored)
        var places: [TensorName: (file: String, range: ByteRange)] = [:]
        for shard in stored.shards {
            for tensor in shard.header.tensors { places[tensor.name] = (shard.fileName, tensor.range) }
        }
        for tensor in plan.tensors {
            for stream in tensor.streams {
                let (name, file) = (stream.entry, plan.files[stream.file].name)
                let count = UInt64(tensor.rows * stream.rowBytes)
                guard let place = places[name], TensorName(place.file) == TensorName(file),
                    place.range.count == count, count == 0 || place.range.start == stream.offset
                else {
                    throw IngotError(
                        .inputOutput, file: directory.appending(file).string, tensor: name,
                        found: "the written file read back without this tensor at its place",
                        expected: "\(count) bytes at \(stream.offset)")
                }
            }
        }
        var files: [ExportManifest.File] = []
        for (file, pieces) in zip(plan.files, written) {
            let mapped = try MappedFile.open(directory.appending(file.name))
            try await Pipeline(jobs: jobs, lookahead: 2 * jobs) { [UInt8]() }.run(pieces) { piece, buffer in
                buffer.grow(to: piece.count)
                guard let range = ByteRange(start: piece.offset, count: UInt64(piece.count)) else { return }
                try mapped.read(range, into: &buffer)
                guard ContentHash(of: buffer.span.extracting(0..<piece.count)) == piece.hash else {
                    throw IngotError(
                        .inputOutput, file: mapped.path.string, offset: piece.offset,
                        found: "other bytes on the disk than were written")
                }
            } consume: { _, _ in
            }
            files.append(
                ExportManifest.File(
                    name: file.name, byteCount: mapped.byteCount, hash: try mapped.hash(of: mapped.wholeRange)))
            mapped.finishReading()
        }
        return files
    }
}
