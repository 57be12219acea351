import Architectures
import Checkpoints
import Container
import Conversion
import ConversionSupport
import FileAccess
import Inspection
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// GGUF files against the Hugging Face checkpoints they were made of, in both directions. Tests/Peers/test_verify_names.py does it with files of
/// gguf-py and transformers.
@Suite struct NameMatchingTests {
    /// Kinds of models: names, order of rows and experts differ.
    enum Family: String, CaseIterable, CustomTestStringConvertible {
        case llama, mistral, qwen2, mixtral

        var testDescription: String { rawValue }
        var keyHeads: Int { self == .llama ? 4 : 2 }
        var architecture: String { self == .qwen2 ? "qwen2" : "llama" }
        var isInterleaved: Bool { self != .qwen2 }
    }

    /// A model of two layers in the Hugging Face layout.
    struct Model {
        static let hidden = 64, feedForward = 96, heads = 4, experts = 3, vocabulary = 40
        let family: Family
        var tensors: [SampleTensor] = []

        init(_ family: Family, _ format: FloatFormat = .f16) {
            self.family = family
            let hidden = Model.hidden
            func add(_ name: String, _ shape: [Int], _ type: FloatFormat? = nil) {
                tensors.append(SampleTensor(name, type ?? format, shape))
            }
            add("model.embed_tokens.weight", [Model.vocabulary, hidden])
            add("model.norm.weight", [hidden], .f32)
            add("lm_head.weight", [Model.vocabulary, hidden])
            for layer in 0..<2 {
                let start = "model.layers.\(layer)."
                add(start + "input_layernorm.weight", [hidden], .f32)
                add(start + "post_attention_layernorm.weight", [hidden], .f32)
                for (name, rows) in [("q", hidden), ("k", 16 * family.keyHeads), ("v", 16 * family.keyHeads)] {
                    add("\(start)self_attn.\(name)_proj.weight", [rows, hidden])
                    if family == .qwen2 { add("\(start)self_attn.\(name)_proj.bias", [rows], .f32) }
                }
                add(start + "self_attn.o_proj.weight", [hidden, hidden])
                guard family == .mixtral else {
                    for name in ["gate", "up"] { add("\(start)mlp.\(name)_proj.weight", [Model.feedForward, hidden]) }
                    add(start + "mlp.down_proj.weight", [hidden, Model.feedForward])
                    continue
                }
                add(start + "block_sparse_moe.gate.weight", [Model.experts, hidden], .f32)
                for expert in 0..<Model.experts {
                    let place = "\(start)block_sparse_moe.experts.\(expert)."
                    for name in ["w1", "w3"] { add("\(place)\(name).weight", [Model.feedForward, hidden]) }
                    add(place + "w2.weight", [hidden, Model.feedForward])
                }
            }
        }

        subscript(name: String) -> SampleTensor {
            get { tensors.first { $0.name == name } ?? tensors[0] }
            set { for index in tensors.indices where tensors[index].name == name { tensors[index] = newValue } }
        }

        /// Writes the Hugging Face checkpoint.
        func write(to path: FilePath, _ more: [SampleTensor] = [], members: String = "") throws {
            try SampleSource.write(
                [tensors + more], to: path, companions: ["config.json": "{\"model_type\": \"\(family)\"\(members)}"])
        }

        static let names = [
            "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
            "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
            "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
            "block_sparse_moe.gate": "ffn_gate_inp", "model.embed_tokens": "token_embd", "model.norm": "output_norm",
            "lm_head": "output",
        ]

        /// The tensors as llama.cpp's converter writes them.
        var gguf: [SampleTensor] {
            var made: [SampleTensor] = []
            for tensor in tensors {
                var parts = tensor.name.split(separator: ".").map(String.init)
                let kind = parts.removeLast()
                guard parts.count > 2 else {
                    made.append(tensor.named("\(Model.names[parts.joined(separator: ".")] ?? "")." + kind))
                    continue
                }
                let layer = parts[2]
                let module = parts[3...].joined(separator: ".")
                if parts.contains("experts") {
                    let matrix = ["w1": "gate", "w2": "down", "w3": "up"][parts[6]] ?? ""
                    let name = "blk.\(layer).ffn_\(matrix)_exps.weight"
                    if let index = made.firstIndex(where: { $0.name == name }) {
                        made[index].bytes += tensor.bytes
                        made[index].shape[0] += 1
                    } else {
                        made.append(SampleTensor(name, tensor.type, [1] + tensor.shape, bytes: tensor.bytes))
                    }
                    continue
                }
                var own = tensor.named("blk.\(layer).\(Model.names[module] ?? "").\(kind)")
                if family.isInterleaved, module.hasSuffix("q_proj") || module.hasSuffix("k_proj") {
                    own.bytes = Model.interleaved(own.bytes, rows: own.shape[0], headRows: 16)
                }
                made.append(own)
            }
            return made
        }

        /// `weights.reshape(heads, 2, headRows / 2, columns).swapaxes(1, 2)` on bytes.
        static func interleaved(_ bytes: [UInt8], rows: Int, headRows: Int) -> [UInt8] {
            let width = bytes.count / rows
            var made: [UInt8] = []
            for head in stride(from: 0, to: rows, by: headRows) {
                for pair in 0..<headRows / 2 {
                    for row in [head + pair, head + pair + headRows / 2] {
                        made += bytes[row * width..<(row + 1) * width]
                    }
                }
            }
            return made
        }

        /// Writes the GGUF file.
        func write(
            gguf path: FilePath, leaving left: Set<String> = [], _ more: [SampleTensor] = [],
            architecture: String? = nil
        ) throws {
            func number(_ key: String, _ value: Int) -> (String, UInt32, [UInt8]) {
                ("\(family.architecture).\(key)", 4, GGUFSample.word(UInt64(value), 4))
            }
            var metadata = [
                ("general.architecture", 8, GGUFSample.text(architecture ?? family.architecture)),
                number("block_count", 2), number("attention.head_count", Model.heads),
                number("attention.head_count_kv", family.keyHeads),
            ]
            if family == .mixtral { metadata.append(number("expert_count", Model.experts)) }
            let tensors = gguf.filter { !left.contains($0.name) } + more
            try GGUFSample.write(tensors.map(GGUFSample.Tensor.init), metadata: metadata, to: path)
        }
    }

    private func verify(
        _ path: FilePath, against source: FilePath, memory: UInt64 = 64 << 20, jobs: Int = 2
    ) async throws -> VerificationReport {
        let both = try OpenedCheckpoint.open(together: [path, source])
        return try await CheckpointVerification(both[0], against: both[1], memory: memory, jobs: jobs).run()
    }

    /// Requires that every weight of both is equal, and returns the report.
    @discardableResult
    private func expectExact(
        _ path: FilePath, against source: FilePath, _ names: NameCorrespondence.Names,
        _ location: SourceLocation = #_sourceLocation
    ) async throws -> VerificationReport {
        let report = try await verify(path, against: source)
        #expect(report.failures.isEmpty, "\(report.failures.map(\.found))", sourceLocation: location)
        #expect(report.values?.isExact == true, "\(report.values?.sentence ?? "")", sourceLocation: location)
        #expect(report.names == .matched(checkpoint: names) && report.comparison == .weights, sourceLocation: location)
        return report
    }

    @Test("A file of the same weights is value-exact in both directions", arguments: Family.allCases)
    func exact(family: Family) async throws {
        let directory = try TemporaryDirectory()
        let model = Model(family)
        let (source, file) = (directory.at("hf"), directory.at("m.gguf"))
        try model.write(to: source)
        try model.write(gguf: file)
        for (first, second, names) in [
            (file, source, NameCorrespondence.Names.gguf), (source, file, .huggingFace),
        ] {
            let report = try await expectExact(first, against: second, names)
            #expect(report.tensors.map(\.name) == (try OpenedCheckpoint(first)).tensors.map(\.name))
            #expect(report.tensors.allSatisfy { $0.agreement == .equal && $0.errors?.changed == 0 })
            // Each weight was read once on both sides: means, extremes and norms of rows are the same.
            for tensor in report.tensors {
                let (own, other) = (try #require(tensor.restored), try #require(tensor.original))
                #expect(own.count == UInt64(tensor.elements) && own.rows == other.rows && own.columns == other.columns)
                #expect(own.minimum == other.minimum && own.mean == other.mean && own.histogram == other.histogram)
            }
        }
        // What convert makes of either, against the other.
        for (number, scheme) in [EncodingOptions.Scheme.lossless, .uniform, .trellis].enumerated() {
            let sealed = (directory.at("g\(number)"), directory.at("h\(number)"))
            try await Verbs.convert(file, to: sealed.0, Verbs.options(scheme))
            try await Verbs.convert(source, to: sealed.1, Verbs.options(scheme))
            if scheme == .lossless {
                try await expectExact(sealed.0, against: source, .gguf)
                try await expectExact(source, against: sealed.0, .huggingFace)
                try await expectExact(sealed.1, against: file, .huggingFace)
                try await expectExact(sealed.0, against: sealed.1, .gguf)
                continue
            }
            // The error against the Hugging Face checkpoint is that against the file.
            let own = try await verify(sealed.0, against: file)
            let other = try await verify(sealed.0, against: source)
            #expect(own.names == nil && own.failures.isEmpty && other.failures.isEmpty)
            #expect(own.comparison == .source && other.comparison == .weights)
            #expect(own.tensors.count == other.tensors.count)
            for (a, b) in zip(own.tensors, other.tensors) {
                let (x, y) = (try #require(a.measured), try #require(b.measured))
                #expect(a.name == b.name && abs(x.noise - y.noise) <= 1e-12 * x.noise && x.maxError == y.maxError)
                #expect(a.agreement == b.agreement || x.noise > 0, "\(a.name)")
            }
            #expect(other.values?.isExact == false && other.values?.incomparable == 0)
            #expect(own.values?.differing == other.values?.differing)
        }
    }

    @Test("One changed weight is found with its place in the verified checkpoint", arguments: Family.allCases)
    func planted(family: Family) async throws {
        let directory = try TemporaryDirectory()
        let file = directory.at("m.gguf")
        var model = Model(family)
        try model.write(gguf: file)
        // Row 37 is row 5 of head 2; llama.cpp has it at row 2 * 5 of that head.
        let start = "model.layers.1."
        var cases = [
            ("\(start)self_attn.q_proj.weight", 37, 11, "blk.1.attn_q.weight", family.isInterleaved ? 42 : 37),
            ("\(start)self_attn.k_proj.weight", 29, 63, "blk.1.attn_k.weight", family.isInterleaved ? 27 : 29),
            ("\(start)self_attn.v_proj.weight", 29, 0, "blk.1.attn_v.weight", 29),
        ]
        if family == .mixtral {
            cases.append(
                ("\(start)block_sparse_moe.experts.2.w3.weight", 95, 5, "blk.1.ffn_up_exps.weight", 2 * 96 + 95))
        }
        for (number, (name, row, column, other, place)) in cases.enumerated() {
            let original = model[name]
            let index = row * original.shape[1] + column
            var changed = original
            changed.bytes[2 * index..<2 * index + 2] = FloatBytes.encode(7, .f16)[...]
            model[name] = changed
            try model.write(to: directory.at("hf\(number)"))
            model[name] = original
            let old = FloatBytes.decode(original.bytes, index, .f16)
            for (first, second, tensor, row, value) in [
                (directory.at("hf\(number)"), file, name, row, (Float(7), old)),
                (file, directory.at("hf\(number)"), other, place, (old, Float(7))),
            ] {
                let report = try await verify(first, against: second)
                #expect(report.failures.isEmpty && report.values?.differing == 1 && report.values?.unequal == 1)
                let found = try #require(report.values?.first)
                let weight = ValueDifferences.Weight(
                    row: row, column: column, value: .float(value.0), reference: .float(value.1))
                #expect(found.name.text == tensor)
                #expect(found.agreement == .different(.init(count: 1, first: weight)), "\(found.agreement)")
            }
        }
    }

    @Test("Heads larger than a piece are cut by columns", arguments: [FloatFormat.bf16, .f32]) func large(
        format: FloatFormat
    ) async throws {
        let directory = try TemporaryDirectory()
        let (rows, columns) = (2048, 1700)
        var tensor = SampleTensor("model.layers.0.self_attn.q_proj.weight", format, [rows, columns])
        let metadata: [(String, UInt32, [UInt8])] = [
            ("general.architecture", 8, GGUFSample.text("llama")), ("llama.block_count", 4, GGUFSample.word(1, 4)),
            ("llama.attention.head_count", 4, GGUFSample.word(2, 4)),
        ]
        let own = SampleTensor(
            "blk.0.attn_q.weight", format.elementType, tensor.shape,
            bytes: Model.interleaved(tensor.bytes, rows: rows, headRows: rows / 2))
        try GGUFSample.write([GGUFSample.Tensor(own)], metadata: metadata, to: directory.at("m.gguf"))
        try SampleSource.write([[tensor]], to: directory.at("hf"))
        for (first, second) in [("m.gguf", "hf"), ("hf", "m.gguf")] {
            for jobs in [1, 3] {
                let report = try await verify(
                    directory.at(first), against: directory.at(second), memory: Verbs.minimumMemory, jobs: jobs)
                #expect(report.values?.isExact == true && report.failures.isEmpty)
            }
        }
        let index = (1024 + 700) * columns + 1699
        tensor.bytes[(index + 1) * format.byteWidth - 1] ^= 0x80
        try SampleSource.write([[tensor]], to: directory.at("other"))
        let report = try await verify(directory.at("m.gguf"), against: directory.at("other"))
        guard case .different(let found)? = report.values?.first?.agreement else {
            Issue.record("no difference")
            return
        }
        // Row 700 of a head is row 188 of its second half.
        #expect(found.count == 1 && found.first?.row == 1024 + 2 * 188 + 1 && found.first?.column == 1699)
        // Tiles and bands of an encoded matrix are cut in other places.
        for scheme in [EncodingOptions.Scheme.lossless, .trellis, .uniform] {
            let sealed = directory.at("sealed-\(scheme)")
            try await Verbs.convert(directory.at("m.gguf"), to: sealed, Verbs.options(scheme))
            let (a, b) = (
                try await verify(sealed, against: directory.at("m.gguf")),
                try await verify(sealed, against: directory.at("hf"))
            )
            let (x, y) = (try #require(a.tensors.first?.measured), try #require(b.tensors.first?.measured))
            #expect(b.failures.isEmpty && x.maxError == y.maxError && abs(x.noise - y.noise) <= 1e-12 * x.noise)
            #expect(a.values?.differing == b.values?.differing && (scheme != .lossless || b.values?.isExact == true))
        }
    }

    // MARK: - Tensors of one checkpoint only

    private static let scaling = """
        , "rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, \
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        """

    /// llama.cpp's factors for a head of 64 rows, base 500000, factor 8, as gguf-py's users compute them.
    private static let factors: [Float] = {
        (0..<32).map { index in
            var base: Float = 1
            // 500000^(index / 32) by repeated square roots would round; the kernels are not under test here.
            base = Float(powered(500_000, Double(index) / 32))
            let wavelength = 2 * Float.pi * base
            if wavelength < 8192 / 4 { return 1 }
            if wavelength > 8192 { return 8 }
            let smooth = (8192 / wavelength - 1) / 3
            return 1 / ((1 - smooth) / 8 + smooth)
        }
    }()

    /// `base` to a power from 0 to 1, by bisection of the exponent.
    private static func powered(_ base: Double, _ exponent: Double) -> Double {
        var (result, root, rest) = (1.0, base, exponent)
        for _ in 0..<60 {
            root = root.squareRoot()
            rest *= 2
            if rest >= 1 {
                result *= root
                rest -= 1
            }
        }
        return result
    }

    @Test("Factors of rotary frequencies are checked against config.json") func frequencies() async throws {
        let directory = try TemporaryDirectory()
        let model = Model(.mistral)
        let file = directory.at("m.gguf")
        let factors = SampleTensor("rope_freqs.weight", .f32, [32], values: NameMatchingTests.factors)
        try model.write(gguf: file, [factors])
        try model.write(to: directory.at("scaled"), members: NameMatchingTests.scaling)
        try model.write(
            to: directory.at("other"),
            members: NameMatchingTests.scaling.replacing("\"factor\": 8.0", with: "\"factor\": 32.0"))
        try model.write(to: directory.at("plain"))
        try model.write(to: directory.at("yarn"), members: #", "rope_scaling": {"type": "yarn", "factor": 2.0}"#)
        try SampleSource.write([model.tensors], to: directory.at("bare"), companions: [:])
        for (name, holds, reason) in [
            ("scaled", true, "as the rope scaling of config.json states it"),
            ("yarn", true, "not compared: config.json scales rotary frequencies by yarn"),
            ("bare", true, "not compared: the other checkpoint has no config.json that states it"),
            ("plain", false, "factors of the rotary frequencies, which config.json does not scale"),
            ("other", false, "which config.json does not state"),
        ] {
            for (first, second) in [(file, directory.at(name)), (directory.at(name), file)] {
                let report = try await verify(first, against: second)
                let apart = try #require(report.apart.first)
                #expect(report.apart.count == 1 && apart.name == GGUFDecoder.frequencyFactors)
                #expect(apart.isInSource == (second == file) && apart.reason.hasSuffix(reason), "\(apart.reason)")
                #expect(report.failures.map(\.tensor) == (holds ? [] : [GGUFDecoder.frequencyFactors]))
                #expect(report.values?.isExact == true)
                let facts = try ClaimFacts(report, of: OpenedCheckpoint(first), against: OpenedCheckpoint(second))
                #expect(facts.tensors.count(where: \.isApart) == (first == file ? 1 : 0))
                #expect(facts.tensors.allSatisfy { ($0.error != nil) != $0.isApart && $0.nonFinite == 0 })
            }
        }
    }

    @Test("Output matrices of tied embeddings") func tied() async throws {
        let directory = try TemporaryDirectory()
        let model = Model(.llama)
        var shared = model
        shared["lm_head.weight"].bytes = model["model.embed_tokens.weight"].bytes
        var lacking = model
        lacking.tensors.removeAll { $0.name == "lm_head.weight" }
        let tie = #", "tie_word_embeddings": true"#
        try model.write(to: directory.at("stored"), members: tie)
        try model.write(to: directory.at("untied"))
        try lacking.write(to: directory.at("lacking"), members: tie)
        let (without, with) = (directory.at("without.gguf"), directory.at("with.gguf"))
        try model.write(gguf: without, leaving: ["output.weight"])
        try shared.write(gguf: with)
        // transformers does not use the stored matrix.
        for (first, second) in [(without, directory.at("stored")), (directory.at("stored"), without)] {
            let report = try await verify(first, against: second)
            #expect(report.failures.isEmpty && report.values?.isExact == true)
            #expect(report.apart.map(\.name.text) == ["lm_head.weight"])
        }
        // It does use this one, and llama.cpp the embedding.
        for (first, second) in [(without, directory.at("untied")), (directory.at("untied"), without)] {
            let report = try await verify(first, against: second)
            #expect(report.failures.map(\.tensor?.text) == ["lm_head.weight"] && report.values?.isExact == false)
        }
        // A stored copy of the embedding is compared with it.
        for (first, second) in [(with, directory.at("lacking")), (directory.at("lacking"), with)] {
            let report = try await verify(first, against: second)
            #expect(report.failures.isEmpty && report.values?.isExact == true && report.apart.isEmpty)
            #expect(report.values?.tensors.contains { $0.name.text == "output.weight" } == true)
        }
        try model.write(gguf: directory.at("changed.gguf"))
        for (first, second) in [
            (directory.at("changed.gguf"), directory.at("lacking")),
            (directory.at("lacking"), directory.at("changed.gguf")),
        ] {
            let report = try await verify(first, against: second)
            #expect(report.values?.first?.name.text == "output.weight" && report.values?.unequal == 1)
        }
    }

    @Test("Missing and added tensors, other shapes, and frequencies that old checkpoints store") func unmatched()
        async throws
    {
        let directory = try TemporaryDirectory()
        let model = Model(.mixtral)
        let frequencies = SampleTensor("model.layers.0.self_attn.rotary_emb.inv_freq", .f32, [8])
        try model.write(to: directory.at("hf"), [frequencies, SampleTensor("model.extra.weight", .f16, [2, 2])])
        let file = directory.at("m.gguf")
        try model.write(gguf: file, leaving: ["blk.1.attn_v.weight"], [SampleTensor("blk.0.odd.weight", .f16, [2, 2])])
        let report = try await verify(file, against: directory.at("hf"))
        #expect(report.apart.map(\.name.text) == [frequencies.name])
        #expect(
            Set(report.failures.compactMap { $0.tensor?.text })
                == ["blk.0.odd.weight", "model.extra.weight", "model.layers.1.self_attn.v_proj.weight"])
        // An expert too few in the source, and one too few in the checkpoint.
        var fewer = model
        fewer.tensors.removeAll { $0.name.contains("experts.2.w2") }
        try fewer.write(to: directory.at("fewer"))
        try model.write(gguf: directory.at("whole.gguf"))
        for (first, second) in [("whole.gguf", "fewer"), ("fewer", "whole.gguf")] {
            let report = try await verify(directory.at(first), against: directory.at(second))
            #expect(
                Set(report.failures.compactMap { $0.tensor?.text })
                    == ["blk.0.ffn_down_exps.weight", "blk.1.ffn_down_exps.weight"])
        }
    }

    @Test("An architecture whose order of rows is not known is not matched") func unknown() async throws {
        let directory = try TemporaryDirectory()
        let model = Model(.llama)
        try model.write(to: directory.at("hf"))
        try model.write(gguf: directory.at("m.gguf"), architecture: "gemma3")
        let report = try await verify(directory.at("m.gguf"), against: directory.at("hf"))
        guard case .unmatched(let reason)? = report.names else {
            Issue.record("matched")
            return
        }
        #expect(reason.contains("`gemma3.block_count`") && report.tensors.isEmpty)
        #expect(report.failures.count == 2 * model.tensors.count)
    }

    // MARK: - Diff

    @Test("diff pairs tensors by these names", arguments: Family.allCases) func diff(family: Family) async throws {
        let directory = try TemporaryDirectory()
        var model = Model(family)
        try model.write(gguf: directory.at("m.gguf"))
        model["model.layers.1.self_attn.k_proj.weight"].bytes[101] ^= 0x80
        try model.write(to: directory.at("hf"))
        let both = (try OpenedCheckpoint(directory.at("hf")), try OpenedCheckpoint(directory.at("m.gguf")))
        for (old, new) in [both, (both.1, both.0)] {
            let diff = try await CheckpointDiff(old, new, CheckpointDiff.Options())
            #expect(diff.added.isEmpty && diff.removed.isEmpty && diff.tensors.count == both.1.tensors.count)
            #expect(diff.tensors.allSatisfy { $0.rename == .names })
            let changed = diff.tensors.filter { $0.status == .changed }
            #expect(changed.map(\.changed) == [1] && changed.first?.new.role.kind == .attentionKey)
            #expect(diff.count(.same) + diff.count(.recoded) == diff.tensors.count - 1)
        }
    }
}

extension SampleTensor {
    fileprivate func named(_ name: String) -> SampleTensor {
        var tensor = self
        tensor.name = name
        return tensor
    }
}
