package import FileAccess
package import TensorModel

/// A promise about a checkpoint, as a claims file states it (Specs/claims.md).
package struct Claim: Sendable, Hashable {
    /// What is promised.
    package var rule: Rule
    /// What follows where it does not hold.
    package var level: Level
    /// Whether the file names the level, rather than leaving it at `error`.
    package var namesLevel: Bool
    /// The tensors it is about, each by a pattern; nil for all.
    package var patterns: [NamePattern]?
    /// Whether the file has the patterns in a list.
    package var listsPatterns: Bool
    /// Why it is claimed.
    package var note: String?
    /// The line of the file it begins in, from 1.
    package var line: Int

    /// Makes a claim.
    package init(
        _ rule: Rule, level: Level = .error, namesLevel: Bool = false, patterns: [NamePattern]? = nil,
        listsPatterns: Bool = false, note: String? = nil, line: Int = 1
    ) {
        self.rule = rule
        self.level = level
        self.namesLevel = namesLevel
        self.patterns = patterns
        self.listsPatterns = listsPatterns
        self.note = note
        self.line = line
    }

    /// What follows where a claim does not hold.
    package enum Level: String, Sendable, Hashable, CaseIterable {
        /// The check fails.
        case error
        /// It is shown.
        case warn
        /// It is not looked at.
        case off
    }

    /// What is promised.
    package enum Rule: Sendable, Hashable {
        /// A count of bytes that is not exceeded.
        case bytes(ByteRule, UInt64)
        /// A figure that is not exceeded, or not fallen short of.
        case figure(FigureRule, Double)
        /// Every weight of the checkpoint is a finite number.
        case finite
        /// The SHA-256 of files, by name.
        case digests(DigestRule, [NamedDigest])

        /// The name of the claim in files and reports.
        package var kind: Kind {
            switch self {
            case .bytes(let rule, _): rule.kind
            case .figure(let rule, _): rule.kind
            case .finite: .finite
            case .digests(let rule, _): rule == .source ? .sourceDigests : .outputDigests
            }
        }
    }

    /// Claims about counts of bytes.
    package enum ByteRule: Sendable, Hashable {
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
        case reduction, bitsPerWeight, relativeMSE, signalToNoise, maxError, cosine

        var kind: Kind {
            switch self {
            case .reduction: .reduction
            case .bitsPerWeight: .bitsPerWeight
            case .relativeMSE: .relativeMSE
            case .signalToNoise: .signalToNoise
            case .maxError: .maxError
            case .cosine: .cosine
            }
        }

        /// Whether the limit is the least that is allowed, not the most.
        var isMinimum: Bool { self == .reduction || self == .signalToNoise || self == .cosine }

        /// Whether a limit makes sense, and what would.
        func allows(_ limit: Double) -> Bool {
            guard limit.isFinite else { return false }
            return switch self {
            case .reduction: limit < 1
            case .bitsPerWeight: limit > 0 && limit <= 64
            case .relativeMSE, .maxError: limit >= 0
            case .signalToNoise: true
            case .cosine: limit >= -1 && limit <= 1
            }
        }

        /// What a limit may be, in words.
        var range: String {
            switch self {
            case .reduction: "a share below 1, such as 0.7"
            case .bitsPerWeight: "a number above 0, at most 64"
            case .relativeMSE, .maxError: "a finite number, 0 or more"
            case .signalToNoise: "a finite number"
            case .cosine: "a number from -1 to 1"
            }
        }
    }

    /// Which files a claim about digests names.
    package enum DigestRule: Sendable, Hashable { case source, output }

    /// A file and its SHA-256.
    package struct NamedDigest: Sendable, Hashable {
        /// The file, relative to the checkpoint's directory.
        package let file: String
        /// What it must be.
        package let digest: SHA256Digest

        /// Makes an entry.
        package init(file: String, digest: SHA256Digest) {
            self.file = file
            self.digest = digest
        }
    }

    /// Names of claims; the raw value stands in files and reports.
    package enum Kind: String, Sendable, Hashable, CaseIterable {
        case totalBytes = "max_total_bytes"
        case fileBytes = "max_file_bytes"
        case reduction = "min_reduction"
        case bitsPerWeight = "max_bits_per_weight"
        case relativeMSE = "max_relative_mse"
        case signalToNoise = "min_snr_db"
        case maxError = "max_error"
        case cosine = "min_cosine"
        case finite
        case peakMemory = "max_peak_memory"
        case sourceDigests = "source_sha256"
        case outputDigests = "output_sha256"
        // Checked of every checkpoint, and named in no file.
        case bytesIntact = "bytes_intact"
        case certificatesHold = "certificates_hold"
        case sourceMatches = "source_matches"

        /// Whether it is checked whether a file asks for it or not.
        package var isBuiltIn: Bool {
            self == .bytesIntact || self == .certificatesHold || self == .sourceMatches
        }

        /// Whether it may be limited to some tensors.
        package var isAboutTensors: Bool {
            switch self {
            case .bitsPerWeight, .relativeMSE, .signalToNoise, .maxError, .cosine, .finite: true
            default: false
            }
        }

        /// The names a file may use, in the order of the document.
        package static let stated = allCases.filter { !$0.isBuiltIn }

        /// What is promised, in a sentence.
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
            case .finite: "No weight of the checkpoint is NaN or infinite."
            case .peakMemory: "The conversion had at most so many bytes of memory resident."
            case .sourceDigests: "Files of the source have these SHA-256 digests."
            case .outputDigests: "Files of the checkpoint have these SHA-256 digests."
            case .bytesIntact: "Every byte of the checkpoint is as it was written."
            case .certificatesHold: "The error of every tensor is the one its certificate states."
            case .sourceMatches: "The source is the one that was converted."
            }
        }

        /// What to do where it does not hold.
        var remedy: Remedy {
            switch self {
            case .totalBytes, .fileBytes, .reduction, .bitsPerWeight:
                .either("convert with fewer bits", or: .option(.raiseLimit(ifIntended: "size")))
            case .relativeMSE, .signalToNoise, .maxError, .cosine:
                .either("convert with more bits", or: .option(.raiseLimit(ifIntended: "loss")))
            case .finite: .option(.convertRepaired)
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
