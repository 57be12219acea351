public import FileAccess
public import Quantization
internal import SystemPackage
public import TensorModel

/// A chunk in stored form: streams one after the other, and its entry of the chunk table but for the offset.
public struct EncodedChunk: Sendable {
    /// The stored bytes, in the first `byteCount` bytes.
    public fileprivate(set) var bytes: [UInt8] = []
    /// How many of them count.
    public fileprivate(set) var byteCount = 0
    /// Checksum, error sums and streams.
    public fileprivate(set) var entry = ChunkEntry()
}

/// All that work on one chunk needs: buffers, which are reused, and compression contexts.
///
/// One task at a time uses a workspace (`OrderedPipeline` sees to that), hence the unchecked conformance.
public final class ChunkWorkspace: @unchecked Sendable {
    /// Bytes a workspace grows to at most, with fp32 input: input, weights, restored weights, codes, streams, contexts.
    public static let maximumBytes = 10 << 20

    private var source: [UInt8] = []
    private var sourceCount = 0
    private var weights: [Float] = []
    private var restored: [Float] = []
    private var groups = UniformChunk()
    private var stream: [UInt8] = []
    private var aligned: [UInt8] = []
    private let codec = StreamCodec()
    /// The chunk's number of weights.
    private var count = 0

    /// The last chunk that was encoded.
    public private(set) var encoded = EncodedChunk()
    /// NaN and infinity in the chunk that was encoded last.
    public private(set) var nonFinite = NonFiniteCount()
    /// The error sums that `compare` measured.
    public private(set) var measured = ErrorSums.zero

    /// Makes a workspace; buffers grow when first used.
    public init() {}

    /// Adds the bytes of the source's chunk that was encoded or compared last to a hash.
    public func hashSource(into hasher: ContentHasher) {
        let bytes = source
        hasher.update(bytes.span.extracting(0..<sourceCount))
    }

    private func load(_ chunk: Int, _ range: ByteRange, _ file: MappedFile, _ prologue: PayloadPrologue) throws {
        let place = prologue.grid.place(of: chunk)
        let width = UInt64(prologue.format.byteWidth)
        count = place.count
        sourceCount = count * Int(width)
        grow(&source, sourceCount)
        let start = range.start + UInt64(prologue.grid.firstElement(of: place)) * width
        guard let bytes = ByteRange(start: start, count: UInt64(sourceCount)) else {
            preconditionFailure("a chunk outside its tensor")
        }
        try file.copy(bytes, into: &source)
        file.release(bytes)
    }

    // MARK: - Encoding

    /// Encodes a chunk of a tensor whose bytes are `range` of `file`; the result is in `encoded`.
    public func encode(
        chunk: Int, of range: ByteRange, in file: MappedFile, as prologue: PayloadPrologue
    ) throws {
        try load(chunk, range, file, prologue)
        encoded.byteCount = 0
        encoded.entry = ChunkEntry()
        nonFinite = NonFiniteCount()
        let place = prologue.grid.place(of: chunk)
        let format = prologue.format
        switch prologue.scheme {
        case .lossless:
            grow(&stream, sourceCount)
            LosslessCodec.split(source.span.extracting(0..<sourceCount), format, into: &stream)
            for plane in 0..<format.byteWidth { append(stream, plane * count..<(plane + 1) * count, prologue.codec) }
        case .uniform(let parameters):
            nonFinite.add(source.span.extracting(0..<sourceCount), format, firstElement: 0)
            // The conversion fails, and says so, once all of the tensor was seen: nothing to quantize.
            guard nonFinite.isZero else {
                for _ in 0..<prologue.scheme.streamCount(format) { append([], 0..<0, .none) }
                break
            }
            grow(&weights, count)
            grow(&restored, count)
            FloatConversion.expand(source.span.extracting(0..<sourceCount), format, into: &weights)
            UniformQuantizer.encode(
                weights, rows: place.rows, columns: place.columns, parameters, scaleFormat: format, into: &groups)
            UniformQuantizer.decode(groups, rows: place.rows, columns: place.columns, parameters, into: &restored)
            encoded.entry.sums = ErrorSums.measure(weights, restored, count: count)
            appendCodes(parameters.bits, prologue.codec)
            appendPlanes(of: groups.scales, groups.groupCount, format, prologue.codec)
            if !parameters.symmetric { appendPlanes(of: groups.biases, groups.groupCount, format, prologue.codec) }
        }
        encoded.entry.checksum = ContentHash.checksum64(encoded.bytes.span.extracting(0..<encoded.byteCount))
    }

    /// Appends the codes: byte-aligned symbols for zstd's entropy coder, dense bits otherwise.
    private func appendCodes(_ bits: Int, _ codec: Codec) {
        let dense = BitPacking.byteCount(.dense, bits: bits, count: count)
        grow(&stream, dense)
        BitPacking.pack(groups.codes, count: count, .dense, bits: bits, into: &stream)
        guard codec == .zstd else { return append(stream, 0..<dense, codec) }
        let symbols = BitPacking.byteCount(.aligned, bits: bits, count: count)
        grow(&aligned, symbols)
        BitPacking.pack(groups.codes, count: count, .aligned, bits: bits, into: &aligned)
        append(stream, 0..<dense, .zstd, packed: (aligned, symbols))
    }

    /// Appends the byte planes of scales or biases, least significant first.
    private func appendPlanes(of values: [Float], _ groups: Int, _ format: FloatFormat, _ codec: Codec) {
        let width = format.byteWidth
        grow(&aligned, groups * width)
        grow(&stream, groups * width)
        FloatConversion.narrow(values, count: groups, format, into: &aligned)
        BytePlanes.split(aligned, count: groups, width: width, into: &stream)
        for plane in 0..<width { append(stream, plane * groups..<(plane + 1) * groups, codec) }
    }

    /// Appends a stream: compressed where that is shorter, `stored[range]` as it is otherwise.
    ///
    /// - Parameter packed: what the codec compresses instead of the bytes that would be stored, and how many of them.
    private func append(
        _ stored: [UInt8], _ range: Range<Int>, _ asked: Codec, packed: (bytes: [UInt8], count: Int)? = nil
    ) {
        let start = encoded.byteCount
        grow(&encoded.bytes, start + range.count)
        let size =
            if let packed {
                codec.compress(
                    packed.bytes.span.extracting(0..<packed.count), asked, below: range.count,
                    into: &encoded.bytes, at: start)
            } else {
                codec.compress(
                    stored.span.extracting(range), asked, below: range.count, into: &encoded.bytes, at: start)
            }
        if size == nil {
            for index in range { encoded.bytes[start + index - range.lowerBound] = stored[index] }
        }
        let byteCount = size ?? range.count
        encoded.byteCount += byteCount
        encoded.entry.streams.append(.init(byteCount: UInt32(byteCount), codec: size == nil ? .none : asked))
    }

    // MARK: - Decoding

    /// Decodes a chunk: `restoredWeights` of uniform chunks, `restoredBytes` of lossless ones.
    ///
    /// - Throws: `checksum` where its bytes are not those that were written, `chunkInvalid` where they are none a writer
    ///   makes.
    public func decode(chunk: Int, entry: ChunkEntry, of payload: SealedShard.Payload, in file: MappedFile) throws {
        let prologue = payload.prologue
        let place = prologue.grid.place(of: chunk)
        func failure(_ code: IngotError.Code, _ found: String) -> IngotError {
            IngotError(
                code, file: file.path.string, tensor: payload.name, offset: payload.range.start + entry.offset,
                found: "chunk \(chunk): \(found)")
        }
        guard
            let range = ByteRange(start: payload.range.start + entry.offset, count: entry.byteCount),
            range.end <= payload.range.end, entry.byteCount <= UInt64(2 * ChunkWorkspace.maximumBytes)
        else { throw failure(.chunkInvalid, "\(entry.byteCount) bytes, more than its payload has") }
        count = place.count
        encoded.byteCount = Int(range.count)
        grow(&encoded.bytes, encoded.byteCount)
        try file.copy(range, into: &encoded.bytes)
        file.release(range)
        guard ContentHash.checksum64(encoded.bytes.span.extracting(0..<encoded.byteCount)) == entry.checksum else {
            throw failure(.checksum, "bytes whose checksum differs from the chunk table's")
        }
        do {
            switch prologue.scheme {
            case .lossless: try decodePlanes(entry, prologue.format)
            case .uniform(let parameters): try decodeUniform(entry, place, parameters, prologue.format)
            }
        } catch let error as StreamCodec.Failure {
            throw failure(.chunkInvalid, error.found)
        } catch let error as DecodingFailure {
            throw failure(.chunkInvalid, error.description)
        }
    }

    /// Reads stream `index`, which unpacks to `byteCount` bytes, into the first bytes of `buffer`.
    ///
    /// - Parameter plainBytes: what the stream would take stored, where that is not `byteCount`.
    private func read(
        _ index: Int, at start: inout Int, _ entry: ChunkEntry, byteCount: Int, plainBytes: Int? = nil,
        into buffer: inout [UInt8]
    ) throws {
        let stream = entry.streams[index]
        let end = start + Int(stream.byteCount)
        guard stream.codec == .none || stream.byteCount < plainBytes ?? byteCount else {
            throw StreamCodec.Failure(found: "stream \(index) is compressed, but not shorter for it")
        }
        grow(&buffer, byteCount)
        let stored = encoded.bytes
        try codec.decompress(
            stored.span.extracting(start..<end), stream.codec, count: byteCount, into: &buffer)
        start = end
    }

    private func decodePlanes(_ entry: ChunkEntry, _ format: FloatFormat) throws {
        sourceCount = count * format.byteWidth
        grow(&source, sourceCount)
        grow(&stream, sourceCount)
        try readPlanes(entry, 0, at: 0, count: count, format.byteWidth)
        LosslessCodec.join(stream, count: count, format, into: &source)
    }

    /// Reads byte planes, from stream `first` on, next to each other into `stream`; where the last of them ended.
    @discardableResult
    private func readPlanes(_ entry: ChunkEntry, _ first: Int, at start: Int, count: Int, _ width: Int) throws -> Int {
        var start = start
        grow(&stream, count * width)
        for plane in 0..<width {
            try read(first + plane, at: &start, entry, byteCount: count, into: &aligned)
            for index in 0..<count { stream[plane * count + index] = aligned[index] }
        }
        return start
    }

    private func decodeUniform(
        _ entry: ChunkEntry, _ place: ChunkPlace, _ parameters: UniformParameters, _ format: FloatFormat
    ) throws {
        let layout: BitPacking.Layout = entry.streams[0].codec == .zstd ? .aligned : .dense
        let byteCount = BitPacking.byteCount(layout, bits: parameters.bits, count: count)
        var start = 0
        let dense = BitPacking.byteCount(.dense, bits: parameters.bits, count: count)
        try read(0, at: &start, entry, byteCount: byteCount, plainBytes: dense, into: &stream)
        groups.prepare(rows: place.rows, columns: place.columns, parameters)
        try BitPacking.unpack(stream, count: count, layout, bits: parameters.bits, into: &groups.codes)
        let width = format.byteWidth
        let groupCount = groups.groupCount
        start = try readPlanes(entry, 1, at: start, count: groupCount, width)
        grow(&aligned, groupCount * width)
        BytePlanes.join(stream, count: groupCount, width: width, into: &aligned)
        FloatConversion.expand(aligned.span.extracting(0..<groupCount * width), format, into: &groups.scales)
        if !parameters.symmetric {
            try readPlanes(entry, 1 + width, at: start, count: groupCount, width)
            grow(&aligned, groupCount * width)
            BytePlanes.join(stream, count: groupCount, width: width, into: &aligned)
            FloatConversion.expand(aligned.span.extracting(0..<groupCount * width), format, into: &groups.biases)
        }
        try groups.validate(parameters)
        grow(&restored, count)
        UniformQuantizer.decode(groups, rows: place.rows, columns: place.columns, parameters, into: &restored)
        guard groups.isBounded(parameters) || restored[..<count].allSatisfy(\.isFinite) else {
            throw DecodingFailure.weightNotFinite
        }
    }

    // MARK: - Comparing

    /// Measures the decoded chunk against the source, whose tensor's bytes are `range` of `original`.
    public func compare(
        chunk: Int, of range: ByteRange, in original: MappedFile, as prologue: PayloadPrologue
    ) throws {
        switch prologue.scheme {
        case .lossless:
            // Bit-exact or not: the source's hash tells; what was decoded is kept in `stream` meanwhile.
            grow(&stream, sourceCount)
            swap(&stream, &source)
            let decoded = sourceCount
            try load(chunk, range, original, prologue)
            let same = decoded == sourceCount && stream[..<decoded].elementsEqual(source[..<sourceCount])
            measured = same ? .zero : ErrorSums(signal: 0, noise: .infinity, maxError: .infinity)
        case .uniform:
            try load(chunk, range, original, prologue)
            grow(&weights, count)
            FloatConversion.expand(source.span.extracting(0..<sourceCount), prologue.format, into: &weights)
            measured = ErrorSums.measure(weights, restored, count: count)
        }
    }

    // MARK: - Handing on

    /// Appends the chunk that was decoded last to a file, as elements of `target`, rounded to nearest even.
    ///
    /// - Throws: `valueOutOfRange` where a finite value would become infinite.
    public func appendRestored(
        as target: FloatFormat, of payload: SealedShard.Payload, in shard: MappedFile, to file: inout AtomicFile
    ) throws {
        let format = payload.descriptor.format
        if payload.descriptor.scheme == .lossless {
            let bytes = source
            guard target != format else { return try file.append(bytes.span.extracting(0..<sourceCount)) }
            grow(&restored, count)
            FloatConversion.expand(source.span.extracting(0..<sourceCount), format, into: &restored)
        }
        let byteCount = count * target.byteWidth
        grow(&stream, byteCount)
        let overflows = FloatConversion.narrow(restored, count: count, target, into: &stream)
        guard overflows == 0 else { throw FloatRecoding.failure(overflows, target, payload.name, shard.path) }
        let bytes = stream
        try file.append(bytes.span.extracting(0..<byteCount))
    }

    /// Makes room for `count` elements; buffers only grow.
    private func grow<Number: Numeric>(_ buffer: inout [Number], _ count: Int) {
        if buffer.count < count { buffer += [Number](repeating: 0, count: count - buffer.count) }
    }
}
