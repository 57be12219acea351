internal import Kernels
package import TensorModel

/// Quantizes bands of rows into the formats of runtimes, with error feedback inside their blocks (Specs/exports.md).
///
/// The error of a weight is carried to later columns of its row, within a block of the moments. Rows do not depend on each other. Buffers are
/// reused from band to band.
package struct BlockFeedback {
    private let block = Kernels.FeedbackBlock()
    private var results = Kernels.FeedbackResults()
    private var coupling: [Float] = [], pivots: [Float] = []

    /// Makes buffers that grow when first used.
    package init() {}

    /// Whether there is such a search for a type.
    package static func supports(_ type: BlockType) -> Bool { Kernels.FeedbackFormat.blocks(type).isKnown }

    /// Upper bound of the memory in bytes, for bands of `rows` rows and moments with blocks of `width` columns.
    package static func maximumBytes(rows: Int, blockColumns width: Int) -> Int {
        Kernels.FeedbackBlock.bytes(rows: rows, columns: max(width, 256)) + (rows + 16) * 640 + (1 << 20)
    }

    /// Neighbouring blocks of the moments whose last column is also the last column of a block of the format.
    private struct Region {
        let columns: Range<Int>
        let blocks: Range<Int>
    }

    private static func regions(_ factors: FeedbackFactors, unit: Int) -> [Region] {
        var regions: [Region] = []
        var first = 0
        for (index, block) in factors.blocks.enumerated()
        where block.columns.upperBound % unit == 0 || index == factors.blocks.count - 1 {
            let start = factors.blocks[first].columns.lowerBound
            regions.append(Region(columns: start..<block.columns.upperBound, blocks: first..<index + 1))
            first = index + 1
        }
        return regions
    }

    /// Runs the search over all columns, and hands on the results of each block of the format.
    ///
    /// - Parameters:
    ///   - weights: of the band, row by row.
    ///   - correction: of each block of the factors, what column i adds to each column before the search, row by row; nil for nothing.
    ///   - scales: of each row, for the format `given`.
    ///   - take: receives the results, and the columns they are of.
    private mutating func search(
        _ weights: [Float], rows: Int, _ factors: FeedbackFactors, _ correction: [[Float]]?,
        _ format: Kernels.FeedbackFormat, scales: [Float] = [],
        take: (Kernels.FeedbackBlock, inout Kernels.FeedbackResults, Range<Int>) -> Void
    ) {
        let columns = factors.columns
        // A local value, because Swift forbids overlapping access to the buffers of this one.
        var results = Kernels.FeedbackResults()
        swap(&results, &self.results)
        defer { swap(&results, &self.results) }
        precondition(weights.count >= rows * columns && columns % format.alignment == 0, "BlockFeedback: sizes differ")
        for region in BlockFeedback.regions(factors, unit: format.alignment) {
            let width = region.columns.count
            block.begin(rows: rows, columns: width)
            block.load(weights.span, width: columns, offset: region.columns.lowerBound, columns: width, at: 0)
            var matrix: [Float]?
            if region.blocks.count == 1 {
                let own = factors.blocks[region.blocks.lowerBound]
                coupling = own.coupling
                pivots = own.pivots
                matrix = correction?[region.blocks.lowerBound]
            } else {
                coupling = BlockFeedback.assembled(region.blocks.map { factors.blocks[$0].coupling }, factors, region)
                pivots = region.blocks.flatMap { factors.blocks[$0].pivots }
                matrix = correction.map { all in
                    BlockFeedback.assembled(region.blocks.map { all[$0] }, factors, region)
                }
            }
            if let matrix { block.correct(matrix.span, width: width) }
            let (coupling, pivots) = (coupling, pivots)
            for start in stride(from: 0, to: width, by: format.columns) {
                let range = start..<min(start + format.columns, width)
                if start > 0 { block.carry(coupling.span, width: width, from: 0..<start, into: range) }
                block.search(
                    range, format, coupling: coupling.span, width: width, pivots: pivots.span, scales: scales,
                    into: &results)
                take(
                    block, &results,
                    region.columns.lowerBound + start..<region.columns.lowerBound + range.upperBound)
            }
        }
    }

    /// The matrices of some blocks of the moments as one matrix, with zeros between the blocks.
    private static func assembled(_ parts: [[Float]], _ factors: FeedbackFactors, _ region: Region) -> [Float] {
        let width = region.columns.count
        var matrix = [Float](repeating: 0, count: width * width)
        for (part, index) in zip(parts, region.blocks) {
            let own = factors.blocks[index].columns
            let first = own.lowerBound - region.columns.lowerBound
            for row in 0..<own.count {
                let place = (first + row) * width + first
                matrix.replaceSubrange(place..<place + own.count, with: part[row * own.count..<(row + 1) * own.count])
            }
        }
        return matrix
    }

    /// Encodes a band to blocks of a ggml type.
    ///
    /// - Parameters:
    ///   - weights: of the band, row by row; finite.
    ///   - factors: those of the input of the matrix; its columns are whole blocks.
    ///   - correction: as the second phase adds it to the weights; nil for none.
    ///   - blocks: grows if needed and receives the blocks, row by row, in its first bytes.
    package mutating func encode(
        _ weights: [Float], rows: Int, _ factors: FeedbackFactors, _ correction: [[Float]]? = nil, _ type: BlockType,
        into blocks: inout [UInt8]
    ) {
        let rowBytes = factors.columns / type.elements * type.bytes
        // Rows are padded to a multiple of 16.
        blocks.grow(to: (rows + 15) / 16 * 16 * rowBytes)
        var target: [UInt8] = []
        swap(&target, &blocks)
        search(weights, rows: rows, factors, correction, .blocks(type)) { block, results, columns in
            block.pack(
                &results, columns: columns.count, type, into: &target,
                offset: columns.lowerBound / type.elements * type.bytes, rowBytes: rowBytes)
        }
        swap(&target, &blocks)
    }

    /// Encodes a band to groups.
    ///
    /// - Parameters:
    ///   - isSymmetric: whether groups have a scale alone, of either sign; otherwise they have a bias too.
    ///   - scales: the element type that scales and biases are stored in.
    ///   - chunk: receives codes from 0 on, scales and biases, row by row.
    package mutating func encode(
        _ weights: [Float], rows: Int, _ factors: FeedbackFactors, _ correction: [[Float]]? = nil, bits: Int,
        groupSize: Int, isSymmetric: Bool, scales: FloatFormat, into chunk: inout UniformChunk
    ) {
        let (columns, groups) = (factors.columns, factors.columns / groupSize)
        chunk.prepare(weights: rows * columns, groups: rows * groups, hasBiases: !isSymmetric)
        var found = UniformChunk()
        swap(&found, &chunk)
        search(
            weights, rows: rows, factors, correction,
            isSymmetric
                ? .symmetric(bits: bits, size: groupSize, scales: scales)
                : .affine(bits: bits, size: groupSize, scales: scales)
        ) { _, results, range in
            let group = range.lowerBound / groupSize
            for row in 0..<rows {
                let place = row * columns + range.lowerBound
                for column in 0..<range.count {
                    found.codes[place + column] = results.codes[column * results.stride + row]
                }
                found.scales[row * groups + group] = results.steps[row]
                if !isSymmetric { found.biases[row * groups + group] = results.offsets[row] }
            }
        }
        swap(&found, &chunk)
    }

    /// Encodes a band to codes around zero, with a scale for each row that is known already.
    ///
    /// - Parameter chunk: has the scales, which `scales` holds; receives codes from 0 on, row by row.
    package mutating func encodeChannels(
        _ weights: [Float], rows: Int, _ factors: FeedbackFactors, _ correction: [[Float]]? = nil, bits: Int,
        scales format: FloatFormat, into chunk: inout UniformChunk
    ) {
        let columns = factors.columns
        let scales = Array(chunk.scales.prefix(rows))
        var codes: [UInt8] = []
        swap(&codes, &chunk.codes)
        codes.grow(to: rows * columns)
        search(weights, rows: rows, factors, correction, .given(bits: bits, scales: format), scales: scales) {
            _, results, range in
            for row in 0..<rows {
                let place = row * columns + range.lowerBound
                for column in 0..<range.count { codes[place + column] = results.codes[column * results.stride + row] }
            }
        }
        swap(&codes, &chunk.codes)
    }
}
