import Conversion
import ConversionSupport
import Inspection
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Statistics of whole checkpoints: every form of storage, any number of jobs.
@Suite struct StatisticsReaderTests {
    private func report(_ path: FilePath, jobs: Int = 2) async throws -> CheckpointReport {
        var report = try CheckpointReport(path)
        try await report.readWeights(by: StatisticsReader(memory: Verbs.minimumMemory, jobs: jobs))
        return report
    }

    /// Shapes that are cut into several pieces, in all ways there are.
    private static let tensors: [SampleTensor] = [
        SampleTensor("wide", .f16, [3, 700_000], .scaled, seed: 1),
        SampleTensor("high", .bf16, [90_001, 7], .heavy, seed: 2),
        SampleTensor("square", .f32, [900, 1100], .rising, seed: 3),
        SampleTensor("vector", .f16, [800_000], .gaussian, seed: 4),
        SampleTensor("deep", .f32, [3, 5, 7, 11], .offset, seed: 5), SampleTensor("one", .f32, [1, 1]),
    ]

    /// The plain figures of a tensor's bytes.
    private func check(_ found: WeightStatistics, _ tensor: SampleTensor, exactly isExact: Bool = true) throws {
        let format = try #require(tensor.type.quantizable)
        let weights = (0..<tensor.bytes.count / format.byteWidth).map {
            Double(FloatBytes.decode(tensor.bytes, $0, format))
        }
        let mean = weights.reduce(0, +) / Double(weights.count)
        let variance = weights.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(weights.count)
        #expect(found.count == UInt64(weights.count), "\(tensor.name)")
        #expect(abs(found.mean - mean) <= 1e-9 * max(variance.squareRoot(), abs(mean)), "\(tensor.name)")
        #expect(abs(found.standardDeviation - variance.squareRoot()) <= 1e-8 * variance.squareRoot(), "\(tensor.name)")
        #expect(found.minimum == weights.min() && found.maximum == weights.max(), "\(tensor.name)")
        guard tensor.shape.count > 1, let columns = tensor.shape.last else {
            #expect(found.rows == nil && found.columns == nil)
            return
        }
        let rows = weights.count / columns
        var energies = ([Double](repeating: 0, count: rows), [Double](repeating: 0, count: columns))
        for (index, weight) in weights.enumerated() {
            energies.0[index / columns] += weight * weight
            energies.1[index % columns] += weight * weight
        }
        let rowRoots = energies.0.map { ($0 / Double(columns)).squareRoot() }.sorted()
        let columnRoots = energies.1.map { ($0 / Double(rows)).squareRoot() }.sorted()
        for (spread, roots) in [(found.rows, rowRoots), (found.columns, columnRoots)] {
            let spread = try #require(spread)
            for (value, expected) in [
                (spread.minimum, roots[0]),
                (spread.median, (roots[(roots.count - 1) / 2] + roots[roots.count / 2]) / 2),
                (spread.maximum, roots[roots.count - 1]),
            ] {
                #expect(abs(value - expected) <= 1e-4 * expected, "\(tensor.name)")
            }
        }
    }

    @Test func sources() async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write([StatisticsReaderTests.tensors], to: directory.at("source"))
        let one = try await report(source, jobs: 1)
        for (tensor, sample) in zip(one.tensors, StatisticsReaderTests.tensors) {
            try check(try #require(tensor.statistics), sample)
            #expect(tensor.statistics?.codeEntropy == nil)
        }
        let many = try await report(source, jobs: 3)
        #expect(one.tensors.map { $0.statistics?.json } == many.tensors.map { $0.statistics?.json })
        #expect(one.account.total == one.fileBytes)
    }

    /// Restored weights are those that are exported, in every scheme.
    @Test(arguments: [EncodingOptions.Scheme.uniform, .trellis, .lossless])
    func sealed(scheme: EncodingOptions.Scheme) async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write([StatisticsReaderTests.tensors], to: directory.at("source"))
        let sealed = directory.at("sealed")
        try await Verbs.convert(source, to: sealed, Verbs.options(scheme))
        try await Verbs.export(sealed, to: directory.at("out"), as: .f32)
        let restored = try Verbs.tensors(directory.at("out"))
        let one = try await report(sealed, jobs: 1)
        for tensor in one.tensors {
            let found = try #require(tensor.statistics)
            try check(found, try #require(restored[tensor.name]))
            guard tensor.descriptor != nil else { continue }
            let bits = try #require(tensor.bitsPerElement)
            switch scheme {
            case .uniform: #expect(try #require(found.codeEntropy) <= 4)
            case .lossless: #expect(found.codeEntropy == found.valueEntropy)
            default:
                // What an ideal coder would take for the levels is not far from what was stored, where rows are alike;
                // where they are not, classes of rows take less, patches and escapes more.
                guard tensor.shape.elementCount > 100_000 else { continue }
                let distance = abs(try #require(found.codeEntropy) - bits)
                #expect(distance < (tensor.name.text == "wide" ? 0.25 : 1), "\(tensor.name.text): \(distance)")
            }
        }
        let many = try await report(sealed, jobs: 4)
        #expect(one.tensors.map { $0.statistics?.json } == many.tensors.map { $0.statistics?.json })
        #expect(one.account.total == one.fileBytes)
    }

    /// A group's figures are those of all its weights as one tensor.
    @Test func groups() async throws {
        let directory = try TemporaryDirectory()
        let parts = [
            SampleTensor("layers.0.q_proj.weight", .f32, [64, 100], .heavy, seed: 1),
            SampleTensor("layers.1.q_proj.weight", .f32, [30, 100], .offset, seed: 2),
            SampleTensor("layers.2.q_proj.weight", .f32, [500, 100], .gaussian, seed: 3),
        ]
        let whole = SampleTensor("q_proj.weight", .f32, [594, 100], bytes: parts.flatMap(\.bytes))
        let apart = try await report(try SampleSource.write([parts], to: directory.at("parts")))
        let together = try await report(try SampleSource.write([[whole]], to: directory.at("whole")))
        let groups = TensorGroup.groups(of: apart.tensors, by: .kind)
        let figures = try #require(groups.first).figures
        let expected = try #require(together.tensors[0].statistics)
        #expect(groups.count == 1 && figures.tensors == 3 && figures.count == expected.count)
        for (value, right) in [
            (figures.mean, expected.mean), (figures.standardDeviation, expected.standardDeviation),
            (figures.kurtosis, expected.kurtosis), (figures.absoluteMaximum, expected.absoluteMaximum),
        ] {
            #expect(abs(try #require(value) - right) <= 1e-9 * abs(right))
        }
        #expect(
            TensorGroup.groups(of: apart.tensors, by: .layer).map(\.name.text) == ["layer 0", "layer 1", "layer 2"])
    }

    @Test func order() async throws {
        let directory = try TemporaryDirectory()
        let source = try SampleSource.write([StatisticsReaderTests.tensors], to: directory.at("source"))
        let read = try await report(source)
        for (key, first) in [
            (TensorOrder.name, "deep"), (.file, "wide"), (.size, "wide"), (.kurtosis, "high"), (.mean, "deep"),
            (.elements, "wide"),
        ] {
            var ordered = read
            ordered.order(by: key, top: 2)
            #expect(ordered.tensors.count == 2 && ordered.tensors[0].name.text == first, "\(key)")
        }
    }
}
