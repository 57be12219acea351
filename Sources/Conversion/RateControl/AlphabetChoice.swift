import Container
import Quantization

/// Which alphabets and numbers of row classes to try at a rate of `bits` bits per weight.
enum AlphabetChoice {
    /// The alphabet to try first, with one row class. Without an entropy coder it is always 16.
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

    /// The alphabet of 256 with the next larger number of low bits, so that fewer weights need patches.
    ///
    /// - Returns: nil if the low bits, which are stored uncompressed, would leave less than 0.5 bits per weight for the codes; nil without
    ///   an entropy coder.
    static func wider(_ narrow: TrellisParameters, bits: Double, _ options: EncodingOptions) -> TrellisParameters? {
        guard options.codec.codesEntropy else { return nil }
        let low = narrow.lowBits == 0 ? 2 : narrow.lowBits + 1
        guard TrellisParameters.lowBitCounts.contains(low), Double(low) <= bits - 0.5 else { return nil }
        return parameters(256, low, 1, options)
    }

    /// The alphabets and numbers of row classes to compare on a sample. The first is `chosen`.
    ///
    /// Without an entropy coder: all alphabets whose size is a power of two, with one row class.
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
        // rANS codes all 256 symbols and has row classes of its own: only alphabet 256 with one class.
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
        // Keep this order: neighbours with the same largest symbol share one trellis search (`ProbeWorkspace.tryOut`).
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
