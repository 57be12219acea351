import TensorModel

/// Words of remedies. Only this file names flags in remedies; the layers below name actions.
enum RemedyText {
    /// Words for a remedy, with flags of the command.
    static let words: Remedy.Words = { option in
        switch option {
        case .replaceOutput: "replace it with --force"
        case .beginAnew: "begin anew with --restart"
        case .goOn(let finished, let count, let tensors):
            "\(Remedy.Option.done(finished, of: count, tensors)): the same command goes on from there (--restart begins anew)"
        case .keepSource: "convert without --consume-source"
        case .downloadApart: "download into a directory of its own (hf download --local-dir)"
        case .requantize: "give --allow-requantize"
        case .keepNonFinite: "keep such tensors lossless with --on-nonfinite keep"
        case .convertRepaired: "repair the source, and convert it with --on-nonfinite fail"
        case .listTensors: "`ingot inspect` lists its tensors"
        case .leaveOutKey: "leave out --key"
        case .chooseKey(let keys):
            "choose with " + keys.prefix(8).map { "--key \($0.prefix(40))" }.joined(separator: " or ")
                + " (. is the outermost dict)"
        case .usualCodec: "leave out --codec"
        case .usualCodecForAnyRate: "leave out --codec for any rate in between"
        case .wholeBits(let bits): "give --bits \(bits.lowerBound) to \(bits.upperBound)"
        case .ratePerMatrix: "ask for --bits or --relative-mse"
        case .planAtRelativeMSE(let error): "see by `ingot plan --relative-mse \(error)` which tensors take it"
        case .moreMemory: "give more with --max-memory"
        case .lessMemory: "convert with less --max-memory or fewer --jobs"
        case .exportAsFloat32: "export with --dtype f32"
        case .keepNames: "export with --keep-names, which writes the names of the source and no config.json"
        case .allowFallback: "give --allow-fallback"
        case .compareWithSource: "give --against"
        case .limitError: "give --max-relative-mse or --claims"
        case .nameCheckpointOrSource:
            "name an output of `ingot convert` or an export with its manifest, or add --against SOURCE to compare it with a source"
        case .giveConversionReport: "give --conversion-report, or claim it in convert"
        case .nameConversionReport: "name what `ingot convert --format json` printed when it made this checkpoint"
        case .giveText: "`ingot verify` measures it with --text FILE --against SOURCE, or takes --evaluation FILE"
        case .recordText:
            "give the text that was meant, or state the hash of another one (`ingot evaluate --format json`)"
        case .nameEvaluation:
            "name what `ingot evaluate CHECKPOINT --against SOURCE --format json` printed for this checkpoint"
        case .makeClaimsFile: "`ingot verify DEST --claims FILE --update-baseline` makes one"
        case .raiseLimit(let cause): "raise the limit if the \(cause) is intended (--update-baseline)"
        case .recordDigest: "record the new one with --update-baseline"
        }
    }

    /// Message of an error.
    static func message(_ error: IngotError) -> String { IngotErrorRenderer.text(error, words) }
}
