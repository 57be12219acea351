import Container
package import Quantization
import TensorModel

/// Reads rows of a tensor of scheme `uniform` as codes, scales and biases. Its buffers are reused.
package struct CodeReader {
    private var decoder = ChunkDecoder()
    private var chunk = DecodedChunk()

    /// Makes a reader; buffers grow when first used.
    package init() {}

    /// The parameters of a tensor whose codes can be read; nil for any other tensor.
    package static func parameters(of tensor: StoredWeights) -> UniformParameters? {
        guard let (payload, _) = tensor.payload, case .uniform(let parameters) = payload.prologue.scheme,
            payload.prologue.grid.chunkColumns == payload.prologue.grid.columns
        else { return nil }
        return parameters
    }

    /// Reads whole rows. They begin and end where a chunk does, or at the end of the tensor.
    ///
    /// - Parameter result: receives codes, scales and biases, row by row.
    /// - Throws: `checksum` or `chunkInvalid`, naming the tensor, if it is damaged.
    package mutating func read(
        rows: Range<Int>, of tensor: ReadableWeights, into result: inout UniformChunk
    ) throws {
        guard let (payload, shard) = tensor.tensor.payload, let table = tensor.table,
            let parameters = CodeReader.parameters(of: tensor.tensor)
        else { preconditionFailure("codes of a tensor that has none") }
        let grid = payload.prologue.grid
        precondition(
            rows.lowerBound % grid.chunkRows == 0
                && (rows.upperBound % grid.chunkRows == 0 || rows.upperBound == grid.rows), "rows that cut a chunk")
        result.prepare(rows: rows.count, columns: grid.columns, parameters)
        var (weights, groups) = (0, 0)
        for number in rows.lowerBound / grid.chunkRows..<(rows.upperBound + grid.chunkRows - 1) / grid.chunkRows {
            try decoder.decode(number, table.entry(number), of: payload, in: shard.file, into: &chunk)
            let (count, found) = (chunk.count, chunk.groups.groupCount)
            result.codes.replaceSubrange(weights..<weights + count, with: chunk.groups.codes[..<count])
            result.scales.replaceSubrange(groups..<groups + found, with: chunk.groups.scales[..<found])
            if !parameters.symmetric {
                result.biases.replaceSubrange(groups..<groups + found, with: chunk.groups.biases[..<found])
            }
            weights += count
            groups += found
        }
    }
}
