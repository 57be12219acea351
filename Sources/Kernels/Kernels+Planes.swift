internal import CKernels

extension Kernels {
    /// Splits n elements into byte planes: plane p is bytes [p * n, (p + 1) * n), plane 0 the least significant.
    ///
    /// - Parameters:
    ///   - source: whole elements, little-endian.
    ///   - width: bytes per element: 1, 2 or 4. With 1 the only plane is the source.
    ///   - rotated: whether each element is first rotated left by one bit, so that its sign becomes bit 0.
    ///   - planes: room for at least as many bytes as `source` has.
    package static func splitPlanes(
        _ source: Span<UInt8>, width: Int, rotated: Bool, into planes: inout MutableSpan<UInt8>
    ) {
        precondition(width == 1 || width == 2 || width == 4, "splitPlanes: unsupported width")
        precondition(
            source.count <= planes.count && source.count % width == 0,
            "splitPlanes: sizes differ")
        unsafe source.withUnsafeBufferPointer { from in
            unsafe planes.withUnsafeMutableBufferPointer { to in
                guard let start = from.baseAddress, let to = to.baseAddress else { return }
                guard width > 1 else { return unsafe to.update(from: start, count: from.count) }
                unsafe ingot_planes_split(
                    Int32(width), rotated ? 1 : 0, start, to, from.count / width)
            }
        }
    }

    /// Joins byte planes to elements, as the inverse of `splitPlanes`. Every input is valid; `result` has room for as many bytes.
    package static func joinPlanes(
        _ planes: Span<UInt8>, width: Int, rotated: Bool, into result: inout MutableSpan<UInt8>
    ) {
        precondition(width == 1 || width == 2 || width == 4, "joinPlanes: unsupported width")
        precondition(
            planes.count <= result.count && planes.count % width == 0,
            "joinPlanes: sizes differ")
        unsafe planes.withUnsafeBufferPointer { from in
            unsafe result.withUnsafeMutableBufferPointer { to in
                guard let start = from.baseAddress, let to = to.baseAddress else { return }
                guard width > 1 else { return unsafe to.update(from: start, count: from.count) }
                unsafe ingot_planes_join(
                    Int32(width), rotated ? 1 : 0, start, to,
                    from.count / width)
            }
        }
    }
}
