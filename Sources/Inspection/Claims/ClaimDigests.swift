import FileAccess
import SystemPackage

/// SHA-256 of the files that claims name: a file that has several names is read once.
final class ClaimDigests {
    private let facts: ClaimFacts
    private var known: [FileIdentity: SHA256Digest] = [:]

    init(_ facts: ClaimFacts) { self.facts = facts }

    /// The digest of a file by its name; nil where there is no such file.
    func digest(_ rule: Claim.DigestRule, _ name: String) throws -> SHA256Digest? {
        guard let root = rule == .source ? facts.sourcePath : facts.path, let path = try place(name, below: root),
            let identity = FileIdentity(path)
        else { return nil }
        if let digest = known[identity] { return digest }
        let digest = try SHA256Digest.of(path)
        known[identity] = digest
        return digest
    }

    /// A file below a directory, or the file that the path itself is.
    private func place(_ name: String, below root: FilePath) throws -> FilePath? {
        guard try Directory.kind(root) == .directory else { return root.lastComponent?.string == name ? root : nil }
        let path = root.appending(FilePath(name).components)
        return try Directory.kind(path) == .file ? path : nil
    }
}
