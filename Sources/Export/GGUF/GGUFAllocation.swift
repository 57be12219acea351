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
    /// - Parameter activations: a calibration with gradients.
    init(
        _ checkpoint: OpenedCheckpoint, _ content: GGUFContent, _ settings: GGUFSettings,
        _ activations: ExportActivations, _ goal: SizeGoal
    ) {
        (self.checkpoint, self.content, self.settings) = (checkpoint, content, settings)
        (self.activations, self.goal) = (activations, goal)
    }

    /// The settings with a type for each matrix.
    ///
    /// - Parameters:
    ///   - memory: bytes of buffers at most.
    ///   - jobs: matrices measured at the same time.
    ///   - progress: called with a matrix when a part of it was measured.
    /// - Throws: `usage` for a size that the smallest types do not reach; errors of planning, reading and measuring.
    func settings(
        memory: UInt64, jobs: Int, progress: @escaping (TensorName) -> Void
    ) async throws -> GGUFSettings {
        let planner = GGUFPlanner(checkpoint, content, settings, activations.moments)
        let open = try planner.openMatrices()
        let errors = try ExportErrors(checkpoint, open.map(\.candidate), activations, memory: memory, jobs: jobs)
        let matrices = try await errors.matrices(progress: progress)
        let types = try SizeAllocation.types(
            of: matrices, for: goal, weights: content.tensors.reduce(0) { $0 + $1.elementCount },
            file: checkpoint.path.string
        ) { try size(allocated(open, $0)) }
        return allocated(open, types)
    }

    /// The settings with a type for each open matrix.
    private func allocated(_ open: [GGUFPlanner.OpenMatrix], _ types: [Int]) -> GGUFSettings {
        let chosen = zip(open, types).map { (matrix: $0, type: $0.types[$1]) }
        var weights: [BlockType: Int] = [:]
        for (matrix, type) in chosen { weights[type, default: 0] += matrix.candidate.weights }
        // `general.file_type` names the type of most weights.
        let most = weights.max { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) }?.key ?? .q8_0
        return settings.allocated(
            .init(mostly: most), chosen.map { .init(NamePattern(name: $0.matrix.candidate.name), .blocks($0.type)) })
    }

    /// Bytes of the data of all tensors, and of all files, with some settings.
    private func size(_ settings: GGUFSettings) throws -> SizeAllocation.OutputSize {
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
