import Checkpoints
import Container
import Moments
import Quantization
import SystemPackage
import TensorModel
import Weights

/// How the calibrated tensors of a conversion are encoded. All shards share the factors.
struct ShardCalibration: Sendable {
    private let moments: CalibrationMoments
    private let cache: FactorCache

    /// Prepares to encode; makes no factors yet.
    init(_ moments: CalibrationMoments, _ budget: MemoryBudget) {
        self.moments = moments
        cache = FactorCache(moments, maximumBytes: budget.factorBytes)
    }

    /// How a tensor is encoded.
    ///
    /// - Throws: `momentsInvalid`; errors of reading.
    func encoding(of tensor: StoredTensor) throws -> CalibratedEncoding {
        guard let input = moments.input(of: tensor) else {
            throw IngotError(
                .momentsInvalid, file: moments.file.path.string, tensor: tensor.name,
                found: "no moments of its input", expected: "those that its plan is made for")
        }
        return try cache.encoding(of: input, tensor.name, rowBytes: [])
    }

    /// Adds the time that a worker spent on encoding.
    func add(_ times: FeedbackTimes) { moments.effort.add(times) }

    /// The payload of a tensor in the first phase, and its shard.
    func earlier(_ name: TensorName) -> (payload: SealedShard.Payload, shard: SealedShard)? {
        moments.phase?.payload(of: name)
    }
}
