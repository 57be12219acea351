import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Whatever happens to the bytes of a checkpoint: verification says so, as bad data (exit status 65).
@Suite struct DamageTests {
    /// A converted checkpoint of two shards, with the bytes of all its files.
    struct Sample {
        let directory: TemporaryDirectory
        let path: FilePath
        let files: [String: [UInt8]]

        init(_ codec: Codec, _ scheme: EncodingOptions.Scheme = .uniform, seed: UInt64 = 1) async throws {
            directory = try TemporaryDirectory()
            path = directory.at("sealed")
            let source = try SampleSource.write(
                SampleSource.small(seed: seed), to: directory.at("source"),
                companions: ["config.json": "{\"model_type\": \"llama\"}\n", "tokenizer.txt": "a b \(seed)\n"])
            try await Verbs.convert(source, to: path, Verbs.options(scheme, codec: codec))
            files = try Files.snapshot(path)
        }

        /// Every file of the checkpoint, sorted: two shards, index, configuration, manifest, a companion.
        var names: [String] { files.keys.sorted() }

        /// Fails the test unless verification refuses what is on the disk now as bad data.
        func expectDamage(_ what: @autoclosure () -> String) async {
            do {
                try await Verbs.verify(path)
                Issue.record("not found: \(what())")
            } catch let error as IngotError {
                if error.code.kind != .badData { Issue.record("\(what()): \(error)") }
            } catch {
                Issue.record("\(what()): no error of the project's: \(error)")
            }
        }

        func restore(_ name: String) throws { try Files.write(files[name] ?? [], to: path.appending(name)) }
    }

    /// The ways to spoil a byte: one bit, another one at each offset; every bit of the first bytes and of the seal.
    private func masks(_ offset: Int, of count: Int) -> [UInt8] {
        offset < 512 || offset >= count - 512 ? (0..<8).map { 1 << $0 } : [1 << UInt8(offset % 8)]
    }

    static let codecs: [(Codec, EncodingOptions.Scheme)] = [
        (.zstd, .trellis), (.rans, .trellis), (.none, .trellis), (.zstd, .uniform),
    ]

    /// C01: every byte is changed in some bit, those of header and seal in every one: found, wherever it is.
    @Test(arguments: codecs)
    func flippedBits(codec: Codec, scheme: EncodingOptions.Scheme) async throws {
        let sample = try await Sample(codec, scheme)
        try #require(sample.names.count == 6)
        try await Verbs.verify(sample.path)
        var (flips, all) = (0, 0)
        for name in sample.names {
            let bytes = sample.files[name] ?? []
            let place = sample.path.appending(name)
            all += bytes.indices.reduce(0) { $0 + masks($1, of: bytes.count).count }
            for offset in Share.of(bytes.indices) {
                for mask in masks(offset, of: bytes.count) {
                    flips += 1
                    try Files.patch([bytes[offset] ^ mask], at: offset, in: place)
                    await sample.expectDamage(
                        "\(scheme), \(codec.name): \(name), byte \(offset), bit \(mask.trailingZeroBitCount)")
                }
                try Files.patch([bytes[offset]], at: offset, in: place)
            }
        }
        try await Verbs.verify(sample.path)
        Tally.print(flips, of: all, "C01 flipped bits, \(scheme) \(codec.name)")
    }

    /// C02: cut at every length, and longer by a byte.
    @Test(arguments: codecs)
    func truncatedAndExtended(codec: Codec, scheme: EncodingOptions.Scheme) async throws {
        let sample = try await Sample(codec, scheme)
        var cuts = 0
        for name in sample.names {
            let bytes = sample.files[name] ?? []
            let place = sample.path.appending(name)
            let lengths = Share.of(bytes.indices)
            cuts += lengths.count
            for length in lengths {
                try Files.write(Array(bytes.prefix(length)), to: place)
                await sample.expectDamage("\(scheme), \(codec.name): \(name) cut to \(length) bytes")
            }
            for tail: [UInt8] in [[0], [0x20], [0x0A], Array(repeating: 0, count: 64), bytes] {
                try Files.write(bytes + tail, to: place)
                await sample.expectDamage("\(scheme), \(codec.name): \(name) with \(tail.count) bytes more")
                try Files.write(tail + bytes, to: place)
                await sample.expectDamage("\(scheme), \(codec.name): \(name) behind \(tail.count) bytes")
            }
            try sample.restore(name)
        }
        try await Verbs.verify(sample.path)
        let all = sample.files.values.reduce(0) { $0 + $1.count }
        Tally.print(cuts, of: all, "C02 truncations, \(scheme) \(codec.name)")
    }

    @Test func missingFiles() async throws {
        let sample = try await Sample(.zstd)
        for name in sample.names where name != Manifest.fileName {
            try Directory.removeFile(sample.path.appending(name))
            await sample.expectDamage("\(name) is gone")
            try sample.restore(name)
        }
        // Without its manifest a directory is no checkpoint at all.
        try Directory.removeFile(sample.path.appending(Manifest.fileName))
        let error = try await Verbs.failure { try await Verbs.verify(sample.path) }
        #expect(error?.code == .noInput)
    }

    @Test func filesOfOtherKinds() async throws {
        let sample = try await Sample(.zstd)
        for name in sample.names {
            try Directory.removeFile(sample.path.appending(name))
            try Directory.create(sample.path.appending(name))
            await sample.expectDamage("\(name) is a directory")
            try Directory.removeTree(sample.path.appending(name))
            try sample.restore(name)
        }
    }

    /// C02: two shards in one file, or each in the other's place.
    @Test func shardsConcatenatedOrSwapped() async throws {
        let sample = try await Sample(.zstd)
        let names = (0..<2).map { SampleSource.shardName($0, of: 2) }
        let (first, second) = (sample.files[names[0]] ?? [], sample.files[names[1]] ?? [])
        for (name, bytes) in [(names[0], first + second), (names[1], first + second), (names[0], second)] {
            try Files.write(bytes, to: sample.path.appending(name))
            await sample.expectDamage("\(name) of \(bytes.count) bytes")
            try sample.restore(name)
        }
        try Files.write(second, to: sample.path.appending(names[0]))
        try Files.write(first, to: sample.path.appending(names[1]))
        await sample.expectDamage("shards swapped")
    }

    /// Two conversions whose shards have the same names, sizes of headers, and tensors.
    @Test func filesOfAnotherConversion() async throws {
        let sample = try await Sample(.zstd)
        let other = try await Sample(.zstd, seed: 2)
        #expect(sample.names == other.names)
        for name in sample.names where sample.files[name] != other.files[name] {
            try Files.write(other.files[name] ?? [], to: sample.path.appending(name))
            await sample.expectDamage("\(name) of another conversion")
            try sample.restore(name)
        }
        try await Verbs.verify(sample.path)
    }

    @Test func strangeFiles() async throws {
        let sample = try await Sample(.zstd)
        try Files.write("notes", to: sample.path.appending("notes.txt"))
        let report = try await Verbs.verify(sample.path)
        #expect(report.warnings.count == 1)
        #expect(report.warnings.first?.file.hasSuffix("notes.txt") == true)
        let shard = sample.files[SampleSource.shardName(0, of: 2)] ?? []
        try Files.write(shard, to: sample.path.appending("model-00003-of-00003.safetensors"))
        await sample.expectDamage("a shard the manifest does not name")
    }

    /// Damage is also found by what reads less than everything, before it uses a byte of it.
    @Test(arguments: [EncodingOptions.Scheme.trellis, .uniform])
    func exportRefusesDamage(scheme: EncodingOptions.Scheme) async throws {
        let sample = try await Sample(.zstd, scheme)
        let name = SampleSource.shardName(0, of: 2)
        let bytes = sample.files[name] ?? []
        let output = sample.directory.at("out")
        for offset in Share.of(Array(stride(from: 0, to: bytes.count, by: 7))) {
            try Files.patch([bytes[offset] ^ 0x10], at: offset, in: sample.path.appending(name))
            let error = try await Verbs.failure { try await Verbs.export(sample.path, to: output) }
            try Files.patch([bytes[offset]], at: offset, in: sample.path.appending(name))
            if error == nil {
                // Only the zeros before the records of the seal are of no use to an export.
                #expect(bytes[offset] == 0, "byte \(offset)")
                try Directory.removeTree(output)
            } else {
                #expect(error?.code.kind == .badData, "byte \(offset)")
                #expect(Files.names(sample.directory.path) == ["sealed", "source"])
            }
        }
    }
}
