import Container
import Conversion
import ConversionSupport
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What `inspect` prints in each form, as goldens, and what each option changes.
@Suite struct InspectTests {
    private static let goldens = FilePath(#filePath).removingLastComponent().appending("Goldens")

    /// A source, and a checkpoint made of it whose bytes depend on no version of a codec.
    private struct Sample {
        let directory = try? TemporaryDirectory()
        let source: FilePath, sealed: FilePath

        init() async throws {
            let directory = try #require(directory)
            var shards = SampleSource.small()
            shards[1].append(
                SampleTensor("model.layers.1.up_proj.weight", .f16, [40, 96], .heavy, seed: 3))
            source = try SampleSource.write(shards, to: directory.at("source"))
            sealed = directory.at("sealed")
            try await Verbs.convert(source, to: sealed, Verbs.options(.uniform, codec: .none))
        }
    }

    private func inspect(_ arguments: [String]) throws -> String {
        let result = try IngotProcess.run(["inspect"] + arguments)
        #expect(result.status == 0 && result.errors.isEmpty, "\(arguments): \(result.errors)")
        return result.output
    }

    /// Names that are too long for the terminal are shortened to patterns; `--filter` finds the tensor by what the table shows.
    @Test func shortenedNamesAreFilters() throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("model.safetensors")
        let names = [
            "encoder.layers.0.self_attn.query_projection.weight", "decoder.layers.0.self_attn.query_projection.weight",
            "decoder.layers.11.self_attn.query_projection.weight", "decoder.layers.1.self_attn.query_projection.bias",
            "decoder.layers.1.an_extraordinarily_long_component_name_of_a_norm.weight",
            "vision_tower.trunk.stages.3.blocks.17.mlp.fc1.weight", "a_name_of_one_component_that_is_longer_than_a_row",
            "model.embed_tokens.weight",
        ]
        try SampleSource.writeShard(names.map { SampleTensor($0, .f16, [40, 96], .heavy) }, to: source)
        let rows = try inspect([source.string]).split(separator: "\n").dropFirst().prefix(names.count)
        for (name, row) in zip(names, rows) {
            let shown = String(row.prefix { $0 != " " })
            #expect(shown.contains("*") && shown != name, "\(row)")
            let found = try JSONValue.parse(
                Array(try inspect([source.string, "--headers-only", "--format", "json", "--filter", shown]).utf8))
            #expect(found["tensors"]?.array?.map { $0["name"]?.string } == [name], "\(shown)")
        }
    }

    /// Columns that the terminal has no room for are named below the table.
    @Test func missingColumnsAreNamed() async throws {
        let sample = try await Sample()
        #expect(try inspect([sample.source.string]).contains("not shown at 80 columns: "))
        #expect(try inspect([sample.source.string, "--group-by", "layer"]).contains("(--format csv)"))
        let wide = try IngotProcess.shell("COLUMNS=300 \"$INGOT\" inspect \"$1\"", [sample.source.string])
        #expect(wide.status == 0 && !wide.output.contains("not shown"))
    }

    /// Several paths give the report of each: titles in text, a column in CSV, a list in JSON.
    @Test func severalPaths() async throws {
        let sample = try await Sample()
        let paths = [sample.source.string, sample.sealed.string]
        let text = try inspect(paths)
        let parts = try paths.map { try "\($0)\n" + inspect([$0]) }
        #expect(text == parts.joined(separator: "\n"))
        let list = try JSONValue.parse(Array(try inspect(paths + ["--format", "json"]).utf8))
        let single = try paths.map { try JSONValue.parse(Array(try inspect([$0, "--format", "json"]).utf8)) }
        #expect(list["schema"]?.string == "ingot.inspect_list" && list["checkpoints"]?.array == single)
        for options in [["--format", "csv"], ["--format", "csv", "--group-by", "layer"]] {
            let rows = try inspect(paths + options).split(separator: "\r\n")
            let expected = try paths.enumerated().flatMap { index, path in
                try inspect([path] + options).split(separator: "\r\n").enumerated().compactMap { row, fields in
                    row == 0 ? (index == 0 ? "path,\(fields)" : nil) : "\(path),\(fields)"
                }
            }
            #expect(rows.map(String.init) == expected)
        }
        let markdown = try inspect(paths + ["--format", "markdown"])
        #expect(markdown.contains("# `source`") && markdown.contains("# `sealed`"))
        let page = try IngotProcess.run(["inspect"] + paths + ["--format", "html"])
        #expect(page.status == 64 && page.errors.contains("give one path"))
        let missing = try IngotProcess.run(["inspect", paths[0], sample.source.appending("no").string])
        #expect(missing.status == 66 && missing.output.isEmpty, "\(missing.errors)")
    }

    static let forms: [(name: String, options: [String])] = [
        ("text", []), ("color", ["--color", "always"]), ("details", ["--details"]), ("layer", ["--group-by", "layer"]),
        ("kind", ["--group-by", "kind"]), ("headers", ["--headers-only"]), ("json", ["--format", "json"]),
        ("csv", ["--format", "csv"]), ("markdown", ["--format", "markdown"]),
        ("csv-kind", ["--format", "csv", "--group-by", "kind"]),
        ("markdown-layer", ["--format", "markdown", "--group-by", "layer"]),
        ("top", ["--sort", "kurtosis", "--top", "2", "--filter", "*.weight"]),
    ]

    @Test(arguments: forms.map(\.name)) func golden(name: String) async throws {
        let sample = try await Sample()
        let options = try #require(InspectTests.forms.first { $0.name == name }).options
        for (path, kind) in [(sample.source, "source"), (sample.sealed, "sealed")] {
            let text = try inspect([path.string] + options).replacing(
                path.removingLastComponent().string, with: "...")
            #expect(try inspect([path.string, "--jobs", "5"] + options).count > 0)
            if options.allSatisfy({ !["json", "csv", "markdown"].contains($0) }) {
                for line in text.split(separator: "\n") where name != "color" {
                    #expect(line.count <= 80, "\(line)")
                }
            }
            let golden = InspectTests.goldens.appending("inspect-\(kind)-\(name).txt")
            if ProcessInfo.processInfo.environment["INGOT_UPDATE_GOLDENS"] == "1" { try Files.write(text, to: golden) }
            let expected = String(decoding: try Files.read(golden), as: UTF8.self)
            #expect(text == expected, "INGOT_UPDATE_GOLDENS=1 writes \(golden) anew")
        }
    }

    /// The result does not depend on the jobs, and a file gets the bytes that standard output would.
    @Test func sameForAnyJobs() async throws {
        let sample = try await Sample()
        for path in [sample.source.string, sample.sealed.string] {
            let one = try inspect([path, "--jobs", "1", "--format", "json"])
            #expect(try inspect([path, "--jobs", "7", "--format", "json", "--max-memory", "64MiB"]) == one)
            let file = path + ".json"
            #expect(try inspect([path, "--format", "json", "--output", file]).isEmpty)
            #expect(String(decoding: try Files.read(FilePath(file)), as: UTF8.self) == one)
        }
    }

    @Test func members() async throws {
        let sample = try await Sample()
        for path in [sample.source, sample.sealed] {
            let report = try JSONValue.parse(Array(try inspect([path.string, "--format", "json"]).utf8))
            #expect(report["weights_read"]?.bool == true)
            let tensors = try #require(report["tensors"]?.array)
            #expect(tensors.count == 9)
            for tensor in tensors {
                let isWeight = ["F16", "BF16", "F32"].contains(tensor["dtype"]?.string ?? "")
                #expect(tensor["holds_weights"]?.bool == isWeight)
                #expect(tensor["role"]?["kind"]?.string != nil && tensor["role"]?["layer"] != nil)
                let found = tensor["statistics"]?.object?.map(\.key) ?? []
                #expect(
                    found
                        == [
                            "count", "min", "max", "mean", "std", "absmax", "skewness", "kurtosis", "percentiles",
                            "percentiles_are_exact", "zeros", "nan", "infinite", "subnormal", "outliers_6_sigma",
                            "outliers_are_exact", "value_entropy_bits", "code_entropy_bits", "row_rms", "column_rms",
                            "histogram",
                        ])
                #expect(tensor["statistics"]?["histogram"]?["counts"]?.array?.count == 64)
            }
            let headers = try JSONValue.parse(
                Array(try inspect([path.string, "--format", "json", "--headers-only", "--group-by", "kind"]).utf8))
            #expect(headers["weights_read"]?.bool == false)
            #expect(headers["tensors"]?.array?.allSatisfy { $0["statistics"] == .null } == true)
            let groups = try #require(headers["groups"]?.array)
            #expect(groups.reduce(0) { $0 + ($1["tensors"]?.unsigned ?? 0) } == 9)
        }
    }

    /// Names that mean something to a spreadsheet, to Markdown or to HTML mean nothing.
    @Test func names() throws {
        let directory = try TemporaryDirectory()
        let names = ["=1+1", "+a", "-b", "@c", "a,b", "a\"b", "a|b`c", "<b>x</b>", "two\r\nlines", "[x](y)", "_i_"]
        let source = try SampleSource.write(
            [names.map { SampleTensor($0, .f16, [2, 3]) }], to: directory.at("source"))
        let csv = try inspect([source.string, "--format", "csv"])
        let lines = csv.split(separator: "\r\n").dropFirst()
        #expect(csv.split(separator: "\r\n").count == names.count + 1)
        for line in lines { #expect(!"=+-@".contains(line.first ?? "="), "\(line)") }
        for expected in ["'=1+1,", "'+a,", "'-b,", "'@c,", "\"a,b\",", "\"a\"\"b\",", "two\\u{d}\\u{a}lines,"] {
            #expect(csv.contains("\r\n" + expected), "\(expected)")
        }
        let columns = csv.prefix { $0 != "\r\n" }.count { $0 == "," }
        for line in lines where !line.hasPrefix("\"") { #expect(line.count { $0 == "," } == columns) }
        let markdown = try inspect([source.string, "--format", "markdown"])
        for expected in ["| ``a\\u{7c}b`c`` |", "| `<b>x</b>` |", "| `[x](y)` |", "| `_i_` |", "| `@c` |"] {
            #expect(markdown.contains(expected), "\(expected)")
        }
    }

    @Test func notFinite() throws {
        let directory = try TemporaryDirectory()
        var values = [Float](repeating: 0.5, count: 40)
        (values[3], values[7], values[8]) = (.nan, .infinity, -.infinity)
        let tensors = FloatFormat.allCases.map { SampleTensor("bad.\($0)", $0, [4, 10], values: values) }
        let nothing = SampleTensor("nothing", .f32, [2, 2], values: [.nan, .nan, .infinity, .nan])
        let source = try SampleSource.write([tensors + [nothing]], to: directory.at("source"))
        let report = try JSONValue.parse(Array(try inspect([source.string, "--format", "json"]).utf8))
        for tensor in report["tensors"]?.array?.dropLast() ?? [] {
            let found = tensor["statistics"]
            #expect(
                found?["nan"]?.unsigned == 1 && found?["infinite"]?.unsigned == 2 && found?["count"]?.unsigned == 40)
            #expect(found?["mean"] == .number(0.5) && found?["std"] == .number(0))
        }
        #expect(report["tensors"]?.array?.last?["statistics"]?["nan"]?.unsigned == 3)
        let text = try inspect([source.string, "--color", "always"])
        #expect(text.contains("\u{1B}[31mnot finite, in 4 tensors:\u{1B}[0m"))
        #expect(text.contains("1 NaN, 2 infinite"))
        let plain = try inspect([source.string, "--filter", "no*", "--sort", "nonfinite"])
        #expect(plain.contains("3 NaN, 1 infinite  nothing") && !plain.contains("bad."))
    }

    /// Tensors that do not match are not read: a hole in the file behind them is never met.
    @Test func filter() async throws {
        let sample = try await Sample()
        let broken = sample.sealed.appending("model-00002-of-00002.safetensors")
        let text = try inspect([sample.sealed.string, "--format", "json", "--filter", "*.layers.1.q_proj.weight"])
        let tensor = try JSONValue.parse(Array(text.utf8))["tensors"]?.array?.first
        #expect(tensor?["name"]?.string == "model.layers.1.q_proj.weight")
        // A byte in the codes of another tensor of the same shard.
        let bytes = try Files.read(broken)
        let other = try #require(
            try JSONValue.parse(Array(try inspect([sample.sealed.string, "--format", "json"]).utf8))["tensors"]?
                .array?.first { $0["name"]?.string == "model.layers.1.up_proj.weight" })
        let half = bytes.count / 2
        #expect(other["bytes"]?.unsigned ?? 0 > 2000)
        try Files.patch([bytes[half] ^ 1], at: half, in: broken)
        #expect(
            try inspect([sample.sealed.string, "--format", "json", "--filter", "*.layers.1.q_proj.weight"]) == text)
        #expect(try IngotProcess.run(["inspect", sample.sealed.string]).status == 65)
    }

    @Test(arguments: [
        ["--top", "0"], ["--sort", "nothing"], ["--filter", "["], ["--filter", ""], ["--group-by", "x"],
        ["--format", "xml"], ["--details", "--group-by", "kind"], ["--max-memory", "1MiB"],
    ])
    func refused(options: [String]) async throws {
        let sample = try await Sample()
        let result = try IngotProcess.run(["inspect", sample.source.string] + options)
        #expect(result.status == 64 && result.output.isEmpty, "\(options): \(result.errors)")
    }
}
