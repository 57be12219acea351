package import Architectures
import FileAccess
import SystemPackage
package import TensorModel

extension Imatrix {
    /// What an importance matrix says of one input.
    package struct Diagonal: Sendable {
        /// The input.
        package let input: LinearInput
        /// The mean of x^2 of each column; zeros for an expert that no token reached.
        package let means: [Float]
        /// Tokens of the input; nil if they are not known.
        package let tokens: UInt64?
        /// The weight of the means: tokens, or calls where the tokens are not known.
        package let weight: Double
    }

    /// The inputs of a decoder that the importance matrix covers, in their order.
    ///
    /// Matrices that read one input have equal entries; the first in the order of the file counts. Entries under unknown names are
    /// left out (`unknownNames`).
    ///
    /// An entry with one count for the matrices of all experts, as the older form has it, is cut by the number of columns that other
    /// entries of its layer tell.
    ///
    /// - Parameter body: called with each input's diagonal.
    /// - Throws: `momentsInvalid` if two matrices that read one input have different numbers of columns, if the number of experts cannot be
    ///   told, or for wrong values.
    package func forEachDiagonal(_ body: (Diagonal) throws -> Void) throws {
        var (read, all): (TensorName?, [Float]) = (nil, [])
        for piece in try pieces() {
            // The experts of a tensor follow one another.
            if read != piece.entry.name { (read, all) = (piece.entry.name, try values(of: piece.entry)) }
            let count = piece.entry.counts.count > 1 ? piece.entry.counts[piece.matrix] : piece.entry.counts[0]
            let values = all[piece.matrix * piece.columns..<(piece.matrix + 1) * piece.columns]
            let means = values.map { count > 0 ? Float(Double($0) / count) : 0 }
            guard means.allSatisfy(\.isFinite) else {
                throw Imatrix.failure("a mean beyond binary32", tensor: piece.entry.name).inFile(file.path.string)
            }
            try body(
                Diagonal(
                    input: piece.input, means: means, tokens: form == .gguf ? UInt64(count) : nil, weight: count))
        }
    }

    /// The inputs and their columns.
    ///
    /// - Throws: as `forEachDiagonal`.
    package func layout() throws -> MomentsLayout {
        try MomentsLayout(try pieces().map { .init($0.input, columns: $0.columns) })
    }

    /// Names of entries that are no linear layer of a decoder that Ingot knows.
    package var unknownNames: [TensorName] { entries.map(\.name).filter { TensorInputs($0) == nil } }

    /// The part of an entry that belongs to one input.
    private struct Piece {
        let input: LinearInput
        let entry: Entry
        let matrix: Int
        let columns: Int
    }

    private func pieces() throws -> [Piece] {
        do {
            var first: [TensorInputs: Entry] = [:]
            let known = entries.compactMap { entry in TensorInputs(entry.name).map { (entry, $0) } }
            for (entry, inputs) in known where first[inputs] == nil { first[inputs] = entry }
            var found: [LinearInput: Piece] = [:]
            for (entry, inputs) in known {
                let (matrices, columns) = try Imatrix.matrices(of: entry, inputs, first)
                guard columns <= MomentsLayout.maximumColumns else {
                    throw Imatrix.failure(
                        "\(columns) columns", "at most \(MomentsLayout.maximumColumns)", tensor: entry.name)
                }
                for matrix in 0..<matrices {
                    guard let input = inputs.input(ofExpert: matrix) else { continue }
                    if let other = found[input] {
                        guard other.columns == columns else {
                            throw Imatrix.failure(
                                "\(columns) columns, and \(other.columns) of \(other.entry.name) that reads the same",
                                "equal numbers of columns", tensor: entry.name)
                        }
                    } else {
                        found[input] = Piece(input: input, entry: entry, matrix: matrix, columns: columns)
                    }
                }
            }
            guard !found.isEmpty else {
                throw Imatrix.failure(
                    "no linear layer under a name that ingot knows", "names such as blk.0.attn_q.weight")
            }
            return found.values.sorted { $0.input < $1.input }
        } catch let error as IngotError {
            throw error.inFile(file.path.string)
        }
    }

    /// Matrices and columns of an entry.
    ///
    /// - Parameter first: the first entry with each input.
    private static func matrices(
        of entry: Entry, _ inputs: TensorInputs, _ first: [TensorInputs: Entry]
    ) throws -> (matrices: Int, columns: Int) {
        guard case .perExpert(let layer, let kind) = inputs else {
            guard entry.counts.count == 1 else {
                throw failure("\(entry.counts.count) counts for one matrix", "one", tensor: entry.name)
            }
            return (1, entry.valueCount)
        }
        if entry.counts.count > 1 { return (entry.counts.count, entry.valueCount / entry.counts.count) }
        // Experts of one layer share their number; gate and up projections read as many columns as the router and the queries.
        let hidden = [.feedForwardIn, .attentionIn].lazy.compactMap { kind in
            LinearInput(layer: layer, kind).flatMap { first[.one($0)]?.valueCount }
        }.first
        let total =
            kind == .feedForwardIn ? entry.valueCount : first[.perExpert(layer: layer, .feedForwardIn)]?.valueCount
        guard let hidden, let total, total % hidden == 0, case let experts = total / hidden, experts > 0,
            entry.valueCount % experts == 0
        else {
            throw failure(
                "\(entry.valueCount) values of a number of experts that nothing tells",
                "entries of the same layer that tell it", tensor: entry.name)
        }
        return (experts, entry.valueCount / experts)
    }
}
