import Container
import Quantization
import TensorModel

/// How one tensor of scheme `trellis` will be encoded, with the size and the error that a probe (`TensorProbe`) predicts.
struct TensorRate: Sendable, Hashable {
    /// The bytes or the relative MSE that the payload must meet.
    var goal: TensorGoal
    /// Number of states, alphabet, low bits, and row classes.
    var parameters: TrellisParameters
    /// The planned step, with the dead zone and the shrink. A `RateController` may change the step of each chunk.
    var rule: TrellisRule
    /// Predicted bits per weight of the streams at `rule.step`. Prologue, chunk table and padding are not included.
    var bits: Double
    /// Bits per weight that are saved when the step doubles: about 1.
    var slope: Double
    /// Predicted relative MSE at `rule.step`.
    var relativeMSE: Double
    /// The smallest step: 2^-13 of the RMS of the weights. Its relative MSE, about 4e-9, is below the rounding error of fp16.
    var minimumStep: Double
    /// The largest step: half the largest finite value of the element type, so that level 2 is still in range.
    var maximumStep = Double.infinity
    /// A step that meets a goal in relative MSE whatever the weights are; infinite if the goal is another quantity.
    var safeStep = Double.infinity

    /// The rate with the step times 2^`octaves`, bounded by `minimumStep` and `maximumStep`.
    ///
    /// Bits per weight fall by `slope` per octave of the step; the relative MSE grows by a factor of 4.
    func shifted(by octaves: Double) -> TensorRate {
        var rate = self
        let step = bounded(Double(rule.step) * ExactMath.exp2(octaves))
        let actual = ExactMath.log2(Double(step) / Double(rule.step))
        rate.rule.step = step
        rate.bits -= slope * actual
        rate.relativeMSE *= ExactMath.exp2(2 * actual)
        return rate
    }

    /// `step` bounded by `minimumStep` and `maximumStep`, and rounded to a step that encoders use (`TrellisRule.representable`).
    func bounded(_ step: Double) -> Float { TrellisRule.representable(min(max(step, minimumStep), maximumStep)) }

    /// Predicted bytes of the payload: streams plus `fixedBytes` (prologue, chunk table and padding).
    func expectedBytes(weights: Int, fixedBytes: Int) -> Double { bits * Double(weights) / 8 + Double(fixedBytes) }
}
