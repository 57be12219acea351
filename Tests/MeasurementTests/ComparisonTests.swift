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
import Work

/// Tensors of any two forms compared by their weights, against sums taken here one weight after the other.
@Suite struct ComparisonTests {
    /// The forms a checkpoint can have.
    enum Form: String, CaseIterable, CustomTestStringConvertible {
        case plain, sharded, bf16, trellis4, trellis3, uniform4, lossless

        var testDescription: String { rawValue }
    }

    /// Shapes that are hard to cut: tiles in several bands, three columns, rows wider than a chunk, one element.
    static let tensors: [SampleTensor] = [
        SampleTensor("a.weight", .f16, [1100, 1500], .scaled, seed: 3),
        SampleTensor("narrow.weight", .bf16, [20_000, 3], .gaussian, seed: 4),
        SampleTensor("wide.weight", .f32, [5, 270_000], .gaussian, seed: 5),
        SampleTensor("deep.weight", .f16, [3, 2, 2, 70], .heavy, seed: 6),
        SampleTensor("one.weight", .f32, [1, 1]), SampleTensor("norm.weight", .f16, [77]),
        SampleTensor("scalar", .f32, []), SampleTensor("empty", .f16, [0, 64]),
        SampleTensor("counts", raw: .i64, [5]),
    ]

    /// Every form of the same weights, made once.
    private static let forms: Task<(directory: TemporaryDirectory, paths: [Form: FilePath]), any Error> = Task {
        let directory = try TemporaryDirectory.untilExit()
        let source = try SampleSource.write([tensors], to: directory.at("plain"))
        try SampleSource.write([Array(tensors.prefix(2)), Array(tensors.dropFirst(2))], to: directory.at("sharded"))
        var paths: [Form: FilePath] = [.plain: source, .sharded: directory.at("sharded")]
        for (form, scheme, bits) in [
            (Form.trellis4, EncodingOptions.Scheme.trellis, 4.0), (.trellis3, .trellis, 3), (.uniform4, .uniform, 4),
            (.lossless, .lossless, 4),
        ] {
            var options = Verbs.options(scheme)
            options.encoding.goal = .bits(bits)
            paths[form] = directory.at(form.rawValue)
            try await Verbs.convert(source, to: directory.at(form.rawValue), options)
        }
        try await Verbs.export(directory.at("lossless"), to: directory.at("bf16"), as: .bf16)
        paths[.bf16] = directory.at("bf16")
        return (directory, paths)
    }

    private static func open(_ form: Form) async throws -> OpenedCheckpoint {
        try await OpenedCheckpoint(try #require(forms.value.paths[form]))
    }

    /// The weights of a form, by way of `export`.
    private static func weights(_ form: Form) async throws -> [TensorName: [Float]] {
        let made = try await forms.value
        var path = try #require(made.paths[form])
        let directory = try TemporaryDirectory()
        if try await open(form).isSealed {
            try await Verbs.export(path, to: directory.at("out"), as: .f32)
            path = directory.at("out")
        }
        return try Verbs.tensors(path).compactMapValues { tensor in
            guard let format = tensor.type.quantizable else { return nil }
            return (0..<tensor.shape.reduce(1, *)).map { FloatBytes.decode(tensor.bytes, $0, format) }
        }
    }

    private static func options(memory: UInt64 = 64 << 20, jobs: Int = 2) -> CheckpointDiff.Options {
        var options = CheckpointDiff.Options()
        (options.memory, options.jobs) = (memory, jobs)
        return options
    }

    private func isClose(_ a: Double, _ b: Double, _ tolerance: Double) -> Bool {
        a == b || abs(a - b) <= tolerance * max(abs(a), abs(b))
    }

    static let pairs: [(Form, Form)] = [
        (.plain, .trellis4), (.trellis4, .plain), (.trellis4, .trellis3), (.trellis3, .uniform4),
        (.uniform4, .trellis4), (.uniform4, .lossless), (.lossless, .trellis3), (.plain, .bf16), (.bf16, .uniform4),
        (.plain, .sharded), (.lossless, .plain), (.plain, .plain),
    ]

    @Test(arguments: pairs) func equalsANaiveComparison(first: Form, second: Form) async throws {
        let (old, new) = (try await ComparisonTests.open(first), try await ComparisonTests.open(second))
        let diff = try await CheckpointDiff(old, new, ComparisonTests.options())
        let (a, b) = (try await ComparisonTests.weights(first), try await ComparisonTests.weights(second))
        #expect(diff.tensors.count == ComparisonTests.tensors.count && diff.added.isEmpty && diff.removed.isEmpty)
        var isSame = true
        for tensor in diff.tensors {
            guard let x = a[tensor.old.name], let y = b[tensor.new.name] else {
                #expect(tensor.status == .same && !tensor.old.isFloat)
                continue
            }
            var (signal, noise, largest, product, energy) = (0.0, 0.0, 0.0, 0.0, 0.0)
            var (changed, flips, zeroed): (UInt64, UInt64, UInt64) = (0, 0, 0)
            for (w, r) in zip(x, y) {
                let error = Double(w) - Double(r)
                signal += Double(w) * Double(w)
                noise += error * error
                largest = max(largest, abs(error))
                product += Double(w) * Double(r)
                energy += Double(r) * Double(r)
                if w != r { changed += 1 }
                if w < 0 && r > 0 || w > 0 && r < 0 { flips += 1 }
                if w != 0 && r == 0 { zeroed += 1 }
            }
            isSame = isSame && changed == 0
            #expect(tensor.changed == changed, "\(tensor.new.name)")
            #expect((tensor.status == .same || tensor.status == .recoded) == (changed == 0), "\(tensor.new.name)")
            guard let errors = tensor.weights?.errors else {
                #expect(tensor.isSameBytes == true && changed == 0)
                continue
            }
            #expect(errors.count == UInt64(x.count))
            #expect(isClose(errors.sums.signal, signal, 1e-12) && isClose(errors.sums.noise, noise, 1e-9))
            #expect(errors.sums.maxError == largest && errors.signFlips == flips && errors.zeroed == zeroed)
            if noise > 0, signal > 0, energy > 0 {
                #expect(abs(errors.cosine - product / (signal * energy).squareRoot()) < 1e-9)
            }
        }
        #expect(diff.isSame == isSame)
    }

    /// The sums have the same bits whatever the jobs and the memory.
    @Test(arguments: [(Form.plain, Form.trellis3), (.uniform4, .trellis4), (.plain, .lossless)])
    func sameForAllJobs(first: Form, second: Form) async throws {
        let (old, new) = (try await ComparisonTests.open(first), try await ComparisonTests.open(second))
        var found: Set<String> = []
        for jobs in 1...4 {
            let memory: UInt64 = jobs == 4 ? 512 << 20 : 64 << 20
            let diff = try await CheckpointDiff(old, new, ComparisonTests.options(memory: memory, jobs: jobs))
            found.insert(diff.json(top: 5).text())
        }
        #expect(found.count == 1)
    }

    /// The first weight that differs, and how many do, are those of a search one weight after the other, whatever the jobs.
    @Test(arguments: pairs) func firstDifferences(first: Form, second: Form) async throws {
        let (reference, own) = (try await ComparisonTests.open(first), try await ComparisonTests.open(second))
        let (a, b) = (try await ComparisonTests.weights(first), try await ComparisonTests.weights(second))
        var reports: [VerificationReport] = []
        for jobs in [1, 4] {
            reports.append(
                try await PlainVerification(own, against: reference, memory: 64 << 20, jobs: jobs).run())
            if first == .plain, case .sealed(let sealed) = own.content, case .plain(let plain) = reference.content {
                reports.append(try await Verifier(sealed, against: plain, memory: 64 << 20, jobs: jobs).run())
            }
        }
        for values in reports.map(\.values) {
            let values = try #require(values)
            #expect(values.tensors.count == ComparisonTests.tensors.count)
            for tensor in values.tensors {
                let (x, y) = (a[tensor.name] ?? [], b[tensor.name] ?? [])
                let different = x.indices.filter { x[$0] != y[$0] }
                guard let index = different.first else {
                    #expect(tensor.agreement == .equal, "\(tensor.name)")
                    continue
                }
                let columns = ComparisonTests.tensors.first { $0.name == tensor.name.text }?.shape.last ?? 1
                let place = ValueDifferences.Weight(
                    row: index / columns, column: index % columns, value: .float(y[index]), reference: .float(x[index]))
                #expect(
                    tensor.agreement == .different(.init(count: UInt64(different.count), first: place)),
                    "\(tensor.name): \(tensor.agreement)")
            }
            #expect(values.isExact == (values.differing == 0) && values.incomparable == 0)
        }
    }

    /// Against the checkpoint it was made of an export has no error, and against the source the certificate's.
    @Test(arguments: [Form.trellis3, .uniform4]) func exportVerifiesByValue(form: Form) async throws {
        let directory = try TemporaryDirectory()
        let sealed = try await ComparisonTests.open(form)
        try await Verbs.export(sealed.path, to: directory.at("out"), as: .f32)
        let out = try OpenedCheckpoint(directory.at("out"))
        let own = try await PlainVerification(out, against: sealed, memory: 64 << 20, jobs: 2).run()
        #expect(own.failures.isEmpty && own.tensors.count == ComparisonTests.tensors.count)
        #expect(own.tensors.allSatisfy { $0.measured.map { $0.noise == 0 } ?? true })
        let source = try await ComparisonTests.open(.plain)
        let result = try await PlainVerification(out, against: source, memory: 64 << 20, jobs: 2).run()
        #expect(result.failures.isEmpty)
        let certificates = Dictionary(sealed.tensors.map { ($0.name, $0.descriptor?.sums) }) { first, _ in first }
        for tensor in result.tensors {
            guard let certificate = certificates[tensor.name] ?? nil, let measured = tensor.measured else { continue }
            #expect(isClose(measured.noise, certificate.noise, 1e-12) && measured.maxError == certificate.maxError)
            #expect(tensor.original?.count == UInt64(tensor.elements) && tensor.restored?.nan == 0)
        }
        // One of ours against another type than it was converted from: by value too.
        let other = try await PlainVerification(sealed, against: ComparisonTests.open(.bf16), memory: 64 << 20, jobs: 1)
            .run()
        #expect(other.failures.isEmpty && other.tensors.contains { ($0.measured?.noise ?? 0) > 0 })
    }

    @Test func exportThatIsNot() async throws {
        let directory = try TemporaryDirectory()
        var tensors = ComparisonTests.tensors
        tensors[0].shape = [1500, 1100]
        tensors[8].bytes[3] ^= 1
        tensors[5] = SampleTensor("norm.weight", .f16, [77], values: [.nan] + [Float](repeating: 1, count: 76))
        tensors[6].name = "another"
        let changed = try OpenedCheckpoint(SampleSource.write([tensors], to: directory.at("changed")))
        let source = try await ComparisonTests.open(.plain)
        let result = try await PlainVerification(changed, against: source, memory: 64 << 20, jobs: 1).run()
        let names = Set(result.failures.compactMap { $0.tensor?.text })
        #expect(names == ["a.weight", "another", "scalar", "counts", "norm.weight"])
        #expect(result.failures.allSatisfy { $0.code == .sourceMismatch })
    }

    /// Statistics of both sides are those of the weights.
    @Test func statisticsOfBoth() async throws {
        let (old, new) = (try await ComparisonTests.open(.plain), try await ComparisonTests.open(.trellis4))
        let result = try await PlainVerification(new, against: old, memory: 64 << 20, jobs: 2).run()
        let (a, b) = (try await ComparisonTests.weights(.plain), try await ComparisonTests.weights(.trellis4))
        for tensor in result.tensors {
            for (statistics, weights) in [(tensor.original, a[tensor.name]), (tensor.restored, b[tensor.name])] {
                guard let weights, !weights.isEmpty else { continue }
                let statistics = try #require(statistics)
                let mean = weights.reduce(0) { $0 + Double($1) } / Double(weights.count)
                #expect(abs(statistics.mean - mean) < 1e-9)
                #expect(statistics.minimum == Double(weights.min() ?? 0))
                #expect(statistics.maximum == Double(weights.max() ?? 0))
                guard let rows = statistics.rows, tensor.name.text == "wide.weight" else { continue }
                let energies = (0..<5).map { row in
                    weights[row * 270_000..<(row + 1) * 270_000].reduce(0) { $0 + Double($1) * Double($1) }
                }
                #expect(isClose(rows.maximum, ((energies.max() ?? 0) / 270_000).squareRoot(), 1e-4))
            }
        }
    }

    // MARK: - What is not finite, what is no number

    @Test func nonFinite() async throws {
        let directory = try TemporaryDirectory()
        func write(_ values: [Float], _ name: String) throws -> OpenedCheckpoint {
            try OpenedCheckpoint(
                SampleSource.write([[SampleTensor("w", .f32, [2, 4], values: values)]], to: directory.at(name)))
        }
        let old = try write([1, .nan, .infinity, 2, -.infinity, 3, 0, 4], "old")
        let new = try write([1, .nan, .infinity, 2.5, .infinity, .nan, -0.0, 4], "new")
        let diff = try await CheckpointDiff(old, new, ComparisonTests.options())
        let weights = try #require(diff.tensors[0].weights)
        #expect(weights.sameNonFinite == 2 && weights.changedNonFinite == 2)
        #expect(diff.tensors[0].changed == 3 && weights.errors.sums.noise == 0.25)
        #expect(weights.errors.sums.signal == 1 + 4 + 16 && diff.tensors[0].movement == .infinity)
        let same = try await CheckpointDiff(
            old, write([1, .nan, .infinity, 2, -.infinity, 3, -0.0, 4], "zero"), .init())
        #expect(same.isSame && same.tensors[0].status == .recoded && same.tensors[0].isSameBytes == false)
    }

    /// Integers and other elements that are not widened: equal or not, element by element.
    @Test func otherElements() async throws {
        let directory = try TemporaryDirectory()
        let first = [
            SampleTensor("i64", raw: .i64, [300_000]), SampleTensor("bool", raw: .bool, [7]),
            SampleTensor("f8", raw: .f8e4m3, [4, 4]), SampleTensor("f4", raw: .f4, [6]),
            SampleTensor("f6", raw: .f6e2m3, [8]), SampleTensor("c64", raw: .c64, [2]),
            SampleTensor("type", raw: .i32, [4]), SampleTensor("f64", raw: .f64, [3]),
        ]
        var second = first
        second[0].bytes[0] ^= 1
        second[0].bytes[7] ^= 1
        second[0].bytes[8 * 299_999] ^= 4
        second[2].bytes[15] ^= 128
        second[3].bytes[1] ^= 0x11
        // The second element of six bits lies in two bytes.
        second[4].bytes[0] ^= 0x80
        second[4].bytes[1] ^= 0x01
        second[5].bytes[7] ^= 1
        second[6] = SampleTensor("type", raw: .u32, [4])
        let old = try OpenedCheckpoint(SampleSource.write([first], to: directory.at("old")))
        let new = try OpenedCheckpoint(SampleSource.write([second], to: directory.at("new")))
        let diff = try await CheckpointDiff(old, new, ComparisonTests.options())
        let changed = Dictionary(diff.tensors.map { ($0.new.name.text, $0.changed) }) { first, _ in first }
        #expect(changed == ["i64": 2, "bool": 0, "f8": 1, "f4": 2, "f6": 1, "c64": 1, "type": nil, "f64": 0])
        #expect(diff.tensors.first { $0.new.name.text == "type" }?.status == .retyped && !diff.isSame)
    }

    // MARK: - Damage

    @Test(arguments: [Form.trellis3, .uniform4, .lossless], ["wide.weight", "norm.weight", "counts"])
    func damageIsNamed(form: Form, name: String) async throws {
        let directory = try TemporaryDirectory()
        let sealed = try await ComparisonTests.open(form)
        let damaged = directory.at("damaged")
        try Files.copyTree(sealed.path, to: damaged)
        let tensor = try #require(sealed.tensors.first { $0.name.text == name })
        // In the middle of a payload: codes, not the table; of a tensor that is kept, any byte.
        let range =
            switch tensor.form {
            case .payload(let index, let shared): shared.shard.payloads[index].range
            case .plain(let bytes): bytes.parts[0].range
            }
        let place = Int(range.start + range.count / 2)
        let path = damaged.appending(tensor.fileName)
        let byte = try Files.read(path)[place]
        try Files.patch([byte ^ 0xFF], at: place, in: path)
        let error = try await Verbs.failure {
            _ = try await CheckpointDiff(
                ComparisonTests.open(.plain), OpenedCheckpoint(damaged), ComparisonTests.options())
        }
        #expect(error?.tensor?.text == name && error?.code.kind == .badData, "\(String(describing: error))")
    }
}
