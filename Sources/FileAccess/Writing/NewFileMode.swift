public import SystemPackage

/// Which permissions a new file gets.
public enum NewFileMode: Sendable, Hashable {
    /// What the umask leaves of reading and writing for all.
    case usual
    /// The same, where group and others get no permission that these do not have: of a file that is made from another one, those of
    /// the other one.
    case within(FilePermissions)
    /// These, whatever the umask is.
    case exactly(FilePermissions)

    /// Permissions of a copy: those of the original without set-user-ID, set-group-ID and sticky bits, and the owner may read it.
    package static func copied(from source: FilePermissions) -> NewFileMode {
        .exactly(FilePermissions(rawValue: source.rawValue & 0o777 | 0o400))
    }

    /// What a file is opened with, of which the umask takes its part.
    var atFirst: FilePermissions {
        switch self {
        case .usual: FilePermissions(rawValue: 0o666)
        case .within(let source): FilePermissions(rawValue: source.rawValue & 0o066 | 0o600)
        case .exactly(let permissions): permissions
        }
    }
}
