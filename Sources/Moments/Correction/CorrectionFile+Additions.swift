package import Architectures

extension CorrectionFile {
    /// What is added to weights before they are quantized: -M of the blocks of some factors, row by row. Nil if the file has none of the
    /// input.
    ///
    /// - Parameter blocks: the columns of each block; whole blocks of the file.
    /// - Throws: `momentsInvalid`; errors of reading.
    package func additions(of input: LinearInput, blocks: [Range<Int>]) throws -> [[Float]]? {
        guard let layout = self.blocks(of: input) else { return nil }
        return try blocks.map { block in
            let width = block.count
            var matrix = [Float](repeating: 0, count: width * width)
            for number in block.lowerBound / layout.width..<(block.upperBound - 1) / layout.width + 1 {
                let part = try self.matrix(number, of: input)
                let columns = layout.columns(of: number)
                let first = columns.lowerBound - block.lowerBound
                for row in 0..<columns.count {
                    for column in 0..<columns.count {
                        matrix[(first + row) * width + first + column] = -part[row * columns.count + column]
                    }
                }
            }
            return matrix
        }
    }
}
