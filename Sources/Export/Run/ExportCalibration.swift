import Architectures
import FileAccess
import Moments
import Quantization
import SystemPackage
import TensorModel
import Weights
import Work

/// What an export knows of the activations: the moments of each linear input, and their factors.
struct ExportCalibration: Sendable {
    /// The file of moments.
    let moments: MomentsFile
    private let cache: OnceCache<LinearInput, FeedbackFactors>

    /// Makes no factors yet.
    ///
    /// - Parameter maximumBytes: bytes of all factors that are kept at the same time.
    init(_ moments: MomentsFile, maximumBytes: Int) {
        self.moments = moments
        cache = OnceCache(maximumBytes: maximumBytes) { $0.byteCount }
    }

    /// The importance of the columns of an input: the means of their squares, as an importance matrix of llama.cpp has them.
    ///
    /// - Throws: `momentsInvalid`; errors of reading.
    func importance(of input: LinearInput) throws -> [Float] {
        guard let entry = moments[input] else { return [] }
        return try moments.diagonal(of: entry)
    }

    /// The factors of an input.
    ///
    /// - Throws: `momentsInvalid` if its moments have no factor; errors of reading.
    func factors(of input: LinearInput) throws -> FeedbackFactors {
        let made = try cache.value(of: input) { () throws -> FeedbackFactors? in
            guard let entry = moments[input] else { return nil }
            try Interruption.check()
            return try FeedbackFactors(
                columns: entry.blocks.columns, width: entry.blocks.width, diagonal: moments.diagonal(of: entry),
                shrinkage: entry.shrinkage
            ) { try moments.triangle($0, of: entry) }
        }
        guard let made else {
            throw IngotError(
                .momentsInvalid, file: moments.path.string, tensor: TensorName(input.text),
                found: "moments without a Cholesky factor", expected: "second moments of activations")
        }
        return made
    }

    /// Bytes that a worker needs for a band of `rows` rows, and bytes of the largest factors while they are made.
    func needs(rows: Int) -> (workspace: Int, factors: Int) {
        var (workspace, factors) = (0, 0)
        for entry in moments.entries {
            let columns = entry.blocks.columns
            let width = min(columns, max(entry.blocks.width, 64))
            workspace = max(workspace, BlockFeedback.maximumBytes(rows: rows, blockColumns: width))
            // Two matrices in binary32; one in binary64 and one in binary32 while they are made.
            factors = max(factors, 8 * columns * width + 16 * width * width)
        }
        return (workspace, factors)
    }
}

extension MomentsFile {
    /// The input of a matrix that the file has moments of; nil if it has none for it.
    func input(of name: TensorName, columns: Int) -> LinearInput? {
        guard case .one(let input) = TensorInputs(name), let entry = self[input], entry.blocks.columns == columns,
            entry.weights.contains(where: { $0 > 0 })
        else { return nil }
        return input
    }
}
