import FileAccess
package import SystemPackage
import TensorModel

/// The files below a directory at one moment: their names and identities.
package struct DirectorySnapshot: Sendable, Hashable {
    /// A file, or a symbolic link, somewhere below the directory.
    package struct Entry: Sendable, Hashable {
        /// Path relative to the directory, with `/` between names. Bytes that are not UTF-8 are replaced.
        package let name: String
        /// Whether the name is UTF-8.
        package let isText: Bool
        /// Identity of the file, or of the link itself.
        let identity: FileIdentity?
    }

    /// All files, in the order of `Directory.tree`.
    package let entries: [Entry]
    /// Permissions of the directory itself, with the set-user-ID, set-group-ID and sticky bits.
    let permissions: FilePermissions
    private let place: FileIdentity

    /// Takes a snapshot of a directory.
    ///
    /// - Throws: `notARegularFile` if directories are nested too deep, `cannotCreate` if there is no directory.
    package init(of path: FilePath) throws {
        guard let status = try Directory.ownStatus(path), status.kind == .directory, !status.isLink else {
            throw IngotError(.cannotCreate, file: path.string, found: "no directory any more")
        }
        permissions = status.permissions
        place = status.identity
        entries = try Directory.tree(path).map { name, isText in
            Entry(name: name, isText: isText, identity: try Directory.ownStatus(path.pushing(FilePath(name)))?.identity)
        }
    }

    /// Requires that no file was added or changed since the snapshot. A missing file is ignored.
    ///
    /// - Parameters:
    ///   - path: the current path of the directory.
    ///   - target: the path by which the user knows it.
    /// - Throws: `cannotCreate`, which names the file.
    func requireStill(_ path: FilePath, knownAs target: FilePath) throws {
        func failure(_ found: String, _ name: String? = nil) -> IngotError {
            IngotError(
                .cannotCreate, file: (name.map { target.pushing(FilePath($0)) } ?? target).string, found: found,
                expected: "the output that is to be replaced, as it was when the run began",
                remedy: "move it away if it is needed, or delete it")
        }
        let now = try DirectorySnapshot(of: path)
        guard now.place.isSameFile(as: place) else { throw failure("another directory than when the run began") }
        var known: [TensorName: Entry] = [:]
        for entry in entries { known[TensorName(entry.name)] = entry }
        for entry in now.entries {
            guard let before = known[TensorName(entry.name)], before.isText, entry.isText else {
                throw failure("a file that appeared during the run", entry.name)
            }
            guard before.identity == entry.identity else {
                throw failure("a file that was changed during the run", entry.name)
            }
        }
    }
}
