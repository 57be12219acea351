import Container
import FileAccess
package import SystemPackage
import TensorModel
import TestSupport

/// A checkpoint of one shard whose description claims a large payload; all its hashes are valid.
///
/// The payload is a hole of any size in the file, so it takes no disk space.
package enum HollowCheckpoint {
    /// Name of the tensor.
    package static let tensor = "hollow.weight"
    /// Description of the shard itself.
    package static let usualAbout =
        #"{"version":1,"required_features":[],"optional_features":[],"writer":"a test","codecs":"none"}"#

    /// Writes a checkpoint with one F16 tensor under scheme `lossless`.
    ///
    /// - Parameters:
    ///   - shape: claimed shape.
    ///   - frontBytes: bytes of prologue and chunk table, the range that the seal hashes.
    ///   - payloadBytes: bytes of the payload, a multiple of 64.
    ///   - about: description of the shard itself.
    package static func write(
        shape: [Int], frontBytes: UInt64, payloadBytes: UInt64, about: String = usualAbout, to path: FilePath
    ) throws {
        precondition(payloadBytes % 64 == 0 && frontBytes <= payloadBytes)
        let zero = String(repeating: "0", count: 16)
        let description =
            #"{"scheme":"lossless","codec":"none","dtype":"F16","shape":["#
            + shape.map(String.init).joined(separator: ",")
            + #"],"signal":"\#(zero)","noise":"\#(zero)","max_error":"\#(zero)","source_xxh3_128":"\#(zero)\#(zero)"}"#
        try write(
            description, payload: [], frontBytes: frontBytes, payloadBytes: payloadBytes, about: about, to: path)
    }

    /// Writes a checkpoint with one column of F16 under scheme `trellis`. Each tile has 4096 weights in the same 18 bytes of lz4, the
    /// smallest tile a writer can make, so the chunk table is most of the file. The first tile is damaged, so decoding stops there.
    package static func write(tiles count: Int, to path: FilePath) throws {
        func word(_ number: UInt64, _ count: Int, at place: Int, _ bytes: inout [UInt8]) {
            bytes.replaceSubrange(place..<place + count, with: littleEndian(number, count))
        }
        let chunk = bytes("1fbb0100ffffffffffffffee50bbbbbbbbbb")
        var entry = bytes(
            "e00000000000000036ff497386009a6a000000000000904000000000000000000000000000000000"
                + "0000803d000000001200000001001000000000000000000000000000000000000000000000000000")
        var payload = bytes(
            "494e474f54504c31030008001000010001010400020000000020000000000000"
                + "0100000000000000001000000100000000000000000000004001000000000000")
        let front = 64 + count * entry.count
        let size = (front + count * chunk.count + 63) / 64 * 64
        word(UInt64(count), 4, at: 20, &payload)
        word(UInt64(count) * 4096, 8, at: 24, &payload)
        word(UInt64(size), 8, at: 56, &payload)
        payload.reserveCapacity(size)
        for index in 0..<count {
            word(UInt64(front + index * chunk.count), 8, at: 0, &entry)
            payload += entry
        }
        for _ in 0..<count { payload += chunk }
        payload[front] ^= 1
        payload += [UInt8](repeating: 0, count: size - payload.count)
        let zero = String(repeating: "0", count: 16)
        let signal = ContentHash.hexadecimal((Double(count) * 1024).bitPattern)
        let description =
            #"{"scheme":"trellis","states":8,"alphabet":16,"low_bits":0,"row_classes":1,"codec":"lz4","dtype":"F16","#
            + #""shape":[\#(count * 4096),1],"signal":"\#(signal)","noise":"\#(zero)","max_error":"\#(zero)","#
            + #""source_xxh3_128":"\#(zero)\#(zero)"}"#
        try write(description, payload: payload, frontBytes: UInt64(front), payloadBytes: UInt64(size), to: path)
    }

    private static func bytes(_ hexadecimal: String) -> [UInt8] {
        let digits = Array(hexadecimal)
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(String(digits[$0...$0 + 1]), radix: 16) ?? 0 }
    }

    /// Writes a checkpoint whose payload begins with the given bytes and continues as a hole.
    private static func write(
        _ description: String, payload: [UInt8], frontBytes: UInt64, payloadBytes: UInt64, about: String = usualAbout,
        to path: FilePath
    ) throws {
        try Directory.create(path)
        let header = encodedHeader(description, payloadBytes, about)
        let place = path.appending("model.safetensors")
        try Files.write(header + payload, to: place)
        let start = UInt64(header.count)
        let end = start + payloadBytes
        let file = try FileDescriptor.open(place, .readWrite)
        let seal: [UInt8] = try file.closeAfter {
            try file.resize(to: Int64(end))
            let hashes = [
                (UInt64(0), start, ContentHash(of: header.span)),
                (start, frontBytes, try hash(place, start, frontBytes)),
            ]
            let seal = encodedSeal(hashes, recordsStart: end)
            _ = try file.writeAll(toAbsoluteOffset: Int64(end), seal)
            return seal
        }
        let manifest = Manifest(
            files: [
                Manifest.File(
                    name: "model.safetensors", byteCount: end + UInt64(seal.count), hash: canonicalHash(seal),
                    isShard: true)
            ], options: [], sourceBytes: payloadBytes, codecs: "none")
        try Files.write(manifest.encoded(), to: path.appending(Manifest.fileName))
    }

    private static func encodedHeader(_ description: String, _ payloadBytes: UInt64, _ about: String) -> [UInt8] {
        func quoted(_ text: String) -> String { JSONValue.string(text).text() }
        func entry(_ from: UInt64, _ to: UInt64) -> String {
            #"{"dtype":"U8","shape":[\#(to - from)],"data_offsets":[\#(from),\#(to)]}"#
        }
        var text = Array(
            (#"{"__metadata__":{"format":"ingot","ingot":\#(quoted(about)),"ingot:\#(tensor)":\#(quoted(description))},"#
                + #""\#(tensor)":\#(entry(0, payloadBytes)),"#
                + #""__ingot_seal__":\#(entry(payloadBytes, payloadBytes + 128))}"#).utf8)
        while (8 + text.count) % 64 != 0 { text.append(UInt8(ascii: " ")) }
        return littleEndian(UInt64(text.count), 8) + text
    }

    private static func encodedSeal(_ records: [(UInt64, UInt64, ContentHash)], recordsStart: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        for (start, count, hash) in records {
            bytes += littleEndian(start, 8) + littleEndian(count, 8) + canonical(hash)
        }
        bytes += Array("INGOTSEL".utf8) + littleEndian(1, 4) + littleEndian(UInt64(records.count), 4)
        let fileBytes = recordsStart + UInt64(32 * records.count + 64)
        bytes += littleEndian(fileBytes, 8) + littleEndian(recordsStart, 8)
        bytes += [UInt8](repeating: 0, count: 16)
        return bytes + canonical(ContentHash(of: bytes.span))
    }

    private static func hash(_ path: FilePath, _ start: UInt64, _ count: UInt64) throws -> ContentHash {
        guard let range = ByteRange(start: start, count: count) else { throw Errno.invalidArgument }
        return try MappedFile.open(path).hash(of: range)
    }

    private static func canonical(_ hash: ContentHash) -> [UInt8] {
        littleEndian(hash.high.byteSwapped, 8) + littleEndian(hash.low.byteSwapped, 8)
    }

    private static func canonicalHash(_ seal: [UInt8]) -> ContentHash {
        func half(_ slice: ArraySlice<UInt8>) -> UInt64 { slice.reduce(0) { $0 << 8 | UInt64($1) } }
        return ContentHash(high: half(seal.suffix(16).prefix(8)), low: half(seal.suffix(8)))
    }

    private static func littleEndian(_ number: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0))) }
    }
}
