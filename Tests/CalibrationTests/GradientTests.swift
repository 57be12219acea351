import Architectures
import Calibration
import FileAccess
import Foundation
import Moments
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// The backward pass against differences of a decoder in plain loops of binary64.
@Suite struct GradientTests {
    private static let context = 7

    private func options(_ directory: TemporaryDirectory, jobs: Int = 2) -> EvaluationOptions {
        var options = EvaluationOptions()
        (options.context, options.jobs, options.scratch) = (GradientTests.context, jobs, directory.path)
        return options
    }

    private func ids(_ count: Int, seed: UInt64) -> [Int32] {
        var generator = SeededGenerator(seed)
        return (0..<count).map { _ in Int32(generator.next() % 530) }
    }

    private func gradients(
        _ weights: ModelWeights, _ texts: [WeightedText], _ options: EvaluationOptions, tokens: Int = 16384,
        to path: FilePath
    ) async throws -> MomentsFile {
        let calibrator = try Calibrator(weights, options, blocks: .diagonal, gradientTokens: tokens)
        let hash = ContentHash(of: [1, 2].span)
        _ = try await calibrator.run(texts, to: path, modelHash: hash, tokenizerHash: nil)
        return try MomentsFile(path)
    }

    /// SplitMix64, once more.
    private func mixed(_ state: UInt64) -> UInt64 {
        var z = state &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    private func label(_ logits: [Double], text: Int, sequence: Int, position: Int) -> Int {
        let state = mixed(mixed(mixed(UInt64(text)) ^ UInt64(sequence)) ^ UInt64(position))
        let maximum = logits.max() ?? 0
        let powers = logits.map { exp($0 - maximum) }
        var rest = Double(state >> 11) / 9_007_199_254_740_992 * powers.reduce(0, +)
        for (token, power) in powers.enumerated() {
            rest -= power
            if rest < 0 { return token }
        }
        return logits.count - 1
    }

    private func logProbability(_ logits: [[Double]], _ labels: [Int]) -> Double {
        zip(logits, labels).reduce(0) { sum, pair in
            let maximum = pair.0.max() ?? 0
            return sum + pair.0[pair.1] - maximum - log(pair.0.reduce(0) { $0 + exp($1 - maximum) })
        }
    }

    @Test(arguments: EvaluationTests.models.indices) func againstDifferences(index: Int) async throws {
        let h = try EvaluationTests.hyperparameters(EvaluationTests.models[index])
        let directory = try TemporaryDirectory()
        let decoder = NaiveDecoder(h, seed: 5)
        try SampleSource.writeShard(decoder.sample(), to: directory.at("m.safetensors"))
        let weights = try ModelWeights(OpenedCheckpoint(directory.at("m.safetensors")), h)
        let context = GradientTests.context
        // Gradients on one sequence of the first text, and on one of the second.
        let texts = [ids(context, seed: 1), ids(context, seed: 2)]
        let weighted = texts.enumerated().map {
            WeightedText(TokenizedText(name: "text", ids: $1, begin: []), weight: Double(1 + 2 * $0))
        }
        let file = try await gradients(weights, weighted, options(directory), to: directory.at("g"))
        #expect(file.description.gradients == GradientsDescription(tokens: UInt64(2 * context)))
        #expect(file.gradientMatrices.count == (h.experts > 0 ? 33 : 15))
        var expected: [LinearMatrix: [Int: (sum: Double, weight: Double)]] = [:]
        for (number, text) in texts.enumerated() {
            let base = NaiveDecoder.Probe()
            let plain = decoder.logits(text, base)
            let labels = plain.enumerated().map { label($1, text: number, sequence: 0, position: $0) }
            let weight = Double(1 + 2 * number)
            for matrix in file.gradientMatrices {
                let rows = file.gradientRows(of: matrix) ?? 0
                for row in [0, rows / 2 - 1, rows - 1] {
                    for token in 0..<context where base.reaches(matrix, token) {
                        let step = 1e-4
                        let ends = [step, -step].map { change -> Double in
                            let probe = NaiveDecoder.Probe(of: matrix, token, row, change, choices: base.choices)
                            return logProbability(decoder.logits(text, probe), labels)
                        }
                        let slope = (ends[0] - ends[1]) / (2 * step)
                        let old = expected[matrix, default: [:]][row] ?? (0, 0)
                        expected[matrix, default: [:]][row] = (
                            old.sum + weight * slope * slope, old.weight + weight
                        )
                    }
                }
            }
        }
        for matrix in file.gradientMatrices {
            let found = try #require(try file.gradients(of: matrix))
            guard let own = expected[matrix] else {
                #expect(found.allSatisfy { $0 == 0 }, "\(matrix)")
                continue
            }
            for (row, sums) in own {
                let value = sums.sum / sums.weight
                #expect(
                    abs(Double(found[row]) - value) < 2e-3 * value + 1e-8, "\(matrix) \(row): \(found[row]), \(value)")
            }
        }
        let counts = try #require(try file.tokenWeights())
        #expect(counts.count == 530 && counts.reduce(0, +) == Double(4 * context))
        for token in 0..<530 {
            let own = texts.enumerated().reduce(0) { sum, text in
                sum + text.element.count { Int($0) == token } * (1 + 2 * text.offset)
            }
            #expect(counts[token] == Double(own))
        }
    }

    /// A run that fails in the backward pass keeps all moments; the next one computes the gradients alone, to the same bytes.
    @Test func resumed() async throws {
        let h = try EvaluationTests.hyperparameters(EvaluationTests.models[0])
        let directory = try TemporaryDirectory()
        let (path, whole, part) = (directory.at("m.safetensors"), directory.at("whole"), directory.at("part"))
        try SampleSource.writeShard(NaiveDecoder(h, seed: 5).sample(), to: path)
        let bytes = try Files.read(path)
        let text = TokenizedText(name: "t", ids: ids(20 * GradientTests.context, seed: 3), begin: [])
        func run(to output: FilePath, cutsModel: Bool = false) async throws -> Int {
            let weights = try ModelWeights(OpenedCheckpoint(path), h)
            let calibrator = try Calibrator(weights, options(directory, jobs: 1), blocks: .usual)
            return try await calibrator.run(
                [WeightedText(text, weight: 1)], to: output, modelHash: ContentHash(of: [1].span), tokenizerHash: nil
            ) { progress in
                guard cutsModel, progress.isOfGradients else { return }
                try? FileHandle(forWritingTo: URL(fileURLWithPath: path.string)).truncate(atOffset: 0)
            }
        }
        #expect(try await run(to: whole) == 0)
        await #expect(throws: IngotError.self) { _ = try await run(to: part, cutsModel: true) }
        #expect(Set(Files.names(directory.path)).isSuperset(of: [".part.ingot-tmp", ".part.ingot-journal"]))
        try Directory.removeFile(path)
        try Files.write(bytes, to: path)
        #expect(try await run(to: part) == 9)
        #expect(try Files.read(part) == Files.read(whole))
        #expect(Set(Files.names(directory.path)) == ["m.safetensors", "part", "whole"])
    }

    /// Neither jobs nor memory change more than the rounding; the moments are those of a file without gradients.
    @Test(arguments: [1, 3]) func budgets(index: Int) async throws {
        let h = try EvaluationTests.hyperparameters(EvaluationTests.models[index])
        let directory = try TemporaryDirectory()
        try SampleSource.writeShard(NaiveDecoder(h, seed: 5).sample(), to: directory.at("m.safetensors"))
        let weights = try ModelWeights(OpenedCheckpoint(directory.at("m.safetensors")), h)
        let texts = [(100, 1.0), (60, 2)].map { sequences, weight in
            WeightedText(
                TokenizedText(
                    name: "t", ids: ids(sequences * GradientTests.context, seed: UInt64(sequences)), begin: []),
                weight: weight)
        }
        let tokens = 64 * GradientTests.context + 1
        let whole = try await gradients(
            weights, texts, options(directory, jobs: 1), tokens: tokens, to: directory.at("whole"))
        #expect(whole.description.gradients?.tokens == UInt64(64 * GradientTests.context))
        var smallest: UInt64 = 0
        do {
            var few = options(directory)
            few.memory = 1 << 20
            _ = try await gradients(weights, texts, few, to: directory.at("x"))
            Issue.record("a budget of 1 MiB is enough")
        } catch let error as IngotError {
            #expect(error.code == .usage)
            let digits = error.expected?.split(separator: " ").compactMap { UInt64($0.prefix { $0.isNumber }) } ?? []
            smallest = try #require(digits.first) << 20
        }
        for (memory, jobs) in [(UInt64(2 << 30), 3), (smallest, 1), (smallest, 2), (smallest + (8 << 20), 4)] {
            var few = options(directory, jobs: jobs)
            few.memory = memory
            let part = try await gradients(
                weights, texts, few, tokens: tokens, to: directory.at("part-\(memory)-\(jobs)"))
            for matrix in whole.gradientMatrices {
                let (a, b) = (try whole.gradients(of: matrix) ?? [], try part.gradients(of: matrix) ?? [])
                let largest = a.max() ?? 0
                for row in a.indices {
                    #expect(abs(a[row] - b[row]) <= 1e-3 * a[row] + 1e-5 * largest, "\(matrix) \(row)")
                }
            }
            for matrix in whole.gradientMatrices {
                let (a, b) = (try whole.sensitivity(of: matrix) ?? -1, try part.sensitivity(of: matrix) ?? -2)
                #expect(abs(a - b) <= 1e-3 * a && (a > 0 || matrix.expert != nil), "\(matrix)")
            }
            #expect(try whole.tokenWeights() == part.tokenWeights())
        }
        let plain = try await gradients(
            weights, texts, options(directory, jobs: 1), tokens: 0, to: directory.at("none"))
        #expect(plain.description.gradients == nil && plain.gradientMatrices.isEmpty)
        for (a, b) in zip(plain.entries, whole.entries) {
            #expect(try a.input == b.input && plain.diagonals(of: a) == whole.diagonals(of: b))
        }
        #expect(throws: IngotError.self) {
            _ = try Calibrator(weights, options(directory), blocks: .usual, gradientTokens: -1)
        }
    }
}
