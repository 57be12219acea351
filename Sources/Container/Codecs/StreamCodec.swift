internal import CLZ4
internal import CZstd

/// Compresses and decompresses streams. It holds the contexts of the libraries, so each worker needs its own.
///
/// zstd runs at level 1 with minMatch 7 and hashLog 6, which leaves mostly its Huffman stage. This is best for packed codes: plain
/// levels find false matches and make the output larger (Specs/container.md, "Streams").
@safe package final class StreamCodec {
    private let compressor: OpaquePointer
    private let decompressor: OpaquePointer
    /// Streams are short, so a frame that needs a larger window was not written by Ingot.
    private static let maximumWindowLog: Int32 = 23

    /// Creates the contexts of the libraries. Traps if memory runs out.
    package init() {
        guard let compressor = unsafe ZSTD_createCCtx(), let decompressor = unsafe ZSTD_createDCtx() else {
            preconditionFailure("out of memory for a compression context")
        }
        unsafe self.compressor = compressor
        unsafe self.decompressor = decompressor
        let parameters: [(ZSTD_cParameter, Int32)] = [
            (ZSTD_c_compressionLevel, 1), (ZSTD_c_minMatch, 7), (ZSTD_c_hashLog, 6), (ZSTD_c_contentSizeFlag, 1),
            (ZSTD_c_checksumFlag, 0), (ZSTD_c_dictIDFlag, 0),
        ]
        for (parameter, value) in parameters { unsafe ZSTD_CCtx_setParameter(compressor, parameter, value) }
        unsafe ZSTD_DCtx_setParameter(decompressor, ZSTD_d_windowLogMax, StreamCodec.maximumWindowLog)
    }

    deinit {
        unsafe ZSTD_freeCCtx(compressor)
        unsafe ZSTD_freeDCtx(decompressor)
    }

    /// The versions of the libraries, which can change the written bytes.
    static var versions: String {
        let zstd = unsafe String(cString: ZSTD_versionString())
        let lz4 = unsafe String(cString: LZ4_versionString())
        return "zstd \(zstd), lz4 \(lz4)"
    }

    /// Compresses `bytes` into `output`, from index `start` on. Returns the size, or nil if it would be `limit` bytes or more.
    ///
    /// `output` must have room for `limit` bytes from `start` on.
    package func compress(
        _ bytes: Span<UInt8>, _ codec: Codec, below limit: Int, into output: inout [UInt8], at start: Int
    )
        -> Int?
    {
        guard limit > 1, codec != .none, codec != .rans else { return nil }
        precondition(output.count >= start + limit - 1)
        let capacity = limit - 1
        let written: Int = unsafe output.withUnsafeMutableBytes { target in
            unsafe bytes.withUnsafeBytes { source in
                let place = unsafe target.baseAddress.map { unsafe $0 + start }
                switch codec {
                case .none, .rans: return 0
                case .lz4:
                    return Int(
                        unsafe LZ4_compress_default(
                            source.baseAddress, place, Int32(source.count), Int32(capacity)))
                case .zstd:
                    let size = unsafe ZSTD_compress2(compressor, place, capacity, source.baseAddress, source.count)
                    return ZSTD_isError(size) != 0 ? 0 : size
                }
            }
        }
        return written > 0 ? written : nil
    }

    /// Why a stored stream is refused, as the `found` part of an error message.
    package struct Failure: Error { package let found: String }

    /// Decompresses `bytes` into the first `count` bytes of `output`.
    ///
    /// `count` comes from the chunk table, never from the stream. Throws if the stream does not decompress to exactly `count` bytes, or if
    /// a zstd frame has a dictionary, a checksum, no content size, or bytes behind it, which a writer never writes.
    package func decompress(_ bytes: Span<UInt8>, _ codec: Codec, count: Int, into output: inout [UInt8])
        throws(Failure)
    {
        precondition(output.count >= count)
        let failure: String? = unsafe output.withUnsafeMutableBytes { target in
            unsafe bytes.withUnsafeBytes { source in
                switch codec {
                case .none:
                    guard source.count == count else { return "\(source.count) stored bytes where \(count) belong" }
                    if let from = source.baseAddress {
                        unsafe target.baseAddress?.copyMemory(from: from, byteCount: count)
                    }
                    return nil
                case .lz4:
                    let size = unsafe LZ4_decompress_safe(
                        source.baseAddress, target.baseAddress, Int32(source.count), Int32(count))
                    return size == count ? nil : "an lz4 block that does not unpack to \(count) bytes"
                case .zstd: return unsafe unpackFrame(source, target, count)
                case .rans: return "rANS where symbols are not coded by it"
                }
            }
        }
        if let failure { throw Failure(found: failure) }
    }

    private func unpackFrame(
        _ source: UnsafeRawBufferPointer, _ target: UnsafeMutableRawBufferPointer, _ count: Int
    ) -> String? {
        // Frame header descriptor: bits 0 and 1 dictionary, bit 2 checksum, bit 3 reserved, bit 4 unused.
        guard source.count > 5, unsafe source.loadUnaligned(as: UInt32.self).littleEndian == 0xFD2F_B528,
            unsafe source[4] & 0x1F == 0
        else { return "a zstd frame with other options than the writer's" }
        guard unsafe ZSTD_getFrameContentSize(source.baseAddress, source.count) == UInt64(count) else {
            return "a zstd frame of another content size than \(count)"
        }
        guard unsafe ZSTD_findFrameCompressedSize(source.baseAddress, source.count) == source.count else {
            return "a zstd frame that does not fill its \(source.count) bytes"
        }
        let size = unsafe ZSTD_decompressDCtx(
            decompressor, target.baseAddress, count, source.baseAddress, source.count)
        return size == count ? nil : "a zstd frame that does not unpack"
    }
}

/// The versions of the compression libraries, as manifests record them.
package enum CodecLibraries {
    /// For example `zstd 1.5.4, lz4 1.9.4`.
    package static var versions: String { StreamCodec.versions }
}
