package import FileAccess
import SystemPackage
package import TensorModel

/// How much of a safetensors file that somebody still writes is there.
package enum ShardArrival: Sendable, Hashable {
    /// So many bytes of it, of so many where its header is there.
    case partial(bytes: UInt64, of: UInt64?)
    /// Bytes with which no shard begins: zeros where a file has its size from the start, or not a shard at all.
    case senseless
    /// All the bytes that its header speaks of.
    case whole

    /// Looks at a file: its size, and how far its header says that it goes. What else may be wrong with it is `Shard`'s matter.
    package static func of(_ file: MappedFile, limits: Limits = .standard) throws -> ShardArrival {
        let size = file.byteCount
        guard size >= SafetensorsFormat.lengthBytes,
            let first = ByteRange(start: 0, count: SafetensorsFormat.lengthBytes)
        else { return .partial(bytes: size, of: nil) }
        let length = try file.bytes(first).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        // A file that has its size from the start is zeros until its bytes arrive.
        guard length > 0, length <= limits.headerBytes else { return .senseless }
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
            return .senseless
        }
        guard let whole = Checked.add(SafetensorsFormat.lengthBytes + length, end) else { return .whole }
        return size < whole ? .partial(bytes: size, of: whole) : .whole
    }
}
