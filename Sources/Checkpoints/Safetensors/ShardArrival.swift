package import FileAccess
import SystemPackage
package import TensorModel

/// How much of a safetensors file has arrived while a downloader still writes it.
package enum ShardArrival: Sendable, Hashable {
    /// `bytes` bytes have arrived, of `of` bytes in all; `of` is nil until the header has arrived.
    case partial(bytes: UInt64, of: UInt64?)
    /// The first bytes cannot be those of a shard: zeros, in a file that has its full size from the start, or another kind of file.
    case malformed
    /// All bytes that the header describes have arrived.
    case whole

    /// Compares the size of a file with the end of the data that its header states. Opening the shard finds all other faults.
    package static func of(_ file: MappedFile, limits: Limits = .standard) throws -> ShardArrival {
        let size = file.byteCount
        guard size >= SafetensorsFormat.lengthBytes,
            let first = ByteRange(start: 0, count: SafetensorsFormat.lengthBytes)
        else { return .partial(bytes: size, of: nil) }
        let length = try file.bytes(first).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        // Some downloaders create the file with its full size: it is zeros until its bytes arrive.
        guard length > 0, length <= limits.headerBytes else { return .malformed }
        guard size - SafetensorsFormat.lengthBytes >= length,
            let header = ByteRange(start: SafetensorsFormat.lengthBytes, count: length)
        else { return .partial(bytes: size, of: nil) }
        var end: UInt64 = 0
        var reader = JSONReader(try file.bytes(header), maximumDepth: limits.headerDepth)
        do {
            try reader.readObject { reader, key in
                guard TensorName(key) != SafetensorsFormat.metadataKey else { return try reader.skipValue() }
                try reader.readObject { reader, field in
                    guard field == "data_offsets" else { return try reader.skipValue() }
                    try reader.readArray { end = max(end, try $0.readUnsigned()) }
                }
            }
        } catch {
            return .malformed
        }
        guard let whole = Checked.add(SafetensorsFormat.lengthBytes + length, end) else { return .whole }
        return size < whole ? .partial(bytes: size, of: whole) : .whole
    }
}
