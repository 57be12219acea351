import TensorModel

/// How the matrix of second moments of an input is cut into diagonal blocks: a rule, which with the number of columns gives the blocks.
///
/// The rule never depends on memory or jobs, because the blocks decide what is written.
package enum MomentBlocks: Sendable, Hashable {
    /// The whole matrix up to 4096 columns, beyond that blocks of 2048.
    case usual
    /// The whole matrix, for any number of columns.
    case full
    /// The diagonal alone: blocks of one column.
    case diagonal
    /// Blocks of this number of columns, 1 or more.
    case width(Int)

    /// Columns up to which the usual rule keeps the whole matrix.
    package static let usualLimit = 4096
    /// Columns of a block beyond that.
    package static let usualWidth = 2048

    /// The rule as text: `usual`, `full`, `diagonal`, `blocks:256`.
    package var text: String {
        switch self {
        case .usual: "usual"
        case .full: "full"
        case .diagonal: "diagonal"
        case .width(let width): "blocks:\(width)"
        }
    }

    /// Reads a rule; nil for any text that `text` never gives.
    package init?(text: String) {
        switch text {
        case "usual": self = .usual
        case "full": self = .full
        case "diagonal": self = .diagonal
        default:
            guard text.hasPrefix("blocks:"), let width = Int(text.dropFirst(7)), width > 0, text == "blocks:\(width)"
            else { return nil }
            self = .width(width)
        }
    }

    /// The blocks of an input with `columns` columns, 1 or more.
    package func layout(columns: Int) -> BlockLayout {
        let width =
            switch self {
            case .usual: columns <= MomentBlocks.usualLimit ? columns : MomentBlocks.usualWidth
            case .full: columns
            case .diagonal: 1
            case .width(let width): min(width, columns)
            }
        return BlockLayout(columns: columns, width: width)
    }
}

/// The diagonal blocks of a symmetric matrix. All have the same width but the last, which may be narrower.
package struct BlockLayout: Sendable, Hashable {
    /// Columns of the matrix, and rows.
    package let columns: Int
    /// Columns of a block.
    package let width: Int

    /// Number of blocks.
    package var count: Int { ceilingDivide(columns, width) }

    /// The columns of a block.
    package func columns(of block: Int) -> Range<Int> { block * width..<min(columns, (block + 1) * width) }

    /// Numbers in the squares of all blocks, one after the other.
    package var squareCount: Int {
        let last = columns - (count - 1) * width
        return (count - 1) * width * width + last * last
    }

    /// The first number of a block's square among those of all squares.
    package func squareStart(of block: Int) -> Int { block * width * width }

    /// Numbers in the upper triangles of all blocks; nil if they are more than 2^62.
    package var triangleCount: Int? {
        let last = UInt64(columns - (count - 1) * width)
        guard let whole = BlockLayout.triangle(UInt64(width)), let rest = BlockLayout.triangle(last),
            let all = Checked.multiply(UInt64(count - 1), whole), let sum = Checked.add(all, rest), sum < 1 << 62
        else { return nil }
        return Int(sum)
    }

    /// The first number of a block's triangle among those of all triangles.
    package func triangleStart(of block: Int) -> Int { block * (width * (width + 1) / 2) }

    /// Numbers in the upper triangle of a matrix, the diagonal among them: `width * (width + 1) / 2`; nil if that overflows.
    private static func triangle(_ width: UInt64) -> UInt64? {
        Checked.add(width, 1).flatMap { Checked.multiply(width, $0) }.map { $0 / 2 }
    }
}
