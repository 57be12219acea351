import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Foundation
import Inspection
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Small checkpoints that released versions wrote: every later version opens and verifies them, and decodes them to the same weights.
///
/// `INGOT_RECORD_CHECKPOINTS=1` adds a folder for the version at hand. A folder that is there stays as it is.
@Suite struct EarlierVersionTests {
    private static let folder = Repository.fixtures.appending("checkpoints")

    /// The versions with a folder.
    static let versions = ["0.1.0"]

    // MARK: - What they were made of

    /// Weights by additions and shifts alone, so that every machine makes the same ones.
    private static func shards() -> [[SampleTensor]] {
        [
            [
                SampleTensor("model.embed_tokens.weight", .f16, [120, 64], seed: 11),
                SampleTensor("model.layers.0.q_proj.weight", .bf16, [70, 65], seed: 12),
                SampleTensor("model.layers.0.experts.weight", .f16, [3, 20, 30], seed: 13),
                SampleTensor("model.layers.0.norm.weight", .bf16, [65], seed: 14),
            ],
            [
                SampleTensor("model.layers.1.q_proj.weight", .f32, [48, 64], seed: 15),
                SampleTensor("model.layers.1.zeros.weight", .f16, [16, 16], values: [Float](repeating: 0, count: 256)),
                SampleTensor("model.layers.1.counts", raw: .i64, [5], seed: 16),
                SampleTensor("model.empty", raw: .f32, [0, 7]),
                SampleTensor("model.scale", .f32, [], seed: 17),
            ],
        ]
    }

    /// A matrix of several chunks.
    private static func tiles() -> [[SampleTensor]] { [[SampleTensor("tiles.weight", .f16, [700, 640], seed: 18)]] }

    /// The conversions by the names of their folders.
    private static func conversions() -> [(name: String, shards: [[SampleTensor]], options: ConversionOptions)] {
        func trellis(_ codec: Codec, _ bits: Double, _ states: Int = 8) -> ConversionOptions {
            var options = Verbs.options(.trellis, codec: codec)
            options.encoding.goal = .bits(bits)
            options.encoding.states = states
            return options
        }
        var list: [(String, [[SampleTensor]], ConversionOptions)] = []
        for (codec, bits, states) in [
            (Codec.zstd, 1.5, 8), (.zstd, 4, 16), (.zstd, 8, 32), (.rans, 3, 8), (.rans, 7, 32), (.lz4, 4, 8),
            (.none, 3, 16),
        ] { list.append(("trellis-\(codec.name)-\(bits)-\(states)", shards(), trellis(codec, bits, states))) }
        for (codec, bits, group, symmetric) in [
            (Codec.zstd, 4, 64, false), (.lz4, 8, 32, true), (.none, 3, 128, false),
        ] {
            let options = Verbs.options(.uniform, bits: bits, group: group, symmetric: symmetric, codec: codec)
            list.append(("uniform-\(codec.name)-\(bits)-\(group)", shards(), options))
        }
        for codec in [Codec.zstd, .lz4, .none] {
            list.append(("lossless-\(codec.name)", shards(), Verbs.options(.lossless, codec: codec)))
        }
        list.append(("tiles-zstd", tiles(), trellis(.zstd, 1.2)))
        list.append(("tiles-rans", tiles(), trellis(.rans, 1.2)))
        return list
    }

    // MARK: - Decoding

    /// The hashes of a checkpoint's decoded tensors, in their own element types.
    private func decoded(_ checkpoint: FilePath) async throws -> [String] {
        let directory = try TemporaryDirectory()
        try await Verbs.export(checkpoint, to: directory.at("plain"))
        return try Verbs.tensors(directory.at("plain")).map { name, tensor in
            "\(name.text) \(tensor.type.rawValue) \(tensor.shape) \(ContentHash(of: tensor.bytes.span))"
        }.sorted()
    }

    private func record(_ version: String) async throws {
        let place = EarlierVersionTests.folder.appending(version)
        guard ContainerFormat.writer == "ingot \(version)", try Directory.kind(place) == nil else { return }
        let directory = try TemporaryDirectory()
        try FileManager.default.createDirectory(atPath: place.string, withIntermediateDirectories: true)
        var text = ""
        for (name, shards, options) in EarlierVersionTests.conversions() {
            let source = try SampleSource.write(shards, to: directory.at("source-\(name)"))
            try await Verbs.convert(source, to: place.appending(name), options)
            text += "# \(name)\n" + (try await decoded(place.appending(name))).joined(separator: "\n") + "\n"
        }
        try Files.write(text, to: place.appending("decoded.txt"))
    }

    @Test(arguments: versions)
    func opensVerifiesAndDecodes(version: String) async throws {
        if ProcessInfo.processInfo.environment["INGOT_RECORD_CHECKPOINTS"] == "1" { try await record(version) }
        let place = EarlierVersionTests.folder.appending(version)
        let directory = try TemporaryDirectory()
        let text = String(decoding: try Files.read(place.appending("decoded.txt")), as: UTF8.self)
        let parts = text.split(separator: "# ").map { $0.split(separator: "\n").map(String.init) }
        #expect(parts.map(\.first) == EarlierVersionTests.conversions().map(\.name))
        for (part, conversion) in zip(parts, EarlierVersionTests.conversions()) {
            let checkpoint = place.appending(conversion.name)
            #expect(try await Verbs.verify(checkpoint).holds, "\(conversion.name)")
            let source = try SampleSource.write(conversion.shards, to: directory.at("source-\(conversion.name)"))
            #expect(try await Verbs.verify(checkpoint, against: source).holds, "\(conversion.name)")
            #expect(try await decoded(checkpoint) == Array(part.dropFirst()), "\(conversion.name)")
        }
    }
}
