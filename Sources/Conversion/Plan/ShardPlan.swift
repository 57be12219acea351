package import Checkpoints
package import Container
import Quantization
import TensorModel

extension ConversionPlan {
    /// The plan of one output shard.
    package struct ShardPlan: Sendable {
        /// Position among the shards of the checkpoint, from 0.
        package let position: Int
        /// The shard of the source.
        package let source: Shard
        /// Name of the output file.
        package let outputName: String
        /// The tensors, and their order in the output.
        package internal(set) var layout: ShardLayout
        /// The encoding of each payload, in the order of the layout.
        var encodings: [TensorEncoding]

        /// Whether the goal is a rate or size for all matrices together, so that each payload has a share of the bytes.
        let sharesBytes: Bool
        /// The largest relative MSE that any tensor may end with.
        let maximumError: Double

        /// Plans a shard without rates.
        init(at position: Int, _ source: Shard, outputName: String, _ layout: ShardLayout, _ options: EncodingOptions) {
            self.position = position
            self.source = source
            self.outputName = outputName
            self.layout = layout
            encodings = layout.payloads.map { $0.descriptor.map { TensorEncoding($0.scheme) } ?? .lossless(nil) }
            sharesBytes = options.goal.isShared && options.scheme == .trellis
            maximumError =
                options.scheme == .trellis ? options.goal.maximumError : RateGoal.errorRange.upperBound
        }

        /// Whether rates must be planned before the shard can be encoded.
        var needsRates: Bool {
            encodings.contains(.trellis(nil)) && encodings.allSatisfy { $0.rate == nil }
        }

        /// Upper bound of the bytes of all payloads, by their shares of a size for the whole checkpoint.
        var maximumBytes: UInt64 { UInt64(encodings.reduce(0.0) { $0 + $1.maximumBytes }) }

        /// The plan with lower goals of the payloads whose size follows their step, because others took more than their share.
        ///
        /// - Parameter excess: bytes above `maximumBytes`.
        /// - Returns: nil if these payloads would lose 20 % of their streams or more.
        func tightened(by excess: UInt64) -> ShardPlan? {
            // A payload ends at a multiple of 64 bytes, and a goal is met within a fraction of a percent: take some more.
            let needed = Double(excess) * 1.1 + 128
            let available = encodings.indices.reduce(0.0) { $0 + streamBytes(of: $1) }
            guard needed < available * 0.2 else { return nil }
            var shard = self
            for (payload, encoding) in encodings.enumerated() {
                let bytes = streamBytes(of: payload)
                guard bytes > 0, let rate = encoding.rate else { continue }
                let taken = bytes * needed / available
                let weights = Double(layout.payloads[payload].tensor.shape.elementCount)
                var tighter = rate.shifted(by: min(taken * 8 / weights / rate.slope, 8))
                let goal = rate.goal
                tighter.goal = TensorGoal(
                    quantity: .bytes, maximum: goal.maximum - taken, aim: goal.aim - taken,
                    minimum: goal.minimum - taken)
                shard.encodings[payload] = .trellis(tighter)
            }
            return shard
        }

        /// The planned bytes of the streams of a payload; 0 if its size does not follow its step.
        private func streamBytes(of payload: Int) -> Double {
            guard let goal = encodings[payload].rate?.goal, goal.quantity == .bytes, let bytes = goal.maximumBytes
            else { return 0 }
            return max(0, bytes - Double(layout.payloads[payload].descriptor?.prologue.fixedBytes ?? 0))
        }
    }
}
