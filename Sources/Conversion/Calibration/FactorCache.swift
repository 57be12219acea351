import Architectures
import Container
import FileAccess
import Moments
import Quantization
import SystemPackage
import TensorModel
import Work

/// Factors of linear inputs, made when they are first asked for.
final class FactorCache: Sendable {
    private let moments: CalibrationMoments
    private let cache: OnceCache<LinearInput, Made>

    /// The factors of an input, and what is added to weights before the search (`CalibratedEncoding.correction`).
    private struct Made: Sendable {
        let factors: FeedbackFactors
        let correction: [[Float]]?

        var byteCount: Int { factors.byteCount + (correction?.reduce(0) { $0 + 4 * $1.count } ?? 0) }
    }

    /// A cache without factors.
    init(_ moments: CalibrationMoments, maximumBytes: Int) {
        self.moments = moments
        cache = OnceCache(maximumBytes: maximumBytes) { $0.byteCount }
    }

    /// Adds the time that a worker spent on encoding.
    func add(_ times: FeedbackTimes) { moments.effort.add(times) }

    /// The factors of an input; nil if its moments are zero, or have no factor.
    ///
    /// - Throws: `momentsInvalid`; errors of reading.
    private func made(of input: LinearInput) throws -> Made? {
        try cache.value(of: input) {
            let clock = ContinuousClock()
            let begin = clock.now
            let made = try make(input)
            var times = FeedbackTimes()
            times.factors = clock.now - begin
            moments.effort.add(times)
            return made
        }
    }

    private func make(_ input: LinearInput) throws -> Made? {
        guard let entry = moments.file[input] else { return nil }
        try Interruption.check()
        let factors = try FeedbackFactors(
            columns: entry.blocks.columns, width: entry.blocks.width, diagonal: try moments.file.diagonal(of: entry),
            shrinkage: entry.shrinkage
        ) { try moments.file.triangle($0, of: entry) }
        return try factors.map {
            Made(
                factors: $0,
                correction: try moments.phase?.correction.additions(of: input, blocks: $0.blocks.map(\.columns)))
        }
    }

    /// The mean squared error of the trellis in levels: shrinking by m / (m + this) gives the least error for a Gaussian at its rate.
    private static let shrinkage: Float = 0.26

    /// How a tensor with this input is encoded.
    ///
    /// Targets are shrunk, except in gate and up projections: both factors of a product that are too small make a model much worse.
    ///
    /// - Throws: `momentsInvalid` if the moments have no factor.
    func encoding(of input: LinearInput, _ name: TensorName, rowBytes: [UInt8]) throws -> CalibratedEncoding {
        guard let made = try made(of: input) else {
            throw IngotError(
                .momentsInvalid, file: moments.file.path.string, tensor: TensorName(input.text),
                found: "moments without a Cholesky factor", expected: "second moments of activations")
        }
        var encoding = CalibratedEncoding(
            factors: made.factors, columnBytes: made.factors.columnBytes, rowBytes: rowBytes,
            correction: made.correction)
        let isFactor = [.gate, .up, .gateUp].contains(TensorRole(name).kind)
        encoding.shrinkage = isFactor ? 0 : FactorCache.shrinkage
        return encoding
    }
}
