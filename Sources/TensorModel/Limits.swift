/// What a reader accepts at most. Each limit is checked before anything of that size is allocated.
public struct Limits: Sendable, Hashable {
    /// Bytes of a safetensors header; the reference reader's own limit.
    public var headerBytes: UInt64 = 100_000_000
    /// Tensors in one file.
    public var tensorsPerFile = 1_000_000
    /// Entries in the `__metadata__` of one file, besides as many as there may be tensors.
    public var moreMetadataEntries = 0
    /// UTF-8 bytes of a tensor's name.
    public var nameBytes = 1024
    /// Dimensions of a tensor.
    public var rank = 64
    /// Nesting of brackets in a safetensors header.
    public var headerDepth = 8
    /// Nesting of brackets in any other JSON file.
    public var documentDepth = 64
    /// Bytes of a JSON file beside the shards (index, configuration, manifest).
    public var documentBytes: UInt64 = 256 << 20
    /// Shards an index may name.
    public var shards = 99_999

    /// The limits every command uses.
    public static let standard = Limits()

    /// Makes a copy of the standard limits.
    public init() {}
}
