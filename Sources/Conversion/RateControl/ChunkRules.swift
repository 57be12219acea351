import Container
import Quantization

/// The rules of a shard's chunks, asked for and recorded in order.
final class ChunkRules {
    private let shard: ConversionPlan.ShardPlan
    private var controllers: [Int: RateController] = [:]

    init(_ shard: ConversionPlan.ShardPlan) { self.shard = shard }

    /// The rule of a chunk that is about to be encoded; nil in other schemes than `trellis`.
    func next(_ job: ChunkJob) -> TrellisRule? {
        guard let rate = shard.rates[job.payload],
            let prologue = shard.layout.payloads[job.payload].descriptor?.prologue
        else { return nil }
        if job.chunk == 0 { controllers[job.payload] = RateController(rate, prologue) }
        return controllers[job.payload]?.nextRule()
    }

    /// Takes note of an encoded chunk.
    func record(_ job: ChunkJob, _ chunk: EncodedChunk) { controllers[job.payload]?.record(chunk) }

    /// The controller of a tensor whose chunks are all recorded.
    func finish(_ job: ChunkJob) -> RateController? { controllers.removeValue(forKey: job.payload) }
}
