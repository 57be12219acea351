package import FileAccess
package import Quantization
internal import SystemPackage
package import TensorModel

/// A chunk in stored form: streams one after the other, and its entry of the chunk table but for the offset.
package struct EncodedChunk: Sendable {
    /// The stored bytes, in the first `byteCount` bytes.
    package internal(set) var bytes: [UInt8] = []
    /// How many of them count.
    package internal(set) var byteCount = 0
    /// Checksum, error sums and streams.
    package internal(set) var entry = ChunkEntry()
}

/// All that work on one chunk needs: buffers, which are reused, and compression contexts.
///
/// One task at a time uses a workspace (`OrderedPipeline` sees to that), hence the unchecked conformance.
package final class ChunkWorkspace: @unchecked Sendable {
    /// Bytes a workspace grows to at most, with fp32 input: input, weights, restored weights, codes, streams, contexts.
    package static let maximumBytes = 10 << 20

    /// Elements as the source has them, or as a lossless chunk was decoded to, in the first `sourceCount` bytes.
    package internal(set) var source: [UInt8] = []
    /// How many of them count.
    package internal(set) var sourceCount = 0
    /// The source's weights, where they were widened, in the first `count` elements.
    package internal(set) var weights: [Float] = []
    /// The weights of a uniform or trellis chunk, as they are restored, in the first `count` elements.
    package internal(set) var restored: [Float] = []
    var groups = UniformChunk()
    var levels = TrellisChunk()
    var stream: [UInt8] = []
    var aligned: [UInt8] = []
    private let codec = StreamCodec()
    /// The chunk's number of weights.
    package internal(set) var count = 0

    /// The last chunk that was encoded.
    package internal(set) var encoded = EncodedChunk()
    /// NaN and infinity in the chunk that was encoded last.
    package internal(set) var nonFinite = NonFiniteCount()
    /// What `exportRestored` made, in the first `exportedCount` bytes.
    package private(set) var exported: [UInt8] = []
    /// How many of them count.
    package private(set) var exportedCount = 0
    /// The error sums that `compare` measured.
    package internal(set) var measured = ErrorSums.zero
    /// What `compare` and `countRestored` gathered besides, where they were asked to.
    package internal(set) var measurement: ChunkMeasurement?

    /// Bytes of a band of tiles at most that may be resident as mapped pages; wider bands are read by read(2).
    private let mappedBandLimit: Int

    /// Makes a workspace; buffers grow when first used.
    package init(mappedBandLimit: Int = 32 << 20) { self.mappedBandLimit = mappedBandLimit }

    /// Adds a tensor's bytes to a hash, called with its chunks in order: the bytes of the chunk that was encoded or compared last; of
    /// tiles, the bytes of a band of them with the first. Gives back the pages of a band with the last.
    package func hashSource(
        into hasher: ContentHasher, chunk: Int, of range: ByteRange, in file: MappedFile, as prologue: PayloadPrologue
    ) throws {
        guard prologue.grid.isTiled else {
            let bytes = source
            hasher.update(bytes.span.extracting(0..<sourceCount))
            return
        }
        let band = ChunkWorkspace.band(of: chunk, range, prologue)
        let isMapped = isMapped(chunk, prologue)
        if prologue.grid.beginsBand(chunk) { try file.hash(band, into: hasher, releasing: !isMapped) }
        if prologue.grid.endsBand(chunk), isMapped { file.release(band) }
    }

    /// Whether the tiles beside a chunk are read from mapped pages, which stay resident until the last of them is done.
    private func isMapped(_ chunk: Int, _ prologue: PayloadPrologue) -> Bool {
        prologue.grid.band(of: chunk).count * prologue.format.byteWidth <= mappedBandLimit
    }

    /// How a chunk's elements are read.
    enum Access {
        /// The chunks of a tensor, in order, by workers of one pipeline; `hashSource` gives pages back.
        case shared
        /// By one worker alone, which gives pages back itself: with the chunk, or, going through them in order, with the band.
        case alone(inOrder: Bool)
    }

    /// Bytes of a band at most that each worker may have mapped by itself.
    private static let ownBand = 4 << 20

    /// Reads a chunk's elements into `source`.
    func load(
        _ chunk: Int, _ range: ByteRange, _ file: MappedFile, _ prologue: PayloadPrologue, _ access: Access = .shared
    ) throws {
        let grid = prologue.grid
        let place = grid.place(of: chunk)
        let width = prologue.format.byteWidth
        count = place.count
        sourceCount = count * width
        grow(&source, sourceCount)
        let isContiguous = grid.isContiguous(place)
        let start = range.start + UInt64(grid.firstElement(of: place) * width)
        guard let run = ByteRange(start: start, count: UInt64((isContiguous ? count : place.columns) * width)) else {
            preconditionFailure("a chunk outside its tensor")
        }
        let (rows, stride) = (isContiguous ? 1 : place.rows, grid.columns * width)
        if case .shared = access {
            // Chunks, and bands of tiles, are read one after the other.
            if !grid.isTiled { file.prefetch(behind: run) }
            if grid.isTiled, grid.beginsBand(chunk) {
                file.prefetch(behind: ChunkWorkspace.band(of: chunk, range, prologue))
            }
        }
        guard grid.isTiled else {
            try file.copy(run, rows: rows, stride: stride, into: &source)
            return file.release(run)
        }
        // Pages hold rows of many tiles: they are given back when the band is done.
        switch access {
        case .shared where isMapped(chunk, prologue):
            try file.copy(run, rows: rows, stride: stride, into: &source)
        case .alone(let inOrder) where grid.band(of: chunk).count * width <= ChunkWorkspace.ownBand:
            try file.copy(run, rows: rows, stride: stride, into: &source)
            if !inOrder || grid.endsBand(chunk) { file.release(ChunkWorkspace.band(of: chunk, range, prologue)) }
        default: try file.read(run, rows: rows, stride: stride, into: &source)
        }
    }

    /// The bytes of the rows a chunk is in, of a tensor whose bytes are `range`.
    private static func band(of chunk: Int, _ range: ByteRange, _ prologue: PayloadPrologue) -> ByteRange {
        let band = prologue.grid.band(of: chunk)
        let width = UInt64(prologue.format.byteWidth)
        guard
            let bytes = ByteRange(
                start: range.start + UInt64(band.lowerBound) * width, count: UInt64(band.count) * width)
        else { preconditionFailure("a chunk outside its tensor") }
        return bytes
    }

    // MARK: - Encoding

    /// Encodes a chunk of a tensor whose bytes are `range` of `file`; the result is in `encoded`.
    ///
    /// - Parameters:
    ///   - rule: how to encode in scheme `trellis`; nil in the others.
    ///   - isAlone: whether no pipeline goes through the chunks, whose `hashSource` gives pages back.
    package func encode(
        chunk: Int, of range: ByteRange, in file: MappedFile, as prologue: PayloadPrologue, by rule: TrellisRule? = nil,
        isAlone: Bool = false
    ) throws {
        try load(chunk, range, file, prologue, isAlone ? .alone(inOrder: false) : .shared)
        beginChunk()
        nonFinite = NonFiniteCount()
        let place = prologue.grid.place(of: chunk)
        let format = prologue.format
        switch prologue.scheme {
        case .lossless:
            grow(&stream, sourceCount)
            LosslessCodec.split(source.span.extracting(0..<sourceCount), format, into: &stream)
            for plane in 0..<format.byteWidth { append(stream, plane * count..<(plane + 1) * count, prologue.codec) }
        case .uniform(let parameters):
            guard encodeUniform(place, parameters, format, prologue.codec) else { return appendNothing(prologue) }
        case .trellis(let parameters):
            guard let rule else { preconditionFailure("a trellis without a step") }
            guard expandFinite(format) else { return appendNothing(prologue) }
            encodeTrellis(place, parameters, rule, format, prologue.codec)
        }
        encoded.entry.checksum = ContentHash.checksum64(encoded.bytes.span.extracting(0..<encoded.byteCount))
    }

    /// Leaves a chunk with NaN or infinity empty: the conversion fails, and says so, once all of the tensor was seen.
    private func appendNothing(_ prologue: PayloadPrologue) {
        for _ in 0..<prologue.scheme.streamCount(prologue.format, prologue.codec) { append([], 0..<0, .none) }
    }

    /// Begins a new `encoded`.
    func beginChunk() {
        encoded.byteCount = 0
        encoded.entry = ChunkEntry()
    }

    /// Whether all weights of the chunk are finite.
    func isFinite(_ format: FloatFormat) -> Bool {
        nonFinite.add(source.span.extracting(0..<sourceCount), format, firstElement: 0)
        return nonFinite.isZero
    }

    /// Widens the chunk's weights; false where one of them is not finite.
    func expandFinite(_ format: FloatFormat) -> Bool {
        let bytes = source
        return expandFinite(bytes.span.extracting(0..<sourceCount), format)
    }

    /// Widens weights that stand elsewhere than in `source`.
    func expandFinite(_ bytes: Span<UInt8>, _ format: FloatFormat) -> Bool {
        nonFinite.add(bytes, format, firstElement: 0)
        guard nonFinite.isZero else { return false }
        grow(&weights, count)
        grow(&restored, count)
        FloatConversion.expand(bytes, format, into: &weights)
        return true
    }

    /// Appends a stream: compressed where that is shorter, `stored[range]` as it is otherwise.
    ///
    /// - Parameter packed: what the codec compresses instead of the bytes that would be stored, and how many of them.
    func append(
        _ stored: [UInt8], _ range: Range<Int>, _ asked: Codec, packed: (bytes: [UInt8], count: Int)? = nil,
        symbols: Int = 0
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
            encoded.bytes.replaceSubrange(start..<start + range.count, with: stored[range])
        }
        let byteCount = size ?? range.count
        encoded.byteCount += byteCount
        encoded.entry.streams.append(
            .init(byteCount: UInt32(byteCount), codec: size == nil ? .none : asked, symbols: symbols))
    }

    // MARK: - Decoding

    /// Decodes a chunk: `restoredWeights` of uniform chunks, `restoredBytes` of lossless ones.
    ///
    /// - Throws: `checksum` where its bytes are not those that were written, `chunkInvalid` where they are none a writer
    ///   makes.
    package func decode(chunk: Int, entry: ChunkEntry, of payload: SealedShard.Payload, in file: MappedFile) throws {
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
        file.prefetch(behind: range)
        try file.copy(range, into: &encoded.bytes)
        file.release(range)
        guard ContentHash.checksum64(encoded.bytes.span.extracting(0..<encoded.byteCount)) == entry.checksum else {
            throw failure(.checksum, "bytes whose checksum differs from the chunk table's")
        }
        do {
            switch prologue.scheme {
            case .lossless: try decodePlanes(entry, prologue.format)
            case .uniform(let parameters): try decodeUniform(entry, place, parameters, prologue.format)
            case .trellis(let parameters): try decodeTrellis(entry, place, parameters, prologue.format)
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
    func read(
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
    func readPlanes(_ entry: ChunkEntry, _ first: Int, at start: Int, count: Int, _ width: Int) throws -> Int {
        var start = start
        grow(&stream, count * width)
        for plane in 0..<width {
            try read(first + plane, at: &start, entry, byteCount: count, into: &aligned)
            for index in 0..<count { stream[plane * count + index] = aligned[index] }
        }
        return start
    }

    // MARK: - Handing on

    /// The elements of the chunk that was decoded last as elements of `target`, rounded to nearest even, in the first bytes of
    /// `exported`.
    ///
    /// - Throws: `valueOutOfRange` where a finite value would become infinite.
    package func exportRestored(as target: FloatFormat, of payload: SealedShard.Payload, in shard: MappedFile) throws {
        let format = payload.descriptor.format
        exportedCount = count * target.byteWidth
        grow(&exported, exportedCount)
        if payload.descriptor.scheme == .lossless {
            if target == format {
                for index in 0..<sourceCount { exported[index] = source[index] }
                return
            }
            grow(&restored, count)
            FloatConversion.expand(source.span.extracting(0..<sourceCount), format, into: &restored)
        }
        let overflows = FloatConversion.narrow(restored, count: count, target, into: &exported)
        guard overflows == 0 else { throw FloatRecoding.failure(overflows, target, payload.name, shard.path) }
    }

    /// Makes room for `count` elements; buffers only grow.
    func grow<Number: Numeric>(_ buffer: inout [Number], _ count: Int) {
        if buffer.count < count { buffer += [Number](repeating: 0, count: count - buffer.count) }
    }
}
