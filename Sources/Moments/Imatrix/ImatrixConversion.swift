package import FileAccess
package import SystemPackage

extension Imatrix {
    /// Writes a file of moments with what the importance matrix says: diagonals, one half. See `MomentsWriter` for errors.
    ///
    /// - Parameters:
    ///   - path: the file of moments. A file that is there already is replaced.
    ///   - family: family of the model, if it is known.
    ///   - modelHash: hash of the model, if it is known.
    package func writeMoments(to path: FilePath, family: String = "", modelHash: String = "") throws {
        var description = MomentsDescription()
        description.origin = .imatrix
        description.blocks = .diagonal
        description.halves = 1
        (description.family, description.modelHash) = (family, modelHash)
        (description.context, description.sequences) = (chunkSize, chunkCount)
        var writer = try MomentsWriter.open(path, try layout(), description)
        var left = writer.resumedInputs
        try forEachDiagonal { diagonal in
            guard left == 0 else {
                left -= 1
                return
            }
            let half = HalfMoments(
                tokens: diagonal.tokens ?? 0, weight: diagonal.weight,
                sums: diagonal.means, areMeans: true)
            try writer.append([half])
        }
        try writer.publish()
    }
}

extension MomentsFile {
    /// Opens a file of moments, or an importance matrix of llama.cpp, whose moments are written to a file without a name. Hashes the file.
    ///
    /// - Parameter scratch: a directory in which that file is made.
    /// - Throws: `momentsInvalid` if it is neither; errors of reading and writing.
    package static func open(_ path: FilePath, scratch: FilePath) throws -> (file: MomentsFile, hash: ContentHash) {
        func hashed(_ file: MomentsFile) throws -> (MomentsFile, ContentHash) {
            (file, try file.file.hash(of: file.file.wholeRange))
        }
        let mapped = try MappedFile.open(path)
        guard try Imatrix.isOne(mapped) else { return try hashed(MomentsFile(path)) }
        let imatrix = try Imatrix.open(path)
        let temporary = scratch.appending(".ingot-moments-\(UInt64.random(in: 0...UInt64.max))")
        defer { try? Directory.removeFile(temporary) }
        try imatrix.writeMoments(to: temporary)
        return try hashed(MomentsFile(temporary))
    }
}
