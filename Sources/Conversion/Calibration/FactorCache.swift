import Architectures
import Container
import FileAccess
import Moments
import Quantization
import Synchronization
import SystemPackage
import TensorModel

/// Factors of linear inputs, made when they are first asked for. The least recently used ones go when there are too many bytes.
final class FactorCache: Sendable {
    private let moments: CalibrationMoments
    private let maximumBytes: Int
    private let state = Mutex(State())

    /// A factor that is made once, by the first who asks; the others wait.
    private final class Once: Sendable {
        private let made = Mutex(FeedbackFactors??.none)

        /// The factors, or what `make` gives; nil if there are none.
        func value(_ make: () throws -> FeedbackFactors?) throws -> FeedbackFactors? {
            try made.withLock { made in
                if let made { return made }
                let value = try make()
                made = .some(value)
                return value
            }
        }

        /// Bytes of the factors; 0 until they are made.
        var byteCount: Int { made.withLockIfAvailable { ($0 ?? nil)?.byteCount ?? 0 } ?? 0 }
    }

    private struct State {
        /// The least recently used first.
        var entries: [(input: LinearInput, once: Once)] = []
        var seconds = Duration.zero
    }

    /// A cache without factors.
    init(_ moments: CalibrationMoments, maximumBytes: Int) {
        (self.moments, self.maximumBytes) = (moments, maximumBytes)
    }

    /// Time that was spent on factors.
    var time: Duration { state.withLock { $0.seconds } }

    /// The factors of an input; nil if its moments are zero, or have no factor.
    ///
    /// - Throws: `momentsInvalid`; errors of reading.
    func factors(of input: LinearInput) throws -> FeedbackFactors? {
        let once = state.withLock { state in
            let place = state.entries.firstIndex { $0.input == input }
            let entry = place.map { state.entries.remove(at: $0) } ?? (input: input, once: Once())
            state.entries.append(entry)
            return entry.once
        }
        let factors = try once.value {
            let clock = ContinuousClock()
            let begin = clock.now
            let made = try make(input)
            state.withLock { $0.seconds += clock.now - begin }
            return made
        }
        state.withLock { state in
            var bytes = state.entries.reduce(0) { $0 + $1.once.byteCount }
            while bytes > maximumBytes, state.entries.count > 1 {
                bytes -= state.entries.removeFirst().once.byteCount
            }
        }
        return factors
    }

    private func make(_ input: LinearInput) throws -> FeedbackFactors? {
        guard let entry = moments.file[input] else { return nil }
        try Interruption.check()
        return try FeedbackFactors(
            columns: entry.blocks.columns, width: entry.blocks.width, diagonal: try moments.file.diagonal(of: entry),
            shrinkage: entry.shrinkage
        ) { try moments.file.triangle($0, of: entry) }
    }

    /// How a tensor with this input is encoded.
    ///
    /// - Throws: `momentsInvalid` if the moments have no factor.
    func encoding(of input: LinearInput, rowBytes: [UInt8]) throws -> CalibratedEncoding {
        guard let factors = try factors(of: input) else {
            throw IngotError(
                .momentsInvalid, file: moments.file.path.string, tensor: TensorName(input.text),
                found: "moments without a Cholesky factor", expected: "second moments of activations")
        }
        return CalibratedEncoding(factors: factors, columnBytes: factors.columnBytes, rowBytes: rowBytes)
    }
}
