import Container
import Quantization
import TensorModel

/// Checks, by the bytes that were written, that the output meets what the options ask for. It runs before publishing.
struct PromiseCheck {
    private let options: EncodingOptions
    private let report: ConversionReport
    private let totalBytes: UInt64

    /// Prepares the check.
    ///
    /// - Parameter totalBytes: bytes of the whole output directory, the manifest included.
    init(_ options: EncodingOptions, _ report: ConversionReport, totalBytes: UInt64) {
        self.options = options
        self.report = report
        self.totalBytes = totalBytes
    }

    /// Checks every tensor, then the rate or size of all together.
    ///
    /// - Throws: `goalUnreachable`; it names the tensor, or the size.
    func run() throws {
        for tensor in report.tensors { try check(tensor) }
        guard options.scheme == .trellis else { return }
        switch options.goal {
        case .bits(let bits): try checkCalibrated(bits)
        case .relativeMSE: break
        case .averageBits(let bits): try checkAverage(bits)
        case .totalBytes(let bytes):
            guard totalBytes <= bytes else {
                throw failure("an output of \(totalBytes) bytes", "at most \(bytes), as asked for")
            }
        }
    }

    private func check(_ tensor: ConversionReport.Tensor) throws {
        let error = tensor.descriptor.calibrated?.sums.relativeError ?? tensor.descriptor.sums.relativeMSE
        let choice = choice(tensor)
        var maximum = options.scheme == .trellis ? options.goal.maximumError : RateGoal.errorRange.upperBound
        if options.scheme == .trellis, choice.ownBits == nil, case .relativeMSE(let asked) = options.goal {
            maximum = asked * (choice.isEmbeddingOrHead ? RateGoal.embeddingErrorFactor : 1)
        }
        guard error <= maximum else {
            let measure = tensor.descriptor.calibrated == nil ? "relative MSE" : "relative error over activations"
            throw failure("a \(measure) of \(error)", "at most \(maximum)", tensor.name)
        }
        guard case .trellis = choice.scheme, options.codec.codesEntropy, let asked = asked(choice),
            !isKeptForNonFinite(tensor), !sharesBits(tensor)
        else { return }
        let bytes = maximumBytes(tensor, asked)
        guard Double(tensor.byteCount) <= bytes else {
            throw failure("\(tensor.byteCount) bytes", "at most \(bytes)", tensor.name)
        }
    }

    /// Whether a calibrated tensor shares its bits with the other linear layers.
    private func sharesBits(_ tensor: ConversionReport.Tensor) -> Bool {
        let choice = choice(tensor)
        return tensor.descriptor.calibrated != nil && choice.ownBits == nil && !choice.isEmbeddingOrHead
    }

    /// Requires the average rate of the calibrated linear layers.
    private func checkCalibrated(_ bits: Double) throws {
        let tensors = report.tensors.filter(sharesBits)
        let taken = tensors.reduce(0.0) { $0 + Double($1.byteCount) }
        let maximum = tensors.reduce(0.0) { $0 + Double($1.descriptor.shape.elementCount) * bits / 8 }
        let allowed = tensors.reduce(0.0) { $0 + maximumBytes($1, bits) }
        guard taken <= max(maximum, allowed) else {
            throw failure(
                "\(taken * 8 / (maximum * 8 / bits)) bits per weight of the linear layers",
                "at most \(bits), as asked for")
        }
    }

    /// The bits per weight that were asked for; nil if another goal decides.
    private func asked(_ choice: TensorChoice) -> Double? {
        if case .bits(let bits) = options.goal { return choice.bits(bits) }
        return choice.ownBits
    }

    private func choice(_ tensor: ConversionReport.Tensor) -> TensorChoice {
        DefaultRecipe.choice(tensor.name, tensor.descriptor.elementType, tensor.descriptor.shape, options)
    }

    /// Requires the average rate, over all matrices or over those that are not `lossless` for NaN or infinity: either is enough.
    private func checkAverage(_ bits: Double) throws {
        let holds = [report.tensors, report.tensors.filter { !isKeptForNonFinite($0) }].contains { tensors in
            let taken = tensors.reduce(0.0) { $0 + Double($1.byteCount) }
            return taken <= tensors.reduce(0.0) { $0 + maximumBytes($1, bits) }
        }
        guard holds else {
            throw failure("\(report.bitsPerWeight ?? 0) bits per weight", "at most \(bits), as asked for")
        }
    }

    /// Upper bound of a payload at `bits` bits per weight. It is the bound for scheme `trellis` whatever the scheme is.
    private func maximumBytes(_ tensor: ConversionReport.Tensor, _ bits: Double) -> Double {
        var planned = tensor.descriptor
        planned.codec = options.codec
        planned.scheme = choice(tensor).scheme ?? planned.scheme
        return TensorGoal.bits(
            bits, weights: planned.shape.elementCount, fixedBytes: planned.prologue.fixedBytes
        ).maximum
    }

    /// Whether a tensor may be `lossless` because it has NaN or infinity: no rate is promised for it.
    private func isKeptForNonFinite(_ tensor: ConversionReport.Tensor) -> Bool {
        options.nonFinite == .keep && tensor.descriptor.scheme == .lossless
    }

    private func failure(_ found: String, _ expected: String, _ tensor: TensorName? = nil) -> IngotError {
        IngotError(.goalUnreachable, tensor: tensor, found: found, expected: expected)
    }
}
