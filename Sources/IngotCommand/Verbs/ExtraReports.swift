import ArgumentParser
import FileAccess
import Publishing
import SystemPackage
import TensorModel

/// Further reports of one verification, each in a file of its own.
struct ExtraReports: ParsableArguments {
    @Option(help: ArgumentHelp("Also write the result as JSON to this file.", valueName: "file"))
    var json: FilePath?

    @Option(help: ArgumentHelp("Also write an HTML page to this file.", valueName: "file"))
    var html: FilePath?

    @Option(help: ArgumentHelp("Also write CSV to this file.", valueName: "file"))
    var csv: FilePath?

    @Option(help: ArgumentHelp("Also write Markdown to this file.", valueName: "file"))
    var markdown: FilePath?

    @Option(help: ArgumentHelp("Also write the claims as JUnit XML to this file.", valueName: "file"))
    var junit: FilePath?

    @Option(help: ArgumentHelp("Also write the failed claims as SARIF to this file.", valueName: "file"))
    var sarif: FilePath?

    @Flag(help: "Also print annotations for GitHub Actions, and write the summary of the step.")
    var github = false

    /// The files with their formats.
    var files: [(format: VerificationFormat, path: FilePath)] {
        let all: [(VerificationFormat, FilePath?)] = [
            (.json, json), (.html, html), (.csv, csv), (.markdown, markdown), (.junit, junit), (.sarif, sarif),
        ]
        return all.compactMap { format, path in path.map { (format, $0) } }
    }

    /// Refuses a path that is not writable, that is one of the inputs, or that is named twice. Call it before any work.
    func requireApart(from inputs: [FilePath], _ output: FilePath?) throws {
        var seen = try output.map { [try ReportFile.place($0)] } ?? []
        for file in files {
            let place = try ReportFile.place(file.path)
            if case .file(let path, _) = place {
                try PathOverlap.refuse(report: path, over: inputs)
                guard !seen.contains(where: { if case .file(path, _) = $0 { true } else { false } }) else {
                    throw IngotError(
                        .usage, file: file.path.string, found: "a file for two reports",
                        expected: "one file for each report",
                        remedy: "name another file")
                }
            }
            seen.append(place)
        }
    }
}
