import TensorModel

/// What a conversion with scheme `trellis` is asked to hold.
package enum RateGoal: Sendable, Hashable {
    /// Bits per weight of each matrix, all of its payload counted; embeddings and heads have two more, at most 8.
    case bits(Double)
    /// Bits per weight over all quantized matrices together, all of them at one relative MSE, embeddings and heads at 1/16 of it.
    case averageBits(Double)
    /// Relative MSE of each matrix; 1/16 of it for embeddings and heads.
    case relativeMSE(Double)
    /// Bytes of the whole output directory, at one relative MSE, embeddings and heads at 1/16 of it.
    case totalBytes(UInt64)

    /// Bits per weight that can be asked for.
    package static let bitsRange = 1.0...8.5
    /// Relative errors that can be asked for.
    package static let errorRange = 1e-6...0.5
    /// Bits per weight below which a small matrix, whose tables take a part of them, may lose most of its energy: that was asked for.
    private static let lowestBits = 1.25

    /// The largest relative MSE that a matrix may end with.
    var mostError: Double {
        switch self {
        case .bits(let bits), .averageBits(let bits): bits < RateGoal.lowestBits ? 0.9 : RateGoal.errorRange.upperBound
        case .relativeMSE, .totalBytes: RateGoal.errorRange.upperBound
        }
    }

    /// What an embedding's or a head's error is multiplied with: two bits' worth.
    static let embeddingErrorFactor = 1.0 / 16

    /// Whether what a matrix gets hangs on all the others.
    var isShared: Bool {
        switch self {
        case .bits, .relativeMSE: false
        case .averageBits, .totalBytes: true
        }
    }

    /// The goal as the manifest and `config.json` record it.
    var record: JSONValue.Member {
        switch self {
        case .bits(let bits): .init("bits", .number(bits))
        case .averageBits(let bits): .init("bits_per_weight", .number(bits))
        case .relativeMSE(let error): .init("relative_mse", .number(error))
        case .totalBytes(let bytes): .init("target_size", .unsigned(bytes))
        }
    }
}

/// What one tensor is to hold, and how far it may be off.
struct TensorGoal: Sendable, Hashable {
    enum Quantity: String, Sendable, Hashable {
        /// Bytes of the payload.
        case bytes
        /// Relative MSE.
        case error
        /// The step: every chunk was encoded with it once, and the bytes are known.
        case step
    }

    /// What is held.
    let quantity: Quantity
    /// The most it may be, what is aimed at, and the least that is accepted.
    let most: Double, aim: Double, least: Double

    /// Weights from which on a tensor holds its rate within half a percent.
    private static let largeTensor = 500_000
    /// Weights from which on a tensor has so many chunks that the last of them make up for the first.
    private static let correctedTensor = 1 << 24
    /// Weights below which a tensor's fixed bytes come on top of all of its bits, with some for streams that do not fill a few bytes.
    private static let tinyTensor = 4096
    private static let leastStreamBytes = 32

    /// So many bits a weight, and never more; but the fixed bytes of a small matrix come on top of three quarters of it.
    static func bits(_ bits: Double, weights: Int, fixedBytes: Int) -> TensorGoal {
        bytes(bits * Double(weights) / 8, weights: weights, fixedBytes: fixedBytes)
    }

    /// So many bytes, and never more; see `bits`.
    static func bytes(_ asked: Double, weights: Int, fixedBytes: Int) -> TensorGoal {
        let withFixed =
            weights < tinyTensor
            ? asked + Double(fixedBytes + leastStreamBytes) : asked * 0.75 + Double(fixedBytes)
        let most = max(asked, withFixed).rounded(.down)
        // In the middle of what is accepted, where nothing but the probe brings it there: a miss costs a second pass.
        let aim = weights >= correctedTensor ? 0.9995 : weights >= largeTensor ? 0.9975 : 0.997
        return TensorGoal(
            quantity: .bytes, most: most, aim: most * aim, least: most * (weights >= largeTensor ? 0.995 : 0.99))
    }

    /// A relative MSE, and never more.
    static func error(_ error: Double) -> TensorGoal {
        TensorGoal(quantity: .error, most: error, aim: error * 0.997, least: error * 0.99)
    }

    /// A step that stays; the payload has `byteCount` bytes.
    static func step(byteCount: Int) -> TensorGoal {
        TensorGoal(quantity: .step, most: Double(byteCount), aim: Double(byteCount), least: Double(byteCount))
    }

    /// Bytes of the payload at most; nil where an error is held, or codes of a fixed width have any size.
    var mostBytes: Double? { quantity == .error || !most.isFinite ? nil : most }

    /// Where a value is: 0 within bounds, -1 below, 1 above.
    func side(of value: Double) -> Int {
        guard quantity != .step else { return 0 }
        return value > most ? 1 : value < least ? -1 : 0
    }
}
