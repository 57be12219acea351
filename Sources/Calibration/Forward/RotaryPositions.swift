import Products
import TensorModel

/// Rotary positions (Su et al., "RoFormer", 2021): pairs of numbers of a head are turned by an angle that grows with the position.
struct RotaryPositions: Sendable {
    /// Cosines and sines: positions x (headSize / 2).
    private let cosines: [Float], sines: [Float]
    /// Sines of the opposite angles.
    private let negativeSines: [Float]
    private let headSize: Int
    private let turnsNeighbours: Bool

    /// The angles of positions 0 to `count` - 1.
    ///
    /// Angle i of position p is p * base^(-2 i / headSize), scaled as the hyperparameters say.
    init(_ h: ModelHyperparameters, count: Int, turnsNeighbours: Bool) {
        headSize = h.headSize
        self.turnsNeighbours = turnsNeighbours
        let half = h.headSize / 2
        let frequencies = (0..<half).map { index -> Float in
            let frequency = 1 / Activation.power(h.rotaryBase, Double(2 * index) / Double(h.headSize))
            return Float(RotaryPositions.scaled(Double(Float(frequency)), h.rotaryScaling))
        }
        var (cosines, sines): ([Float], [Float]) = ([], [])
        for position in 0..<count {
            for frequency in frequencies {
                let (cosine, sine) = Activation.turn(Float(position) * frequency)
                cosines.append(cosine)
                sines.append(sine)
            }
        }
        (self.cosines, self.sines, negativeSines) = (cosines, sines, sines.map { -$0 })
    }

    /// A frequency after scaling; the rule of Llama 3 is that of `_compute_llama3_parameters` in transformers.
    private static func scaled(_ frequency: Double, _ scaling: ModelHyperparameters.RotaryScaling) -> Double {
        switch scaling {
        case .none: return frequency
        case .linear(let factor): return frequency / factor
        case .llama3(let factor, let low, let high, let context):
            let wavelength = 2 * Double.pi / frequency
            if wavelength < context / high { return frequency }
            if wavelength > context / low { return frequency / factor }
            let share = (context / wavelength - low) / (high - low)
            return (1 - share) * frequency / factor + share * frequency
        }
    }

    /// Turns all heads of all tokens; the position of a token is its index in its sequence of `context` tokens.
    func apply(to states: inout TokenStates, context: Int) { turn(&states, context, sines) }

    /// Turns all heads back. It takes gradients at turned states to gradients at the states before.
    func turnBack(_ states: inout TokenStates, context: Int) { turn(&states, context, negativeSines) }

    private func turn(_ states: inout TokenStates, _ context: Int, _ sines: [Float]) {
        let half = headSize / 2
        let (tokens, width) = (states.tokens, states.width)
        var numbers = states.values.mutableSpan
        for token in 0..<tokens {
            let angles = token % context * half
            for head in stride(from: token * width, to: (token + 1) * width, by: headSize) {
                Elementwise.turn(
                    &numbers, from: head, cosines.span.extracting(angles..<angles + half),
                    sines.span.extracting(angles..<angles + half), neighbours: turnsNeighbours)
            }
        }
    }
}
