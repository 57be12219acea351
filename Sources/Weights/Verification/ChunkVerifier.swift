import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel

/// The result for a chunk of a payload. Its buffers are reused from chunk to chunk.
struct VerifiedChunk: Sendable {
    /// The decoded chunk.
    var decoded = DecodedChunk()
    /// Error sums of its entry in the chunk table, and those measured against the source; zero without a source.
    var stored = ErrorSums.zero, measured = ErrorSums.zero
    /// The hash of the source tensor; set with the tensor's last chunk only.
    var sourceHash: ContentHash?
    /// Statistics of the chunk; nil if not requested.
    var measurement: ChunkMeasurement?

    /// An empty result.
    init(measures: Bool) { measurement = measures ? ChunkMeasurement() : nil }
}

/// Decodes chunks and compares them with their source. Each worker needs its own.
struct ChunkVerifier {
    private var decoder = ChunkDecoder()
    private var scratch: [UInt8] = [], gathered: [UInt8] = []
    private var weights: [Float] = []
    private var buffers: (before: [Float], after: [Float]) = ([], [])

    /// Decodes a chunk and measures it against the elements read from its source, if there are any.
    mutating func verify(
        _ number: Int, _ entry: ChunkEntry, of payload: SealedShard.Payload, in file: MappedFile, _ read: ReadChunk?,
        _ original: TensorBytes?, into output: inout VerifiedChunk
    ) throws {
        let prologue = payload.prologue
        let place = prologue.grid.place(of: number)
        try decoder.decode(number, entry, of: payload, in: file, into: &output.decoded)
        output.stored = entry.sums
        output.measured = .zero
        output.sourceHash = read?.hash
        guard let read, let original else { return count(place, prologue, &output) }
        let elements = try read.elements(
            place, of: original, columns: prologue.grid.columns, prologue.elementType, scratch: &scratch)
        if prologue.scheme == .lossless {
            compareElements(elements, place, &output)
        } else {
            compareWeights(elements, place, prologue.format, &output)
        }
    }

    /// Counts the weights of a chunk without a source.
    private func count(_ place: ChunkPlace, _ prologue: PayloadPrologue, _ output: inout VerifiedChunk) {
        guard output.measurement != nil else { return }
        let decoded = output.decoded
        if prologue.scheme == .lossless {
            guard let format = prologue.elementType.quantizable else { return }
            output.measurement?.count(
                restored: decoded.elements.span.extracting(0..<decoded.elementBytes), format,
                rows: place.rows, columns: place.columns)
        } else {
            output.measurement?.count(
                restored: decoded.weights.span.extracting(0..<decoded.count), rows: place.rows, columns: place.columns)
        }
    }

    /// Compares lossless elements: the error sums are zero if all bits are equal, otherwise infinite. Codes have no statistics.
    private mutating func compareElements(
        _ elements: ElementRectangle, _ place: ChunkPlace, _ output: inout VerifiedChunk
    ) {
        let decoded = output.decoded
        let now = decoded.elements.span.extracting(0..<decoded.elementBytes)
        let before = elements.bytes.span.extracting(elements.range)
        if !before.isSame(as: now) { output.measured = ErrorSums(signal: 0, noise: .infinity, maxError: .infinity) }
        guard let format = elements.elementType.quantizable else { return }
        output.measurement?.compare(
            before, restored: now, format, rows: place.rows, columns: place.columns, &buffers)
    }

    private mutating func compareWeights(
        _ elements: ElementRectangle, _ place: ChunkPlace, _ format: FloatFormat, _ output: inout VerifiedChunk
    ) {
        // The elements that were converted were finite; other elements have other hashes. Nothing is scanned for NaN here.
        if !elements.isContiguous { elements.gather(into: &gathered) }
        let bytes = elements.isContiguous ? elements.bytes : gathered
        let range = elements.isContiguous ? elements.range : 0..<elements.byteCount
        weights.grow(to: place.count)
        FloatConversion.expand(bytes.span.extracting(range), format, into: &weights)
        let restored = output.decoded.weights
        guard output.measurement != nil else {
            output.measured = ErrorSums.measure(weights, restored, count: place.count)
            return
        }
        output.measured =
            output.measurement?.compare(
                bytes.span.extracting(range), format, weights.span.extracting(0..<place.count),
                restored: restored.span.extracting(0..<place.count), rows: place.rows, columns: place.columns)
            ?? .zero
    }
}

/// Measures pieces of kept tensors. Each worker needs its own.
struct PieceVerifier {
    private var elements: [UInt8] = [], originals: [UInt8] = []
    private var buffers: (before: [Float], after: [Float]) = ([], [])

    /// Counts a piece and compares it with the source's, if there is one.
    ///
    /// - Parameters:
    ///   - rows: number of rows of the piece; 1 if it is not of whole rows.
    ///   - isIdentical: whether it is known to equal the source's piece bit for bit.
    mutating func measure(
        _ tensor: TensorBytes, _ start: UInt64, _ count: Int, _ format: FloatFormat, rows: Int,
        against original: TensorBytes?, isIdentical: Bool, into output: inout ChunkMeasurement
    ) throws {
        let columns = count / format.byteWidth / rows
        elements.grow(to: count)
        try tensor.read(start, count: count, into: &elements)
        if let original {
            originals.grow(to: count)
            try original.read(start, count: count, into: &originals)
            let (before, after) = (originals, elements)
            output.compare(
                before.span.extracting(0..<count), restored: after.span.extracting(0..<count), format,
                rows: rows, columns: columns, &buffers)
        } else if isIdentical {
            output.count(original: elements.span.extracting(0..<count), format, rows: rows, columns: columns)
        } else {
            output.count(restored: elements.span.extracting(0..<count), format, rows: rows, columns: columns)
        }
    }
}

/// Sums over the chunks of a payload, added in chunk order.
struct PayloadSums {
    /// Error sums of the chunk table's entries, and those measured.
    private(set) var stored = ErrorSums.zero, measured = ErrorSums.zero
    /// Whether the measured sums of every chunk equal those of its entry.
    private(set) var agrees = true
    /// The hash of all decoded bytes of a lossless payload.
    let decoded = ContentHasher()
    private var gathered: MeasurementSums?
    private var isCompared = false

    /// Sums before the first payload.
    init() {}

    /// Sums over no chunks of a payload.
    init(_ payload: SealedShard.Payload, measures: Bool, isCompared: Bool) {
        self.isCompared = isCompared
        guard measures, let format = payload.descriptor.elementType.quantizable else { return }
        gathered = MeasurementSums(
            format, payload.descriptor.shape, isLossy: payload.descriptor.scheme != .lossless,
            isCompared: isCompared)
    }

    /// Adds the next chunk.
    mutating func add(_ chunk: VerifiedChunk, _ number: Int, of payload: SealedShard.Payload) {
        stored = stored + chunk.stored
        if chunk.decoded.elementBytes > 0 {
            decoded.update(chunk.decoded.elements.span.extracting(0..<chunk.decoded.elementBytes))
        }
        if isCompared {
            measured = measured + chunk.measured
            agrees = agrees && chunk.measured == chunk.stored
        }
        guard let measurement = chunk.measurement else { return }
        let place = payload.prologue.grid.place(of: number)
        gathered?.add(measurement, row: place.row, column: place.column)
    }

    /// The statistics of the tensor; nil if not requested. Call it once: it frees the sums.
    mutating func measurement() -> TensorMeasurement? {
        defer { gathered = nil }
        return gathered?.measurement()
    }
}
