import Architectures
import FileAccess
package import SystemPackage
import TensorModel

/// Writes importance matrices of llama.cpp from a file of moments, in the form of `save_imatrix` and `save_imatrix_legacy` (`Imatrix`).
///
/// Each input becomes the entries of the matrices that read it, under llama.cpp's names of separate projections: `attn_q`, `attn_k`,
/// `attn_v`, `attn_output`, `ffn_gate`, `ffn_up`, `ffn_down`; in a layer with experts `ffn_gate_inp` and those with `_exps`, and `_shexp` for
/// shared experts; `output` for the head. Only the diagonals go into it.
package enum ImatrixWriter {
    /// A matrix, or the matrices of a layer's experts.
    private struct Matrix {
        let name: String
        /// The inputs, one per matrix.
        let inputs: [MomentsFile.Entry]
    }

    /// Writes an importance matrix. A file that is there already is replaced, and so is what a killed run left of one.
    ///
    /// - Parameters:
    ///   - moments: the moments. The mean squares are those of both halves together.
    ///   - form: the form of the file.
    ///   - path: the file.
    /// - Throws: `momentsInvalid` for moments that the form cannot hold; the errors of reading and writing.
    package static func write(_ moments: MomentsFile, as form: Imatrix.Form, to path: FilePath) throws {
        let matrices = try self.matrices(moments)
        let datasets = moments.description.texts.map(\.name)
        let chunk = max(1, min(moments.description.context, 1 << 31))
        var file = try AtomicFile(report: path)
        switch form {
        case .gguf: try writeGGUF(matrices, moments, datasets, chunk, &file)
        case .older: try writeOlder(matrices, moments, datasets.last ?? "", chunk, &file)
        }
        try file.publish()
    }

    /// Tokens of an input; its weight where they are not known.
    private static func tokens(_ entry: MomentsFile.Entry) -> UInt64 {
        guard entry.hasUnknownTokens else { return entry.tokenCount }
        return UInt64(max(1, min(entry.weights.reduce(0, +), 1e15)))
    }

    /// Chunks of the input with most tokens, one at least.
    private static func chunks(_ matrices: [Matrix], _ chunk: UInt64) -> UInt64 {
        let most = matrices.lazy.flatMap(\.inputs).map(tokens).max() ?? 0
        return max(1, most / chunk)
    }

    // MARK: - Names

    private static func matrices(_ moments: MomentsFile) throws -> [Matrix] {
        var experts: [String: [MomentsFile.Entry]] = [:]
        var matrices: [Matrix] = []
        let expertLayers = Set(moments.entries.compactMap { $0.input.expert == nil ? nil : $0.input.layer })
        for entry in moments.entries {
            let hasExperts = entry.input.layer.map(expertLayers.contains) ?? false
            for name in names(entry.input, hasExperts: hasExperts) {
                guard let expert = entry.input.expert else {
                    matrices.append(Matrix(name: name, inputs: [entry]))
                    continue
                }
                guard experts[name, default: []].count == expert,
                    experts[name]?.first.map({ $0.blocks.columns == entry.blocks.columns }) ?? true
                else {
                    throw IngotError(
                        .momentsInvalid, file: moments.path.string, tensor: TensorName(entry.input.text),
                        found: "experts that are missing, or of different widths", expected: "all experts of a layer")
                }
                experts[name, default: []].append(entry)
            }
        }
        matrices += experts.map { Matrix(name: $0.key, inputs: $0.value) }
        return matrices.sorted { TensorName($0.name) < TensorName($1.name) }
    }

    /// llama.cpp's names of the matrices that read an input.
    private static func names(_ input: LinearInput, hasExperts: Bool) -> [String] {
        guard let layer = input.layer else { return ["output.weight"] }
        let modules: [String] =
            switch (input.kind, input.expert) {
            case (.attentionIn, _): ["attn_q", "attn_k", "attn_v"]
            case (.outputIn, _): ["attn_output"]
            case (.feedForwardIn, nil): hasExperts ? ["ffn_gate_inp"] : ["ffn_gate", "ffn_up"]
            case (.feedForwardIn, _): ["ffn_gate_exps", "ffn_up_exps"]
            case (.downIn, nil): ["ffn_down"]
            case (.downIn, _): ["ffn_down_exps"]
            case (.sharedDownIn, _): ["ffn_down_shexp"]
            case (.headIn, _): []
            }
        return modules.map { "blk.\(layer).\($0).weight" }
    }

    // MARK: - Values

    /// The mean squares of an input.
    private static func means(_ entry: MomentsFile.Entry, _ moments: MomentsFile) throws -> [Double] {
        let halves = try moments.diagonals(of: entry)
        let weight = entry.weights.reduce(0, +)
        var means = [Double](repeating: 0, count: entry.blocks.columns)
        guard weight > 0 else { return means }
        for (half, part) in zip(halves, entry.weights) {
            for column in means.indices { means[column] += Double(half[column]) * (part / weight) }
        }
        return means
    }

    private static func append(_ bytes: [UInt8], _ file: inout AtomicFile) throws { try file.append(bytes.span) }

    /// The bytes of an input's mean squares times a factor.
    private static func bytes(
        _ means: [Double], times factor: Double, _ input: LinearInput
    ) throws -> [UInt8] {
        var numbers: [Float] = []
        numbers.reserveCapacity(means.count)
        for mean in means {
            let number = Float(mean * factor)
            guard number.isFinite else {
                throw IngotError(
                    .momentsInvalid, tensor: TensorName(input.text), found: "a sum of squares of \(mean * factor)",
                    expected: "one that binary32 can hold")
            }
            numbers.append(number)
        }
        return LittleEndian.bytes(numbers[...])
    }

    // MARK: - GGUF

    private static let alignment: UInt64 = 32

    private static func writeGGUF(
        _ matrices: [Matrix], _ moments: MomentsFile, _ datasets: [String], _ chunk: UInt64, _ file: inout AtomicFile
    ) throws {
        func text(_ text: String) -> [UInt8] { LittleEndian.bytes(UInt64(text.utf8.count)) + Array(text.utf8) }
        func type(_ number: UInt32) -> [UInt8] { LittleEndian.bytes(number) }
        func count(_ number: UInt64) -> [UInt8] { LittleEndian.bytes(UInt32(clamping: number)) }
        var head = Array("GGUF".utf8) + LittleEndian.bytes(UInt32(3))
        head += LittleEndian.bytes(UInt64(2 * matrices.count)) + LittleEndian.bytes(UInt64(4))
        head += text("general.type") + type(8) + text("imatrix")
        head += text("imatrix.datasets") + type(9) + type(8) + LittleEndian.bytes(UInt64(datasets.count))
        for name in datasets { head += text(name) }
        head += text("imatrix.chunk_count") + type(4) + count(chunks(matrices, chunk))
        head += text("imatrix.chunk_size") + type(4) + count(chunk)
        var offset: UInt64 = 0
        for matrix in matrices {
            let columns = UInt64(matrix.inputs[0].blocks.columns)
            for (suffix, width) in [(".in_sum2", columns), (".counts", 1)] {
                // ggml leaves out dimensions of 1 at the end.
                let dimensions = [width] + (matrix.inputs.count > 1 ? [UInt64(matrix.inputs.count)] : [])
                head += text(matrix.name + suffix) + LittleEndian.bytes(UInt32(dimensions.count))
                head += dimensions.flatMap { LittleEndian.bytes($0) }
                head += type(0) + LittleEndian.bytes(offset)
                offset += padded(4 * width * UInt64(matrix.inputs.count))
            }
        }
        try append(head, &file)
        try file.appendZeros(padded(UInt64(head.count)) - UInt64(head.count))
        for matrix in matrices {
            for entry in matrix.inputs {
                let sums = try bytes(try means(entry, moments), times: Double(tokens(entry)), entry.input)
                try append(sums, &file)
            }
            try pad(&file, after: 4 * UInt64(matrix.inputs[0].blocks.columns) * UInt64(matrix.inputs.count))
            let counts = matrix.inputs.map { Float($0.weights.allSatisfy { $0 == 0 } ? 0 : tokens($0)) }
            try append(LittleEndian.bytes(counts[...]), &file)
            try pad(&file, after: 4 * UInt64(counts.count))
        }
    }

    private static func padded(_ count: UInt64) -> UInt64 { (count + alignment - 1) / alignment * alignment }

    private static func pad(_ file: inout AtomicFile, after count: UInt64) throws {
        try file.appendZeros(padded(count) - count)
    }

    // MARK: - The older form

    private static func writeOlder(
        _ matrices: [Matrix], _ moments: MomentsFile, _ dataset: String, _ chunk: UInt64, _ file: inout AtomicFile
    ) throws {
        // llama.cpp leaves out matrices that no token reached.
        let matrices = matrices.filter { $0.inputs.contains { tokens($0) > 0 } }
        try append(try word(UInt64(matrices.count), "matrices"), &file)
        for matrix in matrices {
            let calls = ((matrix.inputs.map(tokens).max() ?? 0) + chunk - 1) / chunk
            let values = UInt64(matrix.inputs[0].blocks.columns) * UInt64(matrix.inputs.count)
            var head = try word(UInt64(matrix.name.utf8.count), "bytes of a name") + Array(matrix.name.utf8)
            head += try word(calls, "calls") + word(values, "values")
            try append(head, &file)
            for entry in matrix.inputs {
                var means = [Double](repeating: 1, count: entry.blocks.columns)
                if tokens(entry) > 0 { means = try self.means(entry, moments) }
                try append(try bytes(means, times: Double(calls), entry.input), &file)
            }
        }
        let name = Array(dataset.utf8.prefix(65_535))
        let tail = try word(chunks(matrices, chunk), "chunks") + word(UInt64(name.count), "bytes of a name")
        try append(tail + name, &file)
    }

    /// A number in 32 bits.
    private static func word(_ number: UInt64, _ what: String) throws -> [UInt8] {
        guard let number = Int32(exactly: number) else {
            throw IngotError(.momentsInvalid, found: "\(number) \(what)", expected: "less than 2^31")
        }
        return LittleEndian.bytes(number)
    }
}
