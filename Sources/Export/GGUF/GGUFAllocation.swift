import Architectures
import Checkpoints
import FileAccess
import Moments
import Quantization
import SystemPackage
import TensorModel
import Weights

/// Chooses the types of a GGUF file, so that it has a size and loses little (Specs/exports.md, "Types by measured loss").
struct GGUFAllocation {
    private let checkpoint: OpenedCheckpoint
    private let content: GGUFContent
    private let settings: GGUFSettings
    private let activations: ExportActivations
    private let goal: SizeGoal

    /// Prepares an allocation.
    ///
    /// - Throws: `momentsInvalid` if the calibration has no gradients: then nothing tells what an error in a matrix costs.
    init(
        _ checkpoint: OpenedCheckpoint, _ content: GGUFContent, _ settings: GGUFSettings,
        _ activations: ExportActivations, _ goal: SizeGoal
    ) throws {
        (self.checkpoint, self.content, self.settings) = (checkpoint, content, settings)
        (self.activations, self.goal) = (activations, goal)
        try activations.requireGradients()
    }

    /// The settings with a type for each matrix.
    ///
    /// - Parameters:
    ///   - memory: bytes of buffers at most.
    ///   - jobs: matrices measured at the same time.
    ///   - progress: called with a tensor and the share of the measurement that was done since the last call.
    /// - Throws: `usage` for a size that the smallest types do not reach; errors of planning, reading and measuring.
    func settings(
        memory: UInt64, jobs: Int, progress: @escaping (TensorName, Double) -> Void
    ) async throws -> GGUFSettings {
        let planner = GGUFPlanner(checkpoint, content, settings, activations.moments)
        let open = try planner.openMatrices()
        let inputs = try open.map(knownInputs)
        let measured = open.indices.filter { inputs[$0] != nil }
        let errors = try ExportErrors(
            checkpoint,
            measured.map { index in
                .init(
                    name: open[index].tensor.name, columns: open[index].tensor.shape.columns,
                    sources: open[index].sources, inputs: inputs[index] ?? [],
                    encodings: open[index].types.map { .blocks($0, settings.rounding) })
            }, activations, memory: memory, jobs: jobs)
        let losses = Dictionary(
            uniqueKeysWithValues: zip(measured, try await errors.losses(progress: progress)))
        let matrices = open.indices.map { index in
            SizeAllocation.Matrix(
                weights: open[index].tensor.elementCount,
                bytes: open[index].types.map { open[index].byteCount($0) }, losses: losses[index])
        }
        return try choose(open, matrices)
    }

    /// The inputs that the sources of a matrix are multiplied with; nil if the calibration does not know what their errors cost.
    private func knownInputs(_ matrix: GGUFPlanner.OpenMatrix) throws -> [LinearInput]? {
        var inputs: [LinearInput] = []
        for source in matrix.sources {
            guard let input = source.input ?? (matrix.isHead ? .head : nil),
                activations.moments[input]?.blocks.columns == matrix.tensor.shape.columns,
                try activations.moments.weight(of: checkpoint.tensors[source.tensor], input) != nil
            else { return nil }
            inputs.append(input)
        }
        return inputs
    }

    /// Chooses types for which the plan of the whole file meets the goal.
    private func choose(_ open: [GGUFPlanner.OpenMatrix], _ matrices: [SizeAllocation.Matrix]) throws -> GGUFSettings {
        let least = allocated(open, [Int](repeating: 0, count: open.count))
        let smallest = try size(least)
        let weights = content.tensors.reduce(0) { $0 + $1.elementCount }
        let leastBits = 8 * Double(smallest.data) / Double(max(1, weights))
        let matrixBytes = matrices.reduce(UInt64(0)) { $0 + ($1.bytes.first ?? 0) }
        /// Bytes for what may still grow.
        var room: UInt64
        switch goal {
        case .bitsPerWeight(let bits):
            guard bits >= leastBits else {
                throw goal.tooSmall(bits: leastBits, bytes: smallest.file, file: checkpoint.path.string)
            }
            room = UInt64(bits * Double(weights) / 8) - smallest.data
        case .bytes(let bytes):
            guard bytes >= smallest.file else {
                throw goal.tooSmall(bits: leastBits, bytes: smallest.file, file: checkpoint.path.string)
            }
            room = bytes - smallest.file
        }
        while true {
            guard let types = SizeAllocation.choose(matrices, within: matrixBytes + room) else { return least }
            let chosen = allocated(open, types)
            // Tensors begin at multiples of 32, and a file may be cut in one more place: both can take more than the matrices alone.
            let (now, limit): (UInt64, UInt64) =
                switch goal {
                case .bitsPerWeight(let bits): (try size(chosen).data, UInt64(bits * Double(weights) / 8))
                case .bytes(let bytes): (try size(chosen).file, bytes)
                }
            if now <= limit { return chosen }
            if now - limit >= room { return least }
            room -= now - limit
        }
    }

    /// The settings with a type for each open matrix.
    private func allocated(_ open: [GGUFPlanner.OpenMatrix], _ types: [Int]) -> GGUFSettings {
        let chosen = zip(open, types).map { (matrix: $0, type: $0.types[$1]) }
        var weights: [BlockType: Int] = [:]
        for (matrix, type) in chosen { weights[type, default: 0] += matrix.tensor.elementCount }
        // `general.file_type` names the type of most weights.
        let most = weights.max { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) }?.key ?? .q8_0
        return settings.allocated(
            .init(mostly: most), chosen.map { .init(NamePattern(name: $0.matrix.tensor.name), .blocks($0.type)) })
    }

    /// Bytes of the data of all tensors, and of all files, with some settings.
    private func size(_ settings: GGUFSettings) throws -> (data: UInt64, file: UInt64) {
        let planner = GGUFPlanner(checkpoint, content, settings, activations.moments)
        let plan = try planner.plan(settings.recipes[0], stem: "model").plan
        let made = content.tensors.reduce(UInt64(0)) { sum, tensor in
            if case .made(let bytes) = tensor.content { sum + UInt64(bytes.count) } else { sum }
        }
        let data = plan.tensors.reduce(made) { sum, tensor in
            sum + tensor.streams.reduce(0) { $0 + UInt64($1.rowBytes * tensor.rows) }
        }
        return (data, plan.byteCount)
    }
}
