package import Checkpoints
package import Container
import FileAccess
import Quantization
package import TensorModel

/// Where the bytes of one file go; the parts add up to the file's size, always.
package struct ByteAccount: Sendable, Hashable {
    /// A kind of bytes.
    package enum Part: String, Sendable, Hashable, CaseIterable {
        /// What describes the data: length field and header of a safetensors file, directory and pickle of PyTorch's.
        case header
        /// Tensors as they are, or in the blocks of another format.
        case tensors
        /// Prologues and chunk tables of payloads.
        case tables
        /// Codes or symbols, after compression.
        case codes
        /// Symbols without a code, after compression.
        case escapes
        /// Row classes, low bits and patches, which are not compressed.
        case extras
        /// Scales and biases, after compression.
        case scales
        /// Byte planes of lossless tensors, after compression.
        case planes
        /// Bytes that align what follows, and those of a source that no tensor uses.
        case padding
        /// The seal.
        case seal
    }

    /// Bytes of each part that has any.
    package private(set) var bytes: [Part: UInt64] = [:]

    /// An account without bytes.
    package init() {}

    /// The account of a file of a source: what describes the data, the bytes that tensors are made of, and the rest.
    package init(_ shard: Shard) {
        var tensors: UInt64 = 0
        var end: UInt64 = 0
        // Tensors may share bytes, which are counted once.
        for range in shard.header.tensors.map(\.range).sorted(by: { $0.start < $1.start }) where range.end > end {
            tensors += range.end - max(range.start, end)
            end = range.end
        }
        add(shard.header.headerByteCount, to: .header)
        add(tensors, to: .tensors)
        add(shard.file.byteCount - shard.header.headerByteCount - tensors, to: .padding)
    }

    /// The account of one of our shards; reads the chunk tables of its payloads.
    ///
    /// - Throws: `payloadInvalid` where a table is damaged.
    package init(_ shard: SealedShard) throws {
        add(shard.header.dataStart, to: .header)
        for tensor in shard.ordinary { add(tensor.range.count, to: .tensors) }
        for payload in shard.payloads { try add(payload, of: shard) }
        let end = (shard.payloads.map(\.range.end) + shard.ordinary.map(\.range.end)).max() ?? shard.header.dataStart
        add(shard.seal.recordsStart - end, to: .padding)
        add(shard.seal.fileBytes - shard.seal.recordsStart, to: .seal)
    }

    private mutating func add(_ payload: SealedShard.Payload, of shard: SealedShard) throws {
        var front: UInt64?
        var chunks: UInt64 = 0
        _ = try shard.front(of: payload) { entry in
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
        add(front ?? payload.range.count, to: .tables)
        add(payload.range.count - (front ?? payload.range.count) - chunks, to: .padding)
    }

    private mutating func add(_ count: UInt64, to part: Part) {
        if count > 0 { bytes[part, default: 0] += count }
    }

    /// All bytes of the account.
    package var total: UInt64 { bytes.values.reduce(0, +) }

    /// The parts of two files together.
    package static func + (a: ByteAccount, b: ByteAccount) -> ByteAccount {
        var sum = a
        for (part, count) in b.bytes { sum.add(count, to: part) }
        return sum
    }

    /// The account as JSON: a member a part, and the total.
    package var json: JSONValue {
        .object(
            Part.allCases.compactMap { part in bytes[part].map { .init(part.rawValue, .unsigned($0)) } }
                + [.init("total", .unsigned(total))])
    }
}
