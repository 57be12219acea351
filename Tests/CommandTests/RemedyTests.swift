import ConversionSupport
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What an error tells the user to do names the flag that does it.
@Suite struct RemedyTests {
    private func expect(
        _ words: String, _ arguments: [String], location: SourceLocation = #_sourceLocation
    ) throws {
        let result = try IngotProcess.run(arguments, location: location)
        #expect(result.status != 0, "\(arguments)", sourceLocation: location)
        let remedies = result.errors.split(separator: "\n").filter { $0.hasPrefix("  to do: ") }
        #expect(
            remedies.contains { $0.contains(words) }, "\(arguments): \(words): \(result.errors)",
            sourceLocation: location)
    }

    @Test func conversions() async throws {
        let sample = try await CommandSample()
        let convert = ["convert", sample.source.string, sample.at("new")]
        try expect("leave out --key", convert + ["--key", "model"])
        try expect("leave out --codec for any rate in between", convert + ["--bits", "3.5", "--codec", "none"])
        try expect("leave out --codec, or give --bits 2 to 8", convert + ["--target-size", "1MiB", "--codec", "lz4"])
        try expect("see by `ingot plan --relative-mse 0.1` which", convert + ["--target-size", "1"])
        try expect("give more with --max-memory", convert + ["--max-memory", "1MiB"])
        let single = try SampleSource.write(
            [[SampleTensor("a.weight", .f16, [8, 64])]], to: sample.directory.at("single"))
        let consumed =
            "convert without --consume-source, or download into a directory of its own (hf download --local-dir)"
        try expect(consumed, ["convert", single.string, sample.at("new"), "--consume-source"])
        try GGUFSample.write([.q8("blk.0.ffn_up.weight", [24, 96])], to: sample.directory.at("m.gguf"))
        try expect(
            "convert the original, or give --allow-requantize", ["convert", sample.at("m.gguf"), sample.at("new")])
        #expect(!Files.names(sample.directory.path).contains("new"))
    }

    @Test func interruptedConversions() async throws {
        let sample = try await CommandSample()
        try ClaimsTests.write(
            #"{"claim": "max_total_bytes", "limit": 1}"#, to: sample.directory.at("claims.json"))
        let convert = ["convert", sample.source.string, sample.at("new")]
        try expect("(--restart begins anew)", convert + ["--claims", sample.at("claims.json")])
        try expect("give the same options to go on, or begin anew with --restart", convert + ["--bits", "3"])
    }

    @Test func exportsAndVerifications() async throws {
        let sample = try await CommandSample()
        let large = try SampleSource.write(
            [[SampleTensor("a.weight", .f32, [8, 64], values: [Float](repeating: 1e6, count: 512))]],
            to: sample.directory.at("large"))
        try await Verbs.convert(large, to: sample.directory.at("wide"))
        try expect("export with --dtype f32", ["export", sample.at("wide"), sample.at("out"), "--dtype", "f16"])
        let verify = ["verify", sample.sealed.string]
        try expect(
            "check the path; `ingot verify DEST --claims FILE --update-baseline` makes one",
            verify + ["--claims", sample.at("missing.json")])
        try ClaimsTests.write(#"{"claim": "finite"}"#, to: sample.directory.at("claims.json"))
        try Files.write("{}", to: sample.directory.at("report.json"))
        try expect(
            "name what `ingot convert --format json` printed",
            verify + ["--claims", sample.at("claims.json"), "--conversion-report", sample.at("report.json")])
    }
}
