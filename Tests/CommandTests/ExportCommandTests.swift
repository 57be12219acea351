import SystemPackage
import TestSupport
import Testing

/// `ingot export` with a calibration: types for a size, recipes, and files of moments that do not fit.
@Suite struct ExportCommandTests {
    private let directory: TemporaryDirectory
    private static let model = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .removingLastComponent().appending("SampleWeights").string

    init() throws { directory = try TemporaryDirectory() }

    private func run(_ arguments: [String]) throws -> Subprocess.Result {
        try IngotProcess.run(arguments + ["--progress", "none"])
    }

    private func export(_ name: String, _ options: [String], of model: String = model) throws -> Subprocess.Result {
        try run(["export", model, directory.at(name).string] + options)
    }

    /// Moments of 1,024 tokens, and the importance matrix of the same.
    private func calibrate() throws -> (moments: String, imatrix: String) {
        let (moments, imatrix) = (directory.at("m.safetensors").string, directory.at("i.gguf").string)
        let result = try run([
            "calibrate", Self.model, "--text", Self.model + "/heldout-code.txt", "--tokens", "1024", "-o", moments,
            "--imatrix", imatrix,
        ])
        #expect(result.status == 0, "\(result.errors)")
        return (moments, imatrix)
    }

    /// The size is kept, the command says what it chose, and the file is a recipe for the same bytes.
    @Test func sizesAndRecipes() throws {
        let moments = try calibrate().moments
        let calibrated = ["--to", "gguf", "--calibration", moments]
        let result = try export("a.gguf", calibrated + ["--target-size", "2100000"])
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("39 tensors in 1 file") && result.output.contains("chosen: "))
        let bytes = try Files.read(directory.at("a.gguf"))
        #expect(bytes.count <= 2_100_000 && bytes.count > 2_000_000, "\(bytes.count)")
        let again = try export("b.gguf", calibrated + ["--recipe", directory.at("a.gguf").string])
        #expect(again.status == 0 && !again.output.contains("chosen"), "\(again.errors)")
        #expect(try Files.read(directory.at("b.gguf")) == bytes)
        let groups = try export("mlx", ["--to", "mlx", "--calibration", moments, "--bpw", "3.5"])
        #expect(groups.status == 0 && groups.output.contains(" x 3 bits"), "\(groups.output)\(groups.errors)")
        let verified = try run([
            "verify", directory.at("a.gguf").string, "--against", Self.model, "--max-relative-mse", "1",
        ])
        #expect(verified.status == 0, "\(verified.output)\(verified.errors)")
    }

    /// What cannot be done is said, and nothing is left.
    @Test func refusals() throws {
        let (moments, imatrix) = try calibrate()
        let cases: [(options: [String], status: Int32, text: String)] = [
            (["--to", "gguf", "--bpw", "3"], 64, "need --calibration"),
            (["--to", "gguf", "--bpw", "3", "--type", "Q4_0", "--calibration", moments], 64, "exclude each other"),
            (["--to", "gguf", "--bpw", "3", "--pure", "--calibration", moments], 64, "--pure is for --type"),
            (["--to", "gguf", "--bpw", "0", "--calibration", moments], 64, "1 to 32"),
            (["--to", "compressed-tensors", "--bpw", "4", "--calibration", moments], 64, "--to gguf and --to mlx"),
            (["--to", "gguf", "--bpw", "2", "--calibration", moments], 64, "at least 2.6"),
            (["--to", "mlx", "--target-size", "1kB", "--calibration", moments], 64, "smallest types"),
            (["--to", "gguf", "--bpw", "3", "--calibration", imatrix], 65, "no gradients"),
            (["--to", "gguf", "--type", "Q8_0", "--recipe", moments], 65, "error: "),
        ]
        for (options, status, text) in cases {
            let result = try export("out.gguf", options)
            #expect(result.status == status && result.errors.contains(text), "\(options): \(result.errors)")
        }
        #expect(Files.names(directory.path) == ["i.gguf", "m.safetensors"])
    }

    /// Moments of another model are not passed over.
    @Test func momentsOfAnotherModel() throws {
        let (moments, imatrix) = try calibrate()
        try TinyModel.write(to: directory.at("tiny"))
        for (file, text) in [(moments, "moments"), (imatrix, "moments of no matrix")] {
            let result = try export(
                "out", ["--to", "mlx", "--allow-fallback", "--calibration", file], of: directory.at("tiny").string)
            #expect(result.status == 65 && result.errors.contains(text), "\(result.errors)")
            #expect(!Files.names(directory.path).contains("out"))
        }
    }
}
