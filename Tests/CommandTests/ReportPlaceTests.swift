import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Where `-o` and `--update-baseline` write: files are replaced where links lead, everything else is written into.
@Suite struct ReportPlaceTests {
    /// The verbs with `-o`, and what their results begin with; `verify` is held against the source.
    private static let verbs: [(arguments: [String], status: Int32)] = [
        (["inspect", "sealed", "--headers-only"], 0), (["inspect", "source", "--format", "json"], 0),
        (["inspect", "sealed", "--format", "html"], 0),
        (["verify", "sealed", "--against", "source", "--format", "csv"], 0),
        (["verify", "sealed", "--format", "junit"], 0), (["diff", "source", "sealed"], 1),
    ]

    private static func mode(_ path: FilePath) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: path.string)
        return try #require(attributes[.posixPermissions] as? Int)
    }

    /// Runs a line of bash in the sample's directory; the command and its arguments are `$INGOT "$@"`.
    private static func run(_ line: String, _ arguments: [String], in sample: CommandSample) throws -> Subprocess.Result
    {
        try IngotProcess.shell("cd \"$1\" && shift && \(line)", [sample.directory.path.string] + arguments)
    }

    /// W12: a device, a FIFO or a descriptor gets the bytes that a regular file gets, and is not replaced.
    @Test(arguments: verbs.indices) func streams(verb: Int) async throws {
        let sample = try await CommandSample()
        let (arguments, status) = ReportPlaceTests.verbs[verb]
        // The time of a run is in some forms.
        func plain(_ text: String) -> String {
            text.replacing(/(timestamp|time)="[^"]*"|"seconds": [0-9.e-]+/, with: "")
        }
        // Links and a device of our own: a command that replaced what it should write into would do it to those of the machine.
        let prepared = try ReportPlaceTests.run(
            "for name in stdout stderr; do ln -s /dev/$name $name; done; mknod full c 1 7 2> nothing || ln -s /dev/full full",
            [],
            in: sample)
        #expect(prepared.status == 0)
        // A report has no width to keep to, as a terminal has.
        let expected = plain(
            try ReportPlaceTests.run(#""$INGOT" "$@" -o report > nothing; cat nothing report"#, arguments, in: sample)
                .output)
        #expect(!expected.isEmpty)
        for line in [
            #""$INGOT" "$@" -o stdout"#, #""$INGOT" "$@" -o /dev/fd/1"#,
            #""$INGOT" "$@" -o /proc/self/fd/1 | cat"#,
            #""$INGOT" "$@" -o /dev/fd/9 9>&1"#, #""$INGOT" "$@" -o stderr 2>&1"#,
            #"set -o pipefail; "$INGOT" "$@" -o stdout > file; s=$?; cat file; exit $s"#,
            #"mkfifo p; cat p & "$INGOT" "$@" -o p; s=$?; wait; [[ -p p ]] && exit $s"#,
            #"{ "$INGOT" "$@" -o >(cat >&3; : > read); s=$?; } 3> file; while [[ ! -e read ]]; do sleep 0.01; done; cat file; exit $s"#,
            #"ln -sf /dev/stdout link; "$INGOT" "$@" -o link; s=$?; [[ -L link ]] && exit $s"#,
        ] {
            let result = try ReportPlaceTests.run(line, arguments, in: sample)
            let isExpected = line.contains("pipefail") || !line.contains("| cat")
            #expect(!isExpected || result.status == status, "\(line): \(result.errors)")
            #expect(plain(result.output) == expected, "\(line): \(result.errors)")
        }
        // What is before it in the same file stays.
        let after = try ReportPlaceTests.run(
            #"{ echo first; "$INGOT" "$@" -o stdout; } > file; cat file"#, arguments, in: sample)
        #expect(plain(after.output) == "first\n" + expected)
        let full = try ReportPlaceTests.run(#""$INGOT" "$@" -o full"#, arguments, in: sample)
        #expect(full.status == 74 && full.errors.contains("outOfSpace"), "\(full.errors)")
        let gone = try ReportPlaceTests.run(#""$INGOT" "$@" -o >(true)"#, arguments, in: sample)
        #expect(gone.status == status, "\(gone.errors)")
    }

    /// W12: a device is written into, not replaced; root could replace it.
    @Test func device() async throws {
        let sample = try await CommandSample()
        let made = try ReportPlaceTests.run("mknod null c 1 3 && echo x > null", [], in: sample)
        guard made.status == 0 else {
            print("no device can be made here: a report into one is not tested")
            return
        }
        for (arguments, status) in ReportPlaceTests.verbs {
            let result = try ReportPlaceTests.run(
                #""$INGOT" "$@" -o null; s=$?; [[ -c null ]] && exit $s"#, arguments, in: sample)
            #expect(result.status == status, "\(arguments): \(result.errors)")
        }
        let line = #""$INGOT" verify sealed --claims null --update-baseline; s=$?; [[ -c null ]] && exit $s"#
        #expect(try ReportPlaceTests.run(line, [], in: sample).status == 0)
        #expect(!Files.names(sample.directory.path).contains { $0.hasSuffix(".ingot-tmp") })
    }

    /// W05, W12: directories are refused before any work, links are followed, and stay.
    @Test(arguments: verbs.indices) func files(verb: Int) async throws {
        let sample = try await CommandSample()
        let (arguments, status) = ReportPlaceTests.verbs[verb]
        for place in ["source", "sealed", ".", "/", "missing/report"] {
            let result = try ReportPlaceTests.run(#""$INGOT" "$@""#, arguments + ["-o", place], in: sample)
            #expect(result.status == 73 && result.errors.hasPrefix("error: cannotCreate"), "\(place): \(result.errors)")
        }
        let line = #"""
            mkdir -p a b; ln -s ../b/report a/link; umask 022
            "$INGOT" "$@" -o a/link; [[ $? == "$0" && -L a/link && -f b/report && ! -L b/report ]] || exit 2
            chmod 600 b/report; before=$(stat -c %i b/report)
            "$INGOT" "$@" -o a/link; [[ $? == "$0" && -L a/link ]] || exit 3
            [[ $(stat -c %a b/report) == 600 && $(stat -c %i b/report) != "$before" ]] || exit 4
            echo half > b/.report.ingot-tmp
            "$INGOT" "$@" -o a/link; [[ $? == "$0" && $(ls -A a b | tr '\n' ' ') == "a: link  b: report " ]] || exit 5
            """#
        let result = try ReportPlaceTests.run(line.replacing("$0", with: "\(status)"), arguments, in: sample)
        #expect(result.status == 0, "\(result.status): \(result.errors)")
    }

    /// W05: a report goes over no file that the command reads or makes, under whatever name.
    @Test(arguments: ["claims.json", "report.json", "./claims.json", "link", "hard", "made.json", "made-link"])
    func overItsOwnInput(name: String) async throws {
        let sample = try await CommandSample()
        let claims = sample.directory.at("claims.json")
        try ClaimsTests.write(#"{"claim": "finite"}"#, to: claims)
        let converted = try IngotProcess.run(["convert", sample.source.string, sample.at("other"), "--format", "json"])
        try Files.write(converted.output, to: sample.directory.at("report.json"))
        let prepared = try ReportPlaceTests.run(
            "ln -s claims.json link; ln claims.json hard; ln -s made.json made-link", [], in: sample)
        #expect(prepared.status == 0)
        let before = try Files.snapshot(sample.directory.path)
        let isMade = name.hasPrefix("made")
        let arguments =
            isMade
            ? ["verify", "other", "--claims", "made.json", "--update-baseline", "-o", name]
            : ["verify", "other", "--claims", "claims.json", "--conversion-report", "report.json", "-o", name]
        let result = try ReportPlaceTests.run(#""$INGOT" "$@""#, arguments, in: sample)
        #expect(
            result.status == 73 && result.errors.hasPrefix("error: cannotCreate"), "\(result.status) \(result.errors)")
        #expect(try Files.snapshot(sample.directory.path) == before)
    }

    /// W05: a link that leads into a checkpoint, over another directory's `..` too, leads to no place for a report.
    @Test(arguments: ["into", "far/into", "far/new"]) func linksIntoACheckpoint(name: String) async throws {
        let sample = try await CommandSample()
        let prepared = try ReportPlaceTests.run(
            "ln -s sealed/ingot-manifest.json into; mkdir -p else/b; ln -s else/b far; ln -s ../../sealed/config.json else/b/into"
                + "; ln -s ../../sealed/new else/b/new", [], in: sample)
        #expect(prepared.status == 0)
        let before = try Files.snapshot(sample.directory.path)
        for arguments in [["verify", "sealed"], ["inspect", "sealed"], ["diff", "source", "sealed"]] {
            let result = try ReportPlaceTests.run(#""$INGOT" "$@""#, arguments + ["-o", name], in: sample)
            #expect(result.status == 73 && result.errors.hasPrefix("error: cannotCreate"), "\(name): \(result.errors)")
        }
        #expect(try Files.snapshot(sample.directory.path) == before)
    }

    /// W11, W12, W13: a claims file that is a link stays one, its mode stays, and a killed run does not block the next.
    @Test func baseline() async throws {
        let sample = try await CommandSample()
        let line = #"""
            mkdir team; ln -s team/claims.json claims.json; umask 022
            update() { "$INGOT" verify sealed --against source --claims claims.json --update-baseline "$@" > text; }
            update; [[ $? == 0 && -L claims.json && -f team/claims.json ]] || exit 2
            chmod 600 team/claims.json; echo half > team/.claims.json.ingot-tmp; cp team/claims.json first
            update --tolerance 50%; [[ $? == 0 && -L claims.json && $(stat -c %a team/claims.json) == 600 ]] || exit 3
            cmp -s first team/claims.json && exit 4
            [[ $(ls -A team) == claims.json && $(head -n 1 text) == "claims.json updated" ]] || exit 5
            ln -s /dev/stdout stdout
            "$INGOT" verify sealed --claims stdout --update-baseline | head -n 3 | tail -n 1 | grep -q version || exit 6
            "$INGOT" verify sealed --claims team --update-baseline 2> errors; [[ $? == 73 ]] || exit 7
            "$INGOT" verify sealed --claims sealed/claims.json --update-baseline 2> errors; [[ $? == 73 ]] || exit 8
            [[ ! -e sealed/claims.json ]] || exit 9
            """#
        let result = try ReportPlaceTests.run(line, [], in: sample)
        #expect(result.status == 0, "\(result.status): \(result.errors)")
    }

    /// W11: a report that another run writes is refused, 75; one that a killed run left half is not in the way.
    @Test func leftovers() async throws {
        let sample = try await CommandSample()
        let temporary = sample.directory.at(".report.ingot-tmp")
        try Files.write("half", to: temporary)
        let arguments = ["inspect", sample.source.string, "-o", sample.at("report")]
        do {
            let other = try Descriptor(temporary, flags: 0, code: .inputOutput)
            #expect(try other.tryLock())
            let result = try IngotProcess.run(arguments)
            #expect(result.status == 75 && result.errors.hasPrefix("error: locked"), "\(result.errors)")
            #expect(Files.names(sample.directory.path).contains(".report.ingot-tmp"))
        }
        // A process that another test starts may have a copy of the lock until it becomes its program.
        for _ in 0..<6000 {
            guard try IngotProcess.run(arguments).status == 75 else { break }
            usleep(10_000)
        }
        #expect(Files.names(sample.directory.path) == ["report", "sealed", "source"])
    }

    /// W11: runs that are killed while they write: the report is whole, old or new, and the next run is not blocked.
    @Test func kills() async throws {
        let sample = try await CommandSample()
        let arguments = ["inspect", sample.source.string, "--format", "html", "-o", sample.at("report")]
        #expect(try IngotProcess.run(arguments).status == 0)
        let expected = try Files.read(sample.directory.at("report"))
        var (seed, left) = (UInt64.random(in: 0...UInt64.max), 0)
        print("seed \(seed)")
        let kills = Share.count(of: 40)
        for _ in 0..<kills {
            let process = try IngotProcess.start(arguments)
            seed = seed &* 6_364_136_223_846_793_005 &+ 1
            // Many of the kills meet the moment in which the temporary file is there.
            if seed >> 63 == 0 {
                process.wait { Files.names(sample.directory.path).contains(".report.ingot-tmp") }
            } else {
                usleep(UInt32(seed >> 48) % 20_000)
            }
            process.signal(SIGKILL)
            _ = try process.wait()
            left += Files.names(sample.directory.path).contains(".report.ingot-tmp") ? 1 : 0
            #expect(try Files.read(sample.directory.at("report")) == expected)
            #expect(try IngotProcess.run(arguments).status == 0)
            #expect(Files.names(sample.directory.path) == ["report", "sealed", "source"])
        }
        Tally.print(kills, of: 40, "W11 kills of a report")
        print("\(left) of them left a temporary file")
    }
}
