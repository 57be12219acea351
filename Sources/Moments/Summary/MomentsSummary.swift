package import Architectures
import FileAccess
package import SystemPackage
package import TensorModel

/// The figures of a file of moments, or of an importance matrix of llama.cpp: one row per input.
package struct MomentsSummary: Sendable {
    /// The figures of an input.
    package struct Row: Sendable {
        /// The input.
        package let input: LinearInput
        /// Its columns.
        package let columns: Int
        /// Columns of a block of its moments.
        package let blockWidth: Int
        /// Tokens that reached it; nil if the file does not say.
        package let tokens: UInt64?
        /// Columns whose mean square is zero.
        package let deadColumns: Int
        /// The largest mean square over the smallest that is not zero: a lower bound of the condition number of the moments without dead
        /// columns. Nil if all are zero.
        package let diagonalRatio: Double?
        /// The median over columns of |log2 of one half's mean square over the other's|; nil without two halves that have tokens.
        package let disagreement: Double?
        /// The chosen shrinkage; nil for a diagonal.
        package let shrinkage: Double?

        /// Tokens for each column; nil if the tokens are not known.
        package var tokensPerColumn: Double? { tokens.map { Double($0) / Double(columns) } }
    }

    /// The file.
    package let path: FilePath
    /// The form of the file: `moments`, `imatrix gguf` or `imatrix binary`.
    package let form: String
    /// Size of the file in bytes.
    package let byteCount: UInt64
    /// What a file of moments says about its origin; nil for an importance matrix.
    package let description: MomentsDescription?
    /// The names of the texts, as the file says.
    package let texts: [String]
    /// Tokens of a sequence, or of a chunk; nil if they are not known.
    package let context: UInt64?
    /// Sequences or chunks; nil if they are not known.
    package let sequences: UInt64?
    /// The rows, in the order of the inputs.
    package let rows: [Row]
    /// The figures of the gradients; nil if there are none.
    package let gradients: GradientsSummary?
    /// What deserves attention: too little text, experts that saw too little, halves that disagree.
    package var warnings: [IngotWarning] {
        [MomentsWarnings.shortText(seen, path.string)].compactMap(\.self) + warningsAfterTheRun
    }
    /// Those of `warnings` that only the activations tell: about experts and halves.
    package var warningsAfterTheRun: [IngotWarning] {
        [MomentsWarnings.experts(seen, path.string), MomentsWarnings.halves(rows, path.string)].compactMap(\.self)
    }
    private var seen: [MomentsWarnings.Seen] {
        rows.map { MomentsWarnings.Seen($0.input, perColumn: $0.tokensPerColumn) }
    }

    /// Reads the figures of a file.
    ///
    /// - Parameter readsAll: whether to read and check all moments too. Without them the figures are the same.
    /// - Returns: nil if the file is of neither format.
    /// - Throws: `momentsInvalid` and the errors of the formats, if it begins like one of them.
    package static func read(_ path: FilePath, readsAll: Bool) throws -> MomentsSummary? {
        guard let file = try? MappedFile.open(path), file.byteCount > 8 else { return nil }
        let begin = ByteRange(start: 0, count: min(file.byteCount, 1 << 16))
        guard let begin, let bytes = try? file.bytes(begin) else { return nil }
        if bytes.starts(with: Array("GGUF".utf8)) {
            // Models that were quantized with an importance matrix name it in their metadata: only the type of the file tells.
            return contains(bytes, Imatrix.typeEntry) ? try MomentsSummary(Imatrix.open(path)) : nil
        }
        // The format's name stands in the metadata, which both known writers of safetensors put first.
        let format = "\"\(MomentsDescription.format)\""
        if bytes[8] == UInt8(ascii: "{"),
            ["", " "].contains(where: { contains(bytes, Array("\"format\":\($0)\(format)".utf8)) })
        {
            let moments = try MomentsFile(path)
            if readsAll { try moments.check() }
            return try MomentsSummary(moments)
        }
        return Imatrix.looksOlder(file) ? try MomentsSummary(Imatrix.open(path)) : nil
    }

    private static func contains(_ bytes: [UInt8], _ wanted: [UInt8]) -> Bool {
        guard let first = wanted.first, bytes.count >= wanted.count else { return false }
        return (0...bytes.count - wanted.count).contains {
            bytes[$0] == first && bytes[$0..<$0 + wanted.count].elementsEqual(wanted)
        }
    }
}

// MARK: - Figures

extension MomentsSummary {
    /// The figures of a file of moments.
    package init(_ moments: MomentsFile) throws {
        let description = moments.description
        let rows = try moments.entries.map { entry -> Row in
            let halves = try moments.diagonals(of: entry)
            let weight = entry.weights.reduce(0, +)
            var diagonal = [Double](repeating: 0, count: entry.blocks.columns)
            for (half, part) in zip(halves, entry.weights) where weight > 0 {
                for column in diagonal.indices { diagonal[column] += Double(half[column]) * (part / weight) }
            }
            let isWhole = halves.count == 2 && entry.weights.allSatisfy { $0 > 0 }
            return Row(
                entry.input, blockWidth: entry.blocks.width, tokens: entry.hasUnknownTokens ? nil : entry.tokenCount,
                diagonal: diagonal, disagreement: isWhole ? MomentsSummary.disagreement(halves[0], halves[1]) : nil,
                shrinkage: entry.blocks.width == 1 ? nil : entry.shrinkage)
        }
        try self.init(
            path: moments.path, form: "moments", byteCount: moments.file.byteCount, description: description,
            texts: description.texts.map(\.name), context: description.context, sequences: description.sequences, rows,
            GradientsSummary(moments))
    }

    /// The figures of an importance matrix.
    package init(_ imatrix: Imatrix) throws {
        var rows: [Row] = []
        try imatrix.forEachDiagonal { found in
            rows.append(
                Row(
                    found.input, blockWidth: 1, tokens: found.tokens, diagonal: found.means.map(Double.init),
                    disagreement: nil, shrinkage: nil))
        }
        self.init(
            path: imatrix.file.path, form: "imatrix \(imatrix.form.rawValue)", byteCount: imatrix.file.byteCount,
            description: nil, texts: imatrix.datasets.isEmpty ? [] : [imatrix.datasets], context: imatrix.chunkSize,
            sequences: imatrix.chunkCount, rows)
    }

    private init(
        path: FilePath, form: String, byteCount: UInt64, description: MomentsDescription?, texts: [String],
        context: UInt64, sequences: UInt64, _ rows: [Row], _ gradients: GradientsSummary? = nil
    ) {
        (self.path, self.form, self.byteCount, self.description) = (path, form, byteCount, description)
        (self.texts, self.rows, self.gradients) = (texts, rows, gradients)
        self.context = context > 0 ? context : nil
        self.sequences = sequences > 0 ? sequences : nil
    }

    /// The median over columns of |log2 a/b|, where both are positive; nil if there is none.
    private static func disagreement(_ a: [Float], _ b: [Float]) -> Double? {
        let distances = zip(a, b).filter { $0 > 0 && $1 > 0 }.map {
            abs(ExactMath.log2(Double($0)) - ExactMath.log2(Double($1)))
        }.sorted()
        guard !distances.isEmpty else { return nil }
        return (distances[(distances.count - 1) / 2] + distances[distances.count / 2]) / 2
    }
}

extension MomentsSummary.Row {
    fileprivate init(
        _ input: LinearInput, blockWidth: Int, tokens: UInt64?, diagonal: [Double], disagreement: Double?,
        shrinkage: Double?
    ) {
        let alive = diagonal.filter { $0 > 0 }
        let ratio = alive.min().map { (alive.max() ?? $0) / $0 }
        self.init(
            input: input, columns: diagonal.count, blockWidth: blockWidth, tokens: tokens,
            deadColumns: diagonal.count - alive.count, diagonalRatio: ratio, disagreement: disagreement,
            shrinkage: shrinkage)
    }
}
