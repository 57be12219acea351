import Checkpoints
import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What the agents of CI systems take for commands in a log, stricter than either of them is.
///
/// GitHub's runner: `::command ...::` at the start of a line, white space before it aside; `##[command]` anywhere in one. Azure's
/// agent: `##vso[area.command]` and `##[command]`, taken here anywhere and in either case.
enum LogRules {
    /// The lines of a stream: separated by whatever could be taken for an end of one, colours taken away.
    static func lines(_ stream: String) -> [String] {
        let ends: [Unicode.Scalar] = ["\n", "\r", "\u{B}", "\u{C}", "\u{85}", "\u{2028}", "\u{2029}"]
        return stream.unicodeScalars.split { ends.contains($0) }.map {
            String($0).replacing(/\u{1B}\[[0-9;]*[A-Za-z]/, with: "")
        }
    }

    /// Whether a line holds a command.
    static func isCommand(_ line: String) -> Bool {
        let scalars = Array(
            line.unicodeScalars.drop { $0.properties.isWhitespace || $0.properties.generalCategory == .format })
        if scalars.starts(with: [":", ":"]) { return true }
        let text = String(String.UnicodeScalarView(scalars)).lowercased().utf8
        return ["##[", "##vso["].contains { mark in
            text.indices.contains { text[$0...].starts(with: mark.utf8) }
        }
    }
}

/// Names from files in every output: none of them is a command to a CI system, a link, or a formula.
@Suite struct LogCommandTests {
    private static let long = String(repeating: "a", count: 66)

    /// Names of tensors.
    static let names = [
        "::error::x", "::error title=t,file=f::x", "  ::set-output name=a::b", "\t::warning::x", "::add-mask::a",
        "::stop-commands::t", ":::error::x", "##[error]x", "a ##[group]x", "###[debug]x",
        "##vso[task.setvariable variable=a]b",
        "x##VSO[task.complete result=Failed;]y", "a\n::error::x", "a\r::notice::x", "\u{2028}::error::y",
        "\u{A0}::error::z",
        "\u{3000}::debug::x", "\u{1B}[31m::error::x", "\u{200B}::error::x", "\u{85}::error::w", long + "::error::x",
        long + " ::error::x",
        "a.b.c.::error::x." + long, "##teamcity[buildProblem]", "\\u{3a}:error::x",
        // Of spreadsheets, and of Markdown.
        "=1+1;2", "a;b", "'=1", "+1,2", "@SUM(A1)", "@org/team", "x #1 y", "http://a.example/b", "www.a.example",
        "user@host.example",
        "![i](http://a.example)", "[x](javascript:alert(1))", "<img src=x onerror=alert(1)>", "</script><b>",
        "**b** _i_", "`code` ``",
        "a|b", "deadbeef", "GH-1", "-->", "]]>", "~~s~~ $x$",
    ]

    /// Everything that is run, in a directory whose files have such names, too.
    private struct Place {
        let directory: TemporaryDirectory
        let source = "::error::source ##[error]s", sealed = "::warning::sealed", other = "::error::other"
        let claims = "::error::claims##vso[a]b.json"

        init() throws {
            directory = try TemporaryDirectory()
            var metadata = [SafetensorsHeader.MetadataEntry]()
            for name in LogCommandTests.names.prefix(12) {
                metadata.append(.init(name, name))
            }
            let tensors = LogCommandTests.names.enumerated().map { index, name in
                SampleTensor(name, .f16, index % 3 == 2 ? [64] : [20, 64])
            }
            try SampleSource.write(
                [tensors], to: directory.at(source),
                companions: [
                    "config.json": "{}\n", "::error::c.txt": "x", "##[error]d.txt": "x",
                ])
            try SampleSource.writeShard(
                tensors, to: directory.at(source).appending("model.safetensors"), metadata: metadata)
            try FileManager.default.createSymbolicLink(
                atPath: directory.at(source).appending("::error::link").string, withDestinationPath: "nowhere")
            // Another checkpoint: some tensors have other weights, some are missing, renamed, of another shape.
            var changed: [SampleTensor] = []
            for (index, tensor) in tensors.enumerated() {
                switch index % 5 {
                case 0: changed.append(SampleTensor(tensor.name, .f16, tensor.shape, seed: 9))
                case 1: changed.append(SampleTensor(tensor.name + "'", .f16, tensor.shape, bytes: tensor.bytes))
                case 2: changed.append(SampleTensor(tensor.name, .f32, tensor.shape))
                case 3: break
                default: changed.append(SampleTensor(tensor.name, .f16, tensor.shape + [1]))
                }
            }
            try SampleSource.write([changed], to: directory.at(other))
            let nan = tensors.map { tensor in
                SampleTensor(
                    tensor.name, .f16, tensor.shape, values: Array(repeating: .nan, count: tensor.bytes.count / 2))
            }
            try SampleSource.write([[nan[0]]], to: directory.at("::error::nan"))
            try Files.write("not json", to: directory.at("::error::bad.json"))
            try Files.write("short", to: directory.at("##[error]short.safetensors"))
            let note = #""note": "::error::note ##vso[a]b""#
            try ClaimsTests.write(
                #"{"claim": "max_relative_mse", "limit": 1e-9, \#(note)}, {"claim": "max_error", "tensors": ["*::error::x*", "::*"], "limit": 1e-9, "level": "warn"}, {"claim": "min_snr_db", "tensors": "::error::none*", "limit": 1}, {"claim": "output_sha256", "files": {"::error::f": "\#(String(repeating: "0", count: 64))"}}"#,
                to: directory.at(claims))
        }

        func run(_ arguments: [String], columns: Int = 80) throws -> Subprocess.Result {
            try IngotProcess.shell(
                "cd \"$1\" && shift && COLUMNS=\(columns) exec \"$INGOT\" \"$@\"", [directory.path.string] + arguments)
        }
    }

    private static func check(
        _ result: Subprocess.Result, _ arguments: [String], location: SourceLocation = #_sourceLocation
    ) {
        let isAnnotated = arguments.contains("github")
        for line in LogRules.lines(result.output) + LogRules.lines(result.errors) where LogRules.isCommand(line) {
            // The annotations of `--format github` are ours: one property of each kind, and no more.
            let isOurs =
                isAnnotated
                && line.wholeMatch(of: /::(error|warning) (file=[^:,]+,(line=\d+,)?)?title=ingot%3A [^:,]+::.*/) != nil
                && !line.dropFirst(2).lowercased().contains("##")
            #expect(isOurs, "\(arguments): \(line)", sourceLocation: location)
        }
    }

    /// X09: every verb in every form, and every way of failing: no line of either stream is a command.
    @Test func everyOutput() throws {
        let place = try Place()
        let (source, sealed, other, claims) = (place.source, place.sealed, place.other, place.claims)
        var runs: [([String], Int32)] = [
            (["convert", "--scheme", "uniform", "--verbose", "--progress", "lines", "--", source, sealed], 0),
            (["convert", "--format", "json", "--progress", "json", "--", source, "::error::json"], 0),
            (["convert", "--progress", "bar", "--bits", "3", "--", source, "::error::bar"], 0),
            (["convert", "--claims", claims, "--progress", "json", "--", source, "::error::claimed"], 1),
            (["convert", "--claims", claims, "--", source, "::error::claimed2"], 1),
            (["convert", "--", source, sealed], 73), (["convert", "--", "::error::nan", "::error::out"], 65),
            (["convert", "--", "##[error]short.safetensors", "::error::out"], 65),
            (["export", "--", sealed, "::error::exported"], 0), (["export", "--", sealed, "::error::exported"], 73),
            (["plan", "--", source], 0), (["plan", "--sample", "--", source], 0),
            (["plan", "--format", "json", "--", source], 0),
            (["plan", "--", "::error::missing"], 66), (["inspect", "--", "::error::missing\n::error::x"], 66),
            (["inspect", "--", "##[error]short.safetensors"], 65), (["inspect", "::error::x", "::error::y"], 66),
            (["verify", "::error::x", "::error::y"], 64),
            (["inspect", "--##[error]x", "x"], 64), (["inspect", "--top=::error::x", "x"], 64), (["::error::x"], 64),
            (["inspect", "--format", "\n::error::x", "x"], 64), (["help", "##vso[a]b"], 64),
            (["verify", "--claims", "::error::bad.json", "--", sealed], 65),
            (["verify", "--claims", "::error::none.json", "--", sealed], 66),
            (["verify", "-o", "::error::none/x", "--", sealed], 73),
            (["inspect", "--filter", "::error::no*", "--", source], 0),
        ]
        for path in [source, sealed] {
            for format in ["text", "csv", "markdown", "json", "html"] {
                for more in [[], ["--headers-only"], ["--group-by", "layer"], ["--top", "3"]] {
                    runs.append((["inspect", "--format", format] + more + ["--", path], 0))
                }
            }
            for more in [
                ["--details"], ["--color", "always"], ["--details", "--color", "always"],
                ["--verbose", "--progress", "json"],
            ] {
                runs.append((["inspect"] + more + ["--", path], 0))
            }
        }
        for format in ["text", "csv", "markdown", "json", "html", "junit", "github", "sarif"] {
            let form = ["verify", "--format", format, "--all"]
            runs.append((form + ["--", sealed], 0))
            runs.append((form + ["--against", source, "--", sealed], 0))
            runs.append((form + ["--against", other, "--", sealed], 1))
            runs.append((form + ["--against", other, "--", source], 1))
            runs.append((form + ["--against", source, "--claims", claims, "--", sealed], 1))
        }
        for color in ["always", "never"] {
            runs.append((["verify", "--color", color, "--against", other, "--claims", claims, "--", sealed], 1))
            runs.append((["diff", "--color", color, "--", source, other], 1))
        }
        for format in ["text", "csv", "markdown", "json"] {
            for more in [[], ["--headers-only"], ["--top", "1000"]] {
                runs.append((["diff", "--format", format] + more + ["--", source, other], 1))
                runs.append(
                    (["diff", "--format", format] + more + ["--", source, sealed], more == ["--headers-only"] ? 0 : 1))
            }
        }
        for (arguments, status) in runs {
            for columns in arguments.contains("text") || !arguments.contains("--format") ? [80, 40, 200] : [80] {
                if columns != 80, ["convert", "export"].contains(arguments[0]) { continue }
                let result = try place.run(arguments, columns: columns)
                // The headers of an encoded checkpoint differ or not; what matters is what is printed.
                let isKnown = arguments.contains("--headers-only") && arguments[0] == "diff"
                #expect(isKnown || result.status == status, "\(arguments): \(result.status) \(result.errors)")
                LogCommandTests.check(result, arguments)
            }
        }
        // Damage is told of in the same forms.
        let shard = place.directory.at(sealed).appending("model.safetensors")
        try Files.patch([0xFF], at: try Files.read(shard).count / 2, in: shard)
        for format in ["text", "csv", "markdown", "json", "html", "junit", "github", "sarif"] {
            let arguments = ["verify", "--format", format, "--against", source, "--", sealed]
            let result = try place.run(arguments)
            #expect(result.status == 65, "\(arguments): \(result.errors)")
            LogCommandTests.check(result, arguments)
        }
        Tally.print(
            runs.count + 8, "X09 runs whose names are commands of CI systems, \(LogCommandTests.names.count) names each"
        )
    }

    /// The rules themselves: what they must find, so that a test that finds nothing means something.
    @Test(arguments: LogCommandTests.names.prefix(24)) func rules(name: String) {
        let lines = LogRules.lines(name + ".weight")
        let isHarmless =
            name.hasPrefix("##teamcity") || name.hasPrefix(LogCommandTests.long) || name.hasPrefix("a.b.c.")
        #expect(lines.contains { LogRules.isCommand($0) } != isHarmless, "\(lines)")
    }

    /// X10: JSON and SARIF have the names exactly; JUnit as they are printed.
    @Test func namesInData() throws {
        let place = try Place()
        let expected = Set(LogCommandTests.names.map { TensorName($0) })
        let inspected = try place.run(["inspect", "--format", "json", "--", place.source])
        let tensors = try JSONValue.parse(Array(inspected.output.utf8))["tensors"]?.array ?? []
        #expect(Set(tensors.compactMap { $0["name"]?.string.map { TensorName($0) } }) == expected)
        #expect(!inspected.output.utf8.elementsEqual([]) && !inspected.output.contains("##"))
    }

    /// X10: a reader of CSV gets as many cells in each row as in the first, and no cell of a name is a formula.
    @Test(arguments: [["inspect"], ["diff"]]) func csv(verb: [String]) throws {
        let place = try Place()
        let paths = verb == ["diff"] ? [place.source, place.other] : [place.source]
        let text = try place.run(verb + ["--format", "csv", "--"] + paths).output
        let program = """
            import csv, io, sys, json
            rows = list(csv.reader(io.StringIO(sys.stdin.read(), newline="")))
            print(json.dumps([[len(r) for r in rows], [r[0] for r in rows[1:]]]))
            """
        try Files.write(text, to: place.directory.at("rows.csv"))
        let result = try IngotProcess.shell(
            "python3 -c \"$1\" < \"$2\"", [program, place.directory.at("rows.csv").string])
        let parsed = try JSONValue.parse(Array(result.output.utf8)).array ?? []
        let widths = Set((parsed.first?.array ?? []).compactMap(\.unsigned))
        #expect(widths.count == 1, "\(result.errors) \(widths)")
        let names = (parsed.last?.array ?? []).compactMap(\.string)
        #expect(names.count >= LogCommandTests.names.count - 1)
        #expect(!names.contains { $0.unicodeScalars.first.map { "=+-@\u{FF1D}".unicodeScalars.contains($0) } ?? false })
        if verb == ["inspect"] { #expect(Set(names.map { TensorName($0) }).count == names.count) }
        // A semicolon separates cells elsewhere: what holds one is in quotes.
        for line in text.split(whereSeparator: \.isNewline) where line.contains(";") {
            #expect(
                line.split(separator: "\"", omittingEmptySubsequences: false).enumerated().allSatisfy {
                    $0.offset % 2 == 1 || !$0.element.contains(";")
                }, "\(line)")
        }
    }

    /// X10: outside of code spans, Markdown holds nothing that is made a link, a mention, a reference, or HTML of.
    @Test(arguments: [["inspect"], ["diff"], ["verify"], ["verify", "--claims"]]) func markdown(verb: [String]) throws {
        let place = try Place()
        let sealed = try place.run(["convert", "--scheme", "uniform", "--", place.source, place.sealed])
        #expect(sealed.status == 0)
        let paths = verb == ["diff"] ? [place.source, place.other] : [place.sealed]
        let claimed = verb.count > 1 ? ["--claims", place.claims] : []
        let against = verb[0] == "verify" ? ["--against", place.source] : []
        let text = try place.run([verb[0], "--format", "markdown"] + claimed + against + ["--"] + paths).output
        // Names are there, as the first thing in a row.
        #expect(text.split(separator: "\n").count { $0.hasPrefix("| `") } >= 9, "\(text)")
        for line in text.split(separator: "\n") {
            var rest = MarkdownCode.removed(from: String(line))
            for ours in ["<details>", "</details>", "<summary>", "</summary>"] { rest = rest.replacing(ours, with: "") }
            if rest.hasPrefix("#") { rest = String(rest.drop { $0 == "#" }) }
            let marks = ["@", "#", "://", "www.", "[", "]", "<", "`", "~", "$", "::", "javascript:"]
            for mark in marks { #expect(!rest.contains(mark), "\(mark) in \(line)") }
            if line.hasPrefix("| "), let head = text.split(separator: "\n").first(where: { $0.hasPrefix("|") }) {
                #expect(head.contains("|") && rest.hasSuffix("|"), "\(line)")
            }
        }
    }
}
