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

/// Experts in a tensor each against experts in one tensor: `ingot diff` between the forms of mixtures of experts.
@Suite struct ExpertDiffTests {
    /// The forms a model of experts has. Each has the same weights.
    enum Form: String, CaseIterable, CustomTestStringConvertible {
        /// A tensor per expert: `experts.0.gate_proj.weight`; as Mixtral names them; as old GGUF files do.
        case single, mixtral, oldGGUF
        /// Gate and up projections of all experts in one tensor, as transformers 5 does.
        case fused
        /// Three tensors of all experts, as llama.cpp does.
        case gguf

        var testDescription: String { rawValue }
    }

    /// Experts' projections of some layers, as matrices: gate and up `[feed, hidden]`, down `[hidden, feed]`.
    struct Experts {
        var layers: [[(gate: [Float], up: [Float], down: [Float])]]
        let feed: Int, hidden: Int
        var format = FloatFormat.f16

        /// Weights that depend on the seed.
        init(layers: Int = 2, experts: Int = 4, feed: Int = 64, hidden: Int = 96, seed: UInt64 = 1) {
            (self.feed, self.hidden) = (feed, hidden)
            var generator = SeededGenerator(seed)
            func matrix() -> [Float] { (0..<feed * hidden).map { _ in Float(Float16(generator.weight())) } }
            self.layers = (0..<layers).map { _ in (0..<experts).map { _ in (matrix(), matrix(), matrix()) } }
        }

        /// The tensors of a form, with others around them.
        func tensors(_ form: Form) -> [SampleTensor] {
            layers.enumerated().flatMap { layer, experts -> [SampleTensor] in
                let count = experts.count
                func one(_ name: String, _ shape: [Int], _ values: [Float]) -> SampleTensor {
                    SampleTensor(name, format, shape, values: values)
                }
                func each(_ name: (Int, String) -> String, _ names: [String]) -> [SampleTensor] {
                    experts.enumerated().flatMap { number, expert in
                        [
                            one(name(number, names[0]), [feed, hidden], expert.gate),
                            one(name(number, names[1]), [feed, hidden], expert.up),
                            one(name(number, names[2]), [hidden, feed], expert.down),
                        ]
                    }
                }
                let names = ["gate_proj", "up_proj", "down_proj"]
                switch form {
                case .single: return each({ "model.layers.\(layer).mlp.experts.\($0).\($1).weight" }, names)
                case .mixtral:
                    return each(
                        { "model.layers.\(layer).block_sparse_moe.experts.\($0).\($1).weight" }, ["w1", "w3", "w2"])
                case .oldGGUF: return each({ "blk.\(layer).\($1).\($0).weight" }, ["ffn_gate", "ffn_up", "ffn_down"])
                case .fused:
                    return [
                        one(
                            "model.layers.\(layer).mlp.experts.gate_up_proj", [count, 2 * feed, hidden],
                            experts.flatMap { $0.gate + $0.up }),
                        one(
                            "model.layers.\(layer).mlp.experts.down_proj", [count, hidden, feed],
                            experts.flatMap(\.down)),
                    ]
                case .gguf:
                    return [
                        one("blk.\(layer).ffn_gate_exps.weight", [count, feed, hidden], experts.flatMap(\.gate)),
                        one("blk.\(layer).ffn_up_exps.weight", [count, feed, hidden], experts.flatMap(\.up)),
                        one("blk.\(layer).ffn_down_exps.weight", [count, hidden, feed], experts.flatMap(\.down)),
                    ]
                }
            }
        }

        /// Writes a form: GGUF files, or safetensors.
        func write(_ form: Form, to path: FilePath) throws -> FilePath {
            guard form == .gguf || form == .oldGGUF else { return try SampleSource.write([tensors(form)], to: path) }
            try GGUFSample.write(tensors(form).map { GGUFSample.Tensor($0) }, to: path)
            return path
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

    /// Writes two lists of tensors and compares them.
    private func diff(_ old: [SampleTensor], _ new: [SampleTensor]) async throws -> CheckpointDiff {
        let directory = try TemporaryDirectory()
        return try await diff(
            SampleSource.write([old], to: directory.at("old")), SampleSource.write([new], to: directory.at("new")))
    }

    // MARK: - The same weights

    static let pairs: [(Form, Form, fused: Int, renamed: Int)] = [
        (.single, .fused, 4, 0), (.mixtral, .fused, 4, 0), (.oldGGUF, .fused, 4, 0), (.single, .gguf, 6, 0),
        (.mixtral, .gguf, 6, 0), (.oldGGUF, .gguf, 6, 0), (.gguf, .fused, 2, 2),
    ]

    /// In both directions every expert finds its rows, in every byte.
    @Test(arguments: pairs) func sameBytes(several: Form, one: Form, fused: Int, renamed: Int) async throws {
        let directory = try TemporaryDirectory()
        let experts = Experts()
        let first = try experts.write(several, to: directory.at("first"))
        let second = try experts.write(one, to: directory.at("second"))
        for (old, new, direction) in [
            (first, second, TensorDifference.Regrouping.Direction.fused), (second, first, .split),
        ] {
            let found = try await diff(old, new)
            #expect(found.added.isEmpty && found.removed.isEmpty && found.warnings.isEmpty)
            #expect(found.tensors.count == fused + renamed && found.renamed.count == renamed)
            #expect(found.regrouped(direction).count == fused)
            #expect(found.tensors.allSatisfy { $0.rename == .sameBytes && $0.status == .same && $0.changed == 0 })
            // Other names are a difference.
            #expect(!found.isSame && !found.isIdentical)
        }
    }

    /// Which rows belong to which expert's tensor.
    @Test func partsAreInOrder() async throws {
        let experts = Experts(layers: 1, experts: 3, feed: 4, hidden: 6)
        let found = try await diff(experts.tensors(.single), experts.tensors(.fused))
        let gateUp = try #require(found.tensors.first { $0.new.name.text.hasSuffix("gate_up_proj") })
        let prefix = "model.layers.0.mlp.experts."
        #expect(gateUp.old.name.text == "\(prefix)*.gate_proj.weight + \(prefix)*.up_proj.weight")
        #expect(gateUp.old.tensors.count == 6 && gateUp.old.shape == gateUp.new.shape)
        #expect(gateUp.old.byteCount == gateUp.new.byteCount)
        let parts = try #require(gateUp.regrouping?.parts)
        #expect(parts.map(\.expert) == [0, 0, 1, 1, 2, 2] && parts.map(\.whole.row) == [0, 4, 8, 12, 16, 20])
        #expect(parts.allSatisfy { $0.whole.rows == 4 && $0.part.row == 0 })
        #expect(
            parts.map(\.part.tensor.name.text)
                == (0..<3).flatMap { ["\(prefix)\($0).gate_proj.weight", "\(prefix)\($0).up_proj.weight"] })
    }

    /// The row of a tensor that was split stands where the first of its tensors does; experts may come in any order.
    @Test func anyOrderOfFiles() async throws {
        let experts = Experts(layers: 1, experts: 12, feed: 3, hidden: 5)
        let norm = SampleTensor("model.layers.0.norm.weight", .f16, [7])
        let shuffled = Array(experts.tensors(.single).reversed())
        let found = try await diff(experts.tensors(.fused) + [norm], Array(shuffled[..<2]) + [norm] + shuffled[2...])
        #expect(
            found.tensors.map { $0.new.names.last?.text.split(separator: ".").dropLast().last } == [
                "down_proj", "up_proj", "norm",
            ])
        #expect(found.tensors.allSatisfy { $0.status == .same })
    }

    /// Other names that mean experts, and a fused tensor per expert.
    @Test(arguments: [
        ("decoder.block.1.layer.2.mlp.experts.expert_%.wi.weight", "decoder.block.1.layer.2.mlp.experts.wi"),
        ("m.layers.3.moe.local_experts.%.x.weight", "m.layers.3.moe.input_linear.weight"),
        ("model.layers.3.mlp.experts.%.gate_up_proj.weight", "blk.3.ffn_gate_up_exps.weight"),
    ])
    func otherNames(single: String, fused: String) async throws {
        let whole = SampleTensor(fused, .bf16, [5, 6, 8])
        let found = try await diff(
            (0..<5).map { expert in
                SampleTensor(
                    single.replacing("%", with: "\(expert)"), .bf16, [6, 8],
                    bytes: Array(whole.bytes[expert * 96..<(expert + 1) * 96]))
            }, [whole])
        #expect(found.tensors.count == 1 && found.tensors[0].status == .same)
        #expect(found.added.isEmpty && found.removed.isEmpty)
    }

    /// Without weights nothing proves that experts belong together.
    @Test func headersTellNothing() async throws {
        let directory = try TemporaryDirectory()
        let old = try Experts().write(.single, to: directory.at("old"))
        let new = try Experts().write(.fused, to: directory.at("new"))
        let found = try await diff(old, new) { $0.headersOnly = true }
        #expect(found.tensors.isEmpty && found.added.count == 4 && found.removed.count == 24)
    }

    /// A pattern selects a tensor by its own name and by that of each expert.
    @Test(arguments: [("*.experts.3.up_proj.weight", 2), ("*.0.mlp.experts.down_proj", 1), ("*.experts.4.*", 0)])
    func filter(pattern: String, count: Int) async throws {
        let directory = try TemporaryDirectory()
        let old = try Experts().write(.single, to: directory.at("old"))
        let new = try Experts().write(.fused, to: directory.at("new"))
        let found = try await diff(old, new) { $0.pattern = NamePattern(pattern) }
        #expect(found.tensors.count == count && found.added.isEmpty && found.removed.isEmpty)
    }

    /// Elements that are not widened match by their bytes only.
    @Test func otherElements() async throws {
        let whole = SampleTensor("model.layers.0.mlp.experts.up_proj", raw: .f8e4m3, [3, 4, 5])
        var single = (0..<3).map {
            SampleTensor(
                "model.layers.0.mlp.experts.\($0).up_proj.weight", .f8e4m3, [4, 5],
                bytes: Array(whole.bytes[$0 * 20..<($0 + 1) * 20]))
        }
        let same = try await diff([whole], single)
        #expect(same.tensors.map(\.status) == [.same] && same.tensors[0].rename == .sameBytes)
        single[2].bytes[7] ^= 1
        let changed = try await diff([whole], single)
        #expect(changed.tensors.isEmpty && changed.added.count == 3 && changed.removed.count == 1)
    }

    // MARK: - Other weights

    /// Pooled figures, and those of each expert, against a loop over the weights.
    private func check(_ tensor: TensorDifference, _ old: [TensorName: [Float]], _ new: [TensorName: [Float]]) throws {
        let regrouping = try #require(tensor.regrouping)
        let weights = try #require(tensor.weights)
        #expect(weights.parts.count == regrouping.parts.count)
        var (signal, noise, largest) = (0.0, 0.0, 0.0)
        var changed: UInt64 = 0
        for (part, sums) in zip(regrouping.parts, weights.parts) {
            func values(_ rows: TensorRows, _ side: [TensorName: [Float]]) throws -> ArraySlice<Float> {
                let all = try #require(side[rows.tensor.name])
                return all[rows.row * rows.columns..<(rows.row + rows.rows) * rows.columns]
            }
            let isFused = regrouping.direction == .fused
            let (x, y) = (
                try values(isFused ? part.part : part.whole, old), try values(isFused ? part.whole : part.part, new)
            )
            var own = (signal: 0.0, noise: 0.0)
            for (w, r) in zip(x, y) {
                own.signal += Double(w) * Double(w)
                own.noise += (Double(w) - Double(r)) * (Double(w) - Double(r))
                largest = max(largest, abs(Double(w) - Double(r)))
                if w != r { changed += 1 }
            }
            #expect(
                abs(sums.signal - own.signal) <= 1e-12 * own.signal && abs(sums.noise - own.noise) <= 1e-9 * own.noise)
            signal += own.signal
            noise += own.noise
        }
        let sums = weights.errors.sums
        #expect(abs(sums.signal - signal) <= 1e-12 * signal && abs(sums.noise - noise) <= 1e-9 * noise)
        #expect(sums.maxError == largest && tensor.changed == changed)
        #expect(weights.errors.count == UInt64(tensor.new.shape.elementCount))
    }

    /// The weights of a checkpoint; of a sealed one by way of `export`.
    private func weights(_ path: FilePath, _ directory: TemporaryDirectory) async throws -> [TensorName: [Float]] {
        var path = path
        if try OpenedCheckpoint(path).isSealed {
            let out = directory.at("export-\(path.lastComponent?.string ?? "")")
            try await Verbs.export(path, to: out, as: .f32)
            path = out
        }
        return try Verbs.tensors(path).mapValues { tensor in
            (0..<tensor.shape.reduce(1, *)).map { FloatBytes.decode(tensor.bytes, $0, tensor.type.quantizable ?? .f32) }
        }
    }

    /// Two checkpoints of the same experts in forms that are stored differently.
    struct Stored: Sendable, CustomTestStringConvertible {
        let old: (form: Form, scheme: EncodingOptions.Scheme?), new: (form: Form, scheme: EncodingOptions.Scheme?)
        /// Experts, rows of gate and up, columns of gate and up.
        let shape: (Int, Int, Int)
        var evidence = TensorDifference.Rename?.some(.sameOriginal)

        var testDescription: String { "\(old) \(new) \(shape)" }
    }

    /// Tiles of fused tensors end within experts: 700 and 1100 rows are no multiples of a tile's.
    static let stored = [
        Stored(old: (.single, nil), new: (.fused, .trellis), shape: (4, 64, 96)),
        Stored(old: (.fused, .trellis), new: (.single, nil), shape: (3, 700, 1100)),
        Stored(old: (.mixtral, .trellis), new: (.fused, nil), shape: (3, 700, 300)),
        Stored(old: (.fused, .trellis), new: (.single, .uniform), shape: (3, 300, 1100), evidence: nil),
        Stored(old: (.single, .trellis), new: (.fused, .uniform), shape: (2, 400, 700), evidence: nil),
        Stored(old: (.single, .lossless), new: (.fused, .trellis), shape: (5, 40, 96), evidence: nil),
        Stored(old: (.fused, .uniform), new: (.gguf, .trellis), shape: (3, 100, 600), evidence: nil),
        Stored(old: (.gguf, .trellis), new: (.fused, nil), shape: (3, 100, 96), evidence: nil),
    ]

    @Test(arguments: stored) func figuresOfEncoded(case stored: Stored) async throws {
        let directory = try TemporaryDirectory()
        let (count, feed, hidden) = stored.shape
        let experts = Experts(layers: 1, experts: count, feed: feed, hidden: hidden)
        func path(_ side: (form: Form, scheme: EncodingOptions.Scheme?), _ name: String) async throws -> FilePath {
            let source = try SampleSource.write([experts.tensors(side.form)], to: directory.at("\(name)-source"))
            guard let scheme = side.scheme else { return source }
            try await Verbs.convert(source, to: directory.at(name), Verbs.options(scheme))
            return directory.at(name)
        }
        let (old, new) = (try await path(stored.old, "old"), try await path(stored.new, "new"))
        let (a, b) = (try await weights(old, directory), try await weights(new, directory))
        var texts: Set<String> = []
        for (memory, jobs) in [(64, 1), (64, 3), (512, 2)] {
            let found = try await diff(old, new) { ($0.memory, $0.jobs) = (UInt64(memory) << 20, jobs) }
            #expect(found.added.isEmpty && found.removed.isEmpty && found.warnings.isEmpty)
            for tensor in found.tensors where tensor.regrouping != nil {
                #expect(tensor.status == .changed)
                if let evidence = stored.evidence {
                    #expect(tensor.rename == evidence)
                } else {
                    #expect(try #require(tensor.rename?.sampled) < 0.1)
                }
                try check(tensor, a, b)
            }
            #expect(found.tensors.contains { $0.regrouping != nil })
            // The same bits whatever the jobs and the memory.
            texts.insert(found.json(top: 5).text())
        }
        #expect(texts.count == 1)
    }

    /// Lossless encoding and another type that holds the values are other bytes of the same weights.
    @Test func sameWeights() async throws {
        let directory = try TemporaryDirectory()
        var experts = Experts()
        let old = try experts.write(.single, to: directory.at("old"))
        let fused = try experts.write(.fused, to: directory.at("fused"))
        try await Verbs.convert(fused, to: directory.at("lossless"), Verbs.options(.lossless))
        experts.format = .f32
        let wide = try experts.write(.fused, to: directory.at("wide"))
        for (new, evidence) in [
            (directory.at("lossless"), TensorDifference.Rename.sameOriginal), (wide, .similarWeights(sampled: 0)),
        ] {
            let found = try await diff(old, new)
            #expect(found.tensors.count == 4 && found.added.isEmpty && found.removed.isEmpty)
            #expect(found.tensors.allSatisfy { $0.status == .recoded && $0.rename == evidence })
            #expect(found.tensors.allSatisfy { $0.worstPart == nil } && !found.isSame)
        }
    }

    /// The expert with the largest error is named.
    @Test func worstExpert() async throws {
        let experts = Experts(layers: 1)
        var changed = experts
        for index in 100..<900 { changed.layers[0][2].up[index] *= 1.25 }
        let found = try await diff(experts.tensors(.single), changed.tensors(.fused))
        let tensor = try #require(found.tensors.first { $0.status == .changed })
        #expect(found.tensors.count == 2 && found.count(.same) == 1 && found.movers(3).count == 1)
        let worst = try #require(tensor.worstPart)
        #expect(tensor.regrouping?.parts[worst].expert == 2)
        #expect(tensor.regrouping?.parts[worst].part.tensor.name.text == "model.layers.0.mlp.experts.2.up_proj.weight")
        #expect(tensor.changed == 800)
        let sums = try #require(tensor.weights?.parts)
        #expect(sums.enumerated().allSatisfy { ($1.noise > 0) == ($0 == worst) })
    }

    /// NaN in an expert's weights is counted and hides nothing else.
    @Test func notFinite() async throws {
        let experts = Experts(layers: 1)
        var changed = experts
        changed.layers[0][1].down[0] = .nan
        let found = try await diff(experts.tensors(.fused), changed.tensors(.single))
        let tensor = try #require(found.tensors.first { $0.status == .changed })
        #expect(found.tensors.count == 2 && tensor.weights?.changedNonFinite == 1 && tensor.changed == 1)
        #expect(tensor.weights?.errors.sums.noise == 0 && tensor.movement == .infinity)
    }

    // MARK: - What is not matched

    /// Requires that only the gate and up projections were matched, and a warning about these experts of the down projections.
    private func expectDownUnmatched(
        _ found: CheckpointDiff, _ experts: String?, location: SourceLocation = #_sourceLocation
    ) {
        #expect(found.tensors.allSatisfy { !$0.new.name.text.contains("down") }, sourceLocation: location)
        #expect(found.tensors.allSatisfy { $0.status == .same }, sourceLocation: location)
        #expect(found.added.map(\.name.text) == ["model.layers.0.mlp.experts.down_proj"], sourceLocation: location)
        #expect(found.removed.allSatisfy { $0.name.text.contains("down") }, sourceLocation: location)
        #expect(found.warnings.count == (experts == nil ? 0 : 1), sourceLocation: location)
        if let experts {
            #expect(found.warnings.first?.message.hasSuffix(experts) == true, sourceLocation: location)
        }
    }

    /// Experts in another order are not the same tensor; a warning names them.
    @Test func permutedExperts() async throws {
        let experts = Experts(layers: 1)
        var permuted = experts
        (permuted.layers[0][1].down, permuted.layers[0][2].down) = (
            experts.layers[0][2].down, experts.layers[0][1].down
        )
        let found = try await diff(experts.tensors(.single), permuted.tensors(.fused))
        expectDownUnmatched(found, "of experts 1, 2")
        #expect(found.tensors.count == 1 && found.removed.count == 4 && !found.isSame)
        var one = experts
        one.layers[0][3].down = Experts(layers: 1, seed: 9).layers[0][0].down
        expectDownUnmatched(try await diff(experts.tensors(.single), one.tensors(.fused)), "of expert 3")
        // All of them: nothing says that these are the same experts.
        var all = experts
        for number in 0..<4 { all.layers[0][number].down = experts.layers[0][(number + 1) % 4].down }
        expectDownUnmatched(try await diff(experts.tensors(.single), all.tensors(.fused)), nil)
    }

    /// Up above gate is another tensor than gate above up.
    @Test func exchangedHalves() async throws {
        let experts = Experts(layers: 1)
        var exchanged = experts
        for number in 0..<4 {
            (exchanged.layers[0][number].gate, exchanged.layers[0][number].up) = (
                experts.layers[0][number].up, experts.layers[0][number].gate
            )
        }
        let found = try await diff(experts.tensors(.single), exchanged.tensors(.fused))
        #expect(found.tensors.count == 1 && found.added.count == 1 && found.removed.count == 8)
        #expect(found.added[0].name.text.hasSuffix("gate_up_proj"))
    }

    /// Fewer or more experts, a gap in their numbers, another layer, a transposed tensor.
    @Test func otherShapesAndNumbers() async throws {
        let experts = Experts(layers: 1)
        let single = experts.tensors(.single)
        let fused = experts.tensors(.fused)
        func expectNone(_ old: [SampleTensor], _ new: [SampleTensor], location: SourceLocation = #_sourceLocation)
            async throws
        {
            let found = try await diff(old, new)
            #expect(found.tensors.isEmpty && found.warnings.isEmpty, sourceLocation: location)
            #expect(found.added.count == new.count && found.removed.count == old.count, sourceLocation: location)
            let back = try await diff(new, old)
            #expect(back.tensors.isEmpty && back.warnings.isEmpty, sourceLocation: location)
        }
        try await expectNone(single.filter { !$0.name.contains("experts.3.") }, fused)
        try await expectNone(single.filter { !$0.name.contains("experts.1.") }, fused)
        var five = experts
        five.layers[0].append(Experts(layers: 1, seed: 3).layers[0][0])
        try await expectNone(five.tensors(.single), fused)
        try await expectNone(
            single,
            fused.map { tensor in
                var tensor = tensor
                tensor.name = tensor.name.replacing("layers.0", with: "layers.1")
                return tensor
            })
        let square = Experts(layers: 1, feed: 8, hidden: 8)
        try await expectNone(
            square.tensors(.single).filter { $0.name.contains("down") },
            [
                SampleTensor(
                    "model.layers.0.mlp.experts.down_proj", .f16, [4, 8, 8],
                    values: square.layers[0].flatMap { expert in (0..<64).map { expert.down[$0 % 8 * 8 + $0 / 8] } })
            ])
    }

    /// Tensors whose weights are all alike match none of each other, unless their bytes are the same.
    @Test func untelling() async throws {
        func tensors(_ value: Float, _ format: FloatFormat) -> (single: [SampleTensor], fused: [SampleTensor]) {
            let values = [Float](repeating: value, count: 24)
            return (
                (0..<2).map {
                    SampleTensor("l.0.experts.\($0).up_proj.weight", format, [3, 4], values: Array(values[..<12]))
                },
                [SampleTensor("l.0.experts.up_proj", format, [2, 3, 4], values: values)]
            )
        }
        let same = try await diff(tensors(0, .f16).single, tensors(0, .f16).fused)
        #expect(same.tensors.map(\.status) == [.same])
        let other = try await diff(tensors(0, .f16).single, tensors(0, .f32).fused)
        #expect(other.tensors.isEmpty && other.added.count == 1)
        // Two layers of that name: which of them was fused, nothing tells.
        let (single, fused) = tensors(1, .f16)
        let twice = single.map { tensor in
            var tensor = tensor
            tensor.name = "m." + tensor.name
            return tensor
        }
        let ambiguous = try await diff(single + twice, fused)
        #expect(ambiguous.tensors.isEmpty && ambiguous.removed.count == 4)
    }

    /// `verify` compares tensors of the same names and says what is missing.
    @Test func verifyNeedsTheNames() async throws {
        let directory = try TemporaryDirectory()
        let source = try OpenedCheckpoint(Experts(layers: 1).write(.single, to: directory.at("source")))
        let fused = try OpenedCheckpoint(Experts(layers: 1).write(.fused, to: directory.at("fused")))
        let result = try await PlainVerification(fused, against: source, memory: 64 << 20, jobs: 1).run()
        #expect(result.tensors.isEmpty && result.failures.count == 14)
        #expect(result.failures.allSatisfy { $0.code == .sourceMismatch })
        #expect(Set(result.failures.map(\.found)).contains("a tensor that the source does not have"))
    }
}
