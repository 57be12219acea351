import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// `config.json` through a conversion and an export: many keys, numbers that are not finite, keys that look the same.
@Suite struct ConfigurationTests {
    private func roundTrip(configuration text: String) async throws -> IngotError? {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(
            [[SampleTensor("a.weight", .f16, [2, 40])]], to: directory.at("source"), companions: ["config.json": text])
        let target = directory.at("sealed")
        let output = directory.at("out")
        let error = try await Verbs.failure {
            try await Verbs.convert(source, to: target)
            #expect(try await Verbs.verify(target, against: source).holds)
            try await Verbs.export(target, to: output)
        }
        if error == nil {
            let sealed = try Files.read(target.appending("config.json"))
            #expect(String(decoding: sealed, as: UTF8.self).contains("\"quantization_config\": {"))
            #expect(try Files.read(output.appending("config.json")) == Array(text.utf8))
        }
        return error
    }

    @Test func configurationOfManyKeys() async throws {
        let members = (0..<100_000).map { "\"key \($0)\": \($0)" }.joined(separator: ",\n  ")
        #expect(try await roundTrip(configuration: "{\n  \(members)\n}\n") == nil)
    }

    @Test(arguments: [
        "{\"a\": NaN, \"b\": [Infinity, -Infinity, 1], \"c\": {\"d\": NaN}}\n", "{\"a\":NaN}", "{\"a\":-Infinity }",
        "{\n  \"rope\": {\"beta\": Infinity},\n  \"x\": 1\n}\n",
    ])
    func configurationWithNonFiniteNumbers(text: String) async throws {
        #expect(try await roundTrip(configuration: text) == nil)
    }

    /// Keys are their bytes: what looks the same need not be.
    @Test func configurationKeysAreBytes() async throws {
        #expect(try await roundTrip(configuration: "{\"\u{E9}\": 1, \"e\u{301}\": 2}\n") == nil)
        for text in ["{\"\u{E9}\": 1, \"\u{E9}\": 2}", "{\"e\u{301}\": 1, \"a\": 0, \"e\u{301}\": 1}"] {
            let error = try await roundTrip(configuration: text)
            #expect(error?.code == .duplicateKey && error?.code.kind == .badData)
        }
    }
}
