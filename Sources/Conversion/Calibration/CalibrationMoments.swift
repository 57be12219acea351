import Architectures
import Checkpoints
import Container
package import FileAccess
package import Moments
import Quantization
package import SystemPackage
import TensorModel
import Weights

/// The file of moments of a calibrated conversion.
package struct CalibrationMoments: Sendable {
    /// The opened file.
    package let file: MomentsFile
    /// XXH3-128 of its bytes, which manifest, journal and descriptions record.
    package let hash: ContentHash
    /// The first phase, in the second; nil in any other conversion.
    package private(set) var phase: FirstPhase?
    /// The time that conversions with these moments took.
    package let effort = CalibrationEffort()

    /// Takes an opened file, and hashes it.
    package init(_ file: MomentsFile) throws {
        self.file = file
        hash = try file.file.hash(of: file.file.wholeRange)
    }

    /// Opens a file of moments, or an importance matrix of llama.cpp, whose moments are written to a file without a name.
    ///
    /// - Parameter scratch: a directory in which that file is made.
    /// - Throws: `momentsInvalid` if it is neither; errors of reading and writing.
    package init(opening path: FilePath, scratch: FilePath) throws {
        (file, hash) = try MomentsFile.open(path, scratch: scratch)
    }

    /// The input of a matrix, if the file has moments of it. Nil for embeddings, for names that tell no input, for tensors that hold one matrix
    /// per expert, for inputs that no token reached, and for other numbers of columns.
    func input(of tensor: StoredTensor) -> LinearInput? {
        if case .input(let input) = found(tensor.name, tensor.shape) { input } else { nil }
    }

    /// The input of a matrix that the file has moments of, or why there is none.
    enum Found {
        case input(LinearInput)
        case nothing(ReasonForPlain)
    }

    /// Looks for the moments of a matrix.
    func found(_ name: TensorName, _ shape: Shape) -> Found {
        switch TensorInputs(name) {
        case nil: return .nothing(TensorRole(name).kind == .embedding ? .embedding : .unknownName)
        case .perExpert: return .nothing(.allExperts)
        case .one(let input):
            guard let entry = file[input] else { return .nothing(.noMoments) }
            guard shape.isMatrix, entry.blocks.columns == shape.columns else { return .nothing(.otherColumns) }
            guard entry.weights.contains(where: { $0 > 0 }) else { return .nothing(.noTokens) }
            return .input(input)
        }
    }

    /// The sensitivity of a matrix (Specs/moments.md, "Gradients") over all tokens of the text: those that do not reach it count as zeros.
    /// Nil if the file has none of it, or gradients of another number of rows.
    ///
    /// - Throws: `momentsInvalid` for a number that is negative or not finite.
    func sensitivity(of tensor: StoredTensor) throws -> Double? {
        guard let matrix = LinearMatrix(tensor.name), file.gradientRows(of: matrix) == tensor.shape.rows,
            let sensitivity = try file.sensitivity(of: matrix), let input = input(of: tensor), let entry = file[input]
        else { return nil }
        let most = file.entries.map { $0.weights.reduce(0, +) }.max() ?? 0
        let share = most > 0 ? entry.weights.reduce(0, +) / most : 1
        return sensitivity * share
    }

    /// These moments in the second phase of a conversion.
    ///
    /// - Throws: `momentsInvalid` if the first phase was made with other moments, or the corrections have other blocks.
    package func after(_ phase: FirstPhase) throws -> CalibrationMoments {
        let made = phase.checkpoint.manifest.options.first { $0.key == "calibration_xxh3_128" }?.value.string
        guard made == hash.description,
            !phase.checkpoint.manifest.options.contains(where: { $0.key == "correction_xxh3_128" })
        else {
            throw IngotError(
                .momentsInvalid, file: file.path.string, found: "moments with the hash \(hash)",
                expected: "\(made ?? "no calibration"), those of the first phase, which has no correction itself")
        }
        guard phase.correction.description.blocks == file.description.blocks else {
            throw IngotError(
                .momentsInvalid, file: phase.correction.file.path.string,
                found: "corrections in blocks `\(phase.correction.description.blocks.text)`",
                expected: "`\(file.description.blocks.text)`, as the moments have them")
        }
        var moments = self
        moments.phase = phase
        return moments
    }

    /// Whether the second phase encodes a tensor again.
    func isCorrected(_ tensor: StoredTensor) -> Bool {
        guard let phase, let input = input(of: tensor), [.outputIn, .downIn].contains(input.kind),
            TensorRole(tensor.name).kind != .router, phase.correction.blocks(of: input)?.columns == tensor.shape.columns
        else { return false }
        return phase.payload(of: tensor.name)?.payload.descriptor.calibrated != nil
    }

    /// What a conversion with these moments needs: the largest of all inputs.
    var bands: MemoryBudget.Bands {
        var (workspace, result, factors) = (0, 0, 0)
        for entry in file.entries {
            let columns = entry.blocks.columns
            let rows = ChunkGrid.largestTileRows(columns: columns)
            let width = min(columns, max(entry.blocks.width, 64))
            let all = columns * width
            // Weights of a band in the second phase, and its tiles.
            let tiles = 4 * rows * columns * (phase == nil ? 0 : 1) + (8 << 20)
            workspace = max(workspace, FeedbackSearch.maximumBytes(rows: rows, blockColumns: width) + tiles)
            result = max(result, rows * columns)
            // Two matrices in binary32, a third in the second phase; one in binary64 and one in binary32 while they are made.
            factors = max(factors, all * (phase == nil ? 8 : 12) + 16 * width * width)
        }
        return MemoryBudget.Bands(
            workspace: UInt64(workspace), result: UInt64(result), factors: UInt64(factors))
    }
}
