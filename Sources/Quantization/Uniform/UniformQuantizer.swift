internal import Kernels
package import TensorModel

/// The uniform scheme: groups of weights along rows, each a scale, perhaps a bias, and equally spaced codes
/// (Specs/uniform.md).
package enum UniformQuantizer {
    /// Chooses codes, scales and biases for a chunk by a search, whatever `parameters.scales` is.
    ///
    /// The result depends on nothing but the arguments: not on the processor, nor on what else is in the chunk
    /// than the group at hand.
    /// - Parameters:
    ///   - weights: at least rows * columns finite weights, row-major.
    ///   - rows: rows of the chunk.
    ///   - columns: columns of the chunk; groups begin at every multiple of the group size.
    ///   - parameters: width, group size, symmetry.
    ///   - scaleFormat: what scales and biases are stored in; each is exactly representable in it.
    ///   - chunk: prepared and filled.
    package static func encode(
        _ weights: [Float], rows: Int, columns: Int, _ parameters: UniformParameters,
        scaleFormat: FloatFormat, into chunk: inout UniformChunk
    ) {
        chunk.prepare(rows: rows, columns: columns, parameters)
        let grouping = Kernels.Grouping(rows: rows, columns: columns, groupSize: parameters.groupSize)
        search(
            weights.span.extracting(first: grouping.weightCount), grouping, parameters, scaleFormat,
            &chunk.codes, &chunk.scales, &chunk.biases)
    }

    /// The chunk's parts as separate arguments, which may be written to at once.
    private static func search(
        _ weights: Span<Float>, _ grouping: Kernels.Grouping, _ parameters: UniformParameters,
        _ scaleFormat: FloatFormat, _ codes: inout [UInt8], _ scales: inout [Float], _ biases: inout [Float]
    ) {
        var codes = codes.mutableSpan
        var scales = scales.mutableSpan
        var biases = biases.mutableSpan
        Kernels.uniformEncode(
            weights, grouping: grouping, bits: parameters.bits, symmetric: parameters.symmetric,
            scaleFormat: scaleFormat, codes: &codes, scales: &scales, biases: &biases)
    }

    /// Codes, scales and biases of a chunk by plain rounding, whatever `parameters.scales` is.
    ///
    /// - Parameters:
    ///   - source: rows * columns finite elements, little-endian, row-major.
    ///   - format: their type; scales and biases are exactly representable in it.
    ///   - rows: rows of the chunk.
    ///   - columns: columns of the chunk; groups begin at every multiple of the group size.
    ///   - parameters: width, group size, symmetry.
    ///   - chunk: prepared and filled.
    /// - Returns: the error sums of what `decode` makes of the result.
    package static func round(
        _ source: Span<UInt8>, _ format: FloatFormat, rows: Int, columns: Int, _ parameters: UniformParameters,
        into chunk: inout UniformChunk
    ) -> ErrorSums {
        chunk.prepare(rows: rows, columns: columns, parameters)
        let grouping = Kernels.Grouping(rows: rows, columns: columns, groupSize: parameters.groupSize)
        return round(source, format, grouping, parameters, &chunk.codes, &chunk.scales, &chunk.biases)
    }

    private static func round(
        _ source: Span<UInt8>, _ format: FloatFormat, _ grouping: Kernels.Grouping, _ parameters: UniformParameters,
        _ codes: inout [UInt8], _ scales: inout [Float], _ biases: inout [Float]
    ) -> ErrorSums {
        var codes = codes.mutableSpan
        var scales = scales.mutableSpan
        var biases = biases.mutableSpan
        let sums = Kernels.uniformRound(
            source, format: format, grouping: grouping, bits: parameters.bits, symmetric: parameters.symmetric,
            codes: &codes, scales: &scales, biases: &biases)
        return ErrorSums(signal: sums.signal, noise: sums.noise, maxError: sums.maxError)
    }

    /// Restores the weights of a chunk into the first rows * columns elements of `weights`.
    ///
    /// scale * code + bias, or scale * (code - 2^(bits-1)) for symmetric codes; binary32, each operation rounded.
    package static func decode(
        _ chunk: UniformChunk, rows: Int, columns: Int, _ parameters: UniformParameters,
        into weights: inout [Float]
    ) {
        let grouping = Kernels.Grouping(rows: rows, columns: columns, groupSize: parameters.groupSize)
        var target = weights.mutableSpan
        Kernels.uniformDecode(
            codes: chunk.codes.span.extracting(first: grouping.weightCount), scales: chunk.scales.span,
            biases: chunk.biases.span, grouping: grouping, bits: parameters.bits,
            symmetric: parameters.symmetric, into: &target)
    }
}
