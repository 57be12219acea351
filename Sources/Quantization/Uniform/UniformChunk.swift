internal import Kernels

/// The codes, scales and biases of one chunk. The buffers are reused from chunk to chunk and never shrink.
package struct UniformChunk: Sendable {
    /// One byte per weight, row-major; may be longer than the chunk.
    package var codes: [UInt8] = []
    /// One per group, row by row; may be longer than `groupCount`.
    package var scales: [Float] = []
    /// One per group, row by row; undefined for symmetric codes.
    package var biases: [Float] = []
    /// Number of groups in the chunk.
    package private(set) var groupCount = 0

    /// A chunk with empty buffers.
    package init() {}

    /// Makes room for a chunk of `rows` x `columns` weights. The contents of the buffers become undefined.
    package mutating func prepare(rows: Int, columns: Int, _ parameters: UniformParameters) {
        let grouping = Kernels.Grouping(rows: rows, columns: columns, groupSize: parameters.groupSize)
        prepare(weights: grouping.weightCount, groups: grouping.groupCount, hasBiases: !parameters.symmetric)
    }

    /// Makes room for `weights` weights in `groups` groups. The contents of the buffers become undefined.
    mutating func prepare(weights: Int, groups: Int, hasBiases: Bool) {
        groupCount = groups
        if codes.count < weights { codes = [UInt8](repeating: 0, count: weights) }
        if scales.count < groups { scales = [Float](repeating: 0, count: groups) }
        if hasBiases && biases.count < groups { biases = [Float](repeating: 0, count: groups) }
    }

    /// Checks that scales and biases are finite, and that symmetric scales are not negative. Unpacking has checked the codes.
    ///
    /// - Throws: `scaleNotFinite`, `scaleNegative` or `biasNotFinite` with the first such group.
    package func validate(_ parameters: UniformParameters) throws(DecodingFailure) {
        for group in 0..<groupCount {
            guard scales[group].isFinite else { throw .scaleNotFinite(group: group) }
            if parameters.symmetric {
                guard scales[group].sign == .plus else { throw .scaleNegative(group: group) }
            } else {
                guard biases[group].isFinite else { throw .biasNotFinite(group: group) }
            }
        }
    }

    /// Whether every code gives a finite weight with these scales and biases, which must be valid.
    ///
    /// False only if weights may be near the largest binary32 value; then check the weights themselves.
    package func isBounded(_ parameters: UniformParameters) -> Bool {
        let codes = Float(1 << parameters.bits)
        for group in 0..<groupCount {
            let bias = parameters.symmetric ? 0 : abs(biases[group])
            guard (abs(scales[group]) * codes + bias).isFinite else { return false }
        }
        return true
    }
}
