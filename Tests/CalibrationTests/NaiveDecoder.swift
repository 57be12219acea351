import Architectures
import Calibration
import Foundation
import TensorModel
import TestSupport

/// A decoder of the Llama type in plain loops of binary64, and random weights for it.
struct NaiveDecoder {
    let h: ModelHyperparameters
    /// Tensors by their Hugging Face names.
    let tensors: [(name: String, shape: [Int], values: [Float])]
    private let byName: [String: [Float]]

    /// Random weights for hyperparameters.
    init(_ h: ModelHyperparameters, seed: UInt64) {
        self.h = h
        var generator = SeededGenerator(seed)
        var tensors: [(String, [Int], [Float])] = []
        func add(_ name: String, _ shape: [Int], around middle: Float = 0) {
            let scale = 1 / Float(shape.last ?? 1).squareRoot()
            tensors.append((name, shape, (0..<shape.reduce(1, *)).map { _ in middle + generator.gaussian() * scale }))
        }
        let (queries, keys) = (h.heads * h.headSize, h.keyValueHeads * h.headSize)
        add("model.embed_tokens.weight", [h.vocabulary, h.hidden])
        for layer in 0..<h.layers {
            let start = "model.layers.\(layer)."
            add(start + "input_layernorm.weight", [h.hidden], around: 1)
            add(start + "post_attention_layernorm.weight", [h.hidden], around: 1)
            for (module, rows, columns, hasBias) in [
                ("self_attn.q_proj", queries, h.hidden, h.hasQueryBias),
                ("self_attn.k_proj", keys, h.hidden, h.hasQueryBias),
                ("self_attn.v_proj", keys, h.hidden, h.hasQueryBias),
                ("self_attn.o_proj", h.hidden, queries, h.hasOutputBias),
            ] {
                add(start + module + ".weight", [rows, columns])
                if hasBias { add(start + module + ".bias", [rows]) }
            }
            if h.experts > 0 {
                add(start + "block_sparse_moe.gate.weight", [h.experts, h.hidden])
                for expert in 0..<h.experts {
                    let module = start + "block_sparse_moe.experts.\(expert)."
                    add(module + "w1.weight", [h.feedForward, h.hidden])
                    add(module + "w3.weight", [h.feedForward, h.hidden])
                    add(module + "w2.weight", [h.hidden, h.feedForward])
                }
            } else {
                for (module, rows, columns) in [
                    ("mlp.gate_proj", h.feedForward, h.hidden), ("mlp.up_proj", h.feedForward, h.hidden),
                    ("mlp.down_proj", h.hidden, h.feedForward),
                ] {
                    add(start + module + ".weight", [rows, columns])
                    if h.hasFeedForwardBias { add(start + module + ".bias", [rows]) }
                }
            }
        }
        add("model.norm.weight", [h.hidden], around: 1)
        if !h.tiesEmbeddings { add("lm_head.weight", [h.vocabulary, h.hidden]) }
        self.tensors = tensors
        byName = Dictionary(uniqueKeysWithValues: tensors.map { ($0.0, $0.2) })
    }

    /// Changes one output of one matrix at one token. The choice of experts and their factors can be those of another run.
    final class Probe {
        private let matrix: LinearMatrix?
        private let token: Int, row: Int, change: Double
        /// For each expert's down projection and token the factor.
        private(set) var choices: [String: [Int: Double]] = [:]
        private let isFixed: Bool
        fileprivate var now = 0

        /// No change; the choices are recorded.
        init() { (matrix, token, row, change, isFixed) = (nil, 0, 0, 0, false) }

        /// A change.
        init(of matrix: LinearMatrix, _ token: Int, _ row: Int, _ change: Double, choices: [String: [Int: Double]]) {
            (self.matrix, self.token, self.row, self.change) = (matrix, token, row, change)
            (self.choices, isFixed) = (choices, true)
        }

        /// Whether a token reaches a matrix.
        func reaches(_ matrix: LinearMatrix, _ token: Int) -> Bool {
            guard let expert = matrix.expert, let layer = matrix.layer else { return true }
            return choices["\(layer).\(token)"]?[expert] != nil
        }

        fileprivate func changed(_ outputs: [Double], of module: String) -> [Double] {
            guard let matrix, now == token, LinearMatrix(TensorName(module + ".weight")) == matrix else {
                return outputs
            }
            var outputs = outputs
            outputs[row] += change
            return outputs
        }

        fileprivate func factors(_ layer: Int, _ own: [Int: Double]) -> [Int: Double] {
            guard isFixed else {
                choices["\(layer).\(now)"] = own
                return own
            }
            return choices["\(layer).\(now)"] ?? own
        }
    }

    private func linear(_ module: String, _ x: [Double], _ probe: Probe) -> [Double] {
        let weights = byName[module + ".weight"] ?? []
        let bias = byName[module + ".bias"]
        let outputs = (0..<weights.count / x.count).map { row in
            var sum = Double(bias?[row] ?? 0)
            for column in x.indices { sum += Double(weights[row * x.count + column]) * x[column] }
            return sum
        }
        return probe.changed(outputs, of: module)
    }

    private func norm(_ name: String, _ x: [Double]) -> [Double] {
        let scale = byName[name] ?? []
        let mean = x.reduce(0) { $0 + $1 * $1 } / Double(x.count)
        return x.indices.map { x[$0] / (mean + h.normEpsilon).squareRoot() * Double(scale[$0]) }
    }

    private func turned(_ x: [Double], position: Int) -> [Double] {
        var result = x
        let half = h.headSize / 2
        for head in stride(from: 0, to: x.count, by: h.headSize) {
            for pair in 0..<half {
                var frequency = pow(h.rotaryBase, -Double(2 * pair) / Double(h.headSize))
                if case .linear(let factor) = h.rotaryScaling { frequency /= factor }
                let angle = Double(position) * frequency
                let (a, b) = (x[head + pair], x[head + pair + half])
                result[head + pair] = a * cos(angle) - b * sin(angle)
                result[head + pair + half] = b * cos(angle) + a * sin(angle)
            }
        }
        return result
    }

    private func gated(_ gate: String, _ up: String, _ down: String, _ x: [Double], _ probe: Probe) -> [Double] {
        let (g, u) = (linear(gate, x, probe), linear(up, x, probe))
        return linear(down, zip(g, u).map { $0 / (1 + exp(-$0)) * $1 }, probe)
    }

    private func feedForward(_ layer: Int, _ x: [Double], _ probe: Probe) -> [Double] {
        let start = "model.layers.\(layer)."
        guard h.experts > 0 else {
            return gated(start + "mlp.gate_proj", start + "mlp.up_proj", start + "mlp.down_proj", x, probe)
        }
        let scores = linear(start + "block_sparse_moe.gate", x, probe).map { exp($0) }
        let best = scores.indices.sorted { scores[$0] > scores[$1] }.prefix(h.expertsPerToken)
        let sum = best.reduce(0) { $0 + scores[$1] }
        let factors = probe.factors(layer, Dictionary(uniqueKeysWithValues: best.map { ($0, scores[$0] / sum) }))
        var result = [Double](repeating: 0, count: h.hidden)
        for (expert, factor) in factors.sorted(by: { $0.key < $1.key }) {
            let module = start + "block_sparse_moe.experts.\(expert)."
            let output = gated(module + "w1", module + "w3", module + "w2", x, probe)
            for index in result.indices { result[index] += factor * output[index] }
        }
        return result
    }

    /// Logits of every token of a sequence.
    func logits(_ ids: [Int32], _ probe: Probe = Probe()) -> [[Double]] {
        func linear(_ module: String, _ x: [Double], _ token: Int) -> [Double] {
            probe.now = token
            return self.linear(module, x, probe)
        }
        let embedding = byName["model.embed_tokens.weight"] ?? []
        var states = ids.map { id in
            (0..<h.hidden).map { Double(embedding[Int(id) * h.hidden + $0]) }
        }
        for layer in 0..<h.layers {
            let start = "model.layers.\(layer)."
            let inputs = states.map { norm(start + "input_layernorm.weight", $0) }
            let queries = inputs.enumerated().map { turned(linear(start + "self_attn.q_proj", $1, $0), position: $0) }
            let keys = inputs.enumerated().map { turned(linear(start + "self_attn.k_proj", $1, $0), position: $0) }
            let values = inputs.enumerated().map { linear(start + "self_attn.v_proj", $1, $0) }
            for token in ids.indices {
                var means = [Double](repeating: 0, count: h.heads * h.headSize)
                for head in 0..<h.heads {
                    let (q, k) = (head * h.headSize, head / (h.heads / h.keyValueHeads) * h.headSize)
                    let weights = (0...token).map { other in
                        exp(
                            (0..<h.headSize).reduce(0) { $0 + queries[token][q + $1] * keys[other][k + $1] }
                                / Double(h.headSize).squareRoot())
                    }
                    let sum = weights.reduce(0, +)
                    for other in 0...token {
                        for index in 0..<h.headSize {
                            means[q + index] += weights[other] / sum * values[other][k + index]
                        }
                    }
                }
                let output = linear(start + "self_attn.o_proj", means, token)
                for index in output.indices { states[token][index] += output[index] }
            }
            for token in ids.indices {
                probe.now = token
                let output = feedForward(layer, norm(start + "post_attention_layernorm.weight", states[token]), probe)
                for index in output.indices { states[token][index] += output[index] }
            }
        }
        let weights = h.tiesEmbeddings ? byName["model.embed_tokens.weight"] : byName["lm_head.weight"]
        return states.enumerated().map { token, state in
            let x = norm("model.norm.weight", state)
            let outputs = (0..<h.vocabulary).map { row in
                x.indices.reduce(0) { $0 + Double(weights?[row * h.hidden + $1] ?? 0) * x[$1] }
            }
            probe.now = token
            return probe.changed(outputs, of: "lm_head")
        }
    }

    /// Writes the weights as F32.
    func sample() -> [SampleTensor] {
        tensors.map { SampleTensor($0.name, .f32, $0.shape, bytes: $0.values.flatMap { FloatBytes.encode($0, .f32) }) }
    }
}
