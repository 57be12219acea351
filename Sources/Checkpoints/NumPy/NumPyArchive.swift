import FileAccess
import SystemPackage
import TensorModel

/// Reads the files of `numpy.savez`: an uncompressed zip archive of `.npy` files. Each array becomes a tensor with the name it was saved
/// under.
enum NumPyArchive {
    /// Suffix of the files.
    static let suffix = ".npz"

    /// Whether an archive holds arrays and nothing else.
    static func isOne(_ archive: ZipArchive) -> Bool {
        !archive.entries.isEmpty && archive.entries.allSatisfy { TensorName.hasSuffix($0.name, NumPyFile.suffix) }
    }

    /// Reads and checks the headers of all arrays.
    ///
    /// - Throws: `tooManyTensors`, `nameTooLong`, and the errors of a `.npy` file.
    static func readHeader(_ file: MappedFile, _ archive: ZipArchive, limits: Limits) throws -> ShardHeader {
        guard archive.entries.count <= limits.tensorsPerFile else {
            throw IngotError(
                .tooManyTensors, found: "\(archive.entries.count) arrays", expected: "at most \(limits.tensorsPerFile)")
        }
        let tensors = try archive.entries.map { entry in
            let name = NumPyFile.stem(of: entry.name)
            guard name.utf8.count <= limits.nameBytes else {
                throw IngotError(
                    .nameTooLong, offset: entry.headerStart, found: "a name of \(name.utf8.count) bytes",
                    expected: "at most \(limits.nameBytes) bytes")
            }
            return try NumPyFile.tensor(in: file, at: entry.range, named: TensorName(name), limits: limits).tensor
        }
        let data = tensors.reduce(0) { $0 + $1.range.count }
        return ShardHeader(
            .numpy, tensors: tensors, dataStart: tensors[0].range.start, headerByteCount: file.byteCount - data,
            checksums: archive.entries.map(\.recordChecksum))
    }
}
