import Container
import FileAccess
import Quantization
import TensorModel

/// Targets for Ingot shards and their chunks.
enum ContainerTargets {
    /// A shard: first unchanged, then with valid hashes.
    static func sealedShard(_ bytes: [UInt8]) throws {
        do { try read(bytes, exactly: true) } catch is IngotError {}
        try read(Resealed.bytes(bytes), exactly: false)
    }

    private static func read(_ bytes: [UInt8], exactly: Bool) throws {
        try FuzzFiles.with(bytes) { try read(SealedShard($0), bytes, exactly: exactly) }
    }

    private static func read(_ shard: SealedShard, _ bytes: [UInt8], exactly: Bool) throws {
        var (decoder, decoded) = (ChunkDecoder(), DecodedChunk())
        for payload in shard.payloads where payload.descriptor.shape.elementCount <= 1 << 20 {
            let table = try shard.chunkTable(of: payload)
            for chunk in 0..<table.count {
                var entry = try table.entry(chunk)
                // The seal covers the table, so the checksum is corrected in the entry, after the table was read.
                if !exactly { entry.checksum = checksum(entry, payload, bytes) }
                do {
                    try decoder.decode(chunk, entry, of: payload, in: shard.file, into: &decoded)
                } catch let error as IngotError {
                    require([.chunkInvalid, .checksum].contains(error.code), "\(error)")
                }
            }
        }
        for tensor in shard.kept { _ = try shard.checkKept(tensor) }
        try shard.checkSealPadding()
    }

    private static func checksum(_ entry: ChunkEntry, _ payload: SealedShard.Payload, _ bytes: [UInt8]) -> UInt64 {
        guard let range = ByteRange(start: payload.range.start + entry.offset, count: entry.byteCount),
            range.end <= UInt64(bytes.count)
        else { return entry.checksum }
        return ContentHash.checksum64(Array(bytes[Int(range.start)..<Int(range.end)]).span)
    }

    /// A chunk: format, codec, rows, columns (2 bytes), four parameters, entry of the chunk table, streams.
    static func chunk(_ bytes: [UInt8], _ target: FuzzTarget) throws {
        var input = InputBytes(bytes)
        let codes = target == .chunkLossless ? ElementType.allCases.filter(\.isCodeType) : []
        let elementType = input.pick(FloatFormat.allCases.map(\.elementType) + codes)
        var codec = input.pick([Codec.none, .lz4, .zstd])
        let rows = input.byte() % 64 + 1
        let columns = (input.byte() | input.byte() << 8) % 512 + 1
        let numbers = (0..<4).map { _ in input.byte() }
        if target == .chunkRans { codec = .rans }
        guard let scheme = scheme(target, numbers), let shape = Shape([rows, columns]) else { return }
        let descriptor = TensorDescriptor(scheme: scheme, codec: codec, elementType: elementType, shape: shape)
        let prologue = descriptor.prologue
        guard scheme.accepts(codec), prologue.grid.count == 1 else { return }
        let table = input.take(prologue.entryBytes)
        guard var entry = ChunkEntry(table, at: 0, scheme, elementType, codec, weights: rows * columns) else { return }
        let stored = input.rest
        entry.offset = 0
        guard entry.byteCount <= UInt64(stored.count), let range = ByteRange(start: 0, end: UInt64(stored.count)) else {
            return
        }
        entry.checksum = ContentHash.checksum64(stored.span.extracting(first: Int(entry.byteCount)))
        let payload = SealedShard.Payload(
            name: TensorName("fuzz"), range: range, descriptor: descriptor, prologue: prologue)
        var (decoder, decoded) = (ChunkDecoder(), DecodedChunk())
        try FuzzFiles.with(stored) { place in
            try decoder.decode(0, entry, of: payload, in: MappedFile.open(place), into: &decoded)
        }
        require(decoded.count == rows * columns, "\(decoded.count) weights")
        guard scheme != .lossless else { return }
        require(decoded.weights[..<decoded.count].allSatisfy(\.isFinite), "a weight that is not finite")
    }

    private static func scheme(_ target: FuzzTarget, _ numbers: [Int]) -> TensorScheme? {
        func pick(_ values: [Int], _ index: Int) -> Int { values[numbers[index] % values.count] }
        switch target {
        case .chunkUniform:
            return UniformParameters(
                bits: pick(UniformParameters.supportedBits, 0),
                groupSize: pick(UniformParameters.supportedGroupSizes, 1),
                symmetric: numbers[2] % 2 == 1
            ).map { .uniform($0) }
        case .chunkTrellis:
            return TrellisParameters(
                states: pick(TrellisParameters.stateCounts, 0), alphabet: pick(TrellisParameters.alphabets, 1),
                lowBits: pick(TrellisParameters.lowBitCounts, 2), rowClasses: numbers[3] % 4 + 1
            ).map { .trellis($0) }
        case .chunkRans:
            return TrellisParameters(
                states: pick(TrellisParameters.stateCounts, 0), alphabet: 256,
                lowBits: pick(TrellisParameters.lowBitCounts, 2)
            ).map { .trellis($0) }
        default: return .lossless
        }
    }

    /// A stream of one codec: its decompressed size in two bytes, then its bytes.
    static func stream(_ bytes: [UInt8], _ kind: Codec) {
        var input = InputBytes(bytes)
        let count = input.byte() | input.byte() << 8
        var output = [UInt8](repeating: 0xA5, count: count + 16)
        let stored = input.rest
        try? StreamCodec().decompress(stored.span, kind, count: count, into: &output)
        require(output[count...].allSatisfy { $0 == 0xA5 }, "bytes written behind the output")
    }
}

/// Recomputes the hashes of a shard's seal; accepts any bytes.
enum Resealed {
    private static let trailer = 64
    private static let record = 32

    static func bytes(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        guard bytes.count >= trailer else { return bytes }
        func number(_ offset: Int, _ count: Int = 8) -> UInt64 {
            (0..<count).reversed().reduce(0) { $0 << 8 | UInt64(bytes[offset + $1]) }
        }
        let end = bytes.count - trailer
        let (count, start) = (number(end + 12, 4), number(end + 24))
        guard start <= UInt64(end), count == (UInt64(end) - start) / UInt64(record), count <= 4096 else { return bytes }
        set(UInt64(bytes.count), 8, at: end + 16, &bytes)
        for index in 0..<Int(count) {
            let at = Int(start) + index * record
            guard let range = ByteRange(start: number(at), count: number(at + 8)), range.end <= start else { continue }
            set(ContentHash(of: Array(bytes[Int(range.start)..<Int(range.end)]).span), at: at + 16, &bytes)
        }
        set(ContentHash(of: Array(bytes[Int(start)..<bytes.count - 16]).span), at: bytes.count - 16, &bytes)
        return bytes
    }

    private static func set(_ number: UInt64, _ count: Int, at offset: Int, _ bytes: inout [UInt8]) {
        for index in 0..<count { bytes[offset + index] = UInt8(truncatingIfNeeded: number >> (8 * UInt64(index))) }
    }

    private static func set(_ hash: ContentHash, at offset: Int, _ bytes: inout [UInt8]) {
        set(hash.high.byteSwapped, 8, at: offset, &bytes)
        set(hash.low.byteSwapped, 8, at: offset + 8, &bytes)
    }
}
