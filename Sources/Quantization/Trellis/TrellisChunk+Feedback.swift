internal import Kernels
package import TensorModel

extension TrellisChunk {
    /// Searches the levels of the next tile of a band with error feedback, and restores its weights as `decode` does.
    ///
    /// - Parameters:
    ///   - search: the search of the band; this tile is its next one.
    ///   - weights: the tile's weights, finite, row by row.
    ///   - columns: the tile's columns in the tensor.
    ///   - steps: the steps of the tile.
    ///   - format: element type of the weights and of the patches.
    ///   - restored: room for at least as many weights.
    package mutating func quantize(
        _ search: inout FeedbackSearch, _ weights: [Float], rows: Int, columns: Range<Int>, _ steps: ChunkSteps,
        _ format: FloatFormat, into restored: inout [Float]
    ) {
        let found = search.search(weights, columns: columns, symbols: &symbols, oddMasks: &oddMasks)
        let shape = Kernels.ChunkShape(rows: rows, columns: columns.count)
        TrellisChunk.restoreLevels(symbols, oddMasks, shape, into: &restored)
        steps.apply(to: &restored, rows: rows, columns: columns.count)
        patches = found.map {
            Patch(index: $0.row * columns.count + $0.column, bits: $0.value.element(format))
        }.sorted { $0.index < $1.index }
        for patch in patches { restored[patch.index] = Float(patch.bits, element: format) }
    }

    private static func restoreLevels(
        _ symbols: [Int16], _ oddMasks: [UInt64], _ shape: Kernels.ChunkShape, into restored: inout [Float]
    ) {
        var target = restored.mutableSpan
        Kernels.trellisRestore(symbols: symbols.span, oddMasks: oddMasks.span, shape, step: 1, into: &target)
    }
}
