import Conversion
import ConversionSupport
import FileAccess
import SystemPackage
import TensorModel
import TestSupport

/// A source with companions, one of them in a folder, and the checkpoint made of it.
struct CompanionSample {
    let directory: TemporaryDirectory
    let source: FilePath
    let sealed: FilePath

    init() async throws {
        directory = try TemporaryDirectory()
        source = try SampleSource.write(
            SampleSource.small(), to: directory.at("source"),
            companions: ["config.json": "{}\n", "tokenizer.json": "{}"])
        try Directory.create(source.appending("code"))
        try Files.write("pass", to: source.appending("code").appending("modeling.py"))
        sealed = directory.at("sealed")
        try await Verbs.convert(source, to: sealed)
    }

    /// Converts with `--force`.
    func convert() async throws -> IngotError? {
        var options = Verbs.options()
        options.run.force = true
        return try await Verbs.failure { try await Verbs.convert(source, to: sealed, options) }
    }
}
