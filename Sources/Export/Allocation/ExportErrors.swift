import Architectures
import Checkpoints
import Container
import FileAccess
import Moments
import Quantization
import TensorModel
import Weights
import Work

/// Measures what encodings of a tensor lose: encodes sampled rows as an export does, and compares what a decoder restores.
///
/// The loss is half the sum over source matrices of S tr(E H E^T), E the error of the matrix, H the moments of its input, S its sensitivity
/// (Specs/moments.md, "Gradients"): an estimate of the KL divergence in nats per token.
struct ExportErrors {
    /// A matrix of an export, and the encodings that it could have.
    struct Candidate: Sendable {
        /// The matrix's name in the output.
        let name: TensorName
        /// Its columns, and all its weights.
        let columns: Int, weights: Int
        /// Where its rows come from, with the inputs that they are encoded for.
        let sources: [ExportPlan.Source]
        /// Whether it is multiplied with the last activations: the head, or an embedding that is the head too.
        let isHead: Bool
        /// The encodings, and bytes of the matrix in each, ascending.
        let encodings: [RowEncoding], bytes: [UInt64]
    }

    /// Rows of a source that are encoded at most, in runs of `runRows`.
    private static let sampledRows = 128, runRows = 16

    private let tensors: [RowsExporter.Readable]
    private let candidates: [Candidate]
    private let moments: MomentsFile
    private let calibration: ExportCalibration
    private let budget: MemoryBudget

    /// Prepares a measurement.
    ///
    /// - Parameters:
    ///   - memory: bytes of buffers at most.
    ///   - jobs: matrices in work at the same time.
    /// - Throws: `usage` if the memory is too small; errors of reading.
    init(
        _ checkpoint: OpenedCheckpoint, _ candidates: [Candidate], _ activations: ExportActivations, memory: UInt64,
        jobs: Int
    ) throws {
        self.candidates = candidates
        tensors = try checkpoint.tensors.map { try RowsExporter.Readable($0) }
        moments = activations.moments
        // Types do not depend on corrections, so that both phases choose the same.
        let first = activations.withoutCorrection
        let needs = ExportCalibration(first, maximumBytes: 0).needs(rows: ExportErrors.runRows)
        let columns = candidates.map(\.columns).max() ?? 0
        let band = ExportErrors.runRows * columns
        let most = candidates.map(\.encodings.count).max() ?? 0
        // Decoded tiles of a sealed source, weights, elements and restored weights in binary32, and all encodings of a band.
        let tile = tensors.map { ($0.weights?.grid?.chunkRows ?? 0) * max(1, $0.stored.shape.columns) }.max() ?? 0
        budget = try MemoryBudget(
            bytes: memory, jobs: jobs,
            bands: .init(
                workspace: UInt64(band * 24 + tile * 8 + band * 5 * most + needs.workspace + (4 << 20)),
                result: 1 << 10,
                factors: UInt64(needs.factors)))
        calibration = ExportCalibration(first, maximumBytes: budget.factorBytes)
    }

    /// The rows of a source that are sampled: all of a small one, otherwise runs at equal distances.
    static func sampledRuns(of rows: Range<Int>) -> [Range<Int>] {
        let runs = sampledRows / runRows
        guard rows.count > sampledRows else {
            return stride(from: rows.lowerBound, to: rows.upperBound, by: runRows).map {
                $0..<min($0 + runRows, rows.upperBound)
            }
        }
        return (0..<runs).map { run in
            let start = rows.lowerBound + (rows.count - runRows) * run / (runs - 1)
            return start..<start + runRows
        }
    }

    /// The input that each source of a candidate is multiplied with; nil if the calibration does not know what errors in it cost.
    private func knownInputs(_ candidate: Candidate) throws -> [LinearInput]? {
        var inputs: [LinearInput] = []
        for source in candidate.sources {
            guard let input = source.input ?? (candidate.isHead ? .head : nil),
                moments[input]?.blocks.columns == candidate.columns,
                try moments.weight(of: tensors[source.tensor].stored, input) != nil
            else { return nil }
            inputs.append(input)
        }
        return inputs
    }

    /// Measures all candidates.
    ///
    /// - Parameter progress: called with a matrix when a part of it was measured.
    /// - Returns: the candidates with the losses of their encodings, as far as they are known.
    /// - Throws: `nonFinite`; `momentsInvalid`; errors of reading.
    func matrices(progress: @escaping (TensorName) -> Void = { _ in }) async throws -> [SizeAllocation.Matrix] {
        let (candidates, tensors, moments, calibration) = (candidates, tensors, moments, calibration)
        var losses = candidates.map { [Double](repeating: 0, count: $0.encodings.count) }
        let inputs = try candidates.map(knownInputs)
        let items = candidates.indices.flatMap { index in
            zip(candidates[index].sources, inputs[index] ?? []).map {
                Item(candidate: index, source: $0, input: $1)
            }
        }
        try await budget.pipeline { Workspace(calibration) }.run(items) { item, workspace -> [Double] in
            let (candidate, tensor) = (candidates[item.candidate], tensors[item.source.tensor])
            guard let weight = try moments.weight(of: tensor.stored, item.input), weight > 0 else {
                return candidate.encodings.map { _ in 0 }
            }
            return try workspace.errors(candidate, item.source, item.input, tensor).map { $0 * weight / 2 }
        } consume: { item, found in
            for (index, loss) in found.enumerated() { losses[item.candidate][index] += loss }
            progress(candidates[item.candidate].name)
        }
        return candidates.indices.map { index in
            SizeAllocation.Matrix(
                weights: candidates[index].weights, bytes: candidates[index].bytes,
                losses: inputs[index] == nil ? nil : losses[index])
        }
    }

    /// Rows of a candidate that one worker measures.
    private struct Item: Sendable {
        /// Index of the candidate.
        let candidate: Int
        let source: ExportPlan.Source
        let input: LinearInput
    }

    /// The buffers of one worker.
    private struct Workspace {
        private let calibration: ExportCalibration
        private var exporter: RowsExporter
        private var band = ExportedBand()
        private var restored: [Float] = []

        init(_ calibration: ExportCalibration) {
            self.calibration = calibration
            exporter = RowsExporter(calibration)
        }

        /// tr(E H E^T) of each encoding of a candidate, over all rows of a source.
        mutating func errors(
            _ candidate: Candidate, _ source: ExportPlan.Source, _ input: LinearInput,
            _ readable: RowsExporter.Readable
        ) throws -> [Double] {
            let factors = try calibration.made(of: input).factors
            let plans = candidate.encodings.map { encoding in
                ExportPlan(
                    files: [],
                    tensors: [
                        ExportPlan.Tensor(
                            name: candidate.name, rows: source.rows.count, columns: candidate.columns,
                            encoding: encoding,
                            sources: [source],
                            streams: encoding.rowBytes(columns: candidate.columns).map {
                                .init(entry: candidate.name, file: 0, offset: 0, rowBytes: $0)
                            })
                    ])
            }
            let runs = ExportErrors.sampledRuns(of: source.rows)
            var sums = [Double](repeating: 0, count: plans.count)
            for rows in runs {
                try Interruption.check()
                // Rows keep their order: errors of rows do not depend on each other.
                let uses = plans.indices.map {
                    RowBand.Use(plan: $0, tensor: 0, firstRow: 0, move: .none, input: source.input)
                }
                try exporter.export(RowBand(tensor: 0, rows: rows, uses: uses), of: readable, plans, into: &band)
                for (index, plan) in plans.enumerated() {
                    let pieces = band.pieces.filter { $0.plan == index }.map(\.range)
                    try plan.tensors[0].encoding.decode(
                        band.bytes, pieces, rows: rows.count, columns: candidate.columns, into: &restored)
                    var measure = ActivationMeasure(factors, rows: rows.count)
                    measure.add(exporter.weights, restored, columns: 0..<candidate.columns)
                    sums[index] += measure.sums.noise
                }
            }
            let share = Double(source.rows.count) / Double(max(1, runs.reduce(0) { $0 + $1.count }))
            return sums.map { $0 * share }
        }
    }
}

extension MomentsFile {
    /// The sensitivity of the matrix in a tensor that is multiplied with an input, over all tokens of the text: those that do not reach it
    /// count as zeros. Nil if the file has no moments of the input, or no gradients of the matrix.
    ///
    /// - Throws: `momentsInvalid` for a number that is negative or not finite.
    fileprivate func weight(of tensor: StoredWeights, _ input: LinearInput) throws -> Double? {
        let matrix = input == .head ? LinearMatrix.head : LinearMatrix(tensor.name, expert: input.expert ?? 0)
        guard let entry = self[input], let matrix, let sensitivity = try sensitivity(of: matrix) else { return nil }
        let reached = entry.weights.reduce(0, +)
        let most = entries.map { $0.weights.reduce(0, +) }.max() ?? 0
        return most > 0 ? sensitivity * reached / most : 0
    }
}

extension RowEncoding {
    /// Decodes rows of an encoding that a size may choose.
    ///
    /// - Parameters:
    ///   - bytes: holds the rows of each stream in its range.
    ///   - weights: grows if needed and receives rows * columns weights.
    fileprivate func decode(
        _ bytes: [UInt8], _ ranges: [Range<Int>], rows: Int, columns: Int, into weights: inout [Float]
    ) throws {
        let count = rows * columns
        weights.grow(to: count)
        switch self {
        case .blocks(let type, _):
            GGUFBlocks.decode(type, bytes.span.extracting(ranges[0]), into: &weights)
        case .elements(let format):
            FloatConversion.expand(bytes.span.extracting(ranges[0]), format, into: &weights)
        case .groups(let groups):
            var chunk = UniformChunk()
            let isSymmetric = groups.runtime == .compressedTensors
            guard
                let parameters = UniformParameters(
                    bits: groups.bits, groupSize: groups.groupSize ?? columns, symmetric: isSymmetric)
            else { preconditionFailure("groups that are not encoded") }
            chunk.prepare(rows: rows, columns: columns, parameters)
            try BitPacking.unpack(
                Array(bytes[ranges[0]]), count: count, .dense, bits: groups.bits, into: &chunk.codes)
            FloatConversion.expand(bytes.span.extracting(ranges[1]), groups.scales, into: &chunk.scales)
            if !isSymmetric {
                FloatConversion.expand(bytes.span.extracting(ranges[2]), groups.scales, into: &chunk.biases)
            }
            UniformQuantizer.decode(chunk, rows: rows, columns: columns, parameters, into: &weights)
        case .microscaling, .stored, .sameGroups, .sameParts, .sameMicroscaling:
            preconditionFailure("an encoding that is not measured")
        }
    }
}
