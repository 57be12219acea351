package import FileAccess
package import TensorModel

/// A promise about a checkpoint, as a claims file states it (Specs/claims.md).
package struct Claim: Sendable, Hashable {
    /// Promised property and its limit.
    package var rule: Rule
    /// Consequence of a failure.
    package var level: Level
    /// Whether the file states the level; false if `level` is the default.
    package var namesLevel: Bool
    /// Patterns of the tensors that the claim covers; nil for all tensors.
    package var patterns: [NamePattern]?
    /// Whether the file states the patterns as a list.
    package var listsPatterns: Bool
    /// Reason for the claim, shown if it fails.
    package var note: String?
    /// Line of the claims file in which the claim begins, from 1; nil for a claim of the command line.
    package var line: Int?

    /// Makes a claim.
    package init(
        _ rule: Rule, level: Level = .error, namesLevel: Bool = false, patterns: [NamePattern]? = nil,
        listsPatterns: Bool = false, note: String? = nil, line: Int? = 1
    ) {
        self.rule = rule
        self.level = level
        self.namesLevel = namesLevel
        self.patterns = patterns
        self.listsPatterns = listsPatterns
        self.note = note
        self.line = line
    }

    /// Consequence of a claim that fails.
    package enum Level: String, Sendable, Hashable, CaseIterable {
        /// The check fails.
        case error
        /// The result is shown; the check passes.
        case warn
        /// The claim is not checked.
        case off
    }

    /// Promised property.
    package enum Rule: Sendable, Hashable {
        /// Number of bytes at most.
        case bytes(ByteRule, UInt64)
        /// A figure at most, or at least if `FigureRule.isMinimum`.
        case figure(FigureRule, Double)
        /// A figure of an evaluation at most, or at least if `QualityRule.isMinimum`.
        case quality(QualityRule, Double, QualityScope)
        /// Every weight is finite.
        case finite
        /// Every weight equals the source's.
        case exactValues
        /// SHA-256 of each named file.
        case digests(DigestRule, [NamedDigest])

        /// Name of the claim in files and reports.
        package var kind: Kind {
            switch self {
            case .bytes(let rule, _): rule.kind
            case .figure(let rule, _): rule.kind
            case .quality(let rule, _, _): rule.kind
            case .finite: .finite
            case .exactValues: .valueExact
            case .digests(let rule, _): rule == .source ? .sourceDigests : .outputDigests
            }
        }
    }

    /// Claims about sizes in bytes.
    package enum ByteRule: Sendable, Hashable {
        /// Bytes of all files; bytes of the largest file; peak resident memory of the conversion in bytes.
        case total, largestFile, peakMemory

        var kind: Kind {
            switch self {
            case .total: .totalBytes
            case .largestFile: .fileBytes
            case .peakMemory: .peakMemory
            }
        }
    }

    /// Claims about figures.
    package enum FigureRule: Sendable, Hashable, CaseIterable {
        /// Saved share of the size (minimum); bits per weight (maximum); and of each tensor: relative MSE (maximum), SNR in dB
        /// (minimum), largest error (maximum), cosine (minimum).
        case reduction, bitsPerWeight, relativeMSE, signalToNoise, maxError, cosine
        /// Of all selected tensors together: relative MSE (maximum), SNR in dB (minimum).
        case overallRelativeMSE, overallSignalToNoise
        /// Of each calibrated tensor: relative error over activations (maximum).
        case relativeActivationError

        /// Whether the figure is one of all selected tensors together.
        var isTogether: Bool {
            switch self {
            case .bitsPerWeight, .overallRelativeMSE, .overallSignalToNoise: true
            default: false
            }
        }

        var kind: Kind {
            switch self {
            case .reduction: .reduction
            case .bitsPerWeight: .bitsPerWeight
            case .relativeMSE: .relativeMSE
            case .signalToNoise: .signalToNoise
            case .maxError: .maxError
            case .cosine: .cosine
            case .overallRelativeMSE: .overallRelativeMSE
            case .overallSignalToNoise: .overallSignalToNoise
            case .relativeActivationError: .relativeActivationError
            }
        }

        /// Whether the limit is a minimum; otherwise it is a maximum.
        var isMinimum: Bool {
            switch self {
            case .reduction, .signalToNoise, .cosine, .overallSignalToNoise: true
            case .bitsPerWeight, .relativeMSE, .maxError, .overallRelativeMSE, .relativeActivationError: false
            }
        }

        /// Whether a limit is in the valid range of this rule.
        func allows(_ limit: Double) -> Bool {
            guard limit.isFinite else { return false }
            return switch self {
            case .reduction: limit < 1
            case .bitsPerWeight: limit > 0 && limit <= 64
            case .relativeMSE, .maxError, .overallRelativeMSE, .relativeActivationError: limit >= 0
            case .signalToNoise, .overallSignalToNoise: true
            case .cosine: limit >= -1 && limit <= 1
            }
        }

        /// Valid range of the limit, in words for error messages.
        var range: String {
            switch self {
            case .reduction: "a share below 1, such as 0.7"
            case .bitsPerWeight: "a number above 0, at most 64"
            case .relativeMSE, .maxError, .overallRelativeMSE, .relativeActivationError:
                "a finite number, 0 or more"
            case .signalToNoise, .overallSignalToNoise: "a finite number"
            case .cosine: "a number from -1 to 1"
            }
        }
    }

    /// Claims about what the conversion did to the model's predictions.
    package enum QualityRule: Sendable, Hashable, CaseIterable {
        /// Mean KL divergence from the source in nats per token (maximum); perplexity divided by the source's (maximum); share of tokens for
        /// which both find the same token the most likely (minimum).
        case divergence, perplexityRatio, agreement

        var kind: Kind {
            switch self {
            case .divergence: .divergence
            case .perplexityRatio: .perplexityRatio
            case .agreement: .agreement
            }
        }

        /// Whether the limit is a minimum; otherwise it is a maximum.
        var isMinimum: Bool { self == .agreement }

        /// Whether a limit is in the valid range of this rule.
        func allows(_ limit: Double) -> Bool {
            guard limit.isFinite else { return false }
            return switch self {
            case .divergence: limit >= 0
            case .perplexityRatio: limit > 0
            case .agreement: limit >= 0 && limit <= 1
            }
        }

        /// Valid range of the limit, in words for error messages.
        var range: String {
            switch self {
            case .divergence: "a finite number, 0 or more"
            case .perplexityRatio: "a finite number above 0"
            case .agreement: "a share from 0 to 1"
            }
        }
    }

    /// What a claim about quality is measured on.
    package struct QualityScope: Sendable, Hashable {
        /// Probability with which the true value must keep the limit, above 0.5 and below 1; nil if only the measured value must.
        package var confidence: Double?
        /// Hash of the text, or of the ids; nil for all texts of the evaluation together.
        package var text: ContentHash?

        /// Makes a scope.
        package init(confidence: Double? = nil, text: ContentHash? = nil) {
            (self.confidence, self.text) = (confidence, text)
        }
    }

    /// Files that a claim about digests names: those of the source, or those of the checkpoint.
    package enum DigestRule: Sendable, Hashable { case source, output }

    /// A file and its SHA-256.
    package struct NamedDigest: Sendable, Hashable {
        /// File, relative to the directory of the checkpoint.
        package let file: String
        /// Required digest.
        package let digest: SHA256Digest

        /// Makes an entry.
        package init(file: String, digest: SHA256Digest) {
            self.file = file
            self.digest = digest
        }
    }

    /// Names of claims. The raw value is the name in files and reports.
    package enum Kind: String, Sendable, Hashable, CaseIterable {
        case totalBytes = "max_total_bytes"
        case fileBytes = "max_file_bytes"
        case reduction = "min_reduction"
        case bitsPerWeight = "max_bits_per_weight"
        case relativeMSE = "max_relative_mse"
        case signalToNoise = "min_snr_db"
        case maxError = "max_error"
        case cosine = "min_cosine"
        case overallRelativeMSE = "max_overall_relative_mse"
        case overallSignalToNoise = "min_overall_snr_db"
        case relativeActivationError = "max_relative_activation_error"
        case divergence = "max_kl"
        case perplexityRatio = "max_perplexity_ratio"
        case agreement = "min_top1"
        case finite
        case valueExact = "value_exact"
        case peakMemory = "max_peak_memory"
        case sourceDigests = "source_sha256"
        case outputDigests = "output_sha256"
        // Checked for every checkpoint; a claims file cannot state them.
        case bytesIntact = "bytes_intact"
        case certificatesHold = "certificates_hold"
        case sourceMatches = "source_matches"

        /// Whether it is checked for every checkpoint, without a claims file.
        package var isBuiltIn: Bool {
            self == .bytesIntact || self == .certificatesHold || self == .sourceMatches
        }

        /// Whether the claim can be limited to some tensors.
        package var isAboutTensors: Bool {
            switch self {
            case .bitsPerWeight, .relativeMSE, .signalToNoise, .maxError, .cosine, .overallRelativeMSE,
                .overallSignalToNoise, .relativeActivationError, .finite, .valueExact:
                true
            default: false
            }
        }

        /// Names that a claims file can use, in the order of Specs/claims.md.
        package static let stated = allCases.filter { !$0.isBuiltIn }

        /// The promise in one sentence.
        package var meaning: String {
            switch self {
            case .totalBytes: "All files of the checkpoint together take at most so many bytes."
            case .fileBytes: "No file of the checkpoint takes more than so many bytes."
            case .reduction: "The weight files are smaller than the source's by at least this share."
            case .bitsPerWeight: "Encoded tensors take at most so many bits per weight, all side information counted."
            case .relativeMSE: "No tensor's relative mean squared error is larger."
            case .signalToNoise: "No tensor's signal-to-noise ratio, in decibels, is smaller."
            case .maxError: "No weight is off by more."
            case .cosine: "No tensor's cosine with its original is smaller."
            case .overallRelativeMSE: "The relative mean squared error of all tensors together is not larger."
            case .overallSignalToNoise:
                "The signal-to-noise ratio of all tensors together, in decibels, is not smaller."
            case .relativeActivationError: "No calibrated tensor's relative error over activations is larger."
            case .divergence: "The mean KL divergence from the source, in nats per token, is not larger."
            case .perplexityRatio: "The perplexity divided by that of the source is not larger."
            case .agreement: "For at least this share of the tokens, the source finds the same token the most likely."
            case .finite: "No weight of the checkpoint is NaN or infinite."
            case .valueExact: "Every weight equals the source's exactly."
            case .peakMemory: "The conversion had at most so many bytes of memory resident."
            case .sourceDigests: "Files of the source have these SHA-256 digests."
            case .outputDigests: "Files of the checkpoint have these SHA-256 digests."
            case .bytesIntact: "Every byte of the checkpoint is as it was written."
            case .certificatesHold: "The error of every tensor is the one its certificate states."
            case .sourceMatches: "The source is the one that was converted."
            }
        }

        /// What a user can do if the claim fails.
        var remedy: Remedy {
            switch self {
            case .totalBytes, .fileBytes, .reduction, .bitsPerWeight:
                .either("convert with fewer bits", or: .option(.raiseLimit(ifIntended: "size")))
            case .relativeMSE, .signalToNoise, .maxError, .cosine, .overallRelativeMSE, .overallSignalToNoise,
                .relativeActivationError, .divergence, .perplexityRatio, .agreement:
                .either("convert with more bits", or: .option(.raiseLimit(ifIntended: "loss")))
            case .finite: .option(.convertRepaired)
            case .valueExact: "convert without loss, or claim max_error"
            case .peakMemory: .option(.lessMemory)
            case .sourceDigests: .either("fetch the source again", or: .option(.recordDigest))
            case .outputDigests: .either("fetch or convert it again", or: .option(.recordDigest))
            case .bytesIntact: "the checkpoint is damaged: fetch it again, or convert the source again"
            case .certificatesHold: "convert the source again; the checkpoint claims what it does not keep"
            case .sourceMatches: "verify against the source it was converted from"
            }
        }
    }
}
