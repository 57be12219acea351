import Architectures
import Export
import FileAccess
import Moments
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// How far error feedback of exports trusts products of different columns.
@Suite struct FeedbackShrinkageTests {
    /// Moments of the first layer of the model of `RuntimeExportTests`, whose columns have a common part, with one shrinkage for every input.
    private static func writeMoments(to path: FilePath, shrinkage: Double) throws {
        let inputs = [(LinearInput.Kind.attentionIn, 256), (.downIn, 512)].compactMap { kind, columns in
            LinearInput(layer: 0, kind).map { MomentsLayout.Input($0, columns: columns) }
        }
        var writer = try MomentsWriter.open(path, MomentsLayout(inputs), MomentsDescription())
        var generator = SeededGenerator(5)
        while let next = writer.next {
            let columns = next.blocks.columns
            var sums = [Float](repeating: 0, count: next.blocks.squareCount)
            for _ in 0..<48 {
                let common = Float.random(in: -1...1, using: &generator)
                let row = (0..<columns).map { _ in common + Float.random(in: -1...1, using: &generator) }
                for a in 0..<columns { for b in a..<columns { sums[a * columns + b] += row[a] * row[b] } }
            }
            try writer.append((0..<2).map { _ in HalfMoments(tokens: 48, weight: 48, sums: sums) })
        }
        try writer.publish()
        let bytes = try Files.read(path)
        let length = bytes[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
        let header = try JSONValue.parse(Array(bytes[8..<8 + length]))
        for (key, value) in (header.object ?? []).map({ ($0.key, $0.value) }) where key.hasSuffix(".shrinkage") {
            let start = try #require(value["data_offsets"]?.array?.first?.unsigned)
            try Files.patch(LittleEndian.bytes(shrinkage.bitPattern), at: 8 + length + Int(start), in: path)
        }
    }

    @Test("Inputs of queries, keys and values have a shrinkage of .2 at least, others that of the file")
    func leastShrinkage() async throws {
        let directory = try TemporaryDirectory()
        try RuntimeExportTests.write(to: directory.at("model"))
        var found: [Double: [TensorName: [Float]]] = [:]
        for shrinkage in [0, 0.2, 0.5] {
            let path = directory.at("m\(shrinkage).safetensors"), out = directory.at("out\(shrinkage)")
            try FeedbackShrinkageTests.writeMoments(to: path, shrinkage: shrinkage)
            let opened = try MomentsFile.open(path, scratch: directory.path)
            let settings = try GroupSettings(
                .mlx, bits: 3, groupSize: 64, .searched, format: nil, overrides: [], allowsFallback: false,
                allowsRequantizing: false, shardBytes: 5 << 30)
            _ = try await GroupExporter(
                OpenedCheckpoint(directory.at("model")), settings,
                ExportActivations(opened.file, hash: opened.hash), memory: 256 << 20, jobs: 1, force: false
            ).run(to: out)
            found[shrinkage] = try RuntimeExportTests.weights(out)
        }
        for part in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj"] {
            let name = TensorName("model.layers.0.\(part).weight")
            let (none, usual, much) = (found[0]?[name], found[0.2]?[name], found[0.5]?[name])
            #expect(none != nil && usual != much, "\(part)")
            #expect((none == usual) == (part != "mlp.down_proj"), "\(part)")
        }
    }
}
