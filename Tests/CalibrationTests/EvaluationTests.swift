import Calibration
import FileAccess
import Foundation
import SystemPackage
import TensorModel
import TestSupport
import Testing
import Weights

/// The forward pass and the scores, against plain loops in binary64.
@Suite struct EvaluationTests {
    static let models: [(name: String, text: String)] = [
        ("tied", #""num_attention_heads":4,"num_key_value_heads":4,"tie_word_embeddings":true"#),
        ("grouped", #""num_attention_heads":4,"num_key_value_heads":2,"rope_scaling":{"type":"linear","factor":2}"#),
        (
            "biases",
            #""num_attention_heads":3,"num_key_value_heads":1,"head_dim":6,"attention_bias":true,"mlp_bias":true"#
        ),
        ("experts", #""num_attention_heads":4,"num_key_value_heads":2,"num_local_experts":4,"num_experts_per_tok":2"#),
    ]

    static func hyperparameters(_ model: (name: String, text: String)) throws -> ModelHyperparameters {
        let type = model.name == "experts" ? "mixtral" : "llama"
        let text =
            #"{"model_type":"\#(type)","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"vocab_size":530,"rms_norm_eps":1e-5,\#(model.text)}"#
        return try ModelHyperparameters(configuration: Array(text.utf8), path: "config.json")
    }

    private func options(context: Int = 20) -> EvaluationOptions {
        var options = EvaluationOptions()
        (options.context, options.unscored, options.jobs) = (context, context / 2, 2)
        return options
    }

    private func ids(_ count: Int, seed: UInt64) -> [Int32] {
        var generator = SeededGenerator(seed)
        return (0..<count).map { _ in Int32(generator.next() % 530) }
    }

    /// Losses and divergences by plain loops.
    private func expected(
        _ model: NaiveDecoder, _ reference: NaiveDecoder, _ sequence: [Int32], from first: Int
    ) -> (losses: [Double], divergences: [Double]) {
        let (own, other) = (model.logits(sequence), reference.logits(sequence))
        func logProbabilities(_ logits: [Double]) -> [Double] {
            let maximum = logits.max() ?? 0
            let sum = log(logits.reduce(0) { $0 + exp($1 - maximum) }) + maximum
            return logits.map { $0 - sum }
        }
        var (losses, divergences): ([Double], [Double]) = ([], [])
        for token in first..<sequence.count - 1 {
            let (p, r) = (logProbabilities(own[token]), logProbabilities(other[token]))
            losses.append(-p[Int(sequence[token + 1])])
            divergences.append(zip(p, r).reduce(0) { $0 + exp($1.1) * ($1.1 - $1.0) })
        }
        return (losses, divergences)
    }

    @Test(arguments: models.indices) func againstPlainLoops(index: Int) async throws {
        let h = try EvaluationTests.hyperparameters(EvaluationTests.models[index])
        let directory = try TemporaryDirectory()
        let (model, reference) = (NaiveDecoder(h, seed: 1), NaiveDecoder(h, seed: 2))
        for (decoder, name) in [(model, "model"), (reference, "reference")] {
            try SampleSource.writeShard(decoder.sample(), to: directory.at("\(name).safetensors"))
        }
        func weights(_ name: String) throws -> ModelWeights {
            try ModelWeights(OpenedCheckpoint(directory.at("\(name).safetensors")), h)
        }
        let text = ids(65, seed: 3)
        let evaluator = try Evaluator(weights("model"), against: weights("reference"), options())
        let scores = try await evaluator.run([TokenizedText(name: "text", ids: text, begin: [7])])[0]
        #expect(scores.sequences.count == 3 && scores.tokens == 27)
        for (number, found) in scores.sequences.enumerated() {
            var sequence = Array(text[number * 20..<(number + 1) * 20])
            sequence[0] = 7
            let (losses, divergences) = expected(model, reference, sequence, from: 10)
            for (a, b) in zip(found.losses, losses) { #expect(abs(a - b) < 1e-4, "\(a) \(b)") }
            for (a, b) in zip(found.divergences, divergences) { #expect(abs(a - b) < 1e-4, "\(a) \(b)") }
        }
        let alone = try await Evaluator(weights("model"), against: nil, options()).run(
            [TokenizedText(name: "text", ids: text, begin: [7])])[0]
        #expect(abs(alone.perplexity.value - scores.perplexity.value) < 1e-9 * scores.perplexity.value)
        #expect(alone.divergence == nil && !alone.isCompared)
        // A model against itself.
        let same = try await Evaluator(weights("model"), against: weights("model"), options()).run(
            [TokenizedText(name: "text", ids: text, begin: [])])[0]
        #expect((same.divergence?.value ?? 1) < 1e-12 && same.agreement?.value == 1 && same.perplexityRatio?.value == 1)
    }

    /// Parts of the vocabulary can be added in any order.
    @Test func sumsOfParts() {
        var generator = SeededGenerator(9)
        let logits = (0..<1000).map { _ in Double(generator.gaussian() * 8) }
        let others = logits.map { $0 + Double(generator.gaussian()) }
        func sums(_ part: Range<Int>) -> LogitSums {
            var sums = LogitSums()
            for index in part {
                var one = LogitSums()
                (one.maximum, one.sum, one.best) = (logits[index], 1, index)
                (one.referenceMaximum, one.referenceSum, one.referenceBest) = (others[index], 1, index)
                one.difference = others[index] - logits[index]
                if index == 333 { (one.target, one.referenceTarget) = (logits[index], others[index]) }
                sums.add(one)
            }
            return sums
        }
        let total = log(logits.reduce(0) { $0 + exp($1) }), reference = log(others.reduce(0) { $0 + exp($1) })
        let divergence = zip(logits, others).reduce(0) {
            $0 + exp($1.1 - reference) * ($1.1 - reference - $1.0 + total)
        }
        for cut in [1, 300, 512, 999] {
            var (first, second) = (sums(0..<cut), sums(cut..<1000))
            first.add(second)
            second.add(sums(0..<cut))
            for sums in [first, second] {
                #expect(abs(sums.logProbability - (logits[333] - total)) < 1e-9)
                #expect(abs(sums.referenceLogProbability - (others[333] - reference)) < 1e-9)
                #expect(abs(sums.divergence - divergence) < 1e-9)
                #expect(sums.best == logits.indices.max { logits[$0] < logits[$1] })
            }
        }
    }

    /// States in a scratch file are those in memory; small budgets are refused with the least that does.
    @Test func budgets() async throws {
        let h = try EvaluationTests.hyperparameters(EvaluationTests.models[1])
        let directory = try TemporaryDirectory()
        try SampleSource.writeShard(NaiveDecoder(h, seed: 1).sample(), to: directory.at("m.safetensors"))
        let weights = try ModelWeights(OpenedCheckpoint(directory.at("m.safetensors")), h)
        let text = TokenizedText(name: "text", ids: ids(400 * 20, seed: 4), begin: [])
        var options = options()
        let whole = try await Evaluator(weights, against: nil, options).run([text])[0]
        options.scratch = directory.path
        var smallest: UInt64 = 0
        do {
            options.memory = 1 << 20
            _ = try await Evaluator(weights, against: nil, options).run([text])
            Issue.record("a budget of 1 MiB is enough")
        } catch let error as IngotError {
            #expect(error.code == .usage)
            let digits = error.expected?.split(separator: " ").compactMap { UInt64($0.prefix { $0.isNumber }) } ?? []
            smallest = try #require(digits.first) << 20
        }
        for memory in [smallest, smallest + (1 << 20), smallest + (4 << 20)] {
            options.memory = memory
            let part = try await Evaluator(weights, against: nil, options).run([text])[0]
            #expect(abs(part.perplexity.value / whole.perplexity.value - 1) < 1e-6)
        }
        #expect(Files.names(directory.path) == ["m.safetensors"], "the scratch file has no name")
    }

    @Test func refused() async throws {
        let h = try EvaluationTests.hyperparameters(EvaluationTests.models[0])
        let directory = try TemporaryDirectory()
        let decoder = NaiveDecoder(h, seed: 1)
        func code(_ tensors: [SampleTensor], _ text: [Int32]) async throws -> IngotError.Code? {
            let path = directory.at("x.safetensors")
            try? Directory.removeFile(path)
            try SampleSource.writeShard(tensors, to: path)
            do {
                _ = try await Evaluator(ModelWeights(OpenedCheckpoint(path), h), against: nil, options()).run(
                    [TokenizedText(name: "text", ids: text, begin: [])])
                return nil
            } catch let error as IngotError { return error.code }
        }
        let whole = decoder.sample()
        #expect(try await code(whole, ids(40, seed: 1)) == nil)
        #expect(try await code(whole, ids(19, seed: 1)) == .textInvalid)
        #expect(try await code(whole, ids(39, seed: 1) + [530]) == .textInvalid)
        #expect(try await code(whole, [-1] + ids(39, seed: 1)) == .textInvalid)
        #expect(try await code(Array(whole.dropLast()), ids(40, seed: 1)) == .missingField)
        var bad = whole
        bad[1] = SampleTensor(bad[1].name, .f32, [12, 2])
        #expect(try await code(bad, ids(40, seed: 1)) == .invalidShape)
        bad = whole
        bad[3] = SampleTensor(
            bad[3].name, .f32, bad[3].shape, bytes: [UInt8](repeating: 0xFF, count: bad[3].bytes.count))
        #expect(try await code(bad, ids(40, seed: 1)) == .nonFinite)
    }
}
