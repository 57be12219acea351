import Container
import Quantization

/// The alphabets and classes there is sense in at a rate.
enum AlphabetChoice {
    /// The alphabet that is most probably right.
    static func first(bits: Double, _ options: EncodingOptions) -> TrellisParameters {
        guard options.codec.codesEntropy else { return parameters(16, 0, 1, options) }
        let isRans = options.codec == .rans
        return switch bits {
        case ..<5.9 where isRans: parameters(256, 0, 1, options)
        case ..<1.7: parameters(6, 0, 1, options)
        case ..<4.8: parameters(16, 0, 1, options)
        case ..<5.9: parameters(256, 0, 1, options)
        case ..<7: parameters(256, 2, 1, options)
        case ..<8: parameters(256, 3, 1, options)
        default: parameters(256, 4, 1, options)
        }
    }

    /// The next alphabet that reaches farther, as long as its low bits leave room for the others; nil where there is none.
    static func wider(_ narrow: TrellisParameters, bits: Double, _ options: EncodingOptions) -> TrellisParameters? {
        guard options.codec.codesEntropy else { return nil }
        let low = narrow.lowBits == 0 ? 2 : narrow.lowBits + 1
        guard TrellisParameters.lowBitCounts.contains(low), Double(low) <= bits - 0.5 else { return nil }
        return parameters(256, low, 1, options)
    }

    /// What is measured against each other; the first is `chosen`.
    static func candidates(_ chosen: TrellisParameters, bits: Double, _ options: EncodingOptions)
        -> [TrellisParameters]
    {
        guard options.codec.codesEntropy else {
            return TrellisParameters.alphabets.compactMap {
                TrellisParameters(states: options.states, alphabet: $0).flatMap { $0.fixedWidth == nil ? nil : $0 }
            }
        }
        var alphabets = [(chosen.alphabet, chosen.lowBits)]
        switch bits {
        case ..<2.6: alphabets += [(6, 0), (16, 0)]
        case 4.2..<5.2: alphabets += [(16, 0), (256, 0)]
        case 5.2..<6.5: alphabets += [(256, 0), (256, 2)]
        case 6.5...: alphabets += [(256, chosen.lowBits + 1), (256, chosen.lowBits + 2)]
        default: break
        }
        if chosen.lowBits > 0 { alphabets += [(256, chosen.lowBits == 2 ? 0 : chosen.lowBits - 1)] }
        if chosen.lowBits > 0, bits < 5.2 { alphabets += [(16, 0), (256, 0), (256, chosen.lowBits + 1)] }
        var candidates: [TrellisParameters] = []
        // rANS has tables for every symbol and classes of its own.
        let isRans = options.codec == .rans
        for (alphabet, low) in alphabets where alphabet == 256 || !isRans {
            for classes in isRans ? [1] : [1, 2, 3, 4] {
                guard
                    let next = TrellisParameters(
                        states: options.states, alphabet: alphabet, lowBits: low, rowClasses: classes),
                    !candidates.contains(next)
                else { continue }
                candidates.append(next)
            }
        }
        // Same range of symbols, same search: neighbours in this order share one.
        return [chosen] + candidates.filter { $0 != chosen }
    }

    private static func parameters(
        _ alphabet: Int, _ low: Int, _ classes: Int, _ options: EncodingOptions
    ) -> TrellisParameters {
        guard
            let parameters = TrellisParameters(
                states: options.states, alphabet: alphabet, lowBits: low, rowClasses: classes)
        else { preconditionFailure("no such alphabet") }
        return parameters
    }
}
