/// What the user can do about an error.
///
/// A step that needs an option of the command is a value: the command words it with flags, `text` words it without flags. Any other step is
/// plain text, so a string literal is a remedy.
package enum Remedy: Sendable, Hashable {
    /// A step in words, without flags.
    case text(String)
    /// A step that needs an option.
    case option(Option)
    /// One step or the other.
    indirect case either(Remedy, or: Remedy)
    /// Two steps, in this order.
    indirect case both(Remedy, Remedy)

    /// The remedy in words.
    ///
    /// - Parameter words: turns a step that needs an option into words.
    package func text(_ words: (Option) -> String) -> String {
        switch self {
        case .text(let text): text
        case .option(let option): words(option)
        case .either(let first, or: let second): "\(first.text(words)), or \(second.text(words))"
        case .both(let first, let second): "\(first.text(words)); \(second.text(words))"
        }
    }

    /// The remedy in words, without flags.
    package var text: String { text(\.text) }
}

extension Remedy: ExpressibleByStringInterpolation {
    /// Makes a step in words from a string literal.
    package init(stringLiteral text: String) { self = .text(text) }
}

extension Remedy {
    /// Turns a step that needs an option into words.
    package typealias Words = @Sendable (Option) -> String

    /// A step that needs an option, named by what it does.
    package enum Option: Sendable, Hashable {
        // Outputs, and the work of an interrupted conversion.
        /// Replace the output that exists.
        case replaceOutput
        /// Discard the finished shards of an earlier run.
        case beginAnew
        /// Run the same conversion again, which keeps the `finished` shards and the `tensors` of unfinished shards, or begin anew.
        case goOn(finished: Int, of: Int, tensors: Int)

        // Sources.
        /// Keep the source instead of deleting its shards.
        case keepSource
        /// Download the source into a directory outside the downloader's cache.
        case downloadApart
        /// Quantize weights that another quantizer has quantized.
        case requantize
        /// Store tensors with NaN or infinity lossless.
        case keepNonFinite
        /// Repair the source, then convert it so that NaN and infinity are refused.
        case convertRepaired
        /// List the tensors of a file that cannot be decoded.
        case listTensors
        /// Name no key of a PyTorch file.
        case leaveOutKey
        /// Name one of these keys of a PyTorch file; `.` is the outermost dict.
        case chooseKey([String])

        // Rates.
        /// Use the default codec.
        case usualCodec
        /// Use the default codec, which reaches every rate.
        case usualCodecForAnyRate
        /// Ask for a whole number of bits.
        case wholeBits(ClosedRange<Int>)
        /// Ask for bits or a relative MSE, which each matrix meets on its own.
        case ratePerMatrix
        /// Make a plan for a relative MSE to see the bits of the tensors.
        case planAtRelativeMSE(Double)

        // Memory and element types.
        /// Allow more memory.
        case moreMemory
        /// Convert with less memory or fewer jobs.
        case lessMemory
        /// Export as 32-bit floating-point numbers.
        case exportAsFloat32
        /// Export under the names of the source, in the order of its rows.
        case keepNames
        /// Let an export use another type where the asked one does not fit.
        case allowFallback

        // Verification and claims.
        /// Compare with the source.
        case compareWithSource
        /// Give a largest relative MSE, or claims, that judge the compared weights.
        case limitError
        /// Name an Ingot checkpoint, or a checkpoint to compare with.
        case nameCheckpointOrSource
        /// Give the report of the conversion, or check the claim while converting.
        case giveConversionReport
        /// Name the report of the conversion that made this checkpoint.
        case nameConversionReport
        /// Give a text, or an evaluation.
        case giveText
        /// Give the text that was meant, or state the hash of another.
        case recordText
        /// Name the evaluation of this checkpoint against its source.
        case nameEvaluation
        /// Let a verification write the claims file.
        case makeClaimsFile
        /// Raise the claimed limit to the measured value, if the cause (`size`, `loss`) is intended.
        case raiseLimit(ifIntended: String)
        /// Set the claimed digest to the new one.
        case recordDigest
    }
}

extension Remedy.Option {
    /// The step in words, without flags.
    package var text: String {
        switch self {
        case .replaceOutput: "have it replaced"
        case .beginAnew: "begin anew"
        case .goOn(let finished, let count, let tensors):
            "\(Remedy.Option.done(finished, of: count, tensors)): the same conversion goes on from there"
        case .keepSource: "convert without consuming the source"
        case .downloadApart: "download into a directory of its own"
        case .requantize: "allow quantizing once more"
        case .keepNonFinite: "keep such tensors lossless"
        case .convertRepaired: "repair the source, and convert it so that NaN and infinity are refused"
        case .listTensors: "an inspection lists its tensors"
        case .leaveOutKey: "name no key"
        case .chooseKey(let keys): "name one of the keys " + keys.prefix(8).joined(separator: ", ")
        case .usualCodec: "take the usual codec"
        case .usualCodecForAnyRate: "take the usual codec for any rate in between"
        case .wholeBits(let bits): "ask for \(bits.lowerBound) to \(bits.upperBound) bits"
        case .ratePerMatrix: "ask for bits or a relative MSE that each matrix meets alone"
        case .planAtRelativeMSE(let error): "see by a plan for a relative MSE of \(error) which tensors take it"
        case .moreMemory: "allow more memory"
        case .lessMemory: "convert with less memory or fewer jobs"
        case .exportAsFloat32: "export as f32"
        case .keepNames: "export under the names of the source"
        case .allowFallback: "allow another type where the asked one does not fit"
        case .compareWithSource: "compare with the source"
        case .limitError: "give a largest relative MSE, or claims"
        case .nameCheckpointOrSource: "name a directory that a conversion made, or name the source to compare it with"
        case .giveConversionReport: "give the report of the conversion, or check the claim while converting"
        case .nameConversionReport: "name the JSON report of the conversion that made this checkpoint"
        case .giveText: "give a text, or an evaluation"
        case .recordText: "give the text that was meant, or state the hash of another one"
        case .nameEvaluation: "name the JSON report of an evaluation of this checkpoint against its source"
        case .makeClaimsFile: "a verification that sets limits makes one"
        case .raiseLimit(let cause): "raise the limit if the \(cause) is intended"
        case .recordDigest: "record the new one"
        }
    }

    /// What is done of a conversion, in words: finished shards, and encoded tensors of unfinished ones.
    package static func done(_ finished: Int, of count: Int, _ tensors: Int) -> String {
        let shards = "\(finished) of \(count) shards"
        let encoded = "\(tensors) \(tensors == 1 ? "tensor" : "tensors")"
        if tensors == 0 { return "\(shards) are done" }
        return finished == 0 ? "\(encoded) \(tensors == 1 ? "is" : "are") done" : "\(shards) and \(encoded) are done"
    }
}
