import Checkpoints
import Conversion
import ConversionSupport
import Inspection
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// Statistics of whole checkpoints: every form of storage, any number of jobs.
@Suite struct StatisticsReaderTests {
    private func report(
        _ path: FilePath, jobs: Int = 2, quantized: QuantizedSources = .decoded
    ) async throws -> CheckpointReport {
        var report = try CheckpointReport(OpenedCheckpoint(path, quantized: quantized))
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

    /// Whole numbers, scales and codes count in no figure of a group but sizes.
    @Test func groupsOfWeightsOnly() async throws {
        let directory = try TemporaryDirectory()
        let weights = SampleTensor("layers.0.q_proj.weight", .f32, [8, 16], seed: 1)
        let others = [
            SampleTensor("layers.0.k_proj.qweight", raw: .i32, [4, 4]),
            SampleTensor("layers.0.k_proj.scales", .f16, [1, 4], values: [90, 91, 92, 93]),
            SampleTensor("layers.0.v_proj.weight", raw: .f8e4m3, [4, 4]),
            SampleTensor("layers.0.v_proj.weight_scale_inv", .f32, [1, 1], values: [77]),
            SampleTensor("layers.0.position_ids", raw: .i64, [1, 9]),
        ]
        let mixed = try await report(
            try SampleSource.write([[weights] + others], to: directory.at("mixed")), quantized: .asStored)
        let alone = try await report(try SampleSource.write([[weights]], to: directory.at("alone")))
        #expect(mixed.tensors.map(\.holdsWeights) == [true, false, false, false, false, false])
        #expect(mixed.tensors.allSatisfy { $0.statistics?.percentiles != nil })
        let figures = try #require(TensorGroup.groups(of: mixed.tensors, by: .layer).first).figures
        let expected = try #require(TensorGroup.groups(of: alone.tensors, by: .layer).first).figures
        #expect(figures.tensors == 6 && figures.elements == 128 + 16 + 4 + 16 + 1 + 9 && figures.count == 128)
        #expect(figures.mean == expected.mean && figures.maximum == expected.maximum)
        #expect(figures.skewness == expected.skewness && figures.histogram == expected.histogram)
    }

    /// A slice's figures are those of a tensor of its own, in every form of storage and for any number of jobs.
    @Test(arguments: [EncodingOptions.Scheme?.none, .uniform, .trellis, .lossless])
    func experts(scheme: EncodingOptions.Scheme?) async throws {
        let directory = try TemporaryDirectory()
        let shape = [3, 70, 96]
        let fused = SampleTensor("layers.2.mlp.experts.up_proj", .bf16, shape, .rising, seed: 7)
        let source = try SampleSource.write([[fused]], to: directory.at("source"))
        var path = source
        var bytes = fused.bytes
        if let scheme {
            path = directory.at("sealed")
            try await Verbs.convert(source, to: path, Verbs.options(scheme))
            try await Verbs.export(path, to: directory.at("out"), as: .f32)
            bytes = try #require(try Verbs.tensors(directory.at("out"))[TensorName(fused.name)]).bytes
        }
        let format: FloatFormat = scheme == nil ? .bf16 : .f32
        let size = bytes.count / 3
        let parts = (0..<3).map { expert -> SampleTensor in
            SampleTensor(
                "layers.2.mlp.experts.\(expert).up_proj", format.elementType, [70, 96],
                bytes: Array(bytes[expert * size..<(expert + 1) * size]))
        }
        let apart = TensorGroup.groups(
            of: try await report(try SampleSource.write([parts], to: directory.at("parts"))).tensors, by: .expert)
        var read = try CheckpointReport(path)
        for jobs in [1, 4] {
            try await read.readWeights(
                by: StatisticsReader(memory: Verbs.minimumMemory, jobs: jobs), slicesExperts: true)
            let groups = TensorGroup.groups(of: read.tensors, by: .expert)
            #expect(groups.map(\.name) == apart.map(\.name) && groups.count == 3)
            let total = groups.reduce(UInt64(0)) { $0 + $1.figures.bytes }
            #expect(total == read.tensors[0].byteCount)
            for (group, expected) in zip(groups, apart) {
                let (found, right) = (group.figures, expected.figures)
                #expect(found.count == right.count && found.minimum == right.minimum && found.maximum == right.maximum)
                let deviation = try #require(right.standardDeviation)
                for (value, other, bound) in [
                    (found.mean, right.mean, 1e-12 * deviation), (found.kurtosis, right.kurtosis, 1e-8),
                    (found.standardDeviation, right.standardDeviation, 1e-11 * deviation),
                ] {
                    let distance = abs(try #require(value) - (try #require(other)))
                    #expect(distance <= bound)
                }
                #expect(found.zeros == right.zeros && found.subnormal == right.subnormal)
            }
        }
    }

    @Test(arguments: [
        ("model.layers.0.mlp.experts.12.w1.weight", [4, 4], ExpertPlace.one(12)),
        ("blk.0.ffn_up.3.weight", [4, 4], .one(3)),
        ("blk.0.ffn_up_exps.weight", [8, 4, 4], .slices(8)), ("x.experts.gate_up_proj", [2, 4, 4], .slices(2)),
        ("x.local_experts.5.w", [4], .one(5)), ("x.experts.gate_up_proj_bias", [2, 4], .none),
        ("x.shared_experts.0.w", [4, 4], .none), ("x.experts.w", [0, 4, 4], .none),
        ("x.experts.w", [5000, 1, 1], .none),
        ("x.experts.99999999999999999999.w", [2, 2], .none), ("conv.weight", [2, 4, 4], .none),
        ("experts", [2, 3, 4], .slices(2)),
        ("blk.0.ffn_up_shexp.weight", [2, 4, 4], .none),
    ])
    func expertPlaces(name: String, shape: [Int], place: ExpertPlace) throws {
        #expect(ExpertPlace(name: TensorName(name), shape: try #require(Shape(shape))) == place)
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
