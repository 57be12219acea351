/// Everything that can go wrong, as one value: what happened, where, what was found, what was expected, what to do.
///
/// Nothing but the command prints it, through `IngotErrorRenderer`.
package struct IngotError: Error, Sendable, Hashable {
    /// Which rule was broken; stable, for programs and tests.
    package var code: Code
    /// The file, as the user would name it.
    package var file: String?
    /// The tensor.
    package var tensor: TensorName?
    /// Offset in bytes from the start of the file.
    package var offset: UInt64?
    /// What was found.
    package var found: String
    /// What is allowed there.
    package var expected: String?
    /// What the user can do about it.
    package var remedy: Remedy

    /// Makes an error.
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

    /// The same error with a file named, where none was.
    package func inFile(_ path: String) -> IngotError {
        var copy = self
        copy.file = file ?? path
        return copy
    }
}

extension IngotError {
    /// The rules; the raw value is printed with the message and stands in JSON reports.
    package enum Code: String, Sendable, Hashable, CaseIterable {
        // A source or a container that cannot be what it claims to be.
        case headerTooSmall, headerLength, headerTooLarge, headerSyntax, invalidText, nestingTooDeep
        case duplicateKey, unknownElementType, missingField, invalidShape, invalidOffsets, offsetsNotContiguous
        case trailingBytes, tooManyTensors, nameTooLong, reservedName
        case indexInvalid, indexMismatch, shardName, missingShard, notARegularFile, unsupportedSource
        case zipInvalid, pickleInvalid, unsupportedOpcode, disallowedGlobal
        case nonFinite
        case manifestInvalid, fileHash, sealInvalid, checksum, containerVersion, payloadInvalid, chunkInvalid
        case descriptorInvalid, valueOutOfRange
        // Intact, but not what was claimed.
        case certificateMismatch, sourceMismatch, claimFailed
        // What was asked for that the source does not allow.
        case goalUnreachable
        // Files that say what is claimed, or what a run measured.
        case claimsInvalid, reportInvalid
        // The environment.
        case usage, noInput, cannotCreate, inputOutput, sourceChanged, sourceIncomplete, outOfSpace, outOfMemory,
            locked, interrupted, terminated

        /// What went wrong, in general.
        package var kind: Kind {
            switch self {
            case .certificateMismatch, .sourceMismatch, .claimFailed: .disagreement
            case .usage, .goalUnreachable: .request
            case .noInput: .noInput
            case .cannotCreate: .cannotCreate
            case .inputOutput, .sourceChanged, .outOfSpace, .outOfMemory: .system
            case .locked, .sourceIncomplete: .tryAgain
            case .interrupted: .interrupted
            case .terminated: .terminated
            default: .badData
            }
        }

        /// What usually helps, where the place of the error knows nothing better.
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
    /// Kinds of errors, by what follows from them; the command ends with one exit status for each.
    package enum Kind: Sendable, Hashable {
        /// Everything is intact, and a certificate, the source or a claim disagrees.
        case disagreement
        /// What was asked for cannot be done.
        case request
        /// A file is damaged, or not what it must be.
        case badData
        /// There is no such input.
        case noInput
        /// The output cannot be made.
        case cannotCreate
        /// Disk, memory or a file failed while it was worked on.
        case system
        /// The same command may succeed later.
        case tryAgain
        /// The user stopped the work: SIGINT.
        case interrupted
        /// The system stopped the work: SIGTERM.
        case terminated
    }
}

/// Something odd that does not stop the work; reports record it.
package struct IngotWarning: Sendable, Hashable {
    /// The file, as the user would name it.
    package var file: String
    /// The tensor, where one is meant.
    package var tensor: TensorName?
    /// What was found, and what is done about it.
    package var message: String

    /// Makes a warning.
    package init(file: String, tensor: TensorName? = nil, _ message: String) {
        self.file = file
        self.tensor = tensor
        self.message = message
    }
}
