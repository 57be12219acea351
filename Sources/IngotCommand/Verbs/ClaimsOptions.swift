import ArgumentParser
import Container
import FileAccess
import Inspection
import Publishing
import SystemPackage
import TensorModel
import Weights

/// Format of the result of a verification.
enum VerificationFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json, csv, markdown, html, junit, github, sarif
}

/// A share, written as `5`, `5%` or `0.05`: numbers from 1 on are percent.
struct Tolerance: ExpressibleByArgument, CustomStringConvertible {
    /// The share, 0 to 1.
    let share: Double

    init(_ share: Double) { self.share = share }

    init?(argument: String) {
        let isPercent = argument.hasSuffix("%")
        let digits = isPercent ? argument.dropLast() : Substring(argument)
        guard let number = Double(digits), case let share = isPercent || number >= 1 ? number / 100 : number,
            (0...1).contains(share)
        else { return nil }
        self.share = share
    }

    var description: String { "\(NumberText.fixed(share * 100, 0))%" }
    var defaultValueDescription: String { description }
}

/// Options about claims of the checkpoint to verify.
struct ClaimsOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Check the claims in this file (Specs/claims.md).", valueName: "file"))
    var claims: FilePath?

    @Option(
        help: ArgumentHelp(
            "Fail if the relative MSE of a tensor is larger, such as 0.01. It is the claim max_relative_mse.",
            valueName: "error"))
    var maxRelativeMse: Double?

    @Option(
        help: ArgumentHelp(
            "Output of `ingot convert --format json`, for claims about its peak memory.", valueName: "file"))
    var conversionReport: FilePath?

    @Flag(help: "Set the limits in the claims file to the measured values. Create the file if it does not exist.")
    var updateBaseline = false

    @Option(
        help: ArgumentHelp(
            "With --update-baseline: how much worse than measured the limits are. 5, 5% and 0.05 all mean 5 %. Default: 5%.",
            valueName: "share"))
    var tolerance: Tolerance?

    @Flag(help: "With --update-baseline: a new file also claims the SHA-256 of each shard of the checkpoint.")
    var pinOutput = false

    func validate() throws {
        guard updateBaseline || !pinOutput else { throw ValidationError("--pin-output needs --update-baseline.") }
        guard claims != nil || conversionReport == nil && !updateBaseline else {
            throw ValidationError("--conversion-report and --update-baseline need --claims.")
        }
        guard updateBaseline || tolerance == nil else {
            throw ValidationError("--tolerance needs --update-baseline.")
        }
        guard maxRelativeMse.map({ $0 >= 0 && $0.isFinite }) ?? true else {
            throw ValidationError("--max-relative-mse must be a number, 0 or more.")
        }
        guard !updateBaseline || maxRelativeMse == nil else {
            throw ValidationError("--update-baseline measures the limits: leave out --max-relative-mse.")
        }
    }

    /// Whether a claims file or a limit is given.
    var areGiven: Bool { claims != nil || maxRelativeMse != nil }

    /// Reads the claims file; nil if none is named, or it will be created.
    func read() throws -> ClaimsFile? {
        guard let claims else { return nil }
        if updateBaseline {
            guard case .file(_, exists: true) = try ReportFile.place(claims) else { return nil }
        }
        return try ClaimsFile.read(claims)
    }

    /// Files to read or create. If the claims file does not exist yet, also the path behind its symbolic links.
    func files() throws -> [FilePath] {
        var files = [claims, conversionReport].compactMap { $0 }
        if updateBaseline, let claims, case .file(let place, exists: false) = try ReportFile.place(claims) {
            files.append(place)
        }
        return files
    }

    /// Refuses to create or change a claims file inside an Ingot checkpoint, because its manifest lists all its files.
    func requireApart(from checkpoint: FilePath) throws {
        guard updateBaseline, let claims, case .file(let place, _) = try ReportFile.place(claims),
            try SealedCheckpoint.isOne(checkpoint)
        else { return }
        try PathOverlap.refuse(report: place, over: [checkpoint])
    }

    /// Facts about the verified checkpoint.
    func facts(
        _ result: VerificationReport, of checkpoint: OpenedCheckpoint, against source: OpenedCheckpoint?
    ) throws -> ClaimFacts {
        var facts = try ClaimFacts(result, of: checkpoint, against: source)
        if let conversionReport {
            facts.peakMemory = try ConversionMemory.read(conversionReport, outputBytes: facts.outputBytes)
        }
        return facts
    }

    /// Results of the claims, and of the built-in claims.
    func evaluate(_ facts: ClaimFacts, _ file: ClaimsFile?) throws -> ClaimsReport {
        let limit = maxRelativeMse.map { [Claim(.figure(.relativeMSE, $0), line: nil)] } ?? []
        return try ClaimEvaluation(facts).run(
            limit + (file?.claims ?? []), subject: facts.path.string, file: file?.path.string, words: RemedyText.words)
    }

    /// Writes the claims file with new limits; returns the changes as text.
    func updateLimits(_ facts: ClaimFacts, _ file: ClaimsFile?) throws -> String {
        guard let claims else { return "" }
        let baseline = ClaimsBaseline(facts, tolerance: (tolerance ?? Tolerance(0.05)).share, pinsOutput: pinOutput)
        let (new, changes) = try file.map { try baseline.update($0) } ?? baseline.make(at: claims)
        try new.write()
        return ClaimsText.text(changes, of: claims.string, isNew: file == nil)
    }
}

/// Results of claims in formats for other programs.
enum ClaimsOutput {
    /// The report in a format; nil for formats without a text of claims only. `github` also appends to the step summary.
    static func text(_ report: ClaimsReport, _ format: VerificationFormat, seconds: Double) throws -> String? {
        switch format {
        case .text, .json, .csv, .html: return nil
        case .junit: return ClaimsJUnit.text(report, seconds: seconds, time: Console.secondsSinceEpoch)
        case .markdown: return ClaimsMarkdown.text(report)
        case .sarif: return IngotErrorRenderer.json(ClaimsSARIF.json(report).text(indented: true))
        case .github:
            try appendSummary(report)
            return ClaimsGitHub.text(report)
        }
    }

    private static func appendSummary(_ report: ClaimsReport) throws {
        guard let path = Console.variable("GITHUB_STEP_SUMMARY"), !path.isEmpty else { return }
        do {
            let file = try FileDescriptor.open(
                FilePath(path), .writeOnly, options: [.append, .create],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
            try file.closeAfter {
                let used = try file.seek(offset: 0, from: .end)
                _ = try file.writeAll(ClaimsGitHub.summary(report, used: UInt64(max(0, used))).utf8)
            }
        } catch {
            throw IngotError(
                .inputOutput, file: path, found: "GITHUB_STEP_SUMMARY names a file that cannot be written: \(error)")
        }
    }
}
