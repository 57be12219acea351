import Container
import Quantization
import Synchronization

/// The rules of a shard's chunks, asked for and recorded in order.
///
/// Asked for by one worker while another records: everything behind the lock, hence the unchecked conformance.
final class ChunkRules: @unchecked Sendable {
    private let shard: ConversionPlan.ShardPlan
    private let lock = Mutex<Void>(())
    private var controllers: [Int: RateController] = [:]

    init(_ shard: ConversionPlan.ShardPlan) { self.shard = shard }

    /// The rule of a chunk that is about to be encoded; nil in other schemes than `trellis`.
    func next(_ job: ChunkJob) -> TrellisRule? {
        guard let rate = shard.rates[job.payload],
            let prologue = shard.layout.payloads[job.payload].descriptor?.prologue
        else { return nil }
        return lock.withLock { _ in
            if job.chunk == 0 { controllers[job.payload] = RateController(rate, prologue) }
            return controllers[job.payload]?.nextRule()
        }
    }

    /// Takes note of an encoded chunk.
    func record(_ job: ChunkJob, _ chunk: EncodedChunk) {
        lock.withLock { _ in controllers[job.payload]?.record(chunk) }
    }

    /// The controller of a tensor whose chunks are all recorded; nobody else has it then.
    func finish(_ job: ChunkJob) -> RateController? {
        lock.withLock { _ in controllers.removeValue(forKey: job.payload) }
    }
}
