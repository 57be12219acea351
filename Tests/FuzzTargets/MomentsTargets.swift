import Architectures
import FileAccess
import Moments
import SystemPackage
import TensorModel
import TestSupport

/// Targets for files of moments and importance matrices of llama.cpp.
enum MomentsTargets {
    /// A file of moments: every number is read; what is accepted gives finite figures.
    static func moments(_ bytes: [UInt8]) throws {
        try FuzzFiles.with(bytes) { place in
            let file = try MomentsFile(place)
            for entry in file.entries {
                let blocks = entry.blocks
                require((0...1).contains(entry.shrinkage), "a shrinkage of \(entry.shrinkage)")
                let diagonal = try file.diagonal(of: entry)
                require(diagonal.count == blocks.columns, "\(diagonal.count) numbers")
                for block in 0..<min(blocks.count, 8) {
                    let width = blocks.columns(of: block).count
                    require(try file.triangle(block, of: entry).count == width * (width + 1) / 2, "another triangle")
                }
                require(try file.diagonals(of: entry).allSatisfy { $0.count == blocks.columns }, "other diagonals")
            }
            for matrix in file.gradientMatrices {
                let found = try file.gradients(of: matrix)
                require(found?.count == file.gradientRows(of: matrix), "another number of gradients")
                require(found?.allSatisfy { $0 >= 0 && $0.isFinite } == true, "a gradient that is none")
                let sensitivity = try file.sensitivity(of: matrix) ?? -1
                require(sensitivity >= 0 && sensitivity.isFinite, "a sensitivity that is none")
            }
            require((try file.tokenWeights() == nil) == (file.description.gradients == nil), "weights of tokens alone")
            try file.check()
            try figures(try MomentsSummary(file))
            try FuzzFiles.with([], "i") { try ImatrixWriter.write(file, as: .gguf, to: $0) }
        }
    }

    /// An importance matrix of either form. What is accepted becomes a file of moments with the same inputs.
    static func imatrix(_ bytes: [UInt8]) throws {
        try FuzzFiles.with(bytes, "x.gguf") { place in
            let imatrix = try Imatrix.open(place)
            var inputs: [LinearInput] = []
            try imatrix.forEachDiagonal { diagonal in
                require(diagonal.means.allSatisfy { $0 >= 0 && $0.isFinite }, "a mean that is none")
                inputs.append(diagonal.input)
            }
            require(inputs == inputs.sorted() && Set(inputs).count == inputs.count, "inputs out of order")
            try figures(try MomentsSummary(imatrix))
            try FuzzFiles.with([], "m") { target in
                try imatrix.writeMoments(to: target)
                let moments = try MomentsFile(target)
                require(moments.entries.map(\.input) == inputs, "other inputs in the file of moments")
            }
        }
    }

    private static func figures(_ summary: MomentsSummary) throws {
        for row in summary.rows {
            require(row.diagonalRatio.map { $0 >= 1 } ?? true, "a ratio of \(row.diagonalRatio ?? 0)")
            require(row.disagreement.map { $0 >= 0 && $0.isFinite } ?? true, "a disagreement that is none")
        }
    }
}

/// Valid files of moments and importance matrices.
enum MomentsSeeds {
    static func moments() throws -> [[UInt8]] {
        try [(MomentBlocks.usual, false), (.diagonal, false), (.width(2), true)].map { blocks, hasGradients in
            let directory = try TemporaryDirectory()
            try write(directory.at("m"), blocks, hasGradients: hasGradients)
            return try Files.read(directory.at("m"))
        }
    }

    static func imatrices() throws -> [[UInt8]] {
        let directory = try TemporaryDirectory()
        try write(directory.at("m"), .usual)
        let moments = try MomentsFile(directory.at("m"))
        return try [Imatrix.Form.gguf, .older].map { form in
            try ImatrixWriter.write(moments, as: form, to: directory.at("i"))
            return try Files.read(directory.at("i"))
        }
    }

    private static func write(_ path: FilePath, _ blocks: MomentBlocks, hasGradients: Bool = false) throws {
        let inputs: [(LinearInput?, Int)] = [
            (LinearInput(layer: 0, .attentionIn), 3), (LinearInput(layer: 0, .feedForwardIn, expert: 0), 3),
            (LinearInput(layer: 0, .feedForwardIn, expert: 1), 3), (.head, 3),
        ]
        var description = MomentsDescription()
        description.blocks = blocks
        description.context = 4
        description.texts = [.init(name: "a.txt", hash: "0", weight: 1, tokens: 12)]
        let (head, down) = (LinearMatrix.head, LinearMatrix(layer: 0, .down, expert: 1) ?? .head)
        if hasGradients { description.gradients = GradientsDescription(tokens: 12) }
        let layout = try MomentsLayout(
            inputs.compactMap { input, count in input.map { .init($0, columns: count) } },
            gradients: hasGradients
                ? GradientsLayout([.init(head, rows: 5), .init(down, rows: 3)], vocabulary: 5) : nil)
        var writer = try MomentsWriter.open(path, layout, description)
        while let next = writer.next {
            let sums = (0..<next.blocks.squareCount).map { Float($0 % 4 == 0 ? 8 : 1) }
            let half = HalfMoments(tokens: 6, weight: 6, sums: next.blocks.width == 1 ? sums.map { $0 + 1 } : sums)
            try writer.append([half, half])
        }
        if writer.needsGradients {
            try writer.append(
                OutputGradients(
                    squares: [head: [1, 2, 3, 4, 5], down: [0, 1, 2]], sensitivities: [head: 2, down: 0.5],
                    tokenWeights: [3, 0, 0, 1, 8]))
        }
        try writer.publish()
    }
}
