import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Results as programs and people read them: JSON by its schema, text that no tensor's name can spoil.
@Suite struct ReportTests {
    private static let sampleModel = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .removingLastComponent().appending("SampleWeights")

    private func json(_ arguments: [String], status: Int32 = 0) throws -> JSONValue {
        let result = try IngotProcess.run(arguments + ["--format", "json"])
        #expect(result.status == status, "\(arguments): \(result.errors)")
        return try JSONValue.parse(Array(result.output.utf8))
    }

    /// Requires that a value has the members of Specs/json.md, in any order.
    private func expectMembers(_ names: String, of value: JSONValue?, location: SourceLocation = #_sourceLocation) {
        let found = Set(value?.object?.map(\.key) ?? [])
        for name in names.split(separator: " ") {
            #expect(found.contains(String(name)), "\(name)", sourceLocation: location)
        }
    }

    @Test func conversion() async throws {
        let sample = try await CommandSample()
        let report = try json(["convert", sample.source.string, sample.at("new")])
        #expect(report["schema"]?.string == "ingot.convert" && report["schema_version"]?.unsigned == 1)
        expectMembers("source_bytes output_bytes companion_bytes reduction shards weights bits_per_weight", of: report)
        expectMembers("kept_tensors kept_bytes seconds jobs peak_resident_bytes tensors skipped warnings", of: report)
        #expect(report["shards"]?.unsigned == 2 && report["tensors"]?.array?.count == 3)
        let weights: UInt64 = 6 * 40 + 5 * 33 + 4 * 36
        #expect(report["weights"]?.unsigned == weights)
        let files = try Files.snapshot(sample.directory.at("new"))
        var shards: UInt64 = 0
        var others: UInt64 = 0
        for (name, bytes) in files {
            if name.hasSuffix(".safetensors") { shards += UInt64(bytes.count) } else { others += UInt64(bytes.count) }
        }
        #expect(report["output_bytes"]?.unsigned == shards)
        #expect(report["companion_bytes"]?.unsigned == others)
        for tensor in report["tensors"]?.array ?? [] {
            expectMembers("name scheme bytes bits_per_weight relative_mse snr_db max_error", of: tensor)
        }
    }

    /// What plan forecasts for the sample model is what convert makes, within one percent, headers read or weights too.
    @Test(arguments: [
        ["--bits", "4"], ["--bits", "2.5", "--sample"], ["--bits", "3", "--codec", "rans"], ["--relative-mse", "1e-2"],
        ["--bpw", "3.8"], ["--target-size", "3MB"], ["--bits", "4", "--codec", "none"],
        ["--scheme", "uniform", "--bits", "4"],
        ["--scheme", "uniform", "--bits", "4", "--scales", "minmax"], ["--scheme", "lossless"],
    ])
    func forecast(options: [String]) throws {
        let directory = try TemporaryDirectory()
        let source = ReportTests.sampleModel.string
        let plan = try json(["plan", source] + options)
        #expect(plan["schema"]?.string == "ingot.plan" && plan["schema_version"]?.unsigned == 1)
        expectMembers("source_bytes output_bytes companion_bytes reduction weights bits_per_weight", of: plan)
        expectMembers("kept_tensors sampled memory_bytes tensors", of: plan)
        let converting = options.filter { $0 != "--sample" }
        let report = try json(["convert", source, directory.at("out").string] + converting)
        let forecast = try #require(plan["output_bytes"]?.unsigned)
        let made = try #require(report["output_bytes"]?.unsigned)
        #expect(abs(Double(forecast) / Double(made) - 1) < 0.01, "\(options): \(forecast), then \(made)")
        #expect(plan["tensors"]?.array?.count == report["tensors"]?.array?.count)
        for tensor in plan["tensors"]?.array ?? [] {
            expectMembers("name scheme bytes bits_per_weight relative_mse", of: tensor)
        }
    }

    @Test func inspection() async throws {
        let sample = try await CommandSample()
        for (path, format) in [(sample.source, "safetensors"), (sample.sealed, "ingot")] {
            let report = try json(["inspect", path.string])
            #expect(report["schema"]?.string == "ingot.inspect" && report["schema_version"]?.unsigned == 1)
            #expect(report["format"]?.string == format && report["path"]?.string == path.string)
            expectMembers("elements bytes weights_read files tensors warnings", of: report)
            #expect(report["tensors"]?.array?.count == 8)
            var total: UInt64 = 0
            for file in report["files"]?.array ?? [] {
                expectMembers("name bytes metadata", of: file)
                let size = try MappedFile.open(path.appending(file["name"]?.string ?? "")).byteCount
                #expect(file["bytes"]?["total"]?.unsigned == size)
                total += size
            }
            let parts = report["bytes"]?.object ?? []
            #expect(report["bytes"]?["total"]?.unsigned == total)
            let sum = parts.filter { $0.key != "total" }.reduce(0) { $0 + ($1.value.unsigned ?? 0) }
            #expect(sum == total)
            for tensor in report["tensors"]?.array ?? [] {
                expectMembers("name file role dtype shape bytes bits_per_element scheme statistics", of: tensor)
                if tensor["scheme"]?.string == "uniform" {
                    expectMembers(
                        "bits group_size symmetric codec relative_mse snr_db max_error source_xxh3_128", of: tensor)
                }
            }
        }
    }

    @Test func verification() async throws {
        let sample = try await CommandSample()
        let other = try SampleSource.write(SampleSource.small(seed: 2), to: sample.directory.at("other"))
        for (source, holds) in [(nil, true), (sample.source, true), (other, false)] {
            let against = source.map { ["--against", $0.string] } ?? []
            let report = try json(["verify", sample.sealed.string] + against, status: holds ? 0 : 1)
            #expect(report["schema"]?.string == "ingot.verify" && report["schema_version"]?.unsigned == 1)
            #expect(report["intact"]?.bool == true && report["holds"]?.bool == holds)
            #expect(report["compared"]?.bool == (source != nil))
            expectMembers("seconds tensors failures warnings", of: report)
            #expect(report["failures"]?.array?.isEmpty == holds)
            for failure in report["failures"]?.array ?? [] { expectMembers("code tensor found", of: failure) }
            for tensor in report["tensors"]?.array ?? [] {
                expectMembers("name scheme certificate measured", of: tensor)
                expectMembers("relative_mse snr_db max_error", of: tensor["certificate"])
            }
        }
    }

    // MARK: - Names and paths

    /// Control characters from names and paths reach no terminal, on either stream.
    @Test func escapeSequences() async throws {
        let directory = try TemporaryDirectory()
        let names = ["\u{1B}]0;title\u{7}.weight", "two\nlines.weight", "\u{202E}reversed.weight", "\u{9B}31m.weight"]
        var tensors = names.map { SampleTensor($0, .f16, [20, 40]) }
        let source = try SampleSource.write([tensors], to: directory.at("so\nurce\u{1B}[31m"))
        tensors[1].bytes = SampleTensor(names[1], .f16, [20, 40], values: [Float](repeating: .nan, count: 800)).bytes
        let bad = try SampleSource.write([tensors], to: directory.at("b\u{1B}[1mad"))
        let sealed = directory.at("sealed\u{1B}[0m\n").string
        let runs: [([String], Int32)] = [
            (["convert", source.string, sealed], 0), (["inspect", source.string], 0), (["inspect", sealed], 0),
            (["verify", sealed, "--against", source.string], 0), (["verify", sealed, "--against", bad.string], 1),
            (["convert", bad.string, directory.at("x").string], 65), (["inspect", sealed + "\u{1B}[5m"], 66),
            (["diff", source.string, sealed], 1), (["diff", source.string, sealed, "--format", "csv"], 1),
            (["diff", bad.string, sealed, "--format", "markdown"], 1),
            (["export", sealed, directory.at("out\u{1B}[5m").string], 0), (["inspect", "--\u{1B}[5m"], 64),
        ]
        for (arguments, status) in runs {
            let result = try IngotProcess.run(arguments)
            #expect(result.status == status, "\(arguments) \(result.errors)")
            let strange = (result.output + result.errors).unicodeScalars.filter { scalar in
                scalar != "\n" && [.control, .format].contains(scalar.properties.generalCategory)
            }
            #expect(strange.isEmpty, "\(arguments): \(result.output)\(result.errors)")
        }
        // JSON keeps names exactly.
        let report = try json(["inspect", sealed])
        #expect(report["tensors"]?.array?.compactMap { $0["name"]?.string } == names)
    }

    @Test func strangeArguments() async throws {
        let sample = try await CommandSample()
        let invalid = Array(sample.at("").utf8) + [0xFF, 0xFE]
        let result = try Subprocess(
            IngotProcess.program, [Array("inspect".utf8), invalid], environment: IngotProcess.environment
        ).wait()
        #expect(result.status == 64, "\(result.errors)")
        try FileManager.default.moveItem(atPath: sample.sealed.string, toPath: sample.at("-dash"))
        let dashed = try IngotProcess.shell("cd \"$1\" && \"$INGOT\" verify -- -dash", [sample.directory.path.string])
        #expect(dashed.status == 0, "\(dashed.errors)")
    }

    // MARK: - Standard output

    /// X07: a standard output that is closed or full is an error; one that nobody reads is none.
    @Test func closedOutput() async throws {
        let sample = try await CommandSample()
        for verb in ["inspect", "verify"] {
            let piped = try IngotProcess.shell(
                "set -o pipefail; \"$INGOT\" \(verb) \"$1\" | head -c 0", [sample.sealed.string])
            #expect(piped.status == 0 && piped.errors.isEmpty, "\(piped.errors)")
            let closed = try IngotProcess.run([verb, sample.sealed.string], output: .closed)
            #expect(closed.status == 74, "\(closed.errors)")
            let full = try IngotProcess.run([verb, sample.sealed.string], output: .path("/dev/full"))
            #expect(full.status == 74, "\(full.errors)")
            #expect(full.errors.hasPrefix("error: inputOutput: "))
        }
        let converted = try IngotProcess.run(["convert", sample.source.string, sample.at("new")], output: .closed)
        #expect(converted.status == 74)
        #expect(try IngotProcess.run(["convert", sample.source.string, sample.at("same")]).status == 0)
        #expect(try Files.snapshot(sample.directory.at("new")) == Files.snapshot(sample.directory.at("same")))
        #expect(Files.names(sample.directory.path) == ["new", "same", "sealed", "source"])
    }

    /// Descriptors that are closed get new files' numbers: what is printed must not end up in a checkpoint.
    @Test func allStreamsClosed() async throws {
        let sample = try await CommandSample()
        let line = "\"$INGOT\" convert \"$1\" \"$2\" --on-nonfinite keep"
        let expected = try IngotProcess.shell(line, [sample.source.string, sample.at("expected")])
        #expect(expected.status == 0)
        for (number, closing) in ["<&-", "2>&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"].enumerated() {
            let target = sample.at("new\(number)")
            let result = try IngotProcess.shell("\(line) \(closing)", [sample.source.string, target])
            #expect(result.status == (closing.contains(" >&-") || closing.hasPrefix(">&-") ? 74 : 0), "\(closing)")
            #expect(
                try Files.snapshot(FilePath(target)) == Files.snapshot(sample.directory.at("expected")), "\(closing)")
            let refused = try IngotProcess.shell("\(line) \(closing)", [sample.source.string, target])
            #expect(refused.status == 73, "\(closing)")
        }
    }
}
