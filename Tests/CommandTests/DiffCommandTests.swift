import Checkpoints
import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `ingot diff` as people and programs meet it: exit status, every format, memory.
@Suite struct DiffCommandTests {
    private static let goldens = FilePath(#filePath).removingLastComponent().appending("Goldens")

    private func expect(_ text: String, golden name: String) throws {
        let path = DiffCommandTests.goldens.appending(name)
        if ProcessInfo.processInfo.environment["INGOT_UPDATE_GOLDENS"] == "1" { try Files.write(text, to: path) }
        let golden = String(decoding: try Files.read(path), as: UTF8.self)
        #expect(text == golden, "INGOT_UPDATE_GOLDENS=1 writes \(name) anew")
    }

    /// Two checkpoints between which everything happens that can; weights are literals, so that figures are the same everywhere.
    private static func write(in directory: TemporaryDirectory) throws -> (old: String, new: String) {
        func ramp(_ count: Int, _ scale: Float) -> [Float] { (0..<count).map { Float($0 % 37 - 18) * scale } }
        var moved = ramp(96, 0.125)
        moved[3] += 0.5
        moved[70] = 0
        let old = [
            SampleTensor("model.embed_tokens.weight", .f16, [8, 12], values: ramp(96, 0.25)),
            SampleTensor("model.layers.0.q_proj.weight", .f16, [8, 12], values: ramp(96, 0.125)),
            SampleTensor("model.layers.1.q_proj.weight", .f16, [12, 8], values: ramp(96, 0.5)),
            SampleTensor("model.layers.1.norm.weight", .f32, [4], values: [1, 2, 3, 4]),
            SampleTensor("model.layers.1.counts", .i64, [1], bytes: [1, 0, 0, 0, 0, 0, 0, 0]),
            SampleTensor("model.layers.1.old_name", .f16, [5], values: [5, 4, 3, 2, 1]),
            SampleTensor("model.gone", .f16, [3], values: [1, 2, 3]),
        ]
        let new = [
            SampleTensor("model.embed_tokens.weight", .bf16, [8, 12], values: ramp(96, 0.25)),
            SampleTensor("model.layers.0.q_proj.weight", .f16, [8, 12], values: moved),
            SampleTensor("model.layers.1.q_proj.weight", .f16, [8, 12], values: ramp(96, 0.5)),
            SampleTensor("model.layers.1.norm.weight", .f32, [4], values: [1, 2, .nan, 4.5]),
            SampleTensor("model.layers.1.counts", .i64, [1], bytes: [2, 0, 0, 0, 0, 0, 0, 0]),
            SampleTensor("model.layers.1.new|name", .f16, [5], values: [5, 4, 3, 2, 1]),
            SampleTensor("model.come, \"late\"", .f16, [6], values: [3, 1, 4, 1, 5, 9]),
        ]
        let paths = (directory.at("old.safetensors"), directory.at("new.safetensors"))
        try SampleSource.writeShard(old, to: paths.0, metadata: [.init("format", "pt")])
        try SampleSource.writeShard(new, to: paths.1, metadata: [.init("format", "pt"), .init("step", "2000")])
        return (paths.0.string, paths.1.string)
    }

    @Test(arguments: ["text", "json", "csv", "markdown"]) func goldens(format: String) throws {
        let directory = try TemporaryDirectory()
        _ = try DiffCommandTests.write(in: directory)
        let arguments = [directory.path.string]
        let line = #"cd "$1" && "$INGOT" diff old.safetensors new.safetensors --format "# + format
        let result = try IngotProcess.shell(line, arguments)
        #expect(result.status == 1 && result.errors.isEmpty, "\(result.errors)")
        try expect(result.output, golden: "diff-\(format).txt")
        if format == "text" {
            for line in result.output.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
        }
        // A file gets the same, as wide as it needs.
        let wide = try IngotProcess.shell("unset COLUMNS; \(line)", arguments)
        let written = try IngotProcess.shell("\(line) --output result", arguments)
        #expect(written.status == 1 && written.output.isEmpty)
        #expect(String(decoding: try Files.read(directory.at("result")), as: UTF8.self) == wide.output)
    }

    @Test func headersOnly() throws {
        let directory = try TemporaryDirectory()
        let (old, _) = try DiffCommandTests.write(in: directory)
        let result = try IngotProcess.shell(
            #"cd "$1" && "$INGOT" diff old.safetensors new.safetensors --headers-only"#, [directory.path.string])
        #expect(result.status == 1)
        try expect(result.output, golden: "diff-headers.txt")
        #expect(try IngotProcess.run(["diff", old, old, "--headers-only"]).status == 0)
    }

    @Test func colors() throws {
        let directory = try TemporaryDirectory()
        let (old, new) = try DiffCommandTests.write(in: directory)
        let colored = try IngotProcess.run(["diff", old, new, "--color", "always"]).output
        #expect(colored.contains("\u{1B}[31mthe checkpoints differ\u{1B}[0m"))
        let plain = try IngotProcess.run(["diff", old, new, "--color", "never"]).output
        #expect(colored.replacing(/\u{1B}\[[0-9]+m/, with: "") == plain)
    }

    /// 0 where the weights are the same, whatever their bytes; 1 where they are not; what cannot be read has its own status.
    @Test func exitStatus() async throws {
        let sample = try await CommandSample()
        let (source, sealed) = (sample.source.string, sample.sealed.string)
        #expect(try IngotProcess.run(["diff", source, source]).status == 0)
        #expect(try IngotProcess.run(["diff", sealed, sealed]).status == 0)
        #expect(try IngotProcess.run(["diff", source, sealed]).status == 1)
        #expect(try IngotProcess.run(["diff", source, sealed, "--filter", "*.norm.*"]).status == 0)
        let lossless = sample.at("lossless")
        #expect(try IngotProcess.run(["convert", source, lossless, "--scheme", "lossless"]).status == 0)
        #expect(try IngotProcess.run(["diff", source, lossless]).status == 0)
        #expect(try IngotProcess.run(["export", sealed, sample.at("out")]).status == 0)
        // What is exported is rounded once to the type of each tensor.
        #expect(try IngotProcess.run(["export", sealed, sample.at("wide"), "--dtype", "f32"]).status == 0)
        #expect(try IngotProcess.run(["diff", sealed, sample.at("wide")]).status == 0)
        for (status, arguments) in [
            (Int32(66), [source, sample.at("missing")]), (64, [source]), (64, [source, sealed, "--filter", "[a"]),
            (64, [source, sealed, "--top", "-1"]), (64, [source, sealed, "--max-memory", "1MiB"]),
            (64, [source, sealed, "--format", "xml"]),
        ] {
            let result = try IngotProcess.run(["diff"] + arguments)
            #expect(result.status == status && result.output.isEmpty, "\(arguments): \(result.errors)")
        }
    }

    @Test func members() async throws {
        let sample = try await CommandSample()
        let result = try IngotProcess.run(["diff", sample.source.string, sample.sealed.string, "--format", "json"])
        let report = try JSONValue.parse(Array(result.output.utf8))
        #expect(report["schema"]?.string == "ingot.diff" && report["schema_version"]?.unsigned == 1)
        func names(_ value: JSONValue?) -> Set<String> { Set(value?.object?.map(\.key) ?? []) }
        func words(_ text: String) -> Set<String> { Set(text.split(separator: " ").map(String.init)) }
        #expect(
            names(report)
                == words(
                    "schema schema_version same weights_read old new counts sizes tensors top added removed companions metadata warnings"
                ))
        #expect(names(report["old"]) == words("path format bytes files tensors"))
        #expect(names(report["sizes"]) == words("total kinds layers parts"))
        #expect(
            names(report["counts"])
                == words("same recoded changed reshaped retyped unread renamed fused split added removed"))
        let tensors = try #require(report["tensors"]?.array)
        #expect(tensors.count == 8)
        for tensor in tensors {
            #expect(
                names(tensor)
                    == words(
                        "name status role old new regrouped parts renamed_by sampled_relative_mse same_bytes elements "
                            + "changed not_finite_changed errors"))
            #expect(tensor["regrouped"] == .null && tensor["parts"]?.array?.isEmpty == true)
            #expect(names(tensor["old"]) == words("name file dtype shape scheme bytes"))
            guard tensor["status"]?.string == "changed" else { continue }
            #expect(
                names(tensor["errors"])
                    == words("relative_mse snr_db max_error error_p999 cosine changed sign_flips zeroed"))
        }
        let sizes = report["sizes"]?["total"]
        #expect(sizes?["old"]?.unsigned == report["old"]?["bytes"]?.unsigned)
        #expect(sizes?["new"]?.unsigned == report["new"]?["bytes"]?.unsigned)
    }

    /// Two layers of experts: a tensor each, and in one tensor, in which one expert has another weight. Weights are literals.
    private static func writeExperts(in directory: TemporaryDirectory) throws {
        func matrix(_ number: Int) -> [Float] {
            (0..<12).map { (index: Int) -> Float in Float((index * 7 + number * 5) % 13 - 6) * 0.125 }
        }
        var single: [SampleTensor] = []
        var fused: [SampleTensor] = []
        for layer in 0..<2 {
            let prefix = "model.layers.\(layer).mlp.experts."
            let matrices = (0..<9).map { matrix(layer * 9 + $0) }
            for expert in 0..<3 {
                for (index, (name, shape)) in [("gate_proj", [3, 4]), ("up_proj", [3, 4]), ("down_proj", [4, 3])]
                    .enumerated()
                {
                    single.append(
                        SampleTensor(
                            "\(prefix)\(expert).\(name).weight", .bf16, shape, values: matrices[expert * 3 + index]))
                }
            }
            var gateUp: [Float] = []
            var down: [Float] = []
            for expert in 0..<3 {
                gateUp += matrices[expert * 3]
                gateUp += matrices[expert * 3 + 1]
                down += matrices[expert * 3 + 2]
            }
            if layer == 1 { gateUp[30] += 0.25 }
            fused.append(SampleTensor("\(prefix)gate_up_proj", .bf16, [3, 6, 4], values: gateUp))
            fused.append(SampleTensor("\(prefix)down_proj", layer == 1 ? .f32 : .bf16, [3, 4, 3], values: down))
        }
        try SampleSource.writeShard(single, to: directory.at("single.safetensors"))
        try SampleSource.writeShard(fused, to: directory.at("fused.safetensors"))
    }

    /// Experts in a tensor each against experts in one tensor.
    @Test(arguments: ["text", "json", "csv", "markdown"]) func experts(format: String) throws {
        let directory = try TemporaryDirectory()
        try DiffCommandTests.writeExperts(in: directory)
        func output(_ old: String, _ new: String) throws -> String {
            let line = #"cd "$1" && "$INGOT" diff "$2" "$3" --format "# + format
            let result = try IngotProcess.shell(line, [directory.path.string, old, new])
            #expect(result.status == 1 && result.errors.isEmpty, "\(result.errors)")
            return result.output
        }
        let found = try output("single.safetensors", "fused.safetensors")
        try expect(found, golden: "diff-experts-\(format).txt")
        let back = try output("fused.safetensors", "single.safetensors")
        if format == "text" {
            for line in (found + back).split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
            #expect(back.contains("(split into 6 tensors, the same bytes)"), "\(back)")
        }
        guard format == "json" else { return }
        let report = try JSONValue.parse(Array(back.utf8))
        #expect(report["counts"]?["split"]?.unsigned == 4 && report["counts"]?["fused"]?.unsigned == 0)
        for tensor in try #require(report["tensors"]?.array) {
            #expect(tensor["regrouped"]?.string == "split")
            #expect(tensor["name"] == tensor["new"]?["name"])
            for part in try #require(tensor["parts"]?.array) {
                #expect(
                    part.object?.map(\.key)
                        == ["name", "file", "dtype", "scheme", "expert", "row", "rows", "relative_mse"])
            }
        }
    }

    /// A warning says why tensors of experts were not compared. `verify` needs the same names, and names what is missing.
    @Test func permutedExperts() throws {
        let directory = try TemporaryDirectory()
        func tensors(_ order: [Int]) -> [SampleTensor] {
            var tensors: [SampleTensor] = []
            for (number, seed) in order.enumerated() {
                let values = (0..<12).map { (index: Int) -> Float in Float((index * 5 + seed * 7) % 11 - 5) }
                let name = "model.layers.0.mlp.experts.\(number).up_proj.weight"
                tensors.append(SampleTensor(name, .f32, [3, 4], values: values))
            }
            return tensors
        }
        let (old, new) = (directory.at("old.safetensors"), directory.at("new.safetensors"))
        try SampleSource.writeShard(tensors([0, 1, 2, 3]), to: old)
        let fused = tensors([0, 2, 1, 3]).flatMap(\.bytes)
        try SampleSource.writeShard(
            [SampleTensor("model.layers.0.mlp.experts.up_proj", .f32, [4, 3, 4], bytes: fused)], to: new)
        let result = try IngotProcess.run(["diff", old.string, new.string])
        #expect(result.status == 1 && result.output.contains("removed (4)") && result.output.contains("added (1)"))
        #expect(
            result.errors.contains(
                "not compared with model.layers.0.mlp.experts.*.up_proj.weight: other weights, or another order, of "
                    + "experts 1, 2"), "\(result.errors)")
        let verified = try IngotProcess.run(["verify", new.string, "--against", old.string])
        #expect(verified.status == 1, "\(verified.errors)")
        #expect(
            verified.errors.contains("sourceMismatch: a tensor that the source does not have"), "\(verified.errors)")
    }

    /// Identical checkpoints end in one line; files beside the weights that differ are named.
    @Test func companions() throws {
        let directory = try TemporaryDirectory()
        let tensors = [[SampleTensor("a.weight", .f16, [8, 12])]]
        for name in ["a", "b"] {
            try SampleSource.write(
                tensors, to: directory.at(name), companions: ["config.json": "{}\n", "tokenizer.json": "[1]"])
        }
        let (a, b) = (directory.at("a"), directory.at("b"))
        let same = try IngotProcess.run(["diff", a.string, b.string])
        #expect(
            same.status == 0
                && same.output == "the same in every byte of every tensor, and all other files are the same\n",
            "\(same.output)")
        try Files.write("[2]", to: b.appending("tokenizer.json"))
        try Files.write("x", to: b.appending("added.txt"))
        let other = try IngotProcess.run(["diff", a.string, b.string])
        #expect(other.status == 0 && other.output.contains("other files that differ"), "\(other.output)")
        #expect(other.output.contains("tokenizer.json") && other.output.contains("added.txt"))
        #expect(!other.output.contains("config.json"))
        let json = try IngotProcess.run(["diff", a.string, b.string, "--format", "json"])
        let companions = try JSONValue.parse(Array(json.output.utf8))["companions"]?.array
        #expect(companions?.compactMap { $0["name"]?.string } == ["added.txt", "tokenizer.json"])
        #expect(companions?.first?["old_bytes"] == .null && companions?.first?["new_bytes"] == .unsigned(1))
    }
}
