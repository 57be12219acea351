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
    /// Corrections of the output and down projections, in the second phase; nil in any other export.
    let correction: CorrectionFile?
    private let cache: OnceCache<LinearInput, Made>

    /// What is known of an input: its factors, and what is added to weights before they are quantized.
    struct Made: Sendable {
        let factors: FeedbackFactors
        let additions: [[Float]]?

        fileprivate var byteCount: Int { factors.byteCount + (additions?.reduce(0) { $0 + 4 * $1.count } ?? 0) }
    }

    /// Makes no factors yet.
    ///
    /// - Parameter maximumBytes: bytes of all factors that are kept at the same time.
    init(_ activations: ExportActivations, maximumBytes: Int) {
        (moments, correction) = (activations.moments, activations.correction)
        cache = OnceCache(maximumBytes: maximumBytes) { $0.byteCount }
    }

    /// Whether tokens reached an input.
    func hasTokens(_ input: LinearInput) -> Bool { moments[input]?.weights.contains { $0 > 0 } == true }

    /// The importance of the columns of an input: the means of their squares, as an importance matrix of llama.cpp has them.
    ///
    /// - Throws: `momentsInvalid`; errors of reading.
    func importance(of input: LinearInput) throws -> [Float] {
        guard let entry = moments[input] else { return [] }
        return try moments.diagonal(of: entry)
    }

    /// The factors of an input, and the correction of an output or down projection.
    ///
    /// - Throws: `momentsInvalid` if its moments have no factor; errors of reading.
    func made(of input: LinearInput) throws -> Made {
        let made = try cache.value(of: input) { () throws -> Made? in
            guard let entry = moments[input] else { return nil }
            try Interruption.check()
            let factors = try FeedbackFactors(
                columns: entry.blocks.columns, width: entry.blocks.width, diagonal: moments.diagonal(of: entry),
                shrinkage: max(entry.shrinkage, ExportCalibration.leastShrinkage(input.kind))
            ) { try moments.triangle($0, of: entry) }
            return try factors.map { factors in
                let corrected = [.outputIn, .downIn].contains(input.kind) ? correction : nil
                return Made(
                    factors: factors,
                    additions: try corrected?.additions(of: input, blocks: factors.blocks.map(\.columns)))
            }
        }
        guard let made else {
            throw IngotError(
                .momentsInvalid, file: moments.path.string, tensor: TensorName(input.text),
                found: "moments without a Cholesky factor", expected: "second moments of activations")
        }
        return made
    }

    /// The smallest shrinkage of an input (Specs/exports.md, "Shrinkage").
    ///
    /// All tokens attend to the first token of their sequence, which is one of 512 in the moments. Without shrinkage the errors of keys and
    /// values lie where its input does.
    static func leastShrinkage(_ kind: LinearInput.Kind) -> Double { kind == .attentionIn ? 0.2 : 0 }

    /// Bytes that a worker needs for a band of `rows` rows, and bytes of the largest factors while they are made.
    func needs(rows: Int) -> (workspace: Int, factors: Int) {
        var (workspace, factors) = (0, 0)
        for entry in moments.entries {
            let columns = entry.blocks.columns
            let width = min(columns, max(entry.blocks.width, 64))
            workspace = max(workspace, BlockFeedback.maximumBytes(rows: rows, blockColumns: width))
            // Two matrices in binary32, a third with corrections; one in binary64 and one in binary32 while they are made.
            factors = max(factors, (correction == nil ? 8 : 12) * columns * width + 16 * width * width)
        }
        return (workspace, factors)
    }
}

extension MomentsFile {
    /// The inputs of the rows of a matrix, or of the matrices of all experts in a tensor, that the file has entries for.
    ///
    /// - Parameter shape: the shape of the tensor.
    /// - Returns: runs of rows with their inputs; a run without an entry has none. One run without an input if the name tells none.
    func inputs(of name: TensorName, _ shape: Shape) -> [(rows: Range<Int>, input: LinearInput?)] {
        func known(_ input: LinearInput?) -> LinearInput? {
            guard let input, self[input]?.blocks.columns == shape.columns else { return nil }
            return input
        }
        let rows = max(1, shape.rows)
        switch TensorInputs(name) {
        case nil: return [(0..<rows, nil)]
        case .one(let input): return [(0..<rows, known(input))]
        case .perExpert:
            guard shape.dimensions.count == 3, let inputs = TensorInputs(name) else { return [(0..<rows, nil)] }
            let own = shape.dimensions[1]
            return (0..<shape.dimensions[0]).map { expert in
                (expert * own..<(expert + 1) * own, known(inputs.input(ofExpert: expert)))
            }
        }
    }
}
