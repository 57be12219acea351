package import TensorModel

/// The constants of the container format, version 1 (Specs/container.md).
package enum ContainerFormat {
    /// Version of the format this library writes, and the newest it reads.
    package static let version: UInt64 = 1
    /// Version of the program, recorded in every shard and manifest.
    package static let writer = "ingot 0.2.0"

    /// Name of the entry that seals a shard.
    package static let sealName = TensorName("__ingot_seal__")
    /// Key of the shard's self-description in `__metadata__`.
    package static let metadataKey = "ingot"
    /// What stands before a tensor's name in the key of its description in `__metadata__`.
    package static let tensorKeyPrefix = "ingot:"

    /// Payloads, and the records of the seal, begin at multiples of this many bytes.
    package static let alignment: UInt64 = 64
    /// Weights a chunk holds at most, unless a single row is wider: 256 Ki.
    package static let chunkWeights = 1 << 18

    /// Bytes a stream of rANS has at least: its numbers, a model, and the states of its lanes (Specs/rans.md, section 2).
    static let leastRansBytes = 3 + 1 + 1 + 4 + 32 * 4
    /// Chunks a payload has at most: 2^22, which is 10^12 weights.
    package static let maximumChunks = 1 << 22
    /// Bytes of a manifest at most.
    package static let maximumManifestBytes: UInt64 = 8 << 20

    /// The limits of one of our shards: its seal, and its own entries in `__metadata__`, come on top of the tensors a source may have.
    static func ownLimits(_ limits: Limits) -> Limits {
        var own = limits
        own.tensorsPerFile += 1
        own.moreMetadataEntries = ownMetadataEntries
        return own
    }

    /// Entries of `__metadata__` that are no description of a tensor, at most.
    private static let ownMetadataEntries = 8

    /// Whether a name is one a source may not use.
    package static func isReserved(_ name: TensorName) -> Bool {
        name.text.utf8.starts(with: "__ingot_".utf8) || name.text == "__metadata__"
    }
}

/// How a shard's streams are compressed. The raw value is stored; a stream that does not shrink is stored as `none`.
package enum Codec: UInt8, Sendable, Hashable, CaseIterable {
    case none = 0
    case lz4 = 1
    case zstd = 2
    /// Of the symbols of scheme `trellis` alone (Specs/rans.md).
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

    /// Whether streams take as many bits as their symbols' entropy asks for, so that any rate can be held.
    package var codesEntropy: Bool { self == .zstd || self == .rans }

    /// The codec of a name; nil for an unknown one.
    package init?(name: String) {
        guard let codec = Codec.allCases.first(where: { $0.name == name }) else { return nil }
        self = codec
    }
}

/// Little-endian numbers in byte tables.
enum LittleEndian {
    /// Appends a number in as many bytes as its type has.
    static func append<Number: FixedWidthInteger>(_ number: Number, to bytes: inout [UInt8]) {
        for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> Number(shift)))
        }
    }

    /// Reads a number at an index, which must be in bounds.
    static func load<Number: FixedWidthInteger>(_: Number.Type, _ bytes: [UInt8], at index: Int) -> Number {
        var number: Number = 0
        for offset in (0..<Number.bitWidth / 8).reversed() {
            number = (number << 8) | Number(truncatingIfNeeded: bytes[index + offset])
        }
        return number
    }
}
