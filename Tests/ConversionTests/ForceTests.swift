import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `--force` refuses a directory with a file that is not of the earlier output, and touches nothing in it.
@Suite struct ForceTests {
    @Test func forceRefusesABogusManifest() async throws {
        let sample = try await CompanionSample()
        let real = try Files.read(sample.sealed.appending(Manifest.fileName))
        let files = try Files.snapshot(sample.sealed).keys.filter { $0 != Manifest.fileName }
        for text in ["", "{}", "{\"format\": \"ingot-manifest\", \"version\": 1, \"files\": []}"] {
            try Files.write(text, to: sample.sealed.appending(Manifest.fileName))
            try await sample.expectRefusal("the manifest `\(text)` beside its shards")
        }
        for name in files { try Directory.removeFile(sample.sealed.pushing(FilePath(name))) }
        try await sample.expectRefusal("a bogus manifest alone")
        try Files.write(real, to: sample.sealed.appending(Manifest.fileName))
        try Files.write("work of years", to: sample.sealed.appending("thesis.tex"))
        try await sample.expectRefusal("another's manifest beside a file of the user's")
    }

    @Test func forceRefusesACheckpointWithAFileOfTheUsers() async throws {
        let sample = try await CompanionSample()
        try Files.write("mine", to: sample.sealed.appending("notes.txt"))
        try await sample.expectRefusal("a file")
        try Directory.removeFile(sample.sealed.appending("notes.txt"))
        let below = sample.sealed.appending("code").appending("notes.txt")
        try Files.write("mine", to: below)
        try await sample.expectRefusal("a file in a folder of ours")
        try Directory.removeFile(below)
        try Directory.create(sample.sealed.appending("mine"))
        try Files.write("mine", to: sample.sealed.appending("mine").appending("config.json"))
        try await sample.expectRefusal("a file in a folder of the user's")
        try Directory.removeTree(sample.sealed.appending("mine"))
        #expect(try await sample.convert() == nil)
        #expect(try await Verbs.verify(sample.sealed, against: sample.source).holds)
    }

    @Test func forceRefusesAnExportWithAFileOfTheUsers() async throws {
        let sample = try await CompanionSample()
        let output = sample.directory.at("out")
        try await Verbs.export(sample.sealed, to: output)
        let before = try Files.snapshot(output)
        let place = output.appending("code").appending("notes.txt")
        try Files.write("mine", to: place)
        try await sample.expectRefusal("a file in a folder", export: output)
        try Directory.removeFile(place)
        try await Verbs.export(sample.sealed, to: output, force: true)
        #expect(try Files.snapshot(output) == before)
    }
}

extension CompanionSample {
    /// Requires that `--force` refuses, before and after a second look, and touches nothing.
    fileprivate func expectRefusal(_ what: String, export: FilePath? = nil) async throws {
        let before = try Files.snapshot(directory.path)
        let error =
            if let export {
                try await Verbs.failure { try await Verbs.export(sealed, to: export, force: true) }
            } else { try await convert() }
        #expect(error?.code == .cannotCreate && error?.code.kind == .cannotCreate, "\(what)")
        #expect(try Files.snapshot(directory.path) == before, "\(what)")
    }
}
