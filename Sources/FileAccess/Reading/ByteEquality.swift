#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

extension Span where Element == UInt8 {
    /// Whether both spans have the same bytes.
    package func isSame(as other: Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        if count == 0 { return true }
        return unsafe withUnsafeBytes { own in
            unsafe other.withUnsafeBytes { other in
                guard let a = own.baseAddress, let b = other.baseAddress else { return false }
                return unsafe memcmp(a, b, own.count) == 0
            }
        }
    }
}
