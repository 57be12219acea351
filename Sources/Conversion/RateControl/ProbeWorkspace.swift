import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel
import Weights

/// What one worker needs to find out how a tensor is best stored: it reads chunks, encodes them on trial, and encodes whole tensors for
/// their size and error.
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
    /// - Parameter inOrder: whether the chunks beside it follow.
    /// - Returns: the elements next to each other; the next call uses their buffer again.
    func read(
        _ number: Int, of tensor: TensorBytes, as prologue: PayloadPrologue, inOrder: Bool
    ) throws -> ElementRectangle {
        let place = prologue.grid.place(of: number)
        let elements = try reader.read(place, of: tensor, prologue.grid, prologue.format, inOrder: inOrder)
        if elements.isContiguous, elements.start == 0 { return elements }
        elements.gather(into: &gathered)
        return ElementRectangle(
            gathered, stride: place.columns * prologue.format.byteWidth, rows: place.rows, columns: place.columns,
            prologue.format)
    }

    /// The scale of the rows of a chunk, and its energy (`RowStatistics`); nil where a weight is not finite.
    func logScale(_ elements: ElementRectangle) -> (scale: Double, energy: Double)? {
        guard elements.expand(into: &weights).isZero else { return nil }
        return RowStatistics.logScale(weights, rows: elements.rows, columns: elements.columns)
    }

    // MARK: - Trials

    /// What a trial of a chunk showed.
    struct Trial {
        /// Bytes of the streams, for each of the parameters that were tried.
        var byteCounts: [Int] = []
        /// The error sums with the last of them; the same for all that reach as far.
        var sums = ErrorSums.zero
        /// Weights that are stored as they are, with the last of them.
        var patchCount = 0
    }

    /// Encodes a chunk with one rule and several alphabets or numbers of classes, keeping sizes and errors alone.
    ///
    /// - Parameters:
    ///   - candidates: of one number of states.
    ///   - histogram: |levels| are added.
    /// - Returns: nil where a weight is not finite.
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

    /// What a whole tensor would take and lose, every chunk encoded and none kept.
    struct WholeTensor {
        /// Bytes of the payload, padding included.
        var byteCount: Int
        /// The certificate's sums.
        var sums = ErrorSums.zero
        /// Whether the tensor's element type can hold every restored weight; an export to it fails otherwise.
        var isInRange = true
    }

    /// Encodes every chunk of a tensor, in order, for its exact size and error.
    ///
    /// - Parameter rule: for all chunks of scheme `trellis`; nil in the others.
    /// - Returns: nil where a weight that would be quantized is NaN or infinite.
    /// - Throws: what reading throws, and where a signal stops the process.
    func measureWhole(
        _ tensor: TensorBytes, as prologue: PayloadPrologue, by rule: TrellisRule? = nil
    ) throws -> WholeTensor? {
        var whole = WholeTensor(byteCount: 0)
        var streamBytes = 0
        reader.begin()
        for number in 0..<prologue.grid.count {
            try Interruption.check()
            let place = prologue.grid.place(of: number)
            let elements = try reader.read(place, of: tensor, prologue.grid, prologue.format, inOrder: true)
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

    /// Encodes one chunk of a tensor.
    func encode(_ number: Int, of tensor: TensorBytes, as prologue: PayloadPrologue) throws -> EncodedChunk {
        reader.begin()
        let place = prologue.grid.place(of: number)
        let elements = try reader.read(place, of: tensor, prologue.grid, prologue.format, inOrder: false)
        encoder.encode(elements, as: prologue, into: &chunk)
        return chunk
    }

    /// Forgets the tensor that was read last.
    func begin() { reader.begin() }
}
