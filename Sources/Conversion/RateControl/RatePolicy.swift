import Container
import Quantization
import Weights

/// The rules of a shard's chunks: each follows from chunks that were recorded, in order, at least `RateController.lag` before it.
struct RatePolicy: Sendable {
    private let rates: [Int: TensorRate]
    private let prologues: [PayloadPrologue?]
    private var controllers: [Int: RateController] = [:]

    /// The rules of a shard of which nothing was encoded yet.
    init(_ shard: ConversionPlan.ShardPlan) {
        rates = shard.rates
        prologues = shard.layout.payloads.map { $0.descriptor?.prologue }
    }

    /// The rule of a chunk that is about to be encoded; nil in other schemes than `trellis`.
    mutating func rule(of chunk: Int, payload: Int) -> TrellisRule? {
        guard let rate = rates[payload], let prologue = prologues[payload] else { return nil }
        return controllers[payload, default: RateController(rate, prologue)].rule(of: chunk)
    }

    /// Takes note of an encoded chunk, in order.
    mutating func record(_ chunk: EncodedChunk, payload: Int) { controllers[payload]?.record(chunk) }

    /// The controller of a tensor whose chunks are all recorded; nil in other schemes than `trellis`.
    mutating func finish(_ payload: Int) -> RateController? { controllers.removeValue(forKey: payload) }
}
