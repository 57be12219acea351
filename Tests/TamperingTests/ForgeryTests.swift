import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Shards whose hashes all hold, but which say what no writer says: each is refused for what it says.
@Suite struct ForgeryTests {
    /// A converted checkpoint of one shard, its source beside it.
    struct Sample {
        let directory: TemporaryDirectory
        let source: FilePath
        let path: FilePath
        var shard: ForgedShard

        static let matrix = "layers.0.weight"

        init(_ codec: Codec = .zstd, bits: Int = 4, symmetric: Bool = false, tensor: SampleTensor? = nil)
            async throws
        {
            directory = try TemporaryDirectory()
            source = directory.at("source")
            path = directory.at("sealed")
            let tensor = tensor ?? SampleTensor(Sample.matrix, .f16, [8, 96])
            try SampleSource.write([[tensor, SampleTensor("norm.weight", .f16, [5])]], to: source)
            var options = Verbs.options(bits: bits, symmetric: symmetric, codec: codec)
            // Matrices of a few weights get larger; they are encoded if a rule asks for it.
            options.encoding.recipe = Recipe([
                Recipe.Rule(try #require(NamePattern("*")), .encode(scheme: nil, bits: nil))
            ])
            try await Verbs.convert(source, to: path, options)
            shard = try ForgedShard(path.appending("model.safetensors"))
        }

        /// Offset of the first payload; its chunk table begins 64 bytes later.
        var payload: Int { shard.dataStart }
        /// Offset of the first entry of the chunk table.
        var entry: Int { payload + 64 }
        /// Offset of the first chunk.
        var chunk: Int { payload + shard.number(at: entry) }
        /// Stored bytes and codec of a stream of the first chunk.
        func stream(_ index: Int) -> (offset: Int, count: Int, codec: Int) {
            let counts = (0...index).map { shard.number(at: entry + 48 + 8 * $0, 4) }
            let codec = shard.number(at: entry + 52 + 8 * index, 1)
            return (chunk + counts.dropLast().reduce(0, +), counts[index], codec)
        }

        /// Computes the first chunk's checksum anew, seals, and verifies.
        mutating func failure(streams: Int = 5, against source: Bool = false) async throws -> IngotError? {
            let last = stream(streams - 1)
            let bytes = Array(shard.bytes[chunk..<last.offset + last.count])
            shard.set(ContentHash.checksum64(bytes.span), at: entry + 8)
            try shard.publish()
            let original = source ? self.source : nil
            return try await Verbs.failure { try await Verbs.verify(path, against: original) }
        }
    }

    /// Sealing again without a change gives the same bytes: the forger of these tests knows the format.
    @Test func resealingIsExact() async throws {
        var sample = try await Sample()
        let before = try Files.snapshot(sample.path)
        #expect(try await sample.failure() == nil)
        #expect(try Files.snapshot(sample.path) == before)
    }

    // MARK: - Certificates

    /// A certificate that claims half of the error: intact, but not what was claimed.
    @Test func forgedCertificate() async throws {
        var sample = try await Sample()
        let noise = sample.entry + 24
        let claimed = Double(bitPattern: UInt64(sample.shard.number(at: noise)))
        #expect(claimed > 0)
        let forged = (claimed / 2).bitPattern
        sample.shard.set(forged, at: noise)
        sample.shard.replaceInHeader(
            "\\\"noise\\\":\\\"\(ContentHash.hexadecimal(claimed.bitPattern))\\\"",
            "\\\"noise\\\":\\\"\(ContentHash.hexadecimal(forged))\\\"")
        #expect(try await sample.failure() == nil)
        let report = try await Verbs.verify(sample.path, against: sample.source)
        #expect(!report.holds)
        #expect(report.failures.map(\.code) == [.certificateMismatch])
        #expect(report.failures.first?.code.kind == .disagreement)
        #expect(report.failures.first?.tensor == TensorName(Sample.matrix))
    }

    /// A certificate in the header that is not the sum of the chunk table's.
    @Test func certificateThatDoesNotAddUp() async throws {
        var sample = try await Sample()
        let noise = UInt64(sample.shard.number(at: sample.entry + 24))
        sample.shard.replaceInHeader(ContentHash.hexadecimal(noise), ContentHash.hexadecimal(noise - 1))
        #expect(try await sample.failure()?.code == .payloadInvalid)
    }

    @Test func forgedSourceHash() async throws {
        var sample = try await Sample()
        let hash = ContentHash(of: SampleTensor(Sample.matrix, .f16, [8, 96]).bytes.span)
        sample.shard.replaceInHeader(hash.description, String(repeating: "0", count: 32))
        #expect(try await sample.failure() == nil)
        let report = try await Verbs.verify(sample.path, against: sample.source)
        #expect(report.failures.map(\.code) == [.sourceMismatch])
    }

    /// Sums no arithmetic gives: NaN, infinite, negative, minus zero.
    @Test(arguments: [Double.nan, .infinity, -1, -0.0], [16, 24, 32])
    func impossibleSums(value: Double, offset: Int) async throws {
        var sample = try await Sample()
        sample.shard.set(value.bitPattern, at: sample.entry + offset)
        #expect(try await sample.failure()?.code == .payloadInvalid)
    }

    // MARK: - Versions and features

    /// C03: a newer version is refused as such.
    @Test func newerVersions() async throws {
        var sample = try await Sample()
        sample.shard.replaceInHeader("{\\\"version\\\":1", "{\\\"version\\\":2")
        #expect(try await sample.failure()?.code == .containerVersion)
        sample = try await Sample()
        sample.shard.set(2, at: sample.shard.bytes.count - 56, 4)
        let error = try await sample.failure()
        #expect(error?.code == .containerVersion)
        #expect(error?.code.kind == .badData)
    }

    /// C03: unknown required features are refused, unknown optional ones told.
    @Test func features() async throws {
        var sample = try await Sample()
        sample.shard.replaceInHeader("\\\"required_features\\\":[]", "\\\"required_features\\\":[\\\"x\\\"]")
        #expect(try await sample.failure()?.code == .containerVersion)
        sample = try await Sample()
        sample.shard.replaceInHeader("\\\"optional_features\\\":[]", "\\\"optional_features\\\":[\\\"x\\\"]")
        #expect(try await sample.failure() == nil)
        #expect(try SealedCheckpoint(sample.path).warnings.count == 1)
    }

    // MARK: - Descriptions

    /// Descriptions with another length, order, value or spelling than a writer's.
    @Test(arguments: [
        ("\\\"bits\\\":4", "\\\"bits\\\":7"), ("\\\"bits\\\":4", "\\\"bits\\\":04"),
        ("\\\"bits\\\":4", "\\\"bits\\\":4.0"), ("\\\"bits\\\":4", "\\\"bits\\\": 4"),
        ("\\\"group_size\\\":32", "\\\"group_size\\\":33"), ("\\\"group_size\\\":32", "\\\"group_size\\\":0"),
        ("\\\"scheme\\\":\\\"uniform\\\"", "\\\"scheme\\\":\\\"trellis\\\""),
        ("\\\"codec\\\":\\\"zstd\\\"", "\\\"codec\\\":\\\"gzip\\\""),
        ("\\\"dtype\\\":\\\"F16\\\"", "\\\"dtype\\\":\\\"F64\\\""),
        ("\\\"shape\\\":[8,96]", "\\\"shape\\\":[768]"), ("\\\"shape\\\":[8,96]", "\\\"shape\\\":[-8,96]"),
        ("\\\"shape\\\":[8,96]", "\\\"shape\\\":[0,96]"),
        ("\\\"shape\\\":[8,96]", "\\\"shape\\\":[4294967296,4294967296]"),
        ("\\\"symmetric\\\":false", "\\\"symmetric\\\":0"),
        ("\"ingot:layers.0.weight\"", "\"ingot:layers.1.weight\""),
        ("\"ingot:layers.0.weight\"", "\"ingot:\""),
    ])
    func strangeDescriptions(old: String, new: String) async throws {
        var sample = try await Sample()
        sample.shard.replaceInHeader(old, new)
        let error = try await sample.failure()
        #expect(error?.code == .descriptorInvalid)
    }

    /// Descriptions that are well formed, and contradict the payload.
    @Test(arguments: [
        ("\\\"bits\\\":4", "\\\"bits\\\":3"), ("\\\"group_size\\\":32", "\\\"group_size\\\":64"),
        ("\\\"shape\\\":[8,96]", "\\\"shape\\\":[96,8]"), ("\\\"symmetric\\\":false", "\\\"symmetric\\\":true"),
        ("\\\"shape\\\":[8,96]", "\\\"shape\\\":[8,97]"), ("\\\"dtype\\\":\\\"F16\\\"", "\\\"dtype\\\":\\\"F32\\\""),
        ("\\\"codec\\\":\\\"zstd\\\"", "\\\"codec\\\":\\\"none\\\""),
        ("\\\"shape\\\":[8,96]", "\\\"shape\\\":[1048576,1048576]"),
        ("\\\"shape\\\":[8,96]", "\\\"shape\\\":[2147483648,2147483648]"),
    ])
    func contradictoryDescriptions(old: String, new: String) async throws {
        var sample = try await Sample()
        sample.shard.replaceInHeader(old, new)
        let error = try await sample.failure()
        #expect(error?.code == .payloadInvalid || error?.code == .sealInvalid)
    }

    // MARK: - Payloads

    /// C03: Every byte of prologue and chunk table has one legal value, but for sums that the certificate repeats.
    @Test func everyByteOfTheFront() async throws {
        var sample = try await Sample()
        let whole = sample.shard.bytes
        let front = sample.payload..<sample.chunk
        let offsets = Share.of(front)
        for offset in offsets {
            sample.shard.bytes = whole
            sample.shard.bytes[offset] ^= 0x04
            try sample.shard.publish()
            let error = try await Verbs.failure { try await Verbs.verify(sample.path) }
            let expected: Set<IngotError.Code> = [.payloadInvalid, .checksum, .chunkInvalid]
            #expect(error.map { expected.contains($0.code) } == true, "byte \(offset - sample.payload) of the payload")
        }
        Tally.print(offsets.count, of: front.count, "C03 bytes of a chunk table forged under hashes that hold")
    }

    /// Bytes behind the last chunk, and those before the seal's records, are zero.
    @Test func padding() async throws {
        var sample = try await Sample()
        let whole = sample.shard.bytes
        let last = sample.stream(4)
        let end = sample.payload + sample.shard.number(at: sample.payload + 56)
        try #require(last.offset + last.count < end)
        sample.shard.bytes[end - 1] = 1
        #expect(try await sample.failure()?.code == .payloadInvalid)
        sample.shard.bytes = whole
        let records = sample.shard.number(at: whole.count - 64 + 24)
        sample.shard.bytes[records - 1] = 1
        #expect(try await sample.failure()?.code == .sealInvalid)
    }
}
