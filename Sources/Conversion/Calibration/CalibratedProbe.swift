import Architectures
import Checkpoints
import Container
import FileAccess
import Quantization
import TensorModel
import Weights

/// Encodes bands of a calibrated tensor on trial. One worker's buffers.
final class CalibratedProbe {
    private var encoder = BandEncoder()
    private var chunks: [EncodedChunk] = []
    private var scratch: [UInt8] = []
    private var weights: [Float] = []

    /// What a trial gave.
    struct Trial: Sendable {
        /// Bits per weight of the streams of the sample.
        var bits = 0.0
        /// Relative MSE of the sample.
        var relativeMSE = 0.0
    }

    /// Weights of a sample, unless one band has more.
    private static let sampleWeights = 1 << 21

    /// The bands that a trial encodes: all of a small tensor, otherwise some, evenly spread.
    private static func sample(_ grid: ChunkGrid) -> [Int] {
        let bands = grid.count / grid.chunksPerBand
        let count = max(1, min(bands, sampleWeights / (grid.chunkRows * grid.columns)))
        return (0..<count).map { (2 * $0 + 1) * bands / (2 * count) }
    }

    /// The mean over the columns of log2(RMS of the column / its scale), over the sample; nil if one weight is not finite, or if all are 0 or
    /// of few distinct values.
    func logScale(_ tensor: TensorBytes, as prologue: PayloadPrologue, _ columnBytes: [UInt8]) throws -> Double? {
        let grid = prologue.grid
        var squares = [Double](repeating: 0, count: grid.columns)
        var values = DistinctValues()
        var rows = 0
        for band in CalibratedProbe.sample(grid) {
            for chunk in band * grid.chunksPerBand..<(band + 1) * grid.chunksPerBand {
                let place = grid.place(of: chunk)
                let elements = try tensor.elements(place, grid.columns, prologue.elementType, scratch: &scratch)
                guard elements.expand(into: &weights).isZero else { return nil }
                for row in 0..<elements.rows {
                    let start = elements.start + row * elements.stride
                    let end = start + elements.columns * prologue.format.byteWidth
                    values.add(elements.bytes.span.extracting(start..<end), prologue.format)
                }
                for row in 0..<place.rows {
                    for column in 0..<place.columns {
                        let weight = Double(weights[row * place.columns + column])
                        squares[place.column + column] += weight * weight
                    }
                }
                if place.column == 0 { rows += place.rows }
            }
        }
        let used = squares.indices.filter { squares[$0] > 0 }
        guard !used.isEmpty, !values.areFew(among: rows * grid.columns) else { return nil }
        let sum = used.reduce(0.0) { sum, column in
            let scale = Double(ScaleBytes.scale(columnBytes[column]))
            return sum + ExactMath.log2(squares[column] / Double(rows)) / 2 - ExactMath.log2(scale)
        }
        return sum / Double(used.count)
    }

    /// Returns the time that error feedback took in the trials since the last call.
    func takeTimes() -> FeedbackTimes { encoder.takeTimes() }

    /// Encodes the sample; nil if a weight is NaN or infinite.
    func trial(
        _ tensor: TensorBytes, as prologue: PayloadPrologue, by rule: TrellisRule, _ encoding: CalibratedEncoding
    ) throws -> Trial? {
        let grid = prologue.grid
        while chunks.count < grid.chunksPerBand { chunks.append(EncodedChunk()) }
        var (bytes, count, sums) = (0, 0, ErrorSums.zero)
        for band in CalibratedProbe.sample(grid) {
            try Interruption.check()
            let first = band * grid.chunksPerBand
            _ = try encoder.encode(
                grid.chunksPerBand, firstRow: grid.place(of: first).row, as: prologue, by: rule, encoding,
                measures: false, into: &chunks
            ) { tile in
                try tensor.elements(grid.place(of: first + tile), grid.columns, prologue.elementType, scratch: &scratch)
            }
            for tile in 0..<grid.chunksPerBand {
                guard chunks[tile].nonFinite.isZero else { return nil }
                bytes += chunks[tile].byteCount
                sums = sums + chunks[tile].entry.sums
                count += grid.place(of: first + tile).count
            }
        }
        return Trial(bits: Double(bytes) * 8 / Double(count), relativeMSE: sums.relativeMSE)
    }
}
