import ConversionSupport
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `verify A --against B` says whether every weight of A equals B's, and names the first that does not.
@Suite struct ValueExactTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func write(_ name: String, _ tensors: [SampleTensor]) throws -> String {
        try SampleSource.write([tensors], to: directory.at(name)).string
    }

    private func gguf(_ name: String, _ tensors: [SampleTensor]) throws -> String {
        let path = directory.at("\(name).gguf")
        try GGUFSample.write(tensors.map(GGUFSample.Tensor.init), to: path)
        return path.string
    }

    private func verify(_ arguments: [String], _ format: String = "text", status: Int32 = 0) throws -> String {
        let result = try IngotProcess.run(["verify"] + arguments + ["--format", format])
        #expect(result.status == status, "\(result.output)\n\(result.errors)")
        return result.output
    }

    private func json(_ arguments: [String], status: Int32 = 0) throws -> JSONValue {
        try JSONValue.parse(Array(verify(arguments, "json", status: status).utf8))
    }

    /// Text without line ends and indents, and without the escapes of Markdown.
    private func plain(_ text: String) -> String {
        text.replacing("\\", with: "").split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    private func claim(_ claims: String = #"{"claim": "value_exact"}"#) throws -> String {
        let path = directory.at("claims.json")
        try ClaimsTests.write(claims, to: path)
        return path.string
    }

    /// Requires that A equals B in value: text, JSON, and the claim.
    private func expectExact(_ a: String, _ b: String, location: SourceLocation = #_sourceLocation) throws {
        let text = try verify([a, "--against", b])
        #expect(
            text.contains(/\n +value-exact: all [0-9,]+ weights of \d+ tensors are equal\n/), sourceLocation: location)
        #expect(!text.contains("not value-exact"), "\(text)", sourceLocation: location)
        let report = try json([a, "--against", b, "--claims", try claim()])
        #expect(report["value_exact"]?.bool == true && report["first_difference"] == .null, sourceLocation: location)
        #expect(report["differing_weights"]?.unsigned == 0, sourceLocation: location)
        #expect(report["verdict"]?.string == "PASS", sourceLocation: location)
    }

    /// A matrix of 300 x 2100 weights with a vector and whole numbers. All weights are binary16 numbers.
    private static func sample(_ format: FloatFormat) -> [SampleTensor] {
        var generator = SeededGenerator(7)
        let values = (0..<300 * 2100).map { _ in Float(Float16(generator.weight())) }
        return [
            SampleTensor("a.weight", format, [300, 2100], values: values),
            SampleTensor("b.weight", format, [64, 32], values: Array(values[..<2048])),
            SampleTensor("norm.weight", format, [2048], values: Array(values[2048..<4096])),
            SampleTensor("positions", raw: .i64, [32]),
        ]
    }

    @Test func casts() throws {
        let half = try write("half", ValueExactTests.sample(.f16))
        let single = try write("single", ValueExactTests.sample(.f32))
        try expectExact(single, half)
        try expectExact(half, single)
        try expectExact(half, half)
        let floats = ValueExactTests.sample(.f16).filter { $0.type == .f16 }
        let file = try gguf("half", floats)
        try expectExact(file, try write("floats", ValueExactTests.sample(.f32).filter { $0.type == .f32 }))
        try expectExact(try write("names", floats), file)
    }

    /// Blocks of a GGUF file against the numbers that they stand for: scale times code.
    @Test func blocks() throws {
        var generator = SeededGenerator(11)
        var (bytes, values): ([UInt8], [Float]) = ([], [])
        for _ in 0..<64 * 3 {
            let scale = Float16(generator.weight())
            let codes = (0..<32).map { _ in Int8(truncatingIfNeeded: generator.next()) }
            bytes += FloatBytes.encode(Float(scale), .f16) + codes.map { UInt8(bitPattern: $0) }
            values += codes.map { Float(scale) * Float($0) }
        }
        let path = directory.at("q8.gguf")
        try GGUFSample.write([GGUFSample.Tensor("w", type: 8, [64, 96], bytes: bytes)], to: path)
        func plain(_ name: String) throws -> String {
            try write(name, [SampleTensor("w", .f32, [64, 96], values: values)])
        }
        let text = try verify([path.string, "--against", try plain("values")])
        #expect(text.contains("value-exact: all 6,144 weights of 1 tensor are equal\n"), "\(text)")
        let value = values[40 * 96 + 50]
        values[40 * 96 + 50] = value.nextUp
        let found = try json([try plain("other"), "--against", path.string])["first_difference"]
        #expect(found?["found"]?.string == "w row 40, column 50: \(value.nextUp) against \(value)", "\(found ?? .null)")
    }

    /// The first weight that bfloat16 does not hold, with both values; an independent search finds the same.
    @Test func castThatRounds() throws {
        let (wide, narrow) = (ValueExactTests.sample(.f32), ValueExactTests.sample(.bf16))
        let report = try json([try write("narrow", narrow), "--against", try write("wide", wide)])
        var (count, first): (UInt64, (tensor: String, index: Int, value: Float, reference: Float)?) = (0, nil)
        for (a, b) in zip(narrow, wide) where a.type == .bf16 {
            for index in 0..<a.bytes.count / 2 {
                let (value, reference) = (
                    FloatBytes.decode(a.bytes, index, .bf16), FloatBytes.decode(b.bytes, index, .f32)
                )
                guard value != reference else { continue }
                count += 1
                if first == nil { first = (a.name, index, value, reference) }
            }
        }
        let expected = try #require(first)
        let found = report["first_difference"]
        #expect(report["value_exact"]?.bool == false && report["differing_weights"]?.unsigned == count)
        #expect(found?["tensor"]?.string == expected.tensor && found?["row"]?.unsigned == 0)
        #expect(found?["column"]?.unsigned == UInt64(expected.index))
        #expect(found?["value"]?.figure == Double(expected.value))
        #expect(found?["reference"]?.figure == Double(expected.reference))
        #expect(report["verdict"]?.string == "COMPARED" && report["unequal_tensors"]?.unsigned == 3)
    }

    /// One change in the middle of a matrix is found by name, row, column and both values, with any number of jobs.
    @Test func plantedChange() throws {
        let original = ValueExactTests.sample(.f16)
        var changed = original
        let index = 177 * 2100 + 1234
        let value = FloatBytes.decode(original[0].bytes, index, .f16)
        let other = Float(Float16(value).nextUp)
        changed[0].bytes.replaceSubrange(2 * index..<2 * index + 2, with: FloatBytes.encode(other, .f16))
        let (b, a) = (try write("b", original), try write("a", changed))
        let sentence = "not value-exact: a.weight row 177, column 1234: \(other) against \(value)"
        for jobs in ["1", "4"] {
            let text = try verify([a, "--against", b, "--jobs", jobs])
            #expect(text.hasPrefix("COMPARED") && plain(text).contains(" \(sentence) Errors, "), "\(text)")
        }
        // Far behind it, and in another tensor: the first one is still the one that is named.
        changed[0].bytes[2 * index + 4000] ^= 1
        changed[2].bytes[0] ^= 1
        let more = try write("more", changed)
        let texts = try ["1", "4"].map { try verify([more, "--against", b, "--jobs", $0]) }
        #expect(plain(texts[0]).contains("\(sentence) (and 2 more weights differ) "), "\(texts[0])")
        #expect(texts[0] == texts[1])
        let markdown = try verify([a, "--against", b], "markdown")
        #expect(markdown.contains("\n\(sentence)\n"), "\(markdown)")
        let page = try verify([a, "--against", b], "html")
        #expect(page.contains("\"value_exact\": false") && page.contains("a.weight row 177, column 1234"))
        let rows = try verify([a, "--against", b], "csv").split(whereSeparator: \.isNewline)
        #expect(rows[0].hasSuffix(",value_exact,first_different_row,first_different_column,value,reference"))
        #expect(rows[1].hasSuffix(",false,177,1234,\(other),\(value)") && rows[2].hasSuffix(",true,,,,"), "\(rows)")
    }

    /// -0 equals 0 and NaN equals NaN, also with other bits; infinities equal themselves only.
    @Test func specialValues() throws {
        func tensors(_ values: [Float]) -> [SampleTensor] {
            [SampleTensor("w", .f32, [2, 4], values: values), SampleTensor("v", .f32, [2, 4])]
        }
        let values: [Float] = [0, -0.0, .nan, .infinity, -.infinity, 1, .leastNonzeroMagnitude, 2]
        let b = try write("b", tensors(values))
        var same = values
        (same[0], same[1], same[2]) = (-0.0, 0, Float(bitPattern: 0xFFC0_0007))
        let a = try write("a", tensors(same))
        #expect(try verify([a, "--against", b]).contains("value-exact: all 16 weights of 2 tensors are equal"))
        for (index, value, sentence) in [
            (2, Float(5), "w row 0, column 2: 5.0 against nan"), (3, -.infinity, "w row 0, column 3: -inf against inf"),
            (6, 0, "w row 1, column 2: 0.0 against 1e-45"),
            (0, -.leastNonzeroMagnitude, "w row 0, column 0: -1e-45 against 0.0"),
        ] {
            var other = same
            other[index] = value
            let path = try write("other-\(index)", tensors(other))
            let isFinite = value.isFinite && values[index].isFinite
            let report = try json([path, "--against", b], status: isFinite ? 0 : 1)
            #expect(report["first_difference"]?["found"]?.string == sentence, "\(report["first_difference"] ?? .null)")
            #expect(report["differing_weights"]?.unsigned == 1)
            let text = try verify([path, "--against", b], status: isFinite ? 0 : 1)
            #expect(text.contains("not value-exact: \(sentence)\n"), "\(text)")
        }
        let nan = try json(
            [
                try write("nan", tensors([5] + values.dropFirst(1))), "--against",
                try write("c", tensors([.nan] + values.dropFirst(1))),
            ], status: 1)
        #expect(
            nan["first_difference"]?["reference"]?.string == "nan" && nan["first_difference"]?["value"]?.figure == 5)
    }

    /// A tensor that one side lacks, another shape, another type of whole numbers, and other whole numbers.
    @Test func tensorsWithoutCounterpart() throws {
        let all = ValueExactTests.sample(.f16)
        let b = try write("b", all)
        let claims = try claim()
        func expect(_ name: String, _ tensors: [SampleTensor], _ sentence: String) throws {
            let path = try write(name, tensors)
            let text = try verify([path, "--against", b], status: 1)
            #expect(plain(text).contains("not value-exact: \(sentence)"), "\(text)")
            let report = try json([path, "--against", b, "--claims", claims], status: 1)
            #expect(report["value_exact"]?.bool == false)
            let results = report["claims"]?.array ?? []
            let own = results.first { $0["claim"]?.string == "value_exact" }
            #expect(
                own?["status"]?.string == "fail" && own?["message"]?.string?.hasPrefix(sentence) == true, "\(results)")
        }
        try expect(
            "lacks", [all[0], all[2], all[3]], "b.weight: a tensor of the source that the checkpoint does not have")
        try expect("adds", all + [SampleTensor("z", .f16, [2])], "z: a tensor that the source does not have")
        var shaped = all
        shaped[1].shape = [32, 64]
        try expect("shaped", shaped, "b.weight: the shape 32x64, in the source 64x32")
        var typed = all
        typed[3] = SampleTensor("positions", .u64, [32], bytes: all[3].bytes)
        try expect("typed", typed, "positions: the type U64, in the source I64")
        var counted = all
        counted[3].bytes.replaceSubrange(40..<48, with: [UInt8](repeating: 0xFF, count: 8))
        try expect("counted", counted, "positions row 0, column 5: -1 against ")
        // Claims about other tensors hold; one about a tensor that only the source has does not.
        for (pattern, status) in [("a.*", "pass"), ("b.*", "fail"), ("z*", "fail")] {
            let claims = try claim(#"{"claim": "value_exact", "tensors": "\#(pattern)"}"#)
            let report = try json([directory.at("lacks").string, "--against", b, "--claims", claims], status: 1)
            let own = report["claims"]?.array?.first { $0["claim"]?.string == "value_exact" }
            #expect(own?["status"]?.string == status, "\(pattern): \(String(describing: own))")
        }
    }

    /// Floats of 8 and 64 bits are compared by value with any other type.
    @Test func narrowAndWideFloats() throws {
        // 1, -1.5, 448, 2^-9, NaN, -0 in E4M3.
        let bytes: [UInt8] = [0x38, 0xBC, 0x7E, 0x01, 0x7F, 0x80]
        let values: [Float] = [1, -1.5, 448, 0x1p-9, .nan, 0]
        let eight = try write(
            "eight", [SampleTensor("w", .f8e4m3, [2, 3], bytes: bytes), SampleTensor("v", .f16, [4])])
        func wide(_ values: [Double]) -> [SampleTensor] {
            let bytes = values.flatMap { value in
                (0..<8).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) }
            }
            return [SampleTensor("w", .f64, [2, 3], bytes: bytes), SampleTensor("v", .f16, [4])]
        }
        let cast = try write("cast", [SampleTensor("w", .bf16, [2, 3], values: values), SampleTensor("v", .f16, [4])])
        let double = try write("double", wide(values.map(Double.init)))
        for (a, b) in [(cast, eight), (eight, cast), (double, eight), (cast, double)] {
            let text = try verify([a, "--against", b])
            #expect(text.contains("value-exact: all 10 weights of 2 tensors are equal"), "\(text)")
        }
        let near = try write("near", wide(values.map { Double($0) == 448 ? 448.00000000000006 : Double($0) }))
        let text = try verify([near, "--against", eight], status: 1)
        #expect(text.contains("not value-exact: w row 0, column 2: 448.00000000000006 against 448.0\n"), "\(text)")
    }

    /// A lossless conversion has the source's values, and a lossy one is not blamed for having others.
    @Test func conversions() async throws {
        let sample = try await CommandSample()
        let source = sample.source.string
        let lossless = sample.at("lossless")
        #expect(try IngotProcess.run(["convert", source, lossless, "--scheme", "lossless"]).status == 0)
        let text = try verify([lossless, "--against", source])
        #expect(text.hasPrefix("PASS") && text.contains("\n      value-exact: all "), "\(text)")
        #expect(try json([lossless, "--against", source])["value_exact"]?.bool == true)
        // By its certificates, too.
        let claims = try claim()
        let alone = try json([lossless, "--claims", claims])
        #expect(alone["value_exact"] == .null && alone["first_difference"] == .null)
        #expect(alone["claims"]?.array?.last?["basis"]?.string == "certificate")
        #expect(alone["claims"]?.array?.last?["status"]?.string == "pass")

        let lossy = try verify([sample.sealed.string, "--against", source])
        #expect(lossy.hasPrefix("PASS") && !lossy.contains("value-exact"), "\(lossy)")
        let report = try json([sample.sealed.string, "--against", source])
        #expect(report["value_exact"]?.bool == false && report["first_difference"]?["tensor"]?.string != nil)
        for arguments in [[], ["--against", source]] {
            let failed = try json([sample.sealed.string, "--claims", claims] + arguments, status: 1)
            #expect(failed["claims"]?.array?.first?["claim"]?.string == "value_exact")
        }
        // The export in binary32 is the sealed checkpoint.
        let export = sample.at("export")
        #expect(
            try IngotProcess.run(["export", lossless, export, "--to", "safetensors", "--dtype", "f32"]).status == 0)
        try expectExact(export, lossless)
        try expectExact(export, source)
        // The source in another type is not what was converted, and has the same values.
        let other = try json([lossless, "--against", export], status: 1)
        #expect(other["verdict"]?.string == "FAIL" && other["value_exact"]?.bool == true)
    }

    /// Changes in kept and lossless tensors of a sealed checkpoint: in a chunk, and in a vector that is read in several pieces.
    @Test func sealedAgainstAnotherSource() throws {
        let tensors = [
            SampleTensor("a.weight", .f16, [700, 900]), SampleTensor("norm.weight", .f32, [700_001]),
            SampleTensor("positions", raw: .i64, [32]),
        ]
        let sealed = directory.at("sealed").string
        let source = try write("source", tensors)
        #expect(try IngotProcess.run(["convert", source, sealed, "--scheme", "lossless"]).status == 0)
        try expectExact(sealed, source)
        for (tensor, index, row, column) in [(0, 650 * 900 + 77, 650, 77), (1, 600_123, 0, 600_123), (2, 9, 0, 9)] {
            var other = tensors
            let width = other[tensor].type.bitWidth / 8
            other[tensor].bytes[index * width] ^= 1
            let path = try write("other-\(tensor)", other)
            for jobs in ["1", "4"] {
                let report = try json([sealed, "--against", path, "--jobs", jobs], status: 1)
                let found = report["first_difference"]
                #expect(found?["tensor"]?.string == tensors[tensor].name && report["differing_weights"]?.unsigned == 1)
                #expect(
                    found?["row"]?.unsigned == UInt64(row) && found?["column"]?.unsigned == UInt64(column),
                    "\(found ?? .null)")
                #expect(found?["value"] != found?["reference"])
            }
        }
    }

    /// The claim passes, fails with the counter-example, and fails if it compares nothing, in every format.
    @Test(arguments: ["text", "json", "junit", "github", "markdown", "sarif", "html"])
    func claimInEveryFormat(format: String) throws {
        let (half, single) = (
            try write("half", ValueExactTests.sample(.f16)), try write("single", ValueExactTests.sample(.f32))
        )
        let claims = try claim()
        let passed = try verify([single, "--against", half, "--claims", claims], format)
        var changed = ValueExactTests.sample(.f32)
        changed[1] = SampleTensor("b.weight", .f32, [64, 32], values: [Float](repeating: 0.125, count: 2048))
        let other = try write("other", changed)
        let failed = try verify([other, "--against", half, "--claims", claims], format, status: 1)
        if !["sarif", "junit"].contains(format) {
            #expect(plain(passed).contains("all 634,128 weights of 4 tensors are equal"), "\(passed)")
        }
        #expect(plain(failed).contains("b.weight row 0, column 0: 0.125 against"), "\(failed)")
        let mark = [
            "text": "FAIL value_exact", "json": "\"claim\": \"value_exact\"", "junit": "type=\"value_exact\"",
            "github": "::error file=", "markdown": "| **FAIL** | `value_exact` |",
            "sarif": "\"ruleId\": \"value_exact\"", "html": "\"claim\": \"value_exact\"",
        ]
        #expect(plain(failed).contains(mark[format] ?? "?"), "\(failed)")

        let empty = [SampleTensor("e", .f16, [0, 4])]
        let nothing = [try write("empty", empty), "--against", try write("void", empty)]
        #expect(
            try plain(verify(nothing + ["--claims", claims], format, status: 1)).contains("a claim that checks nothing")
        )
        if format == "json" { #expect(try json(nothing)["value_exact"] == .null) }
    }

    /// A baseline claims it where it holds, and keeps it.
    @Test func baselines() throws {
        let (half, single) = (
            try write("half", ValueExactTests.sample(.f16)), try write("single", ValueExactTests.sample(.f32))
        )
        let narrow = try write("narrow", ValueExactTests.sample(.bf16))
        for (a, isExact) in [(single, true), (narrow, false)] {
            let file = directory.at("baseline-\(isExact).json")
            _ = try verify([a, "--against", half, "--claims", file.string, "--update-baseline"])
            let text = String(decoding: try Files.read(file), as: UTF8.self)
            #expect(text.contains("\"value_exact\"") == isExact, "\(text)")
            _ = try verify([a, "--against", half, "--claims", file.string])
        }
    }
}
