import Checkpoints
import Container
import FileAccess
package import SystemPackage
import TensorModel

/// Refuses outputs that overlap their input.
package enum PathOverlap {
    /// Refuses a destination that overlaps its source.
    ///
    /// - Throws: `cannotCreate` if source and destination are the same, if one lies in the other, or if no file can have the destination's
    ///   name.
    package static func refuse(source: FilePath, destination: FilePath) throws {
        do {
            _ = try Directory.kind(destination)
        } catch let error as IngotError where error.code == .noInput {
            // If no file can have this name (because it is too long, for example), the output is at fault, not a missing input.
            throw IngotError(.cannotCreate, file: destination.string, found: error.found)
        }
        guard let from = FileIdentity(source) else { return }
        func failure(_ found: String) -> IngotError {
            IngotError(
                .cannotCreate, file: destination.string, found: found, expected: "an output apart from the input")
        }
        if let to = FileIdentity(destination) {
            if to.isSameFile(as: from) { throw failure("the output is the input") }
            if chain(source).contains(where: { $0.isSameFile(as: to) }) {
                throw failure("the input lies in the output")
            }
        }
        if try Directory.kind(source) == .directory, chain(destination).contains(where: { $0.isSameFile(as: from) }) {
            throw failure("the output lies in the input")
        }
    }

    /// Refuses a place for a report if the report would replace an input or add a file to an Ingot checkpoint.
    ///
    /// - Parameters:
    ///   - output: where the report goes.
    ///   - inputs: files and directories that are read, and other outputs of the same run.
    ///   - isEarlierResult: whether the file at `output` is a result of this kind, which may be replaced though it is named like weights.
    /// - Throws: `cannotCreate`.
    package static func refuse(
        report output: FilePath, over inputs: [FilePath], isEarlierResult: Bool = false
    ) throws {
        func failure(_ found: String) -> IngotError {
            IngotError(
                .cannotCreate, file: output.string, found: found, expected: "a report apart from the weights",
                remedy: "name another file, or delete this one first")
        }
        let existing = FileIdentity(output)
        if existing != nil, !isEarlierResult, WeightFiles.isWeights(output.lastComponent?.string ?? "") {
            throw failure("a file of weights where the report should go")
        }
        for input in inputs {
            guard let from = FileIdentity(input) else {
                if existing == nil, isSameName(input, output) { throw failure("the output is another output") }
                continue
            }
            if let existing, existing.isSameFile(as: from) { throw failure("the output is the input") }
            guard try Directory.kind(input) == .directory,
                ancestors(output.removingLastComponent()).contains(where: { $0.isSameFile(as: from) })
            else { continue }
            if existing != nil { throw failure("a file of the input's directory where the report should go") }
            if try SealedCheckpoint.isOne(input) {
                throw failure("an output in a checkpoint, which accounts for all its files")
            }
        }
    }

    /// Whether two paths, at which nothing exists yet, are the same name in the same directory.
    private static func isSameName(_ a: FilePath, _ b: FilePath) -> Bool {
        guard a.lastComponent == b.lastComponent, let left = ancestors(a.removingLastComponent()).first,
            let right = ancestors(b.removingLastComponent()).first
        else {
            return false
        }
        return left.isSameFile(as: right)
    }

    /// The directories that contain a path, up to the root.
    private static func chain(_ path: FilePath) -> [FileIdentity] {
        ancestors(path.lexicallyNormalized().removingLastComponent())
    }

    /// A directory and the directories that contain it, up to the root. The system resolves `..`, also after symbolic links.
    private static func ancestors(_ directory: FilePath) -> [FileIdentity] {
        var place: FilePath = directory.isEmpty ? "." : directory
        var identities: [FileIdentity] = []
        for _ in 0..<256 {
            guard let identity = FileIdentity(place) else { break }
            if identities.last?.isSameFile(as: identity) == true { break }
            identities.append(identity)
            place = place.appending("..")
        }
        return identities
    }
}
