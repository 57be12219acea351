import TensorModel

/// The size or the error that a conversion with scheme `trellis` must meet.
package enum RateGoal: Sendable, Hashable {
    /// Bits per weight of each matrix, its whole payload counted. Embeddings and heads get two bits more, at most 8.
    case bits(Double)
    /// Bits per weight over all quantized matrices together. All get the same relative MSE, embeddings and heads 1/16 of it.
    case averageBits(Double)
    /// Relative MSE of each matrix; embeddings and heads get 1/16 of it.
    case relativeMSE(Double)
    /// Bytes of the whole output directory. All matrices get the same relative MSE, embeddings and heads 1/16 of it.
    case totalBytes(UInt64)

    /// The rates, in bits per weight, that can be asked for.
    package static let bitsRange = 1.0...8.5
    /// The values of the relative MSE that can be asked for.
    package static let errorRange = 1e-6...0.5
    /// Below this rate in bits per weight, the tables of a small matrix leave few bytes for its weights. A relative MSE of up to 0.9 is
    /// then accepted.
    private static let lowestBits = 1.25

    /// The largest relative MSE that any matrix may end with: 0.5, or 0.9 for rates below `lowestBits`.
    var maximumError: Double {
        switch self {
        case .bits(let bits), .averageBits(let bits): bits < RateGoal.lowestBits ? 0.9 : RateGoal.errorRange.upperBound
        case .relativeMSE, .totalBytes: RateGoal.errorRange.upperBound
        }
    }

    /// The relative MSE of embeddings and heads divided by that of other matrices. 1/16 corresponds to two bits per weight.
    static let embeddingErrorFactor = 1.0 / 16

    /// Whether the bytes of each matrix depend on all other matrices.
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

/// The goal of one tensor, with the interval of values that is accepted.
struct TensorGoal: Sendable, Hashable {
    /// The quantity that a goal is about.
    enum Quantity: String, Sendable, Hashable {
        /// Bytes of the payload.
        case bytes
        /// Relative MSE.
        case error
        /// None: the step is fixed. Every chunk was encoded with it once, so the bytes are known.
        case step
    }

    /// The quantity of `maximum`, `aim` and `minimum`. If it is `step`, they are bytes.
    let quantity: Quantity
    /// The maximum, the value to aim at, and the least value that is accepted.
    let maximum: Double, aim: Double, minimum: Double

    /// From this many weights on, a tensor may be 0.5 % below its maximum; smaller tensors may be 1 % below.
    private static let largeTensor = 500_000
    /// From this many weights on, `RateController` corrects the step often enough to meet the maximum precisely.
    private static let correctedTensor = 1 << 24
    /// Below this many weights, the fixed bytes of a tensor and 32 bytes of short streams are added to the maximum.
    private static let tinyTensor = 4096
    private static let minimumStreamBytes = 32

    /// A goal in bytes: at most `bits` bits per weight, and at least 99.5 % of that (99 % below 500,000 weights).
    ///
    /// - Parameter fixedBytes: bytes of prologue, chunk table and padding. If they take more than a quarter of the size, the maximum is
    ///   three quarters of the size plus these bytes (Specs/trellis.md, section 7).
    static func bits(_ bits: Double, weights: Int, fixedBytes: Int) -> TensorGoal {
        bytes(bits * Double(weights) / 8, weights: weights, fixedBytes: fixedBytes)
    }

    /// At most `asked` bytes; `bits` describes the parameters.
    static func bytes(_ asked: Double, weights: Int, fixedBytes: Int) -> TensorGoal {
        let withFixed =
            weights < tinyTensor
            ? asked + Double(fixedBytes + minimumStreamBytes) : asked * 0.75 + Double(fixedBytes)
        let maximum = max(asked, withFixed).rounded(.down)
        // Small tensors get no in-flight correction, so aim near the centre of the accepted interval; a miss means encoding again.
        let aim = weights >= correctedTensor ? 0.9995 : weights >= largeTensor ? 0.9975 : 0.997
        return TensorGoal(
            quantity: .bytes, maximum: maximum, aim: maximum * aim,
            minimum: minimum(maximum * (weights >= largeTensor ? 0.995 : 0.99), maximum, weights: weights))
    }

    /// The least bytes that a goal accepts. A payload ends at a multiple of 64 bytes, so a tiny tensor that has no room for 64 bytes more meets
    /// its goal: models have thousands of such tensors, and a search would try each of them many times in vain.
    static func minimum(_ minimum: Double, _ maximum: Double, weights: Int) -> Double {
        weights < tinyTensor ? max(0, min(minimum, maximum - 63)) : minimum
    }

    /// A relative MSE of at most `error`, and at least 0.99 of it.
    static func error(_ error: Double) -> TensorGoal {
        TensorGoal(quantity: .error, maximum: error, aim: error * 0.997, minimum: error * 0.99)
    }

    /// A fixed step, at which the payload has `byteCount` bytes.
    static func step(byteCount: Int) -> TensorGoal {
        TensorGoal(quantity: .step, maximum: Double(byteCount), aim: Double(byteCount), minimum: Double(byteCount))
    }

    /// Upper bound of the payload in bytes; nil if the goal is an error, or if codes of a fixed width set no limit.
    var maximumBytes: Double? { quantity == .error || !maximum.isFinite ? nil : maximum }

    /// Compares a value with the goal: 1 if it is above `maximum`, -1 if it is below `minimum`, otherwise 0.
    func side(of value: Double) -> Int {
        guard quantity != .step else { return 0 }
        return value > maximum ? 1 : value < minimum ? -1 : 0
    }
}
