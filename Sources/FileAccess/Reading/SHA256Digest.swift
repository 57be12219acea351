internal import CCrypto
package import SystemPackage
internal import TensorModel

/// The SHA-256 of a file, as model hubs publish it and `sha256sum` prints it.
package struct SHA256Digest: Sendable, Hashable, CustomStringConvertible {
    /// The 32 bytes of the digest.
    package let bytes: [UInt8]

    private init(bytes: [UInt8]) { self.bytes = bytes }

    /// Reads 64 hexadecimal digits in upper or lower case; nil for any other text.
    package init?(hexadecimal text: String) {
        let digits = text.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        guard text.utf8.count == 64, digits.count == 64 else { return nil }
        bytes = stride(from: 0, to: 64, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    /// The digest of `bytes`.
    package init(of bytes: Span<UInt8>) {
        let hasher = SHA256Hasher()
        hasher.update(bytes)
        self.init(bytes: hasher.finish())
    }

    /// The digest of a file, read piece by piece.
    ///
    /// - Throws: `noInput`, `notARegularFile`, `sourceChanged`; `interrupted` or `terminated` after a signal.
    package static func of(_ path: FilePath) throws -> SHA256Digest {
        let file = try MappedFile.open(path)
        let hasher = SHA256Hasher()
        try file.forEachPiece(of: file.wholeRange) { bytes, _ in hasher.update(bytes) }
        return SHA256Digest(bytes: hasher.finish())
    }

    /// The digest as 64 lower-case hexadecimal digits.
    package var description: String { bytes.map { NumberText.padded($0, digits: 2, radix: 16) }.joined() }
}

/// Computes a SHA-256 piece by piece, with libcrypto.
@safe private final class SHA256Hasher {
    private let context: OpaquePointer

    init() {
        // Both calls fail only if memory or the library's default provider is missing.
        guard let context = unsafe EVP_MD_CTX_new(), unsafe EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
            preconditionFailure("libcrypto has no SHA-256")
        }
        unsafe self.context = context
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    func update(_ bytes: Span<UInt8>) {
        let done = unsafe bytes.withUnsafeBytes { unsafe EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
        precondition(done == 1)
    }

    func finish() -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        let done = unsafe digest.withUnsafeMutableBufferPointer {
            unsafe EVP_DigestFinal_ex(context, $0.baseAddress, nil)
        }
        precondition(done == 1)
        return digest
    }
}
