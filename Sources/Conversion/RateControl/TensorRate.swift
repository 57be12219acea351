import Container
import Quantization
import TensorModel

/// How one tensor of scheme `trellis` will be encoded: what a probe of it found.
struct TensorRate: Sendable, Hashable {
    /// What is to be held.
    var goal: TensorGoal
    /// Alphabet and classes.
    var parameters: TrellisParameters
    /// The step to begin with, and how levels are chosen.
    var rule: TrellisRule
    /// Bits a weight in the chunks' streams, expected at that step.
    var bits: Double
    /// Bits a weight that twice the step saves.
    var slope: Double
    /// Relative MSE expected at that step.
    var relativeMSE: Double
    /// The least step there is sense in: the error at it is nothing against that of the source's own format.
    var leastStep: Double
    /// The largest step: beyond it, the first levels are out of the element type's range.
    var mostStep = Double.infinity
    /// A step at which no weights at all exceed the error that was asked for; infinite where none was.
    var safeStep = Double.infinity

    /// The rate with a step so many octaves larger.
    func shifted(by octaves: Double) -> TensorRate {
        var rate = self
        let step = bounded(Double(rule.step) * ExactMath.exp2(octaves))
        let actual = ExactMath.log2(Double(step) / Double(rule.step))
        rate.rule.step = step
        rate.bits -= slope * actual
        rate.relativeMSE *= ExactMath.exp2(2 * actual)
        return rate
    }

    /// The step nearest to one that is asked for.
    func bounded(_ step: Double) -> Float { TrellisRule.representable(min(max(step, leastStep), mostStep)) }

    /// Bytes of the payload that are expected.
    func expectedBytes(weights: Int, fixedBytes: Int) -> Double { bits * Double(weights) / 8 + Double(fixedBytes) }
}
