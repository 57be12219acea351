import Checkpoints
import Container
import Conversion
import ConversionSupport
import Inspection
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights
import Work

/// Which tensors two checkpoints have in common, under which names, and where their bytes go.
@Suite struct DiffTests {
    private static let layers = (0..<6).map {
        SampleTensor("model.layers.\($0).q_proj.weight", .f16, [64, 96], seed: 7)
    }
    private static let norms = (0..<6).map { SampleTensor("model.layers.\($0).norm.weight", .f16, [96], seed: 9) }

    private func renamed(_ tensors: [SampleTensor]) -> [SampleTensor] {
        tensors.map { tensor in
            var tensor = tensor
            tensor.name = tensor.name.replacing("model.layers.", with: "blk.")
            return tensor
        }
    }

    private func diff(_ old: FilePath, _ new: FilePath, _ change: (inout CheckpointDiff.Options) -> Void = { _ in })
        async throws -> CheckpointDiff
    {
        var options = CheckpointDiff.Options()
        options.memory = 64 << 20
        change(&options)
        return try await CheckpointDiff(OpenedCheckpoint(old), OpenedCheckpoint(new), options)
    }

    /// Requires that every new name was matched with the old one of the same tensor.
    private func expectRenames(_ diff: CheckpointDiff, _ count: Int, location: SourceLocation = #_sourceLocation) {
        #expect(diff.tensors.count { $0.rename != nil } == count, sourceLocation: location)
        for tensor in diff.tensors where tensor.rename != nil {
            let expected = tensor.old.name.text.replacing("model.layers.", with: "blk.")
            #expect(tensor.new.name.text == expected, sourceLocation: location)
        }
        #expect(diff.added.isEmpty && diff.removed.isEmpty, sourceLocation: location)
    }

    @Test func renamedExactly() async throws {
        let directory = try TemporaryDirectory()
        let old = try SampleSource.write([DiffTests.layers + DiffTests.norms], to: directory.at("old"))
        let new = try SampleSource.write([renamed(DiffTests.layers + DiffTests.norms)], to: directory.at("new"))
        let found = try await diff(old, new)
        expectRenames(found, 12)
        #expect(found.tensors.allSatisfy { $0.rename == .sameBytes && $0.status == .same })
        // Other names are a difference.
        #expect(!found.isSame)
        // Without weights nothing tells.
        let unread = try await diff(old, new) { $0.headersOnly = true }
        #expect(unread.added.count == 12 && unread.removed.count == 12 && unread.tensors.isEmpty)
    }

    /// What was encoded and renamed is known by the hash of its original.
    @Test func renamedAndEncoded() async throws {
        let directory = try TemporaryDirectory()
        let old = try SampleSource.write([DiffTests.layers], to: directory.at("old"))
        let new = try SampleSource.write([renamed(DiffTests.layers)], to: directory.at("new"))
        try await Verbs.convert(new, to: directory.at("sealed"))
        let found = try await diff(old, directory.at("sealed"))
        expectRenames(found, 6)
        #expect(found.tensors.allSatisfy { $0.rename == .sameOriginal && $0.status == .changed })
    }

    /// What was encoded, exported and renamed is known by its weights alone.
    @Test(arguments: [4, 2]) func renamedByWeights(bits: Int) async throws {
        let directory = try TemporaryDirectory()
        let old = try SampleSource.write([DiffTests.layers + DiffTests.norms], to: directory.at("old"))
        let new = try SampleSource.write([renamed(DiffTests.layers + DiffTests.norms)], to: directory.at("new"))
        var options = Verbs.options(.trellis)
        options.encoding.goal = .bits(Double(bits))
        try await Verbs.convert(new, to: directory.at("sealed"), options)
        try await Verbs.export(directory.at("sealed"), to: directory.at("out"), as: .bf16)
        let found = try await diff(old, directory.at("out"))
        expectRenames(found, 12)
        for tensor in found.tensors {
            let sampled = try #require(tensor.rename?.sampled)
            #expect(sampled < 0.3 && tensor.weights != nil)
        }
    }

    /// Tensors that are alike match none of each other; unrelated weights neither.
    @Test func ambiguousNames() async throws {
        let directory = try TemporaryDirectory()
        let ones = [Float](repeating: 1, count: 96)
        let old = try SampleSource.write(
            [
                [
                    SampleTensor("a", .f16, [96], values: ones), SampleTensor("b", .f16, [96], values: ones),
                    SampleTensor("c", .f16, [8, 8]), SampleTensor("none", .f16, [0]),
                ]
            ], to: directory.at("old"))
        let new = try SampleSource.write(
            [
                [
                    SampleTensor("x", .f16, [96], values: ones), SampleTensor("y", .f16, [8, 8]),
                    SampleTensor("no", .f16, [0]),
                ]
            ],
            to: directory.at("new"))
        let found = try await diff(old, new)
        #expect(found.tensors.isEmpty)
        #expect(found.added.map(\.name.text).sorted() == ["no", "x", "y"] && found.removed.count == 4)
    }

    @Test func addedRemovedReshaped() async throws {
        let directory = try TemporaryDirectory()
        let old = try SampleSource.write(
            [[SampleTensor("a", .f16, [4, 6]), SampleTensor("b", .f16, [2, 3]), SampleTensor("s", .f32, [])]],
            to: directory.at("old"))
        let new = try SampleSource.write(
            [[SampleTensor("a", .f16, [6, 4]), SampleTensor("d", .f16, [9, 3]), SampleTensor("s", .f32, [])]],
            to: directory.at("new"))
        let found = try await diff(old, new)
        #expect(found.added.map(\.name.text) == ["d"] && found.removed.map(\.name.text) == ["b"])
        #expect(found.tensors.map(\.status) == [.reshaped, .same] && !found.isSame)
        #expect(found.tensors[0].changed == nil && found.tensors[0].weights == nil)
        let only = try await diff(old, new) { $0.pattern = NamePattern("s*") }
        #expect(only.isSame && only.tensors.count == 1 && only.added.isEmpty)
    }

    /// Each list of sizes adds up to the files, old and new.
    @Test(arguments: [EncodingOptions.Scheme.trellis, .uniform, .lossless])
    func sizesAddUp(scheme: EncodingOptions.Scheme) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write(SampleSource.small(), to: directory.at("source"))
        try await Verbs.convert(source, to: directory.at("sealed"), Verbs.options(scheme))
        func bytes(_ path: FilePath) throws -> UInt64 {
            try Files.snapshot(path).filter { $0.key.hasSuffix(".safetensors") }.reduce(0) {
                $0 + UInt64($1.value.count)
            }
        }
        let (before, after) = (try bytes(source), try bytes(directory.at("sealed")))
        for (a, b, expected) in [
            (source, directory.at("sealed"), (before, after)), (directory.at("sealed"), source, (after, before)),
        ] {
            let sizes = try await diff(a, b).sizes
            #expect((sizes.total.old, sizes.total.new) == expected)
            for rows in [sizes.kinds, sizes.layers, sizes.parts] {
                #expect(rows.reduce(0) { $0 + $1.size.old } == expected.0)
                #expect(rows.reduce(0) { $0 + $1.size.new } == expected.1)
            }
        }
    }

    /// The ones that changed most come first.
    @Test func moversAreInOrder() async throws {
        let directory = try TemporaryDirectory()
        func write(_ name: String, _ errors: [Float]) throws -> FilePath {
            try SampleSource.write(
                [errors.enumerated().map { SampleTensor("t\($0.offset)", .f32, [2], values: [1, 1 + $0.element]) }],
                to: directory.at(name))
        }
        let found = try await diff(write("old", [0, 0, 0, 0]), write("new", [0.1, 0.5, 0, 0.2]))
        #expect(found.movers(10).map(\.new.name.text) == ["t1", "t3", "t0"])
        #expect(found.movers(2).count == 2)
    }

    @Test func metadataChanges() async throws {
        let directory = try TemporaryDirectory()
        let (old, new) = (directory.at("old.safetensors"), directory.at("new.safetensors"))
        let tensor = SampleTensor("a", .f16, [2])
        try SampleSource.writeShard(
            [tensor], to: old, metadata: [.init("format", "pt"), .init("gone", "1"), .init("x", "é")])
        try SampleSource.writeShard(
            [tensor], to: new, metadata: [.init("format", "pt"), .init("new", "2"), .init("x", "e\u{301}")])
        let found = try await diff(old, new)
        #expect(found.metadata.map(\.key) == ["gone", "new", "x"])
        #expect(found.metadata[0].new == nil && found.metadata[1].old == nil && found.isSame)
    }
}
