package import SystemPackage

/// The permissions that a new file gets.
package enum NewFileMode: Sendable, Hashable {
    /// Read and write for all, minus the umask.
    case usual
    /// For a file made from another file, given its permissions: read and write for the owner; read and write for group and others as far
    /// as these permissions and the umask allow.
    case within(FilePermissions)
    /// Exactly these permissions, regardless of the umask.
    case exactly(FilePermissions)

    /// The mode of a copy: the permissions of the original, without set-user-ID, set-group-ID and sticky bits, and readable for the owner.
    package static func copied(from source: FilePermissions) -> NewFileMode {
        .exactly(FilePermissions(rawValue: source.rawValue & 0o777 | 0o400))
    }

    /// The mode to create the file with. The system subtracts the umask.
    var atFirst: FilePermissions {
        switch self {
        case .usual: FilePermissions(rawValue: 0o666)
        case .within(let source): FilePermissions(rawValue: source.rawValue & 0o066 | 0o600)
        case .exactly(let permissions): permissions
        }
    }
}
