internal import Kernels
package import TensorModel

/// The uniform scheme: groups of weights along rows, each with a scale, a bias unless symmetric, and equally spaced codes
/// (Specs/uniform.md).
package enum UniformQuantizer {
    /// Searches codes, scales and biases for a chunk, whatever `parameters.scales` is.
    ///
    /// The result of a group depends only on its weights and the parameters. It has the same bits on every processor.
    /// - Parameters:
    ///   - weights: at least rows * columns finite weights, row-major.
    ///   - rows: number of rows of the chunk.
    ///   - columns: number of columns; a group begins at every multiple of the group size.
    ///   - parameters: bits, group size, symmetry.
    ///   - scaleFormat: element type that scales and biases are stored in; each is exactly representable in it.
    ///   - chunk: receives the result.
    package static func encode(
        _ weights: [Float], rows: Int, columns: Int, _ parameters: UniformParameters,
        scaleFormat: FloatFormat, into chunk: inout UniformChunk
    ) {
        chunk.prepare(rows: rows, columns: columns, parameters)
        let grouping = Kernels.Grouping(rows: rows, columns: columns, groupSize: parameters.groupSize)
        search(
            weights.span.extracting(first: grouping.weightCount), grouping, parameters.bits,
            parameters.symmetric ? .symmetric : .affine, scaleFormat, &chunk.codes, &chunk.scales, &chunk.biases)
    }

    /// Searches codes and scales of symmetric groups, with scales of either sign (Specs/exports.md, "Scales of both signs").
    ///
    /// - Parameters:
    ///   - weights: at least rows * columns finite weights, row-major.
    ///   - columns: a multiple of the group size.
    ///   - groupSize: weights of a group, of any number.
    ///   - bits: 2, 3, 4, 5, 6 or 8.
    ///   - scaleFormat: element type that scales are stored in; each is exactly representable in it.
    ///   - chunk: receives the result.
    package static func encodeSigned(
        _ weights: [Float], rows: Int, columns: Int, groupSize: Int, bits: Int, scaleFormat: FloatFormat,
        into chunk: inout UniformChunk
    ) {
        let grouping = Kernels.Grouping(rows: rows, columns: columns, groupSize: groupSize)
        chunk.prepare(weights: grouping.weightCount, groups: grouping.groupCount, hasBiases: false)
        search(
            weights.span.extracting(first: grouping.weightCount), grouping, bits, .signed, scaleFormat, &chunk.codes,
            &chunk.scales, &chunk.biases)
    }

    /// Bytes that `encodeSigned` needs beside the chunk.
    package static func scratchBytes(groupSize: Int) -> Int { Kernels.scratchBytes(groupSize: groupSize) }

    /// Takes the parts of the chunk as separate arguments, because Swift forbids overlapping access to it.
    private static func search(
        _ weights: Span<Float>, _ grouping: Kernels.Grouping, _ bits: Int, _ kind: Kernels.GroupKind,
        _ scaleFormat: FloatFormat, _ codes: inout [UInt8], _ scales: inout [Float], _ biases: inout [Float]
    ) {
        var codes = codes.mutableSpan
        var scales = scales.mutableSpan
        var biases = biases.mutableSpan
        Kernels.uniformEncode(
            weights, grouping: grouping, bits: bits, kind: kind, scaleFormat: scaleFormat, codes: &codes,
            scales: &scales, biases: &biases)
    }

    /// Finds codes, scales and biases of a chunk by plain rounding, whatever `parameters.scales` is.
    ///
    /// - Parameters:
    ///   - source: rows * columns finite elements, little-endian, row-major.
    ///   - format: element type of `source`; scales and biases are exactly representable in it.
    ///   - rows: number of rows of the chunk.
    ///   - columns: number of columns; a group begins at every multiple of the group size.
    ///   - parameters: bits, group size, symmetry.
    ///   - chunk: receives the result.
    /// - Returns: the error sums of the weights that `decode` restores.
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
    /// A weight is scale * code + bias, or scale * (code - 2^(bits-1)) if symmetric; binary32, each operation rounded.
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
