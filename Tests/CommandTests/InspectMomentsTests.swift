import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `inspect` of files of moments and importance matrices.
@Suite struct InspectMomentsTests {
    private static let fixtures = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .appending("PythonDecoder/fixtures")

    static let forms: [(name: String, file: String, options: [String])] = [
        ("text", "moments.safetensors", []), ("json", "moments.safetensors", ["--format", "json"]),
        ("csv", "moments.safetensors", ["--format", "csv"]), ("gguf", "imatrix.gguf", []),
        ("gradients", "gradients.safetensors", []), ("gradients-json", "gradients.safetensors", ["--format", "json"]),
        ("binary", "imatrix.dat", ["--headers-only"]),
    ]

    @Test(arguments: forms.map(\.name)) func golden(name: String) throws {
        let form = try #require(InspectMomentsTests.forms.first { $0.name == name })
        let path = InspectMomentsTests.fixtures.appending(form.file)
        let result = try IngotProcess.run(["inspect", path.string] + form.options)
        #expect(result.status == 0, "\(result.errors)")
        let all = (result.output + "---\n" + result.errors)
            .replacing(InspectMomentsTests.fixtures.string, with: "...")
        try Golden.expect(all, "inspect-moments-\(name).txt")
    }

    /// A model that was quantized with an importance matrix names it, and stays a model.
    @Test func modelOfAnImatrix() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m.gguf")
        try GGUFSample.write(
            [.init(SampleTensor("blk.0.attn_q.weight", .f32, [4, 8]))],
            metadata: [
                ("general.type", 8, GGUFSample.text("model")),
                ("quantize.imatrix.file", 8, GGUFSample.text("imatrix.gguf")),
                ("quantize.imatrix.dataset", 8, GGUFSample.text("imatrix")),
            ], to: path)
        let result = try IngotProcess.run(["inspect", path.string, "--headers-only"])
        #expect(result.status == 0 && result.output.contains("blk.0.attn_q.weight"), "\(result.errors)")
    }

    @Test func refusals() throws {
        let path = InspectMomentsTests.fixtures.appending("moments.safetensors").string
        for arguments in [
            [path, path], [path, "--group-by", "layer"], [path, "--filter", "*"], [path, "--format", "html"],
            [path, "--format", "markdown"], [path, "--details"], [path, "--top", "3"],
        ] {
            let result = try IngotProcess.run(["inspect"] + arguments)
            #expect(result.status == 64 && result.output.isEmpty, "\(arguments): \(result.output)")
            #expect(result.errors.contains("a file of moments"), "\(result.errors)")
        }
        let directory = try TemporaryDirectory()
        var bytes = try Files.read(InspectMomentsTests.fixtures.appending("imatrix.dat"))
        bytes.removeLast()
        try Files.write(bytes, to: directory.at("x.dat"))
        let result = try IngotProcess.run(["inspect", directory.at("x.dat").string])
        #expect(result.status == 65 && result.errors.contains("error: momentsInvalid"), "\(result.errors)")
    }
}
