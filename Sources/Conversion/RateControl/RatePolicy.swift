import Container
import Quantization
import Weights

/// The rules (step, dead zone, shrink) of a shard's chunks.
///
/// A caller asks for rules and records encoded chunks in order. When it asks for the rule of a chunk, the chunks of the tensor that are
/// `RateController.lag` or more before it must be recorded. The rule depends on those chunks only.
struct RatePolicy: Sendable {
    private let rates: [TensorRate?]
    private let prologues: [PayloadPrologue?]
    private var controllers: [Int: RateController] = [:]

    /// Prepares the rules of a shard before its first chunk is encoded.
    ///
    /// - Parameters:
    ///   - rates: the rate of each payload; nil for schemes other than `trellis`.
    ///   - prologues: the prologue of each payload.
    init(_ rates: [TensorRate?], _ prologues: [PayloadPrologue?]) { (self.rates, self.prologues) = (rates, prologues) }

    /// The rule of the next chunk of a payload, in order; nil for schemes other than `trellis`.
    mutating func rule(of chunk: Int, payload: Int) -> TrellisRule? {
        guard let rate = rates[payload], let prologue = prologues[payload] else { return nil }
        return controllers[payload, default: RateController(rate, prologue)].rule(of: chunk)
    }

    /// Records the size and the error of an encoded chunk, in order.
    mutating func record(_ chunk: EncodedChunk, payload: Int) { controllers[payload]?.record(chunk) }

    /// Removes and returns the controller of a payload after its last chunk is recorded; nil for schemes other than `trellis`.
    mutating func finish(_ payload: Int) -> RateController? { controllers.removeValue(forKey: payload) }
}
