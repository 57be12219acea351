package import TensorModel

/// The constants of the container format, version 1 (Specs/container.md).
package enum ContainerFormat {
    /// The version of the format. This program writes and reads only this one.
    package static let version: UInt64 = 1
    /// Version of the program, recorded in every shard and manifest.
    package static let writer = "ingot 0.3.0"

    /// Name of the entry that holds the seal.
    package static let sealName = TensorName("__ingot_seal__")
    /// Key of the shard's self-description in `__metadata__`.
    package static let metadataKey = "ingot"
    /// Prefix of the key of a tensor's description in `__metadata__`; the tensor's name follows.
    package static let tensorKeyPrefix = "ingot:"

    /// Payloads and the records of the seal begin at multiples of this number of bytes.
    package static let alignment: UInt64 = 64
    /// The largest number of weights in a chunk: 2^18.
    package static let chunkWeights = 1 << 18

    /// The smallest size of a rANS stream in bytes: header, one model, states of the lanes (Specs/rans.md, section 2).
    static let minimumRansBytes = 3 + 1 + 1 + 4 + 32 * 4
    /// The largest number of chunks in a payload: 2^22, or 10^12 weights.
    package static let maximumChunks = 1 << 22
    /// The largest size of a manifest in bytes.
    package static let maximumManifestBytes: UInt64 = 8 << 20

    /// The limits for reading a sealed shard: those of a source, plus the seal and the shard's own entries in `__metadata__`.
    static func ownLimits(_ limits: Limits) -> Limits {
        var own = limits
        own.tensorsPerFile += 1
        own.moreMetadataEntries = ownMetadataEntries
        return own
    }

    /// The largest number of `__metadata__` entries that are not descriptions of tensors.
    private static let ownMetadataEntries = 8

    /// The features that a reader of a shard must know, by the descriptions of its payloads, in the order of their names.
    static func features(of descriptors: some Sequence<TensorDescriptor>) -> [String] {
        (descriptors.contains(where: \.holdsCodes) ? [codeTypesFeature] : [])
            + (descriptors.contains { $0.prologue.sideBytes > 0 } ? [scaleBytesFeature] : [])
    }

    /// The feature of shards with scale bytes (Specs/trellis.md, "Scale bytes").
    static let scaleBytesFeature = "scale_bytes"

    /// The feature of shards with a payload whose elements are codes (Specs/container.md, section 2).
    static let codeTypesFeature = "code_types"

    /// The features that this version knows.
    static let knownFeatures = [codeTypesFeature, scaleBytesFeature]

    /// Whether a source must not use this tensor name.
    package static func isReserved(_ name: TensorName) -> Bool {
        name.text.utf8.starts(with: "__ingot_".utf8) || name.text == "__metadata__"
    }
}

/// How a stream is compressed. The raw value is stored. A stream that does not shrink is stored as `none`.
package enum Codec: UInt8, Sendable, Hashable, CaseIterable {
    case none = 0
    case lz4 = 1
    case zstd = 2
    /// For the symbols of scheme `trellis` only (Specs/rans.md).
    case rans = 3

    /// The name on the command line and in reports.
    package var name: String {
        switch self {
        case .none: "none"
        case .lz4: "lz4"
        case .zstd: "zstd"
        case .rans: "rans"
        }
    }

    /// Whether the size of a stream follows the entropy of its symbols, so that any rate can be reached.
    package var codesEntropy: Bool { self == .zstd || self == .rans }

    /// The codec with this name; nil if there is none.
    package init?(name: String) {
        guard let codec = Codec.allCases.first(where: { $0.name == name }) else { return nil }
        self = codec
    }
}
