import Architectures
import FileAccess
import Moments
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `ingot calibrate`: what it writes, what it replaces, what it warns of.
@Suite struct CalibrateTests {
    private let directory: TemporaryDirectory
    private var output: FilePath { directory.at("m.safetensors") }

    init() throws {
        directory = try TemporaryDirectory()
        try TinyModel.write(to: directory.at("model"))
        try Files.write(TinyModel.ids(1000), to: directory.at("ids.npy"))
    }

    private func run(_ options: [String], model: String = "model") throws -> Subprocess.Result {
        try IngotProcess.run(
            [
                "calibrate", directory.at(model).string, "--ids", directory.at("ids.npy").string, "--context", "32",
                "-o", output.string, "--progress", "none",
            ] + options)
    }

    private func code(_ result: Subprocess.Result) -> String {
        String(result.errors.split(separator: "\n").first { $0.hasPrefix("error: ") } ?? "")
    }

    /// M06: an existing file stays without `--force`. With it, only files of the same kind are replaced.
    @Test func force() throws {
        #expect(try run([]).status == 0)
        let first = try Files.read(output)
        let refused = try run(["--blocks", "diagonal"])
        #expect(refused.status == 73 && refused.errors.contains("the output exists"), "\(refused.errors)")
        #expect(refused.errors.contains("replace it with --force"), "\(refused.errors)")
        #expect(try Files.read(output) == first)
        #expect(try run(["--blocks", "diagonal", "--force"]).status == 0)
        #expect(try MomentsFile(output).description.blocks == .diagonal)
        for (name, option) in [("m.safetensors", "-o"), ("i.gguf", "--imatrix"), ("i.dat", "--imatrix")] {
            let path = directory.at(name)
            try Files.write("something else", to: path)
            var options = option == "-o" ? ["--force"] : [option, path.string]
            if option != "-o" {
                try? Directory.removeFile(output)
                #expect(try run(options).errors.contains("the output exists"))
                options.append("--force")
            }
            let other = try run(options)
            #expect(other.status == 73 && other.errors.contains("no file of moments"), "\(other.errors)")
            #expect(try Files.read(path) == Array("something else".utf8))
            try Directory.removeFile(path)
        }
        #expect(Files.names(directory.path) == ["ids.npy", "model"])
    }

    /// M06: no output takes the place of an input, of the other output, or of what is no file.
    @Test func places() throws {
        let model = directory.at("model/model.safetensors").string
        for imatrix in [model, output.string, directory.path.string, directory.at("no/i.dat").string, "/dev/null"] {
            let result = try run(["--imatrix", imatrix, "--force"])
            #expect(result.status == 73, "\(imatrix): \(result.errors)")
        }
        #expect(Files.names(directory.path) == ["ids.npy", "model"])
    }

    @Test(arguments: [false, true], ["i.gguf", "i.dat"]) func imatrix(isMixture: Bool, name: String) throws {
        try TinyModel.write(to: directory.at("other"), isMixture: isMixture)
        let result = try run(["--imatrix", directory.at(name).string], model: "other")
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.contains("of moments") && result.output.contains(name), "\(result.output)")
        #expect(Files.names(directory.path) == [name, "ids.npy", "m.safetensors", "model", "other"].sorted())
        let (moments, imatrix) = (try MomentsFile(output), try Imatrix.open(directory.at(name)))
        #expect(imatrix.form == (name == "i.gguf" ? .gguf : .older))
        var count = 0
        try imatrix.forEachDiagonal { found in
            let entry = try #require(moments[found.input])
            #expect(found.tokens == (name == "i.gguf" ? entry.tokenCount : nil))
            for (a, b) in zip(found.means, try moments.diagonal(of: entry)) where entry.tokenCount > 0 {
                #expect(abs(a - b) <= 1e-5 * b)
            }
            count += 1
        }
        #expect(count == moments.entries.count)
    }

    /// A run that fails behind its last layer keeps its moments. The next one with the same options takes them.
    @Test func interrupted() throws {
        let refused = try IngotProcess.shell(
            #"ulimit -f 1; "$INGOT" calibrate "$1" --ids "$2" --context 32 -o "$3" --imatrix "$4" --quiet"#,
            [directory.at("model"), directory.at("ids.npy"), output, directory.at("i.gguf")].map(\.string))
        #expect(refused.status == 74, "\(refused.errors)")
        #expect(try Directory.kind(output) == nil && Directory.kind(directory.at("i.gguf")) == nil)
        // A temporary file of an importance matrix that a killed run left is in nobody's way.
        try Files.write("x", to: AtomicFile.temporaryPath(of: directory.at("i.gguf")))
        #expect(try run(["--imatrix", directory.at("i.gguf").string]).status == 0)
        #expect(Files.names(directory.path) == ["i.gguf", "ids.npy", "m.safetensors", "model"])
    }

    /// Gradients are in the file unless none are wanted; the moments are the same.
    @Test func gradients() throws {
        #expect(try run([]).status == 0)
        let whole = try MomentsFile(output)
        #expect(whole.description.gradients == GradientsDescription(tokens: 992) && whole.gradientMatrices.count == 15)
        try whole.check()
        #expect(try run(["--gradient-tokens", "330", "--force"]).status == 0)
        let few = try MomentsFile(output)
        #expect(few.description.gradients?.tokens == 320)
        #expect(try few.tokenWeights() == whole.tokenWeights())
        #expect(try few.gradients(of: .head) != whole.gradients(of: .head))
        #expect(try run(["--gradient-tokens", "0", "--force"]).status == 0)
        let none = try MomentsFile(output)
        #expect(none.description.gradients == nil && none.gradientMatrices.isEmpty)
        for (a, b) in zip(none.entries, whole.entries) {
            #expect(try a.input == b.input && none.diagonal(of: a) == whole.diagonal(of: b))
        }
        let refused = try run(["--gradient-tokens=-1", "--force"])
        #expect(refused.status == 64 && refused.errors.contains("--gradient-tokens"), "\(refused.errors)")
    }

    /// Warnings sum up; the one about a short text comes before the work.
    @Test func warnings() throws {
        func warnings(_ options: [String], model: String = "model") throws -> [Substring] {
            let result = try run(options + ["--force"], model: model)
            #expect(result.status == 0, "\(result.errors)")
            return result.errors.split(separator: "\n").filter { $0.hasPrefix("warning: ") }
        }
        #expect(try !warnings(["--tokens", "416"]).contains { $0.contains("per column") })
        // 384 tokens for 40 columns at two inputs of nine.
        let short = try warnings(["--tokens", "384"])
        let words = "2 of 9 inputs saw fewer than 10 tokens per column, the fewest at layers.0.down_in (9.60)"
        #expect(short.first?.contains(words) == true, "\(short)")
        // A weight is no token.
        try Files.write(TinyModel.ids(384), to: directory.at("ids.npy"))
        let weighted = try IngotProcess.run([
            "calibrate", directory.at("model").string, "--ids", directory.at("ids.npy").string + ":100", "--context",
            "32", "-o", directory.at("w.safetensors").string,
        ])
        #expect(weighted.errors.contains("(9.60)"), "\(weighted.errors)")
        try TinyModel.write(to: directory.at("other"), isMixture: true)
        let experts = try warnings(["--tokens", "64"], model: "other").filter { $0.contains("of experts") }
        #expect(experts.count == 1 && experts[0].contains("16 of 16 inputs of experts"), "\(experts)")
        #expect(experts[0].contains(" in 2 layers saw fewer tokens than columns: more text"), "\(experts)")
        #expect(try run(["--tokens", "64", "--force", "--quiet"], model: "other").errors.isEmpty)
    }
}
