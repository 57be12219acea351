import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel
import Weights

/// The buffers of one worker that probes tensors. It reads chunks, encodes them on trial, and encodes whole tensors to measure size and
/// error.
final class ProbeWorkspace {
    private var reader = ChunkReader()
    private var gathered: [UInt8] = []
    private var weights: [Float] = []
    private var encoder = ChunkEncoder()
    private var chunk = EncodedChunk()
    private var trellis = TrellisEncoder()
    private let writer = StreamWriter()

    /// Reads a chunk.
    ///
    /// - Parameter inOrder: whether the caller reads the chunks in order, so that the reader may read a whole band at once.
    /// - Returns: the elements, contiguous; valid until the next call.
    func read(
        _ number: Int, of tensor: TensorBytes, as prologue: PayloadPrologue, inOrder: Bool
    ) throws -> ElementRectangle {
        let place = prologue.grid.place(of: number)
        let elements = try reader.read(place, of: tensor, prologue.grid, prologue.elementType, inOrder: inOrder)
        if elements.isContiguous, elements.start == 0 { return elements }
        elements.gather(into: &gathered)
        return ElementRectangle(
            gathered, stride: place.columns * prologue.elementType.byteWidth, rows: place.rows, columns: place.columns,
            prologue.elementType)
    }

    /// The mean over the rows of log2(row RMS), and the sum of squares of all weights (`RowStatistics.logScale`).
    ///
    /// - Returns: nil if a weight is NaN or infinite.
    func logScale(_ elements: ElementRectangle) -> (scale: Double, energy: Double)? {
        guard elements.expand(into: &weights).isZero else { return nil }
        return RowStatistics.logScale(weights, rows: elements.rows, columns: elements.columns)
    }

    // MARK: - Trials

    /// The sizes and the error of one chunk, encoded on trial.
    struct Trial {
        /// Bytes of the streams, one number per candidate.
        var byteCounts: [Int] = []
        /// The error sums of the last candidate. Candidates with the same `greatestSymbol` have the same sums.
        var sums = ErrorSums.zero
        /// Number of patches (weights stored exactly) of the last candidate.
        var patchCount = 0
    }

    /// Encodes a chunk with one rule and several alphabets or numbers of row classes; keeps the sizes and the error sums only.
    ///
    /// - Parameters:
    ///   - candidates: parameters with the same number of states.
    ///   - histogram: counts of |level|. The counts of the last candidate are added; the last entry counts all larger levels.
    /// - Returns: nil if a weight is NaN or infinite.
    func tryOut(
        _ elements: ElementRectangle, as prologue: PayloadPrologue, by rule: TrellisRule,
        _ candidates: [TrellisParameters], histogram: inout [UInt64]
    ) -> Trial? {
        guard elements.expand(into: &weights).isZero else { return nil }
        let (rows, columns) = (elements.rows, elements.columns)
        var trial = Trial()
        var searched: Int?
        for candidate in candidates {
            if searched != candidate.greatestSymbol {
                trial.sums = trellis.search(
                    weights, rows: rows, columns: columns, candidate, rule, prologue.format)
                trial.patchCount = trellis.patchCount
                searched = candidate.greatestSymbol
            }
            chunk.clear()
            trellis.appendStreams(
                weights, rows: rows, columns: columns, candidate, prologue.format, prologue.codec, writer, to: &chunk)
            trial.byteCounts.append(chunk.byteCount)
        }
        trellis.addLevels(rows: rows, columns: columns, to: &histogram)
        return trial
    }

    // MARK: - Whole tensors

    /// The size and the error of a whole tensor, measured by encoding every chunk.
    struct WholeTensor {
        /// Bytes of the payload, padding included.
        var byteCount: Int
        /// The error sums that the tensor's certificate would have.
        var sums = ErrorSums.zero
        /// Whether the element type can hold every restored weight. If not, an export to that type would fail.
        var isInRange = true
    }

    /// Encodes every chunk of a tensor, in order, and returns the exact size and error.
    ///
    /// - Parameter rule: the rule of all chunks in scheme `trellis`; nil in other schemes.
    /// - Returns: nil if a weight that would be quantized is NaN or infinite.
    /// - Throws: errors of reading; `interrupted` or `terminated` after a signal.
    func measureWhole(
        _ tensor: TensorBytes, as prologue: PayloadPrologue, by rule: TrellisRule? = nil
    ) throws -> WholeTensor? {
        var whole = WholeTensor(byteCount: 0)
        var streamBytes = 0
        reader.begin()
        for number in 0..<prologue.grid.count {
            try Interruption.check()
            let place = prologue.grid.place(of: number)
            let elements = try reader.read(place, of: tensor, prologue.grid, prologue.elementType, inOrder: true)
            encoder.encode(elements, as: prologue, by: rule, wantsLargest: true, into: &chunk)
            guard chunk.nonFinite.isZero else { return nil }
            streamBytes += chunk.byteCount
            whole.sums = whole.sums + chunk.entry.sums
            if let largest = chunk.largestRestored, !(largest <= prologue.format.largestFinite) {
                whole.isInRange = false
            }
        }
        whole.byteCount = prologue.payloadBytes(streamBytes: streamBytes)
        return whole
    }

    /// Encodes one chunk of a tensor in a scheme other than `trellis`.
    func encode(_ number: Int, of tensor: TensorBytes, as prologue: PayloadPrologue) throws -> EncodedChunk {
        reader.begin()
        let place = prologue.grid.place(of: number)
        let elements = try reader.read(place, of: tensor, prologue.grid, prologue.elementType, inOrder: false)
        encoder.encode(elements, as: prologue, into: &chunk)
        return chunk
    }

    /// Discards what was read of the last tensor. Call it before the first `read` of another tensor.
    func begin() { reader.begin() }
}
