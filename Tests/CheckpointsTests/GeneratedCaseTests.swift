import Checkpoints
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// The cases of `SampleWeights/make_malformed.py`: files made without this project's code, each with the verdict.
@Suite struct GeneratedCaseTests {
    private static let generator = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .removingLastComponent().appending("SampleWeights/make_malformed.py")

    /// The first `python3` that the search path leads to.
    private static let python = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        .map { "\($0)/python3" }.first { FileManager.default.isExecutableFile(atPath: $0) }

    private static var isAvailable: Bool {
        python != nil && FileManager.default.fileExists(atPath: generator.string)
    }

    @Test(.enabled(if: isAvailable, "python3 and the generator")) func everyCase() throws {
        let directory = try TemporaryDirectory()
        let python = try #require(GeneratedCaseTests.python)
        let arguments = [GeneratedCaseTests.generator.string, directory.path.string].map { Array($0.utf8) }
        let result = try Subprocess(
            FilePath(python), arguments, environment: ProcessInfo.processInfo.environment, output: .path("/dev/null")
        ).wait()
        try #require(result.status == 0, "\(result.errors)")

        let text = try Data(contentsOf: URL(fileURLWithPath: directory.path.appending("cases.json").string))
        let cases = try #require(try JSONValue.parse(Array(text)).array)
        #expect(cases.count > 300)
        for item in cases {
            let path = try #require(item["path"]?.string)
            let expected = try #require(item["expect"]?.string)
            let why = item["why"]?.string ?? ""
            let found = GeneratedCaseTests.verdict(directory.path.appending(path))
            // What a conversion refuses still is a safetensors file.
            let wanted = expected == "reject-on-convert" ? "accept" : expected
            #expect(found.verdict == wanted, "\(path): \(why); \(found.detail)")
        }
    }

    private static func verdict(_ path: FilePath) -> (verdict: String, detail: String) {
        do {
            let checkpoint = try Checkpoint.open(path)
            let warnings = checkpoint.warnings.map(IngotErrorRenderer.text)
            return (warnings.isEmpty ? "accept" : "warn", warnings.joined(separator: "; "))
        } catch let error as IngotError {
            return ("reject", IngotErrorRenderer.text(error))
        } catch {
            return ("another error", "\(error)")
        }
    }
}
