/// Upper limits of what a reader accepts. A reader checks each limit before it allocates.
package struct Limits: Sendable, Hashable {
    /// Bytes of a safetensors header. The reference reader has the same limit.
    package var headerBytes: UInt64 = 100_000_000
    /// Tensors in one file.
    package var tensorsPerFile = 1_000_000
    /// Entries that `__metadata__` of one file may have beyond `tensorsPerFile`.
    package var moreMetadataEntries = 0
    /// UTF-8 bytes of a tensor's name.
    package var nameBytes = 1024
    /// Dimensions of a tensor.
    package var rank = 64
    /// Nesting of brackets in a safetensors header.
    package var headerDepth = 8
    /// Nesting of brackets in any other JSON file.
    package var documentDepth = 64
    /// Bytes of a JSON file beside the shards (index, configuration, manifest).
    package var documentBytes: UInt64 = 256 << 20
    /// Shards that an index may name.
    package var shards = 99_999

    /// The limits that every command uses.
    package static let standard = Limits()

    /// Makes a copy of the standard limits.
    package init() {}
}
