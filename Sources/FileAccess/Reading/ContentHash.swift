internal import CXXHash
internal import TensorModel

/// An XXH3-128 hash. Its canonical form has sixteen bytes (big-endian), as `xxhsum -H2` prints it.
///
/// It detects accidental damage only: XXH3 is not a cryptographic hash (SECURITY.md).
package struct ContentHash: Sendable, Hashable, CustomStringConvertible {
    /// The upper 64 bits.
    package let high: UInt64
    /// The lower 64 bits.
    package let low: UInt64

    /// Makes a hash from its halves.
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Reads 32 lower-case hexadecimal digits; nil for any other text.
    package init?(hexadecimal text: String) {
        guard text.utf8.count == 32, text.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }),
            let high = UInt64(text.prefix(16), radix: 16), let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    /// The hash of `bytes`.
    package init(of bytes: Span<UInt8>) {
        let hash = unsafe bytes.withUnsafeBytes { unsafe XXH3_128bits($0.baseAddress, $0.count) }
        self.init(high: hash.high64, low: hash.low64)
    }

    /// The hash as 32 lower-case hexadecimal digits.
    package var description: String { ContentHash.hexadecimal(high) + ContentHash.hexadecimal(low) }

    /// A number as sixteen lower-case hexadecimal digits.
    package static func hexadecimal(_ value: UInt64) -> String { NumberText.padded(value, digits: 16, radix: 16) }

    /// The 64-bit XXH3 hash of `bytes`, which the container uses as the checksum of a chunk.
    package static func checksum64(_ bytes: Span<UInt8>) -> UInt64 {
        unsafe bytes.withUnsafeBytes { unsafe XXH3_64bits($0.baseAddress, $0.count) }
    }
}

/// Computes a hash piece by piece.
@safe package final class ContentHasher {
    let state: OpaquePointer

    /// Starts a hash.
    package init() {
        guard let state = unsafe XXH3_createState() else { preconditionFailure("out of memory for a hash state") }
        unsafe self.state = state
        unsafe XXH3_128bits_reset(state)
    }

    deinit { unsafe XXH3_freeState(state) }

    /// Adds bytes.
    package func update(_ bytes: Span<UInt8>) {
        unsafe bytes.withUnsafeBytes { _ = unsafe XXH3_128bits_update(state, $0.baseAddress, $0.count) }
    }

    /// The hash of everything added so far.
    package func finish() -> ContentHash {
        let hash = unsafe XXH3_128bits_digest(state)
        return ContentHash(high: hash.high64, low: hash.low64)
    }
}
