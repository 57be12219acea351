internal import CKernels
public import TensorModel

extension Kernels {
    /// Splits elements into byte planes: plane p is bytes [p * n, (p + 1) * n), plane 0 the least significant.
    ///
    /// - Parameters:
    ///   - source: whole elements, little-endian, at any alignment.
    ///   - format: gives their width.
    ///   - rotated: rotates each element left by one bit first, so that the sign becomes bit 0.
    ///   - planes: as many bytes as `source`.
    public static func splitPlanes(
        _ source: RawSpan, format: FloatFormat, rotated: Bool, into planes: inout MutableSpan<UInt8>
    ) {
        precondition(
            source.byteCount == planes.count && planes.count % format.byteWidth == 0,
            "splitPlanes: sizes differ")
        unsafe source.withUnsafeBytes { from in
            unsafe planes.withUnsafeMutableBufferPointer { to in
                guard let start = from.baseAddress, let to = to.baseAddress else { return }
                unsafe ingot_planes_split(
                    Int32(format.byteWidth), rotated ? 1 : 0, start, to, from.count / format.byteWidth)
            }
        }
    }

    /// Joins what `splitPlanes` made; every input is valid.
    public static func joinPlanes(
        _ planes: RawSpan, format: FloatFormat, rotated: Bool, into result: inout MutableRawSpan
    ) {
        precondition(
            planes.byteCount == result.byteCount && planes.byteCount % format.byteWidth == 0,
            "joinPlanes: sizes differ")
        unsafe planes.withUnsafeBytes { from in
            unsafe result.withUnsafeMutableBytes { to in
                guard let start = from.baseAddress, let to = to.baseAddress else { return }
                unsafe ingot_planes_join(
                    Int32(format.byteWidth), rotated ? 1 : 0, start.assumingMemoryBound(to: UInt8.self), to,
                    from.count / format.byteWidth)
            }
        }
    }
}
