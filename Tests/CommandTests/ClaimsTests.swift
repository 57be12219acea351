import ConversionSupport
import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `ingot verify --claims`, in every form, and its baselines.
@Suite struct ClaimsTests {
    static func write(_ claims: String, to path: FilePath) throws {
        try Files.write(#"{"schema": "ingot.claims", "version": 1, "claims": [\#(claims)]}"#, to: path)
    }

    /// Claims that fail, warn, are skipped and hold.
    private static let mixed = """
        {"claim": "max_relative_mse", "limit": 1e-6, "note": "ticket 12"}, {"claim": "max_bits_per_weight", "limit": 64},
        {"claim": "max_error", "tensors": ["*.q_proj.*"], "limit": 1e-6, "level": "warn"},
        {"claim": "max_peak_memory", "limit": "1GiB"}, {"claim": "min_snr_db", "tensors": "none.*", "limit": 3},
        {"claim": "max_total_bytes", "limit": 100, "level": "off"}
        """

    @Test(arguments: ["text", "json", "junit", "github", "markdown", "sarif"]) func goldens(format: String) async throws
    {
        let sample = try await CommandSample()
        let claims = sample.directory.at("claims.json")
        try ClaimsTests.write(ClaimsTests.mixed, to: claims)
        let arguments = [
            "verify", sample.sealed.string, "--against", sample.source.string, "--claims", claims.string, "--format",
            format,
        ]
        let result = try IngotProcess.run(arguments)
        #expect(result.status == 1 && result.errors.isEmpty, "\(result.errors)")
        let patterns = [
            (#"timestamp="[^"]*""#, "timestamp=\"T\""), (#"time="\d[^"]*""#, "time=\"0\""),
            (#""(seconds|peak_resident_bytes)": [0-9.e-]+"#, "\"$1\": 0"),
        ]
        // The path of the sample is as long as its name; in a URI it is escaped, but has nothing to escape.
        let text = patterns.reduce(result.output.replacing(sample.directory.path.string, with: "...")) {
            text, pattern in
            text.replacingOccurrences(of: pattern.0, with: pattern.1, options: .regularExpression)
        }
        let names = [
            "text": "txt", "json": "json", "junit": "xml", "github": "github.txt", "markdown": "md", "sarif": "sarif",
        ]
        try Golden.expect(text, "claims.\(names[format] ?? "")")
        // The same into a file.
        let file = sample.at("report")
        let written = try IngotProcess.run(arguments + ["--output", file])
        #expect(written.status == 1 && written.output.isEmpty)
        #expect(try Files.read(FilePath(file)).count >= result.output.utf8.count - 40)
    }

    /// What fails is in the first lines, nothing is wider than 80 columns, and colours say nothing that words do not.
    @Test func text() async throws {
        let sample = try await CommandSample()
        let claims = sample.directory.at("claims.json")
        try ClaimsTests.write(ClaimsTests.mixed, to: claims)
        let arguments = ["verify", sample.sealed.string, "--claims", claims.string]
        let plain = try IngotProcess.run(arguments)
        let lines = plain.output.split(separator: "\n")
        let first = try #require(lines.firstIndex { $0.hasPrefix("FAIL") })
        let last = try #require(lines.firstIndex { $0.hasPrefix("claims: ") })
        #expect(first == 0 && lines[...last].allSatisfy { $0.count <= 80 }, "\(plain.output)")
        #expect(
            lines[..<last].filter { $0.first?.isUppercase == true }.map { $0.prefix(4) }
                == ["FAIL", "FAIL", "WARN", "SKIP", "SKIP", "SKIP", "SKIP", "PASS", "PASS"])
        let colored = try IngotProcess.run(arguments + ["--color", "always"])
        #expect(colored.output.contains("\u{1B}[31mFAIL\u{1B}[0m") && colored.output.contains("\u{1B}[33mWARN"))
        #expect(colored.output.replacing(/\u{1B}\[\d+m/, with: "") == plain.output)
    }

    @Test func levels() async throws {
        let sample = try await CommandSample()
        let claims = sample.directory.at("claims.json")
        for (level, status) in [("error", Int32(1)), ("warn", 0), ("off", 0)] {
            try ClaimsTests.write(#"{"claim": "max_total_bytes", "limit": 1, "level": "\#(level)"}"#, to: claims)
            for format in ["text", "json", "junit", "github", "markdown", "sarif"] {
                let result = try IngotProcess.run(
                    ["verify", sample.sealed.string, "--claims", claims.string, "--format", format])
                #expect(result.status == status, "\(level) \(format)")
                if format == "json" {
                    let report = try JSONValue.parse(Array(result.output.utf8))
                    #expect(report["holds"]?.bool == (status == 0))
                    #expect(report["claims"]?.array?.count == 4)
                }
                if format == "text" {
                    let word = ["error": "FAIL", "warn": "WARN", "off": "SKIP"][level] ?? ""
                    #expect(result.output.contains("\(word)  max_total_bytes"), "\(result.output)")
                }
            }
        }
    }

    /// Files, options and reports that are wrong, with the exit status.
    @Test func refusals() async throws {
        let sample = try await CommandSample()
        let (sealed, source) = (sample.sealed.string, sample.source.string)
        let claims = sample.directory.at("claims.json")
        try ClaimsTests.write(#"{"claim": "max_peak_memory", "limit": 1}"#, to: claims)
        let bad = sample.directory.at("bad.json")
        try ClaimsTests.write(#"{"claim": "finite", "limit": 1}"#, to: bad)
        let report = sample.directory.at("report.json")
        func verify(_ more: [String], _ status: Int32, _ message: String, location: SourceLocation = #_sourceLocation)
            throws
        {
            let result = try IngotProcess.run(["verify", sealed] + more)
            #expect(result.status == status, "\(more): \(result.errors)", sourceLocation: location)
            #expect(result.errors.contains(message), "\(result.errors)", sourceLocation: location)
            #expect(result.output.isEmpty, sourceLocation: location)
        }
        try verify(["--claims", sample.at("missing")], 66, "error: noInput: no such claims file")
        try verify(["--claims", bad.string], 65, "error: claimsInvalid: claims[0].limit: an unknown member")
        try verify(["--claims", bad.string, "--format", "junit"], 65, "claims[0].limit")
        try verify(["--update-baseline"], 64, "--claims")
        try verify(["--conversion-report", report.string], 64, "--claims")
        try verify(["--claims", claims.string, "--tolerance", "5%"], 64, "--update-baseline")
        try verify(["--claims", claims.string, "--update-baseline", "--format", "json"], 64, "--format json")
        for tolerance in ["-1%", "101%", "nan", "five", "%"] {
            try verify(["--claims", claims.string, "--update-baseline", "--tolerance=\(tolerance)"], 64, "tolerance")
        }
        let converted = try IngotProcess.run(["convert", source, sample.at("other"), "--bits", "3", "--format", "json"])
        for (text, message) in [
            ("{", "reportInvalid"), ("{}", "schema: missing"), (converted.output, "output_bytes: "),
            (#"{"schema": "ingot.convert", "schema_version": 9}"#, "schema_version: 9"),
        ] {
            try Files.write(text, to: report)
            try verify(["--claims", claims.string, "--conversion-report", report.string], 65, message)
        }
        try verify(["--claims", claims.string, "--conversion-report", sample.at("none")], 66, "noInput")
        // Damage wins over a claim that fails.
        try Files.patch([0xFF], at: 2000, in: sample.sealed.appending(SampleSource.shardName(1, of: 2)))
        try verify(["--claims", claims.string], 65, "error: ")
    }

    /// The memory of a conversion, from its report.
    @Test func memory() async throws {
        let sample = try await CommandSample()
        let target = sample.at("other")
        let converted = try IngotProcess.run(["convert", sample.source.string, target, "--format", "json"])
        try Files.write(converted.output, to: sample.directory.at("report.json"))
        let peak = try #require(try JSONValue.parse(Array(converted.output.utf8))["peak_resident_bytes"]?.unsigned)
        let claims = sample.directory.at("claims.json")
        for (limit, status) in [(peak, Int32(0)), (peak - 1, 1)] {
            try ClaimsTests.write(#"{"claim": "max_peak_memory", "limit": \#(limit)}"#, to: claims)
            let result = try IngotProcess.run(
                ["verify", target, "--claims", claims.string, "--conversion-report", sample.at("report.json")])
            #expect(result.status == status, "\(result.output)")
        }
    }

    /// A baseline is made, holds, is updated, and is left alone where the checkpoint is not what it claims.
    @Test func baseline() async throws {
        let sample = try await CommandSample()
        let claims = sample.directory.at("claims.json")
        let line = "cd \"$1\" && \"$INGOT\" verify sealed --against source --claims claims.json"
        func run(_ more: String) throws -> Subprocess.Result {
            try IngotProcess.shell("\(line) \(more)", [sample.directory.path.string])
        }
        let made = try run("--update-baseline --tolerance 0")
        #expect(made.status == 0 && made.output.hasPrefix("claims.json made\n"), "\(made.errors)")
        for name in ["max_total_bytes", "min_reduction", "max_relative_mse", "source_sha256"] {
            #expect(made.output.contains("  \(name) "), "\(made.output)")
        }
        #expect(made.output.contains("max_peak_memory") && made.output.contains("left out: the memory"))
        // Another conversion has other bytes: its hash is claimed only if asked for.
        #expect(!made.output.contains("output_sha256"), "\(made.output)")
        #expect(try run("").status == 0)
        let first = try Files.read(claims)
        let again = try run("--update-baseline --tolerance 0").output
        #expect(
            again.hasPrefix("claims.json updated\n") && again.contains(", unchanged") && !again.contains(" -> "),
            "\(again)")
        #expect(try Files.read(claims) == first)
        // Another checkpoint does not hold it, until the baseline is set anew.
        try Directory.removeTree(sample.sealed)
        try await Verbs.convert(sample.source, to: sample.sealed, Verbs.options(bits: 3))
        let failed = try run("")
        #expect(failed.status == 1 && failed.output.contains("FAIL  max_relative_mse"), "\(failed.output)")
        let updated = try run("--update-baseline --tolerance 1%")
        #expect(updated.status == 0 && updated.output.contains(" -> "), "\(updated.output)")
        #expect(try run("").status == 0)
        let second = try Files.read(claims)
        #expect(second != first)
        let other = try SampleSource.write(SampleSource.small(seed: 2), to: sample.directory.at("other"))
        let refused = try IngotProcess.run(
            ["verify", sample.sealed.string, "--against", other.string, "--claims", claims.string, "--update-baseline"])
        #expect(refused.status == 1 && refused.errors.contains("the claims file is left as it is"), "\(refused.errors)")
        #expect(try Files.read(claims) == second)
        #expect(Files.names(sample.directory.path) == ["claims.json", "other", "sealed", "source"])
    }

    /// One way to write a tolerance: numbers from 1 on are percent.
    @Test func tolerances() async throws {
        let sample = try await CommandSample()
        var files: [[UInt8]] = []
        for (index, tolerance) in ["2", "2%", "0.02"].enumerated() {
            let file = sample.at("claims-\(index).json")
            let result = try IngotProcess.run(
                [
                    "verify", sample.sealed.string, "--against", sample.source.string, "--claims", file,
                    "--update-baseline", "--tolerance", tolerance, "--pin-output",
                ])
            #expect(result.status == 0 && result.output.contains("output_sha256"), "\(result.errors)")
            files.append(try Files.read(FilePath(file)))
        }
        #expect(files[0] == files[1] && files[1] == files[2])
    }

    @Test func stepSummary() async throws {
        let sample = try await CommandSample()
        let run = { (path: String) in
            try IngotProcess.shell(
                "GITHUB_STEP_SUMMARY=\"$2\" \"$INGOT\" verify \"$1\" --format github", [sample.sealed.string, path])
        }
        for count in 1...2 {
            #expect(try run(sample.at("summary")).status == 0)
            let text = String(decoding: try Files.read(sample.directory.at("summary")), as: UTF8.self)
            #expect(text.components(separatedBy: "### ingot: ").count == count + 1)
        }
        try Files.write([UInt8](repeating: 0x20, count: 1 << 20), to: sample.directory.at("full"))
        #expect(try run(sample.at("full")).status == 0)
        #expect(try Files.read(sample.directory.at("full")).count == 1 << 20)
        let failed = try run(sample.at("none/summary"))
        #expect(failed.status == 74 && failed.errors.contains("GITHUB_STEP_SUMMARY"), "\(failed.errors)")
    }
}
