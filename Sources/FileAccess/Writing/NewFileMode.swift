package import SystemPackage

/// Which permissions a new file gets.
package enum NewFileMode: Sendable, Hashable {
    /// Read and write for all, less the umask.
    case usual
    /// Read and write for the owner; for group and others the same as far as these permissions and the umask allow. For files that are
    /// made from another file: its permissions.
    case within(FilePermissions)
    /// These permissions, whatever the umask is.
    case exactly(FilePermissions)

    /// The mode of a copy: the permissions of the original, without set-user-ID, set-group-ID and sticky bits. The owner may read it.
    package static func copied(from source: FilePermissions) -> NewFileMode {
        .exactly(FilePermissions(rawValue: source.rawValue & 0o777 | 0o400))
    }

    /// The mode to create the file with; the system subtracts the umask.
    var atFirst: FilePermissions {
        switch self {
        case .usual: FilePermissions(rawValue: 0o666)
        case .within(let source): FilePermissions(rawValue: source.rawValue & 0o066 | 0o600)
        case .exactly(let permissions): permissions
        }
    }
}
