import FileAccess
import Foundation
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Claims files: what is refused and where, what is read, and what is written back.
@Suite struct ClaimsFileTests {
    private static let folder = FilePath(#filePath).removingLastComponent()

    /// A file that must be refused; the schema in Specs/ is tested with the same list.
    struct BadFile: Sendable, CustomTestStringConvertible {
        let name: String, text: String, place: String, code: String
        var testDescription: String { name }

        static let all: [BadFile] = {
            let bytes = (try? Files.read(folder.appending("bad-claims.json"))) ?? []
            return ((try? JSONValue.parse(bytes))?.array ?? []).map { value in
                BadFile(
                    name: value["name"]?.string ?? "", text: value["text"]?.string ?? "",
                    place: value["place"]?.string ?? "", code: value["code"]?.string ?? "")
            }
        }()
    }

    private func read(_ text: String) throws -> ClaimsFile {
        let directory = try TemporaryDirectory()
        try Files.write(text, to: directory.at("claims.json"))
        return try ClaimsFile.read(directory.at("claims.json"))
    }

    @Test func listOfBadFiles() { #expect(BadFile.all.count > 50) }

    @Test(arguments: BadFile.all) func refused(_ bad: BadFile) throws {
        let error = try #require(throws: IngotError.self, "\(bad.name)") { try read(bad.text) }
        #expect(error.code.rawValue == bad.code, "\(bad.name): \(error)")
        #expect(error.code.kind == .badData)
        #expect(error.file?.hasSuffix("/claims.json") == true)
        if bad.code == "claimsInvalid" {
            #expect(error.found.hasPrefix("\(bad.place): "), "\(bad.name): \(error.found)")
            #expect(error.expected?.isEmpty == false, "\(bad.name)")
        }
        #expect(
            error.remedy.text.contains("claims") || error.remedy.text.contains("newer"),
            "\(bad.name): \(error.remedy.text)")
    }

    @Test func missing() throws {
        let error = try #require(throws: IngotError.self) { try ClaimsFile.read("/nonexistent/claims.json") }
        #expect(error.code == .noInput)
    }

    /// Every byte of a good file cut off, and every byte changed, is refused or read; never a trap.
    @Test func damaged() throws {
        let digest = String(repeating: "0f", count: 32)
        let text = """
            {"schema": "ingot.claims", "version": 1, "claims": [{"claim": "max_error", "limit": 1.5, "tensors": ["a*", "[b-c]"],
            "level": "warn", "note": "\\u00e9"}, {"claim": "output_sha256", "files": {"a/b": "\(digest)"}}]}
            """
        let bytes = Array(text.utf8)
        let directory = try TemporaryDirectory()
        var refusals = 0
        for index in bytes.indices {
            for changed in [Array(bytes[..<index]), bytes[..<index] + [bytes[index] ^ 0x15] + bytes[(index + 1)...]] {
                try Files.write(changed, to: directory.at("claims.json"))
                do {
                    _ = try ClaimsFile.read(directory.at("claims.json"))
                } catch let error as IngotError {
                    #expect(error.code.kind == .badData, "\(error)")
                    refusals += 1
                }
            }
        }
        #expect(refusals > bytes.count)
    }

    @Test func byteLimits() throws {
        let limits: [(String, UInt64)] = [
            ("1", 1), ("1e9", 1_000_000_000), ("7.0", 7), ("18446744073709551615", .max), ("\"18GiB\"", 18 << 30),
            ("\"5gb\"", 5_000_000_000), ("\"12\"", 12), ("\"3 \"", 0), ("\"900B\"", 900), ("\"2TIB\"", 2 << 40),
        ]
        for (text, bytes) in limits {
            let document =
                #"{"schema":"ingot.claims","version":1,"claims":[{"claim":"max_total_bytes","limit":\#(text)}]}"#
            if bytes == 0 {
                #expect(throws: IngotError.self) { try read(document) }
            } else {
                #expect(try read(document).claims[0].rule == .bytes(.total, bytes), "\(text)")
            }
        }
    }

    /// Lines, levels, tensors, notes and order are read, and written back.
    @Test func roundTrip() throws {
        let digest = String(repeating: "0f", count: 32)
        let text = """
            {
              "$schema": "../Specs/claims.schema.json",
              "schema": "ingot.claims",
              "version": 1,
              "claims": [
                {"claim": "max_relative_mse", "limit": 0.01},
                {"claim": "max_relative_mse", "limit": 0.005, "level": "warn"},

                {"claim": "min_cosine", "limit": 0.99, "tensors": "*.q_proj.*", "note": "ticket 12"},
                {"claim": "finite", "tensors": ["a", "b"], "level": "off"},
                {"claim": "source_sha256", "files": {"b": "\(digest)", "a/c": "\(digest.uppercased())"}}
              ]
            }
            """
        let file = try read(text)
        #expect(file.claims.map(\.line) == [6, 7, 9, 10, 11])
        #expect(file.claims.map(\.level) == [.error, .warn, .error, .off, .error])
        #expect(file.claims[3].patterns?.map(\.text) == ["a", "b"])
        #expect(file.claims[2].note == "ticket 12")
        let again = try read(String(decoding: file.encoded(), as: UTF8.self))
        #expect(again.encoded() == file.encoded() && again.schemaReference == "../Specs/claims.schema.json")
        #expect(again.claims.map(\.rule) == file.claims.map(\.rule))
        let members = try JSONValue.parse(file.encoded())["claims"]?.array?.map { $0.object?.map(\.key) ?? [] }
        #expect(members?[2] == ["claim", "tensors", "limit", "note"] && members?[3] == ["claim", "tensors", "level"])
    }
}
