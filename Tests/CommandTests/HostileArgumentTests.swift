import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// What a command line and a terminal can be made to hold: paths, names and streams that mean something to a shell or a terminal.
@Suite struct HostileArgumentTests {
    /// Names that would move a cursor, colour a line, turn writing around, end a line, or begin an annotation of a CI system.
    private static let names = [
        "\u{1B}[2J\u{1B}[31mred", "\u{9B}31mC1", "bell\u{7}", "back\u{8}\u{8}space", "new\nline", "two\r\nlines",
        "right\u{202E}left", "\u{7F}delete", "\u{2028}separator", "\n::error::forged", "<script>alert(1)</script>",
        "</script><img src=x onerror=alert(1)>", "]]>", "`code`|cell",
    ]

    /// Whether text moves no cursor: no control but the newline (and the line end of CSV), nothing that turns writing around.
    private static func isHarmless(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy { scalar in
            switch scalar.properties.generalCategory {
            case .control: scalar == "\n" || scalar == "\r"
            case .format, .lineSeparator, .paragraphSeparator: false
            default: true
            }
        }
    }

    private static func source(in directory: TemporaryDirectory) throws -> FilePath {
        try SampleSource.write(
            [names.map { SampleTensor("\($0).weight", .f16, [20, 64]) }], to: directory.at("source"))
    }

    /// X01: a path with a newline and an escape sequence leads where it says, and is printed escaped.
    @Test func pathsWithNewlines() throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(SampleSource.small(), to: directory.at("so\nurce\u{1B}[31m"))
        let target = directory.at("tar\nget")
        let runs: [([String], Int32)] = [
            (["convert", source.string, target.string], 0), (["inspect", target.string], 0),
            (["verify", target.string, "--against", source.string], 0),
            (["diff", source.string, target.string], 1),
            (["export", target.string, directory.at("o\nut").string], 0),
        ]
        for (arguments, status) in runs {
            let result = try IngotProcess.run(arguments)
            #expect(result.status == status, "\(arguments): \(result.errors)")
            #expect(HostileArgumentTests.isHarmless(result.output + result.errors), "\(arguments)")
            #expect(!(result.output + result.errors).contains("so\nurce"), "\(arguments)")
        }
        let missing = try IngotProcess.run(["inspect", directory.at("miss\ning\u{9B}0m").string])
        #expect(missing.status == 66 && HostileArgumentTests.isHarmless(missing.errors), "\(missing.errors)")
        #expect(missing.errors.contains("miss\\u{a}ing\\u{9b}0m"))
        #expect(Files.names(directory.path).count == 3)
    }

    /// X01: what a usage error repeats of the arguments is escaped, and begins no line of its own.
    @Test(arguments: [
        ["verify", "x", "y\u{1B}[2J\n::error::forged"], ["inspect", "x", "--\u{9B}31mC1"],
        ["inspect", "x", "--format=\n::error::forged\u{1B}[31m"], ["convert", "x", "y", "--bits", "\n::error::forged"],
        ["verify", "x", "y\r\n::error::forged"], ["ver\u{202E}ify\n::error::forged"],
    ])
    func usageErrors(arguments: [String]) throws {
        let result = try IngotProcess.run(arguments)
        #expect(result.status == 64 && result.output.isEmpty, "\(result.errors)")
        #expect(HostileArgumentTests.isHarmless(result.errors), "\(result.errors)")
        #expect(result.errors.contains("\\u{"), "\(result.errors)")
        #expect(!result.errors.split(separator: "\n").contains { $0.hasPrefix("::error") }, "\(result.errors)")
    }

    /// X02: bytes that are no UTF-8 are refused as such, in every verb: replaced, they would lead elsewhere.
    @Test(arguments: ["convert", "plan", "inspect", "verify", "diff", "export"])
    func bytesThatAreNoText(verb: String) throws {
        for bytes: [UInt8] in [[0x61, 0xFF], [0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80]] {
            let result = try Subprocess(
                IngotProcess.program, [Array(verb.utf8), bytes, Array("other".utf8)],
                environment: IngotProcess.environment
            ).wait()
            #expect(!result.signalled && result.status == 64, "\(verb) \(bytes): \(result.errors)")
            #expect(result.output.isEmpty && result.errors.contains("UTF-8"), "\(result.errors)")
        }
    }

    /// X02: a file whose name is no UTF-8, beside the shards, stops nothing and is printed escaped.
    @Test func fileNameThatIsNoText() throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
        let made = try IngotProcess.shell(#"printf x > "$1/$(printf 'bad\377.txt')""#, [source.string])
        #expect(made.status == 0, "\(made.errors)")
        let result = try IngotProcess.run(["convert", source.string, directory.at("sealed").string])
        #expect(!result.signalled && [0, 65].contains(result.status), "\(result.errors)")
        #expect(HostileArgumentTests.isHarmless(result.output + result.errors))
        #expect(Files.names(directory.path).contains("sealed") == (result.status == 0))
    }

    /// X03: a path that begins with a dash is no option behind `--` or `./`, and an unknown option elsewhere.
    @Test func leadingDash() throws {
        let directory = try TemporaryDirectory()
        try SampleSource.write(SampleSource.small(), to: directory.at("--help"))
        try SampleSource.write(SampleSource.small(), to: directory.at("-rf"))
        for (line, status): (String, Int32) in [
            (#"cd "$1" && exec "$INGOT" inspect -- --help"#, 0), (#"cd "$1" && exec "$INGOT" inspect ./-rf"#, 0),
            (#"cd "$1" && exec "$INGOT" inspect -- -rf"#, 0), (#"cd "$1" && exec "$INGOT" inspect -rf"#, 64),
            (#"cd "$1" && exec "$INGOT" convert -- -rf -out && ls ./-out/ingot-manifest.json"#, 0),
        ] {
            let result = try IngotProcess.shell(line, [directory.path.string])
            #expect(result.status == status, "\(line): \(result.errors)")
        }
        #expect(Files.names(directory.path) == ["--help", "-out", "-rf"])
    }

    /// X04: names and paths longer than any file system has are errors of the file system, as input and as output.
    @Test func longPaths() throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
        for long in [
            String(repeating: "n", count: 256), String(repeating: "n", count: 5000),
            String(repeating: "d/", count: 4096) + "x", String(repeating: "/", count: 5000) + "x",
        ] {
            let path = directory.at("p").string + long
            let read = try IngotProcess.run(["inspect", path])
            #expect([66, 74].contains(read.status) && read.errors.hasPrefix("error: "), "\(read.errors)")
            let written = try IngotProcess.run(["convert", source.string, path])
            #expect(written.status == 73 && written.errors.hasPrefix("error: cannotCreate"), "\(written.errors)")
        }
        #expect(Files.names(directory.path) == ["source"])
    }

    /// X05: names from files never reach the terminal as they are, in any verb or format for people or for CI.
    @Test func escapeSequencesInNames() throws {
        let directory = try TemporaryDirectory()
        let source = try HostileArgumentTests.source(in: directory)
        let sealed = directory.at("sealed")
        let claims = directory.at("claims.json")
        try Files.write(
            #"{"schema":"ingot.claims","version":1,"claims":[{"claim":"max_relative_mse","limit":1e-9}]}"#, to: claims)
        var runs: [([String], Int32)] = [
            (["convert", source.string, sealed.string, "--verbose"], 0), (["plan", source.string], 0),
            (["convert", source.string, directory.at("second").string, "--bits", "3"], 0),
            (["export", sealed.string, directory.at("out").string], 0),
        ]
        for format in ["text", "csv", "markdown"] {
            runs.append((["inspect", sealed.string, "--format", format], 0))
            runs.append((["verify", sealed.string, "--against", source.string, "--format", format], 0))
            runs.append((["diff", source.string, sealed.string, "--format", format], 1))
        }
        runs.append((["inspect", sealed.string, "--details"], 0))
        for format in ["text", "markdown", "github", "junit"] {
            runs.append(
                (
                    [
                        "verify", sealed.string, "--against", source.string, "--claims", claims.string, "--format",
                        format,
                    ], 1
                ))
        }
        for (arguments, status) in runs {
            let result = try IngotProcess.run(arguments)
            #expect(result.status == status, "\(arguments): \(result.errors)")
            #expect(HostileArgumentTests.isHarmless(result.output + result.errors), "\(arguments)")
            let lines = (result.output + "\n" + result.errors).split(separator: "\n")
            #expect(!lines.contains { $0.hasPrefix("::error::forged") }, "\(arguments)")
            #expect(!lines.contains { $0 == "line.weight" || $0 == "lines.weight" }, "\(arguments)")
        }
        for arguments in [["inspect", sealed.string], ["verify", sealed.string, "--against", source.string]] {
            let page = try IngotProcess.run(arguments + ["--format", "html"]).output
            #expect(!page.contains("<script>alert(1)") && !page.contains("<img src=x"), "\(arguments)")
        }
    }

    /// X05: JSON has the names exactly, control characters as escapes of JSON.
    @Test func namesInJSON() throws {
        let directory = try TemporaryDirectory()
        let source = try HostileArgumentTests.source(in: directory)
        let result = try IngotProcess.run(["inspect", source.string, "--format", "json"])
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.output.utf8.allSatisfy { $0 >= 0x20 || $0 == 0x0A })
        let tensors = try JSONValue.parse(Array(result.output.utf8))["tensors"]?.array ?? []
        let names = Set(tensors.compactMap { $0["name"]?.string.map { TensorName($0) } })
        #expect(names == Set(HostileArgumentTests.names.map { TensorName("\($0).weight") }))
    }

    /// X06: `-` is no stream: mapped files are what is read, and a file of that name is one like any other.
    @Test func dash() throws {
        let directory = try TemporaryDirectory()
        for verb in ["inspect", "verify"] {
            let result = try IngotProcess.shell(#"cd "$1" && exec "$INGOT" "$2" -"#, [directory.path.string, verb])
            #expect(result.status == 66 && result.errors.hasPrefix("error: noInput: "), "\(result.errors)")
        }
        try SampleSource.write(SampleSource.small(), to: directory.at("-"))
        let result = try IngotProcess.shell(#"cd "$1" && exec "$INGOT" inspect -"#, [directory.path.string])
        #expect(result.status == 0, "\(result.errors)")
    }

    /// X08: no colour elsewhere than on a terminal, nor where NO_COLOR is set; what was asked for by name is given.
    @Test func colours() async throws {
        let sample = try await CommandSample()
        for setting in ["", "NO_COLOR=1 ", "TERM=dumb ", "TERM=xterm-256color CLICOLOR_FORCE=1 "] {
            for verb in ["inspect", "verify"] {
                let result = try IngotProcess.shell(
                    "\(setting) \"$INGOT\" \(verb) \"$1\"; exit $?", [sample.sealed.string])
                #expect(result.status == 0 && !result.output.contains("\u{1B}"), "\(setting)\(verb)")
            }
        }
        let terminal = try IngotProcess.shell(
            #"script -qec "\"$INGOT\" inspect \"$1\"" /dev/null"#, [sample.sealed.string])
        let plain = try IngotProcess.shell(
            #"NO_COLOR=1 script -qec "\"$INGOT\" inspect \"$1\"" /dev/null"#, [sample.sealed.string])
        if terminal.status == 0 {
            #expect(terminal.output.contains("\u{1B}[") && !plain.output.contains("\u{1B}[3"))
        } else {
            print("no `script` here: colours on a terminal are not tested")
        }
    }
}
