import Architectures
package import FileAccess
package import Moments
import Products
import Quantization
package import SystemPackage
import TensorModel
import Weights

/// Gathers, for the output and down projections of a model, what makes up for the frozen matrices before them: the second phase of a
/// calibrated conversion (Specs/moments.md, "Corrections").
package struct CorrectionGatherer: Sendable {
    private let model: ModelWeights, through: ModelWeights
    private let options: EvaluationOptions
    private let blocks: MomentBlocks

    /// Prepares the run. Of the options, context, tokens, memory, jobs and scratch count.
    ///
    /// - Parameters:
    ///   - model: the original.
    ///   - through: its conversion, whose queries, keys, values, gates and up projections stay as they are.
    ///   - blocks: the rule of the blocks, that of the file of moments.
    /// - Throws: `usage` if the options have no meaning, or the two are not of one shape; `libraryMissing`.
    package init(
        _ model: ModelWeights, through: ModelWeights, _ options: EvaluationOptions, blocks: MomentBlocks
    ) throws {
        try options.requireContext(of: model)
        try Products.requireLibrary()
        guard model.hyperparameters == through.hyperparameters else {
            throw IngotError(
                .usage, found: "a conversion of another model", expected: "a conversion of the model that is calibrated"
            )
        }
        (self.model, self.through, self.options, self.blocks) = (model, through, options, blocks)
    }

    /// Runs the texts through both models, and writes the corrections.
    ///
    /// - Parameters:
    ///   - modelHash: hash of the original's weights, for the file.
    ///   - manifest: XXH3-128 of the conversion's manifest, for the file.
    /// - Throws: `textInvalid` if there is no sequence; errors of reading and writing.
    package func run(
        _ texts: [WeightedText], to path: FilePath, modelHash: ContentHash, manifest: ContentHash,
        progress: @escaping (EvaluationProgress) -> Void = { _ in }
    ) async throws {
        var sequences: [(ids: [Int32], weight: Double)] = []
        var description = CorrectionDescription()
        (description.blocks, description.modelHash) = (blocks, modelHash.description)
        description.through = manifest.description
        for text in texts {
            let found = text.text.sequences(options)
            sequences += found.map { ($0, text.weight) }
            description.texts.append(
                MomentsDescription.Text(
                    name: FilePath(text.text.name).lastComponent?.string ?? text.text.name,
                    hash: text.text.idsHash.description, weight: text.weight,
                    tokens: UInt64(found.count * options.context)))
        }
        guard !sequences.isEmpty else {
            throw IngotError(
                .textInvalid, file: texts.first?.text.name ?? "", found: "less than one sequence",
                expected: "\(options.context) tokens or more", remedy: "give a longer text, or a shorter context")
        }
        let h = model.hyperparameters
        let inputs = Calibrator.inputs(h).filter { [.outputIn, .downIn].contains($0.input.kind) }
        var writer = try CorrectionWriter(path, inputs, description)
        let budget = try EvaluationBudget(
            bytes: options.memory, jobs: options.jobs, [model, through], sequences: sequences.count,
            context: options.context, reserved: Calibrator.momentBytes(h, blocks))
        let groups = stride(from: 0, to: sequences.count, by: budget.sequencesPerGroup).map {
            Array(sequences[$0..<min($0 + budget.sequencesPerGroup, sequences.count)])
        }
        let own = DecoderPass(model, context: options.context, jobs: budget.jobs, lookahead: budget.lookahead)
        let other = DecoderPass(through, context: options.context, jobs: budget.jobs, lookahead: budget.lookahead)
        var store = try StateStore(
            tokens: groups.map { $0.count * options.context }, width: h.hidden,
            scratch: budget.keepsStates ? nil : options.scratch)
        for (number, group) in groups.enumerated() { try store.store(own.embeddings(group.flatMap(\.ids)), number) }
        let columns = Dictionary(uniqueKeysWithValues: inputs.map { ($0.input, $0.columns) })
        var done = 0
        for layer in 0..<h.layers {
            var sums: [LinearInput: PairSums] = [:]
            for (number, group) in groups.enumerated() {
                try Interruption.check()
                var states = try store.take(number)
                let weights = group.flatMap { [Double](repeating: $0.weight, count: options.context) }
                try await own.run(layer: layer, beside: other, &states) { input, x, y, tokens in
                    sums[input, default: PairSums(blocks.layout(columns: x.width))].add(
                        x, y, tokens.map { $0.map { weights[$0] } } ?? weights)
                }
                try store.store(states, number)
                done += 1
                progress(EvaluationProgress(done: done, total: h.layers * groups.count))
            }
            for input in inputs.map(\.input).filter({ $0.layer == layer }).sorted() {
                let layout = blocks.layout(columns: columns[input] ?? 1)
                let (codes, scales) = (sums[input] ?? PairSums(layout)).correction()
                try writer.append(codes: codes, scales: scales)
            }
        }
        try writer.publish()
    }
}

/// Sums over tokens of y y^T and of (y - x) y^T, block by block: x an input in the original, y the same in the quantized model.
private struct PairSums {
    private let layout: BlockLayout
    private var moments: [Float], products: [Float]
    private var weight = 0.0

    init(_ layout: BlockLayout) {
        self.layout = layout
        moments = [Float](repeating: 0, count: layout.squareCount)
        products = moments
    }

    /// Adds rows. A row of weight w counts as the row times the root of w.
    mutating func add(_ x: TokenStates, _ y: TokenStates, _ weights: [Double]) {
        let (count, width) = (x.tokens, x.width)
        guard count > 0 else { return }
        var differences = [Float](repeating: 0, count: count * width)
        var others = y.values
        for token in 0..<count {
            let factor = Float(weights[token].squareRoot())
            for place in token * width..<(token + 1) * width {
                differences[place] = (y.values[place] - x.values[place]) * factor
                others[place] = y.values[place] * factor
            }
            weight += weights[token]
        }
        PairSums.add(differences, others, count, width, layout, to: &moments, &products)
    }

    private static func add(
        _ differences: [Float], _ others: [Float], _ count: Int, _ width: Int, _ layout: BlockLayout,
        to moments: inout [Float], _ products: inout [Float]
    ) {
        var squares = moments.mutableSpan
        var mixed = products.mutableSpan
        for block in 0..<layout.count {
            let columns = layout.columns(of: block)
            let start = layout.squareStart(of: block)
            let shape = MatrixShape(rows: count, columns: columns.count, stride: width)
            let square = MatrixShape(rows: columns.count, columns: columns.count)
            let y = others.span.extracting(columns.lowerBound..<count * width)
            Products.addMoments(y, shape, to: &squares, from: start)
            var part = mixed.extracting(start..<start + columns.count * columns.count)
            Products.multiply(
                transposed: differences.span.extracting(columns.lowerBound..<count * width), shape, by: y, shape,
                into: &part, square, adds: true)
        }
    }

    /// The correction matrix, in codes and scales; zeros where there is none.
    func correction() -> (codes: [Int8], scales: [Float]) {
        var codes: [Int8] = []
        var scales: [Float] = []
        guard weight > 0 else {
            return (
                [Int8](repeating: 0, count: layout.squareCount), [Float](repeating: 0, count: layout.columns)
            )
        }
        var diagonal = 0.0
        for block in 0..<layout.count {
            let (start, count) = (layout.squareStart(of: block), layout.columns(of: block).count)
            for row in 0..<count { diagonal += Double(moments[start + row * count + row]) }
        }
        let mean = diagonal / weight / Double(layout.columns)
        for block in 0..<layout.count {
            let (start, count) = (layout.squareStart(of: block), layout.columns(of: block).count)
            let range = start..<start + count * count
            let matrix = CorrectionMatrix(
                moments: moments[range].map { Float(Double($0) / weight) },
                products: products[range].map { Float(Double($0) / weight) }, count: count, meanDiagonal: mean)
            codes += matrix?.codes ?? [Int8](repeating: 0, count: count * count)
            scales += matrix?.scales ?? [Float](repeating: 0, count: count)
        }
        return (codes, scales)
    }
}
