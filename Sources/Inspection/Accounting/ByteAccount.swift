package import Checkpoints
package import Container
import FileAccess
import Quantization
package import TensorModel

/// Bytes of a file by part. The parts always add up to the size of the file.
package struct ByteAccount: Sendable, Hashable {
    /// Part of a file.
    package enum Part: String, Sendable, Hashable, CaseIterable {
        /// Header: length field and JSON of a safetensors file; directory and pickle of a PyTorch file.
        case header
        /// Kept tensors of an Ingot checkpoint; all tensors of other formats.
        case tensors
        /// Prologues and chunk tables of payloads.
        case tables
        /// Codes or symbols, compressed.
        case codes
        /// Escapes: symbols that have no code, compressed.
        case escapes
        /// Row classes, low bits and patches, not compressed.
        case extras
        /// Scales and biases, compressed; scale bytes of columns and rows; scales of other quantizers.
        case scales
        /// Zero points and biases of other quantizers.
        case zeroPoints = "zero_points"
        /// Codebooks of other quantizers.
        case codebooks
        /// Byte planes of lossless tensors, compressed.
        case planes
        /// Alignment, and bytes of a source that belong to no tensor.
        case padding
        /// The seal.
        case seal
    }

    /// Bytes of each part; parts without bytes are absent.
    package private(set) var bytes: [Part: UInt64] = [:]

    /// An account of 0 bytes.
    package init() {}

    /// The account of a file of a source: header, tensors, and the rest as padding.
    package init(_ shard: Shard) {
        var tensors: UInt64 = 0
        var end: UInt64 = 0
        // Tensors may share bytes; shared bytes are counted once.
        let roles = shard.header.roles
        let places = shard.header.storedTensors.map { ($0.range, roles.isEmpty ? nil : roles[$0.name]) }
        for (range, role) in places.sorted(by: { $0.0.start < $1.0.start }) where range.end > end {
            let count = range.end - max(range.start, end)
            tensors += count
            end = range.end
            let part: Part =
                switch role {
                case .codes: .codes
                case .scales: .scales
                case .zeroPoints: .zeroPoints
                case .codebooks: .codebooks
                case .other, nil: .tensors
                }
            add(count, to: part)
        }
        add(shard.header.headerByteCount, to: .header)
        add(shard.file.byteCount - shard.header.headerByteCount - tensors, to: .padding)
    }

    /// The account of an Ingot shard; reads the chunk tables of its payloads.
    ///
    /// - Throws: `payloadInvalid` if a table is damaged.
    package init(_ shard: SealedShard) throws {
        add(shard.header.dataStart, to: .header)
        for tensor in shard.kept { add(tensor.range.count, to: .tensors) }
        for payload in shard.payloads { try add(payload, of: shard) }
        let end = (shard.payloads.map(\.range.end) + shard.kept.map(\.range.end)).max() ?? shard.header.dataStart
        add(shard.seal.recordsStart - end, to: .padding)
        add(shard.seal.fileBytes - shard.seal.recordsStart, to: .seal)
    }

    private mutating func add(_ payload: SealedShard.Payload, of shard: SealedShard) throws {
        var front: UInt64?
        var chunks: UInt64 = 0
        _ = try shard.chunkTable(of: payload) { entry in
            front = front ?? entry.offset
            chunks += entry.byteCount
            for (index, stream) in entry.streams.enumerated() {
                let part: Part =
                    switch payload.descriptor.scheme {
                    case .lossless: .planes
                    case .uniform: index == 0 ? .codes : .scales
                    case .trellis(let parameters):
                        index == entry.streams.count - 1
                            ? .extras : index == parameters.symbolStreams ? .escapes : .codes
                    }
                add(UInt64(stream.byteCount), to: part)
            }
        }
        // Scale bytes lie between the table and the first chunk.
        let scales = front == nil ? 0 : UInt64(payload.descriptor.prologue.sideBytes)
        add((front ?? payload.range.count) - scales, to: .tables)
        add(scales, to: .scales)
        add(payload.range.count - (front ?? payload.range.count) - chunks, to: .padding)
    }

    private mutating func add(_ count: UInt64, to part: Part) {
        if count > 0 { bytes[part, default: 0] += count }
    }

    /// Sum of all parts.
    package var total: UInt64 { bytes.values.reduce(0, +) }

    /// Adds the parts of two files.
    package static func + (a: ByteAccount, b: ByteAccount) -> ByteAccount {
        var sum = a
        for (part, count) in b.bytes { sum.add(count, to: part) }
        return sum
    }

    /// The account as JSON: one member per part, and the total.
    package var json: JSONValue {
        .object(
            Part.allCases.compactMap { part in bytes[part].map { .init(part.rawValue, .unsigned($0)) } }
                + [.init("total", .unsigned(total))])
    }
}
