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

/// What a conversion promises, it keeps, whatever the matrices: of random ones, each promise against the bytes on the disk.
@Suite struct PromiseTests {
    /// Seeds, in groups that run side by side.
    static let groups = 0..<8
    private static let conversionsOfAGroup = 260

    /// One conversion: some matrices, and what is asked for.
    private struct Case {
        let seed: UInt64
        var tensors: [SampleTensor] = []
        var options: ConversionOptions
        let what: String

        /// No matrix loses more than half of its energy, unless next to no bits were asked for.
        var maximumError: Double {
            switch (options.encoding.scheme, options.encoding.goal) {
            case (.trellis, .bits(..<1.25)), (.trellis, .averageBits(..<1.25)): 0.9
            default: 0.5
            }
        }

        init(_ seed: UInt64) {
            self.seed = seed
            var generator = SeededGenerator(seed &* 0x9E37_79B9)
            func pick<Value>(_ values: [Value]) -> Value { values[Int(generator.next() % UInt64(values.count))] }
            let format = FloatFormat.allCases[Int(seed % 3)]
            var kinds: [String] = []
            for index in 0...Int(1 + generator.next() % 3) {
                let kind = index == 0 || generator.next() % 2 == 0 ? pick(OddMatrix.allCases) : .gaussian
                let shape = [pick([1, 3, 17, 64, 200]), pick([2, 40, 64, 300])]
                let isEmbedding = generator.next() % 8 == 0
                let name = isEmbedding ? "m\(index).embed_tokens.weight" : "m\(index).proj.weight"
                tensors.append(SampleTensor(name, format, shape, odd: kind, seed: generator.next()))
                kinds.append("\(kind.rawValue) \(shape[0])x\(shape[1])\(isEmbedding ? " embedding" : "")")
            }
            let weights = tensors.reduce(0) { $0 + $1.shape[0] * $1.shape[1] }
            let bits = 1 + Double(generator.next() % 700) / 100
            let scheme = generator.next() % 8 == 0 ? EncodingOptions.Scheme.uniform : .trellis
            options = Verbs.options(scheme, bits: pick([2, 3, 4, 8]), group: pick([32, 64, 128]), codec: .zstd)
            options.encoding.codec = scheme == .uniform ? pick([.zstd, .lz4, .none]) : pick([.zstd, .rans])
            options.encoding.states = pick([8, 16, 32])
            switch generator.next() % 4 {
            case 0: options.encoding.goal = .bits(bits)
            case 1: options.encoding.goal = .averageBits(bits)
            case 2: options.encoding.goal = .totalBytes(UInt64(Double(weights) * bits / 8) + 6000)
            default:
                options.encoding.goal = .relativeMSE([1e-4, 1e-3, 5e-3, 0.02, 0.1, 0.4][Int(generator.next() % 6)])
                if scheme == .trellis, generator.next() % 3 == 0 { options.encoding.codec = pick([.lz4, .none]) }
            }
            what =
                "seed \(seed), \(format), \(kinds), \(options.encoding.scheme), \(options.encoding.goal), \(options.encoding.codec)"
        }
    }

    /// V03: what is published holds what was asked for; what cannot hold is refused, and nothing is published.
    @Test(arguments: groups)
    func promisesHoldForOddMatrices(group: Int) async throws {
        var (published, refused) = (0, 0)
        let numbers = Share.of(0..<PromiseTests.conversionsOfAGroup)
        for number in numbers {
            let item = Case(UInt64(group * 100_000 + number))
            let directory = try TemporaryDirectory()
            let source = directory.at("model.safetensors")
            try SampleSource.writeShard(item.tensors, to: source)
            let error = try await Verbs.failure {
                try await Verbs.convert(source, to: directory.at("sealed"), item.options)
            }
            if let error {
                #expect(error.code.kind == .request, "\(item.what): \(error)")
                #expect(Files.names(directory.path) == ["model.safetensors"], "\(item.what)")
                refused += 1
                continue
            }
            try await check(item, source, directory.at("sealed"))
            try await Verbs.export(directory.at("sealed"), to: directory.at("plain"))
            published += 1
        }
        // Tiny matrices whose tables alone take more than was asked for are refused; most others are not.
        let minimum = numbers.count < PromiseTests.conversionsOfAGroup ? 2 : 3
        #expect(published > minimum * refused, "\(published) published, \(refused) refused")
        Tally.print(
            numbers.count, of: PromiseTests.conversionsOfAGroup, "V03 conversions of odd matrices, each promise checked"
        )
    }

    private func check(_ item: Case, _ source: FilePath, _ sealed: FilePath) async throws {
        let files = try Files.snapshot(sealed)
        let size = files.values.reduce(0) { $0 + $1.count }
        let shard = try #require(try SealedCheckpoint(sealed).shards.first)
        let verified = try await Verbs.verify(sealed, against: source)
        #expect(verified.holds, "\(item.what): \(verified.failures)")
        var (taken, allowed) = (0.0, 0.0)
        // The tables of a small matrix come on top of three quarters of its bits, or of all where it is tiny: a prologue, an entry of
        // the chunk table with four streams, padding, and streams that fill no byte.
        func maximum(_ count: Double, _ bits: Double) -> Double {
            let own = bits * count / 8
            let tables: Double = 64 + 80 + 63 + 32
            return count < 4096 ? own + tables : max(own, own * 0.75 + tables)
        }
        for payload in shard.payloads {
            let count = Double(payload.descriptor.shape.elementCount)
            taken += Double(payload.range.count)
            let error = payload.descriptor.sums.relativeMSE
            #expect(error <= item.maximumError, "\(item.what): \(payload.name) \(error)")
            guard item.options.encoding.scheme == .trellis else { continue }
            let isEmbedding = payload.name.text.contains("embed_tokens")
            switch item.options.encoding.goal {
            case .relativeMSE(let maximum):
                #expect(error <= maximum / (isEmbedding ? 16 : 1), "\(item.what): \(payload.name) \(error)")
            case .bits(let asked):
                let limit = maximum(count, isEmbedding ? min(8, asked + 2) : asked)
                #expect(Double(payload.range.count) <= limit, "\(item.what): \(payload.name) \(payload.range.count)")
            case .averageBits(let asked): allowed += maximum(count, asked)
            default: break
            }
        }
        guard item.options.encoding.scheme == .trellis else { return }
        switch item.options.encoding.goal {
        case .averageBits: #expect(taken <= allowed, "\(item.what): \(taken) bytes, allowed \(allowed)")
        case .totalBytes(let asked): #expect(size <= Int(asked), "\(item.what): \(size)")
        default: break
        }
    }
}
