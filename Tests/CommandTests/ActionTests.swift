import FileAccess
import Foundation
import SystemPackage
import TestSupport
import Testing

/// The composite action for GitHub: its script under inputs that mean something to a shell, to ingot, or to the runner.
@Suite struct ActionTests {
    private static let folder = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .removingLastComponent().appending(".github/actions/verify")

    private struct Run {
        let status: Int32, output: String, errors: String
        /// The outputs, as the runner reads them: a name and a value on a line.
        let outputs: [String]
    }

    private static func run(
        in sample: CommandSample, checkpoint: String = "sealed", claims: String = "claims.json",
        source: String = "source",
        conversion: String = "", report: String = "ingot-claims.xml"
    ) throws -> Run {
        try Files.write("", to: sample.directory.at("outputs"))
        let values = [
            "INGOT_CHECKPOINT": checkpoint, "INGOT_CLAIMS": claims, "INGOT_SOURCE": source,
            "INGOT_CONVERSION_REPORT": conversion, "INGOT_REPORT": report, "INGOT_COMMAND": IngotProcess.program.string,
            "GITHUB_OUTPUT": sample.at("outputs"), "GITHUB_ACTION_PATH": folder.string,
        ]
        // The shell that runs a step of a composite action.
        let line = "cd \"$1\" && exec bash --noprofile --norc -eo pipefail -c \"$2\""
        let result = try Subprocess(
            Subprocess.find("bash"),
            ["-c", line, "bash", sample.directory.path.string, try command()].map { Array($0.utf8) },
            environment: IngotProcess.environment.merging(values) { $1 }
        ).wait()
        let outputs = String(decoding: try Files.read(sample.directory.at("outputs")), as: UTF8.self)
        return Run(
            status: result.status, output: result.output, errors: result.errors,
            outputs: outputs.split(separator: "\n").map(String.init))
    }

    /// What the step of the action runs.
    private static func command() throws -> String {
        let text = String(decoding: try Files.read(folder.appending("action.yml")), as: UTF8.self)
        let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("      run: ") })
        return String(line.dropFirst("      run: ".count))
    }

    private static func sample(_ limit: String = "1e9") async throws -> CommandSample {
        let sample = try await CommandSample()
        try ClaimsTests.write(
            #"{"claim": "finite"}, {"claim": "max_relative_mse", "limit": \#(limit)}"#,
            to: sample.directory.at("claims.json"))
        return sample
    }

    /// No input stands in the script, where it would be a part of it.
    @Test func inputsAreVariables() throws {
        let text = String(decoding: try Files.read(ActionTests.folder.appending("action.yml")), as: UTF8.self)
        let steps = try #require(text.range(of: "\nruns:")).lowerBound
        for line in text[steps...].split(separator: "\n") where line.contains("${{") {
            #expect(line.wholeMatch(of: #/        INGOT_[A-Z_]+: \$\{\{ inputs\.[a-z-]+ \}\}/#) != nil, "\(line)")
        }
        #expect(try ActionTests.command() == "bash \"$GITHUB_ACTION_PATH/verify.sh\"")
    }

    @Test func results() async throws {
        for (limit, status) in [("1e9", Int32(0)), ("1e-9", 1)] {
            let sample = try await ActionTests.sample(limit)
            let run = try ActionTests.run(in: sample)
            #expect(run.status == status, "\(run.errors)")
            #expect(run.outputs == ["report=ingot-claims.xml", "status=\(status)"])
            #expect(run.output.contains("::error file=claims.json") == (status == 1))
            let report = String(decoding: try Files.read(sample.directory.at("ingot-claims.xml")), as: UTF8.self)
            #expect(report.contains("failures=\"\(status)\""))
            // Once more, over the report of before; and without one.
            #expect(try ActionTests.run(in: sample).outputs == ["report=ingot-claims.xml", "status=\(status)"])
            #expect(try ActionTests.run(in: sample, report: "").outputs == ["status=\(status)"])
        }
    }

    /// X11: inputs that begin with a dash are no options: none of them ends with 0.
    @Test(arguments: [
        "--help", "--version", "-h", "--generate-completion-script=bash", "$(touch made)", "`touch made`",
        "; touch made", "a b", "",
    ])
    func inputsThatAreNoPaths(text: String) async throws {
        let sample = try await ActionTests.sample()
        let runs = [
            try ActionTests.run(in: sample, checkpoint: text), try ActionTests.run(in: sample, claims: text),
            try ActionTests.run(in: sample, source: text.isEmpty ? "none" : text),
            try ActionTests.run(in: sample, conversion: text.isEmpty ? "none" : text),
        ]
        for run in runs {
            #expect([64, 66].contains(run.status), "\(run.status) \(run.output) \(run.errors)")
            #expect(run.outputs == ["status=\(run.status)"])
        }
        let report = try ActionTests.run(in: sample, report: text)
        #expect(report.status == 0 && report.outputs.last == "status=0", "\(report.errors)")
        #expect(report.outputs.dropLast() == (text.isEmpty ? [] : ["report=\(text)"]))
        #expect(!Files.names(sample.directory.path).contains("made"))
    }

    /// X11: a line end in an input adds no output.
    @Test(arguments: ["checkpoint", "claims", "source", "conversion", "report"]) func lineEnds(input: String)
        async throws
    {
        let sample = try await ActionTests.sample()
        for end in ["\n", "\r\n", "\r"] {
            let text = "x.xml\(end)status=0\(end)forged=1"
            let run =
                switch input {
                case "checkpoint": try ActionTests.run(in: sample, checkpoint: text)
                case "claims": try ActionTests.run(in: sample, claims: text)
                case "source": try ActionTests.run(in: sample, source: text)
                case "conversion": try ActionTests.run(in: sample, conversion: text)
                default: try ActionTests.run(in: sample, report: text)
                }
            #expect(run.status == 64 && run.outputs == ["status=64"], "\(run.outputs)")
        }
        #expect(Files.names(sample.directory.path) == ["claims.json", "outputs", "sealed", "source"])
    }

    /// X11: what an earlier run reported is gone after a run that found no claims to check; other files are left alone.
    @Test(arguments: [
        ("sealed", "missing.json", Int32(66)), ("missing", "claims.json", 66), ("sealed", "bad.json", 65),
        ("", "claims.json", 64),
    ])
    func staleReports(checkpoint: String, claims: String, status: Int32) async throws {
        let sample = try await ActionTests.sample()
        try Files.write("{", to: sample.directory.at("bad.json"))
        #expect(try ActionTests.run(in: sample).status == 0)
        #expect(Files.names(sample.directory.path).contains("ingot-claims.xml"))
        let run = try ActionTests.run(in: sample, checkpoint: checkpoint, claims: claims)
        #expect(
            run.status == status && run.outputs == ["status=\(status)"], "\(run.status) \(run.outputs) \(run.errors)")
        #expect(!Files.names(sample.directory.path).contains("ingot-claims.xml"))
        try Files.write("precious", to: sample.directory.at("other.xml"))
        let other = try ActionTests.run(in: sample, checkpoint: checkpoint, claims: claims, report: "other.xml")
        #expect(other.outputs == ["status=\(status)"])
        #expect(try Files.read(sample.directory.at("other.xml")) == Array("precious".utf8))
    }

    /// A report that cannot be written, or would go over an input, fails the step and changes nothing.
    @Test(arguments: ["claims.json", "sealed/config.json", "source", "missing/report.xml"]) func reportsThatCannotBe(
        place: String
    ) async throws {
        let sample = try await ActionTests.sample()
        let before = try Files.snapshot(sample.directory.path)
        let run = try ActionTests.run(in: sample, report: place)
        #expect(run.status == 73 && run.outputs == ["status=73"], "\(run.status) \(run.errors)")
        #expect(run.errors.contains("error: cannotCreate"))
        var after = try Files.snapshot(sample.directory.path)
        after["outputs"] = nil
        #expect(after == before)
    }

    /// Damaged bytes are reported, too.
    @Test func damage() async throws {
        let sample = try await ActionTests.sample()
        try Files.patch([0xFF], at: 2000, in: sample.sealed.appending(SampleSource.shardName(1, of: 2)))
        let run = try ActionTests.run(in: sample)
        #expect(run.status == 65 && run.outputs == ["report=ingot-claims.xml", "status=65"], "\(run.errors)")
    }
}
