import Calibration
import SystemPackage
import TensorModel
import TestSupport
import Weights

/// Target for the hyperparameters in a `config.json`.
enum HyperparameterTarget {
    private static let directory = try? TemporaryDirectory()

    /// A small model, whose tensors every accepted configuration is compared with.
    private static let model: OpenedCheckpoint = {
        do {
            guard let place = directory?.at("model") else { fatalError("no directory for a model") }
            try TinyModel.write(to: place)
            return try OpenedCheckpoint(place)
        } catch { fatalError("no model to compare with: \(error)") }
    }()

    /// A `config.json`: counts have their limits and fit together, and the tensors of another model are refused.
    static func configuration(_ bytes: [UInt8]) throws {
        let h = try ModelHyperparameters(configuration: bytes, path: "config.json")
        let counts = [
            h.hidden, h.feedForward, h.layers, h.vocabulary, h.heads, h.keyValueHeads, h.headSize, h.context,
        ]
        require(counts.allSatisfy { (1...1 << 24).contains($0) }, "a count beyond the limits: \(counts)")
        require(h.heads % h.keyValueHeads == 0 && h.headSize % 2 == 0, "heads that do not fit together")
        require(h.experts == 0 ? h.expertsPerToken == 0 : (1...h.experts).contains(h.expertsPerToken), "experts")
        require(h.normEpsilon > 0 && h.normEpsilon < 1 && h.rotaryBase >= 1, "numbers that no model has")
        require(try ModelHyperparameters(configuration: bytes, path: "x") == h, "other numbers the second time")
        let weights = try ModelWeights(model, h)
        require(
            weights.hyperparameters.layers == TinyModel.layers && h.hidden == TinyModel.hidden,
            "tensors that do not fit were accepted")
    }

    static let seeds: [[UInt8]] = {
        let scaling =
            #"{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":32}"#
        return [
            TinyModel.configuration(), TinyModel.configuration(isMixture: true),
            TinyModel.configuration(changes: [
                "rope_parameters": scaling, "head_dim": "6", "tie_word_embeddings": "true", "hidden_act": "\"silu\"",
            ]),
            TinyModel.configuration(changes: [
                "model_type": "\"qwen2\"", "sliding_window": "8", "use_sliding_window": "false", "rope_theta": "1e6",
                "rope_scaling": #"{"type":"linear","factor":2}"#,
            ]),
            TinyModel.configuration(changes: [
                "model_type": "\"mistral\"", "sliding_window": "null", "attention_bias": "false", "mlp_bias": "false",
            ]),
        ].map { Array($0.utf8) }
    }()
}
