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
                sums: diagonal.means.map { Float(Double($0) * diagonal.weight) })
            try writer.append([half])
        }
        try writer.publish()
    }
}
