import FileAccess
package import SystemPackage
import TensorModel

/// Refuses outputs that would lie in their own input.
package enum PathOverlap {
    /// - Throws: `cannotCreate` where the destination is the source or lies in it, the source lies in it, or it has a name that none can have.
    package static func refuse(source: FilePath, destination: FilePath) throws {
        do {
            _ = try Directory.kind(destination)
        } catch let error as IngotError where error.code == .noInput {
            // A name that no file can have, such as one too long, is no input that is missing.
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

    /// The directories a path lies in, up to the root.
    private static func chain(_ path: FilePath) -> [FileIdentity] {
        var identities: [FileIdentity] = []
        var place = path.lexicallyNormalized().removingLastComponent()
        if place.isEmpty { place = "." }
        for _ in 0..<256 {
            guard let identity = FileIdentity(place) else { break }
            if identities.last?.isSameFile(as: identity) == true { break }
            identities.append(identity)
            place = place.appending("..")
        }
        return identities
    }
}
