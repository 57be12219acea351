import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What the command says of itself: goldens, at 80 columns.
///
/// `INGOT_UPDATE_GOLDENS=1 swift test -c release --filter CommandTests` writes them anew.
@Suite struct HelpTests {
    /// The number of processors is the machine's.
    private func withoutProcessors(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { line -> String in
            guard line.contains("--jobs"), let range = line.range(of: #"\(default: \d+\)"#, options: .regularExpression)
            else { return String(line) }
            return line.replacingCharacters(in: range, with: "(default: N)")
        }.joined(separator: "\n")
    }

    @Test(arguments: [
        "", "convert", "plan", "inspect", "verify", "diff", "export", "tokenize", "evaluate", "calibrate",
    ])
    func help(verb: String) throws {
        let words = verb.isEmpty ? [] : [verb]
        let result = try IngotProcess.run(words + ["--help"])
        #expect(result.status == 0 && result.errors.isEmpty)
        let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false)
        for line in lines { #expect(line.count <= 80, "\(line)") }
        try Golden.expect(withoutProcessors(result.output), "help\(verb.isEmpty ? "" : "-")\(verb).txt")
        #expect(try IngotProcess.run(["help"] + words).output == result.output)
    }

    @Test func version() throws {
        let result = try IngotProcess.run(["--version"])
        #expect(result.status == 0 && result.errors.isEmpty)
        #expect(result.output.hasPrefix("ingot ") && result.output.contains("zstd"))
    }

    /// The messages of errors, places of the files left out.
    @Test func messages() async throws {
        let sample = try await CommandSample()
        let bad = try SampleSource.write(
            [[SampleTensor("a.weight", .f16, [20, 40], values: [Float](repeating: .nan, count: 800))]],
            to: sample.directory.at("bad"))
        let runs = [
            ["convert", sample.at("missing"), sample.at("x")], ["convert", bad.string, sample.at("x")],
            ["convert", sample.source.string, sample.sealed.string],
            ["convert", sample.source.string, sample.source.string], ["verify", sample.source.string],
            ["verify", sample.sealed.string, "--against", bad.string],
            ["convert", sample.source.string, sample.at("x"), "--bits", "9"],
            ["convert", sample.source.string, sample.at("x"), "--max-memory", "1MiB"], ["frobnicate"],
        ]
        var text = ""
        for arguments in runs {
            let result = try IngotProcess.run(arguments)
            text += "$ ingot \(arguments.joined(separator: " "))\n\(result.errors)[exit \(result.status)]\n\n"
        }
        try Golden.expect(text.replacing(sample.directory.path.string, with: "..."), "messages.txt")
    }
}
