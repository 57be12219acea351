import Container
import Conversion
import ConversionSupport
import FileAccess
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Payloads of code types with other types, features and shapes than a writer writes, under right hashes.
@Suite struct CodeForgeryTests {
    private struct Sample {
        let directory: TemporaryDirectory
        let path: FilePath
        var shard: ForgedShard

        /// - Parameter hasCodes: whether the source is one whose codes get payloads.
        init(hasCodes: Bool = true) async throws {
            directory = try TemporaryDirectory()
            path = directory.at("sealed")
            let codes = [
                QuantizedSample.codes("a.qweight", .i32, [16, 40]), QuantizedSample.codes("a.qzeros", .i32, [400]),
            ]
            let tensors = (hasCodes ? codes : []) + [SampleTensor("a.scales", .f16, [4, 256])]
            try SampleSource.write([tensors], to: directory.at("source"))
            try await Verbs.convert(directory.at("source"), to: path, Verbs.options(.lossless))
            shard = try ForgedShard(path.appending("model.safetensors"))
        }

        mutating func failure() async throws -> IngotError? {
            try shard.publish()
            let verified = try await Verbs.failure { try await Verbs.verify(path) }
            let exported = try await Verbs.failure { try await Verbs.export(path, to: directory.at("out")) }
            #expect(verified?.code == exported?.code && verified?.code.kind == .badData)
            #expect(!Files.names(directory.path).contains("out"))
            return verified
        }
    }

    /// The number of the type in the prologue: every other number.
    @Test(arguments: [0, 3, 15, 16, 22, 23, 25, 255]) func numberOfType(number: UInt64) async throws {
        var sample = try await Sample()
        #expect(sample.shard.number(at: sample.shard.dataStart + 17, 1) == 24)
        sample.shard.set(number, at: sample.shard.dataStart + 17, 1)
        let error = try await sample.failure()
        #expect(error?.code == .payloadInvalid && error?.tensor == TensorName("a.qweight"))
    }

    /// A feature that the payloads do not use, none where they use one, and one that nobody knows.
    @Test(arguments: [
        ("[\\\"code_types\\\"]", "[]", IngotError.Code.descriptorInvalid),
        ("[\\\"code_types\\\"]", "[\\\"scale_bytes\\\"]", .descriptorInvalid),
        ("[\\\"code_types\\\"]", "[\\\"code_types\\\",\\\"code_types\\\"]", .descriptorInvalid),
        ("[\\\"code_types\\\"]", "[\\\"code_types\\\",\\\"scale_bytes\\\"]", .descriptorInvalid),
        ("[\\\"code_types\\\"]", "[\\\"code_type2\\\"]", .containerVersion),
    ])
    func features(old: String, new: String, code: IngotError.Code) async throws {
        var sample = try await Sample()
        sample.shard.replaceInHeader("\\\"required_features\\\":" + old, "\\\"required_features\\\":" + new)
        let error = try await sample.failure()
        #expect(error?.code == code, "\(String(describing: error))")
        if code == .containerVersion {
            #expect(error?.found.contains("code_type2") == true && error?.expected?.contains("code_types") == true)
        }
    }

    @Test func featureOfNoPayload() async throws {
        var sample = try await Sample(hasCodes: false)
        sample.shard.replaceInHeader(
            "\\\"required_features\\\":[]", "\\\"required_features\\\":[\\\"code_types\\\"]")
        let error = try await sample.failure()
        #expect(error?.code == .descriptorInvalid && error?.found.contains("code_types") == true)
    }

    /// Types that no payload has, codes in another scheme, and vectors of weights.
    @Test(arguments: [
        ("\\\"dtype\\\":\\\"I32\\\",\\\"shape\\\":[16,40]", "\\\"dtype\\\":\\\"I64\\\",\\\"shape\\\":[16,40]"),
        ("\\\"dtype\\\":\\\"I32\\\",\\\"shape\\\":[16,40]", "\\\"dtype\\\":\\\"F64\\\",\\\"shape\\\":[16,40]"),
        ("\\\"dtype\\\":\\\"I32\\\",\\\"shape\\\":[16,40]", "\\\"dtype\\\":\\\"I32\\\",\\\"shape\\\":[]"),
        ("\\\"dtype\\\":\\\"I32\\\",\\\"shape\\\":[16,40]", "\\\"dtype\\\":\\\"I32\\\",\\\"shape\\\":[16,0]"),
        ("\\\"dtype\\\":\\\"I32\\\",\\\"shape\\\":[400]", "\\\"dtype\\\":\\\"F32\\\",\\\"shape\\\":[400]"),
        (
            "\\\"scheme\\\":\\\"lossless\\\",\\\"codec\\\"",
            "\\\"scheme\\\":\\\"uniform\\\",\\\"bits\\\":4,\\\"group_size\\\":32,\\\"symmetric\\\":true,\\\"codec\\\""
        ),
        ("\\\"codec\\\":\\\"zstd\\\"", "\\\"codec\\\":\\\"rans\\\""),
    ])
    func descriptions(old: String, new: String) async throws {
        var sample = try await Sample()
        sample.shard.replaceInHeader(old, new)
        let error = try await sample.failure()
        #expect(error?.code == .descriptorInvalid, "\(String(describing: error))")
    }

    /// Another type of the same width: the tensor would change its meaning.
    @Test func typeOfSameWidth() async throws {
        var sample = try await Sample()
        sample.shard.replaceInHeader(
            "\\\"dtype\\\":\\\"I32\\\",\\\"shape\\\":[16,40]", "\\\"dtype\\\":\\\"U32\\\",\\\"shape\\\":[16,40]")
        let error = try await sample.failure()
        #expect(error?.code == .payloadInvalid && error?.tensor == TensorName("a.qweight"))
    }
}
