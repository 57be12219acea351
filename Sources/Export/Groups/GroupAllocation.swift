import Architectures
import Checkpoints
import FileAccess
import Moments
import Quantization
import SystemPackage
import TensorModel
import Weights

/// Chooses the bits of each matrix of an export in groups, so that it has a size and loses little (Specs/exports.md, "Types by measured
/// loss").
struct GroupAllocation {
    private let checkpoint: OpenedCheckpoint
    private let settings: GroupSettings
    private let activations: ExportActivations
    private let goal: SizeGoal
    private let plan: (GroupSettings) throws -> GroupPlan

    /// A matrix whose bits are open, and the bits that it can have.
    private struct OpenMatrix {
        let bits: [Int]
        let candidate: ExportErrors.Candidate
    }

    /// Prepares an allocation.
    ///
    /// - Parameters:
    ///   - activations: a calibration with gradients.
    ///   - plan: plans the export with some settings.
    init(
        _ checkpoint: OpenedCheckpoint, _ settings: GroupSettings, _ activations: ExportActivations, _ goal: SizeGoal,
        plan: @escaping (GroupSettings) throws -> GroupPlan
    ) {
        (self.checkpoint, self.settings, self.activations) = (checkpoint, settings, activations)
        (self.goal, self.plan) = (goal, plan)
    }

    /// The settings with bits for each matrix.
    ///
    /// - Parameters:
    ///   - memory: bytes of buffers at most.
    ///   - jobs: matrices measured at the same time.
    ///   - progress: called with a matrix when a part of it was measured.
    /// - Throws: `usage` for a size that the fewest bits do not reach; errors of planning, reading and measuring.
    func settings(
        memory: UInt64, jobs: Int, progress: @escaping (TensorName) -> Void
    ) async throws -> GroupSettings {
        let first = try plan(settings)
        let open = openMatrices(first.plan)
        let errors = try ExportErrors(checkpoint, open.map(\.candidate), activations, memory: memory, jobs: jobs)
        let matrices = try await errors.matrices(progress: progress)
        let weights = first.plan.tensors.reduce(0) { $0 + $1.rows * $1.columns }
        let bits = try SizeAllocation.types(of: matrices, for: goal, weights: weights, file: checkpoint.path.string) {
            let made = try plan(allocated(open, $0))
            return (made.dataBytes, made.plan.byteCount)
        }
        return allocated(open, bits)
    }

    /// The matrices that become groups made of weights, unless an override names them.
    private func openMatrices(_ plan: ExportPlan) -> [OpenMatrix] {
        // A tied head has no tensor of its own.
        let hasHead = plan.tensors.contains { TensorRole($0.name).kind == .head }
        return plan.tensors.compactMap { tensor in
            guard case .groups(let groups) = tensor.encoding,
                !settings.overrides.contains(where: { $0.pattern.matches(tensor.name) })
            else { return nil }
            let kind = TensorRole(tensor.name).kind
            let candidates = GroupSettings.bits(of: settings.runtime).map(groups.with(bits:)).filter {
                $0.fits(columns: tensor.columns)
            }
            return OpenMatrix(
                bits: candidates.map(\.bits),
                candidate: .init(
                    name: tensor.name, columns: tensor.columns, weights: tensor.rows * tensor.columns,
                    sources: tensor.sources, isHead: kind == .head || kind == .embedding && !hasHead,
                    encodings: candidates.map { .groups($0) },
                    bytes: candidates.map {
                        UInt64($0.rowBytes(columns: tensor.columns).reduce(0, +) * tensor.rows)
                    }))
        }
    }

    /// The settings with bits for each open matrix; the bits of most weights stand for the whole.
    private func allocated(_ open: [OpenMatrix], _ choices: [Int]) -> GroupSettings {
        let chosen = zip(open, choices).map { (matrix: $0, bits: $0.bits[$1]) }
        var weights: [Int: Int] = [:]
        for (matrix, bits) in chosen { weights[bits, default: 0] += matrix.candidate.weights }
        let most = weights.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key ?? settings.bits
        return settings.allocated(
            bits: most, chosen.map { .init(NamePattern(name: $0.matrix.candidate.name), bits: $0.bits) })
    }
}
