internal import Kernels
package import TensorModel

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Error sums between weights w and restored weights w'.
///
/// The three numbers are stored as bit patterns and compared exactly, so the arithmetic is fixed: binary64, in the lane order of
/// `Kernels.errorSums` within a chunk, then in the order of the chunks.
package struct ErrorSums: Sendable, Hashable {
    /// Sum of w².
    package var signal: Double
    /// Sum of (w - w')².
    package var noise: Double
    /// Largest |w - w'|.
    package var maxError: Double

    /// Error sums with the given values.
    package init(signal: Double, noise: Double, maxError: Double) {
        self.signal = signal
        self.noise = noise
        self.maxError = maxError
    }

    /// The sums over no weights.
    package static let zero = ErrorSums(signal: 0, noise: 0, maxError: 0)

    /// The sums over the first `count` elements of `original` and `restored`, both finite.
    package static func measure(_ original: [Float], _ restored: [Float], count: Int) -> ErrorSums {
        let sums = Kernels.errorSums(
            original: original.span.extracting(first: count), restored: restored.span.extracting(first: count))
        return ErrorSums(signal: sums.signal, noise: sums.noise, maxError: sums.maxError)
    }

    /// The sums over both. Not associative in the last bits: add the chunks of a tensor in order, starting with `zero`.
    package static func + (left: ErrorSums, right: ErrorSums) -> ErrorSums {
        ErrorSums(
            signal: left.signal + right.signal, noise: left.noise + right.noise,
            maxError: max(left.maxError, right.maxError))
    }

    /// noise / signal. 0 if the noise is 0; infinite if only the signal is 0.
    package var relativeMSE: Double {
        if noise == 0 { return 0 }
        return signal == 0 ? .infinity : noise / signal
    }

    /// Signal-to-noise ratio 10 log10(signal / noise), in decibels. Infinite if the noise is 0; -infinite if only the signal is 0.
    ///
    /// For display only: the last bits depend on the C library.
    package var signalToNoise: Double { noise == 0 ? .infinity : 10 * log10(signal / noise) }
}

extension ErrorSums {
    /// The sums as the reports show them: `relative_mse`, `snr_db` and `max_error`.
    package var json: [JSONValue.Member] {
        [
            .init("relative_mse", .number(relativeMSE)),
            .init("snr_db", .number(signalToNoise)),
            .init("max_error", .number(maxError)),
        ]
    }
}
