import FileAccess
import SystemPackage

/// SHA-256 of the files that claims name. A file with several names is read once.
final class ClaimDigests {
    private let facts: ClaimFacts
    private var known: [FileIdentity: SHA256Digest] = [:]

    /// Prepares the files that the facts name.
    init(_ facts: ClaimFacts) { self.facts = facts }

    /// Digest of a file; nil if there is no such file.
    func digest(_ rule: Claim.DigestRule, _ name: String) throws -> SHA256Digest? {
        guard let root = rule == .source ? facts.sourcePath : facts.path, let path = try place(name, below: root),
            let identity = FileIdentity(path)
        else { return nil }
        if let digest = known[identity] { return digest }
        let digest = try SHA256Digest.of(path)
        known[identity] = digest
        return digest
    }

    /// Path of the file `name` below a directory; if `root` is a file, `root` itself if it has that name. Nil if there is no such file.
    private func place(_ name: String, below root: FilePath) throws -> FilePath? {
        guard try Directory.kind(root) == .directory else { return root.lastComponent?.string == name ? root : nil }
        let path = root.appending(FilePath(name).components)
        return try Directory.kind(path) == .file ? path : nil
    }
}
