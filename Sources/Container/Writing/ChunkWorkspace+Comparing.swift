package import FileAccess
package import Quantization
package import TensorModel

/// What is gathered of a chunk of a tensor besides its error sums; 576 KiB, reused from chunk to chunk.
package struct ChunkMeasurement: Sendable {
    /// The comparison with the source; without a meaning where there is none, or the weights are what they were.
    package internal(set) var comparison = PieceComparison()
    /// The source's weights, and those that were restored: of a lossy chunk in binary32, else in the element type.
    package internal(set) var original = PieceCounts(), restored = PieceCounts()
    /// The chunk as a matrix.
    var rows = 0, columns = 0
    /// Whether all bytes are the source's: `original` alone was counted.
    package internal(set) var isIdentical = false

    fileprivate mutating func countOriginal(_ bytes: Span<UInt8>, _ format: FloatFormat) {
        original.count(bytes, format, rows: rows, columns: columns, wantsEnergies: true)
    }

    fileprivate mutating func countRestored(_ bytes: Span<UInt8>, _ format: FloatFormat) {
        restored.count(bytes, format, rows: rows, columns: columns, wantsEnergies: true)
    }

    fileprivate mutating func countRestored(_ weights: Span<Float>) {
        restored.count(weights, rows: rows, columns: columns, wantsEnergies: true)
    }
}

extension ChunkWorkspace {
    /// Measures the decoded chunk against the source, whose tensor's bytes are `range` of `original`.
    ///
    /// - Parameter gathers: whether `measurement` is filled too; the error sums are the same to the bit.
    package func compare(
        chunk: Int, of range: ByteRange, in original: MappedFile, as prologue: PayloadPrologue, gathers: Bool = false
    ) throws {
        let format = prologue.format
        if gathers { beginMeasurement(prologue.grid.place(of: chunk)) }
        switch prologue.scheme {
        case .lossless:
            // Bit-exact or not: the source's hash tells; what was decoded is kept in `stream` meanwhile.
            grow(&stream, sourceCount)
            swap(&stream, &source)
            let decoded = sourceCount
            try load(chunk, range, original, prologue)
            let same = decoded == sourceCount && stream[..<decoded].elementsEqual(source[..<sourceCount])
            measured = same ? .zero : ErrorSums(signal: 0, noise: .infinity, maxError: .infinity)
            if gathers { compareBytes(format, areIdentical: same) }
        case .uniform, .trellis:
            try load(chunk, range, original, prologue)
            grow(&weights, count)
            FloatConversion.expand(source.span.extracting(0..<sourceCount), format, into: &weights)
            guard gathers else {
                measured = ErrorSums.measure(weights, restored, count: count)
                return
            }
            compareWeights()
            measured = measurement?.comparison.sums ?? .zero
            countOriginal(format)
            countRestoredWeights()
        }
    }

    /// Adds the bytes of the lossless chunk that was decoded last to a hash; called with a tensor's chunks in order.
    ///
    /// - Parameter isCompared: whether `compare` was called since.
    package func hashDecoded(into hasher: ContentHasher, isCompared: Bool = false) {
        let bytes = isCompared ? stream : source
        hasher.update(bytes.span.extracting(0..<sourceCount))
    }

    /// Counts the weights of the decoded chunk, where there is no source to compare them with.
    package func countRestored(_ chunk: Int, as prologue: PayloadPrologue) {
        beginMeasurement(prologue.grid.place(of: chunk))
        if case .lossless = prologue.scheme { countRestored(prologue.format) } else { countRestoredWeights() }
    }

    /// Counts a piece of a tensor that is stored as it is, and compares it with the source's where there is one.
    ///
    /// - Parameters:
    ///   - rows: how many rows of the tensor it is; 1 where it is a part of one, or rows do not matter.
    ///   - isIdentical: whether it is known to be the source's, to the bit.
    package func measure(
        _ range: ByteRange, in file: MappedFile, _ format: FloatFormat, rows: Int,
        against original: (range: ByteRange, file: MappedFile)?, isIdentical: Bool
    ) throws {
        sourceCount = Int(range.count)
        count = sourceCount / format.byteWidth
        beginMeasurement(rows: rows, columns: count / rows)
        grow(&source, sourceCount)
        try file.copy(range, into: &source)
        file.release(range)
        if let original {
            grow(&stream, sourceCount)
            swap(&stream, &source)
            grow(&source, sourceCount)
            try original.file.copy(original.range, into: &source)
            original.file.release(original.range)
            compareBytes(format, areIdentical: stream[..<sourceCount].elementsEqual(source[..<sourceCount]))
        } else if isIdentical {
            compareBytes(format, areIdentical: true)
        } else {
            countRestored(format)
        }
    }

    // MARK: - Parts

    private func beginMeasurement(_ place: ChunkPlace) { beginMeasurement(rows: place.rows, columns: place.columns) }

    private func beginMeasurement(rows: Int, columns: Int) {
        if measurement == nil { measurement = ChunkMeasurement() }
        measurement?.isIdentical = false
        measurement?.rows = rows
        measurement?.columns = columns
    }

    /// Compares the elements in `stream`, which were restored, with the source's in `source`.
    private func compareBytes(_ format: FloatFormat, areIdentical: Bool) {
        countOriginal(format)
        measurement?.isIdentical = areIdentical
        guard !areIdentical else { return }
        let bytes = stream
        measurement?.countRestored(bytes.span.extracting(0..<sourceCount), format)
        grow(&weights, count)
        grow(&restored, count)
        FloatConversion.expand(source.span.extracting(0..<sourceCount), format, into: &weights)
        FloatConversion.expand(bytes.span.extracting(0..<sourceCount), format, into: &restored)
        compareWeights()
    }

    private func countOriginal(_ format: FloatFormat) {
        let bytes = source
        measurement?.countOriginal(bytes.span.extracting(0..<sourceCount), format)
    }

    private func countRestored(_ format: FloatFormat) {
        let bytes = source
        measurement?.countRestored(bytes.span.extracting(0..<sourceCount), format)
    }

    private func countRestoredWeights() {
        let weights = restored
        measurement?.countRestored(weights.span.extracting(0..<count))
    }

    private func compareWeights() {
        let (before, after) = (weights, restored)
        measurement?.comparison.compare(before.span.extracting(0..<count), after.span.extracting(0..<count))
    }
}
