/// Any error of the project: what happened, where, what was found, what was expected, what to do.
///
/// Only the command prints it, through `IngotErrorRenderer`.
package struct IngotError: Error, Sendable, Hashable {
    /// The rule that was broken. Stable, for programs and tests.
    package var code: Code
    /// The file, as the user would name it; nil if the error is about no file.
    package var file: String?
    /// The tensor; nil if the error is about no tensor.
    package var tensor: TensorName?
    /// Offset in bytes from the start of the file.
    package var offset: UInt64?
    /// What was found.
    package var found: String
    /// What was expected in its place; nil if `found` says enough.
    package var expected: String?
    /// What the user can do about it.
    package var remedy: Remedy

    /// Makes an error. Without a remedy it gets the usual remedy of its code.
    package init(
        _ code: Code, file: String? = nil, tensor: TensorName? = nil, offset: UInt64? = nil, found: String,
        expected: String? = nil, remedy: Remedy? = nil
    ) {
        self.code = code
        self.file = file
        self.tensor = tensor
        self.offset = offset
        self.found = found
        self.expected = expected
        self.remedy = remedy ?? code.usualRemedy
    }

    /// The same error with `path` as its file, unless it names a file already.
    package func inFile(_ path: String) -> IngotError {
        var copy = self
        copy.file = file ?? path
        return copy
    }
}

extension IngotError {
    /// The rules. Messages and JSON reports show the raw value.
    package enum Code: String, Sendable, Hashable, CaseIterable {
        // A source or a container is damaged, or is of another kind than it claims.
        case headerTooSmall, headerLength, headerTooLarge, headerSyntax, invalidText, nestingTooDeep
        case duplicateKey, unknownElementType, missingField, invalidShape, invalidOffsets, offsetsNotContiguous
        case trailingBytes, tooManyTensors, nameTooLong, reservedName
        case indexInvalid, indexMismatch, shardName, missingShard, notARegularFile, unsupportedSource
        case zipInvalid, pickleInvalid, unsupportedOpcode, disallowedGlobal
        case nonFinite
        case manifestInvalid, fileHash, sealInvalid, checksum, containerVersion, payloadInvalid, chunkInvalid
        case descriptorInvalid, valueOutOfRange
        // The data is intact, but differs from what was claimed.
        case certificateMismatch, sourceMismatch, claimFailed
        // The source does not allow what was asked for.
        case goalUnreachable
        // A claims file, a recipe or the report of a run is invalid.
        case claimsInvalid, reportInvalid, recipeInvalid
        // A tokenizer, a text or a file of activation statistics is invalid.
        case tokenizerInvalid, textInvalid, momentsInvalid
        // The environment.
        case usage, noInput, cannotCreate, inputOutput, sourceChanged, sourceIncomplete, outOfSpace, outOfMemory,
            locked, libraryMissing, interrupted, terminated

        /// The kind of the error, by its consequence.
        package var kind: Kind {
            switch self {
            case .certificateMismatch, .sourceMismatch, .claimFailed: .disagreement
            case .usage, .goalUnreachable: .request
            case .noInput: .noInput
            case .cannotCreate: .cannotCreate
            case .inputOutput, .sourceChanged, .outOfSpace, .outOfMemory, .libraryMissing: .system
            case .locked, .sourceIncomplete: .tryAgain
            case .interrupted: .interrupted
            case .terminated: .terminated
            default: .badData
            }
        }

        /// The remedy that usually helps, for errors that name no remedy of their own.
        var usualRemedy: Remedy {
            switch self {
            case .manifestInvalid, .fileHash, .sealInvalid, .checksum, .payloadInvalid, .chunkInvalid,
                .descriptorInvalid:
                "the checkpoint is damaged: fetch it again, or convert the source again"
            case .containerVersion: "use a newer ingot"
            case .goalUnreachable:
                "ask for more bits, a larger size or a larger error, or store everything exactly (scheme lossless)"
            case .claimsInvalid: "correct the claims file; Specs/claims.md describes it"
            case .reportInvalid: .option(.nameConversionReport)
            case .inputOutput, .sourceChanged: "check the disk and run the command again"
            case .outOfMemory: "allow the process more memory (ulimit), or run it on a larger machine"
            case .outOfSpace: "free some space, or choose another place for the output"
            case .sourceIncomplete: "start the download again, then this command: it goes on from there"
            case .locked: "wait until the other ingot has finished, then run the command again"
            case .interrupted, .terminated: "run the command again; nothing was left behind"
            case .cannotCreate: "choose another place for the output"
            case .noInput: "check the path"
            case .usage: "see `ingot help`"
            default: "the file is damaged or not what its name says: fetch it again"
            }
        }
    }
}

extension IngotError {
    /// Kinds of errors by their consequence. The command has one exit status for each kind.
    package enum Kind: Sendable, Hashable {
        /// The data is intact, but a certificate, the source or a claim disagrees.
        case disagreement
        /// The request cannot be met.
        case request
        /// A file is damaged or of the wrong kind.
        case badData
        /// The input does not exist.
        case noInput
        /// The output cannot be created.
        case cannotCreate
        /// A disk, memory or file operation failed during the work.
        case system
        /// The same command may succeed later.
        case tryAgain
        /// The user stopped the work (SIGINT).
        case interrupted
        /// The system stopped the work (SIGTERM).
        case terminated
    }
}

/// An oddity that does not stop the work. Reports record it.
package struct IngotWarning: Sendable, Hashable {
    /// The file, as the user would name it.
    package var file: String
    /// The tensor; nil if the warning is about no tensor.
    package var tensor: TensorName?
    /// What was found, and what Ingot does about it.
    package var message: String

    /// Makes a warning.
    package init(file: String, tensor: TensorName? = nil, _ message: String) {
        self.file = file
        self.tensor = tensor
        self.message = message
    }
}
