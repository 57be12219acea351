import Calibration
import SystemPackage
import TensorModel
import Testing

/// `config.json` of the families that are supported, and what is refused by name.
@Suite struct HyperparameterTests {
    private func read(_ text: String) throws -> ModelHyperparameters {
        try ModelHyperparameters(configuration: Array(text.utf8), path: "config.json")
    }

    private static let small =
        #""hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"vocab_size":50,"num_attention_heads":4"#

    @Test func families() throws {
        let llama = try read(
            #"{"model_type":"llama",\#(HyperparameterTests.small),"rope_theta":500000.0,"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":8192},"rms_norm_eps":1e-5,"num_key_value_heads":2,"tie_word_embeddings":true}"#
        )
        #expect(llama.headSize == 16 && llama.keyValueHeads == 2 && llama.tiesEmbeddings && llama.normEpsilon == 1e-5)
        #expect(llama.rotaryBase == 500_000)
        #expect(
            llama.rotaryScaling == .llama3(factor: 8, lowFactor: 1, highFactor: 4, originalContext: 8192))
        let linear = try read(
            #"{"model_type":"llama",\#(HyperparameterTests.small),"rope_scaling":{"type":"linear","factor":4.0}}"#)
        #expect(linear.rotaryScaling == .linear(factor: 4) && linear.rotaryBase == 10_000)
        let nested = try read(
            #"{"model_type":"llama",\#(HyperparameterTests.small),"rope_parameters":{"rope_type":"default","rope_theta":1000000}}"#
        )
        #expect(nested.rotaryBase == 1_000_000 && nested.rotaryScaling == .none)
        let qwen = try read(
            #"{"model_type":"qwen2",\#(HyperparameterTests.small),"sliding_window":8,"use_sliding_window":false}"#)
        #expect(qwen.hasQueryBias && !qwen.hasOutputBias)
        let mixtral = try read(
            #"{"model_type":"mixtral",\#(HyperparameterTests.small),"num_local_experts":4,"sliding_window":null}"#)
        #expect(mixtral.experts == 4 && mixtral.expertsPerToken == 2)
    }

    @Test(arguments: [
        (#"{"model_type":"gemma3",SMALL}"#, IngotError.Code.unsupportedSource, "gemma3"),
        (#"{"model_type":"llama",SMALL,"hidden_act":"gelu"}"#, .unsupportedSource, "gelu"),
        (#"{"model_type":"llama",SMALL,"rope_scaling":{"rope_type":"yarn","factor":2}}"#, .unsupportedSource, "yarn"),
        (#"{"model_type":"llama",SMALL,"rope_scaling":{"rope_type":"linear"}}"#, .valueOutOfRange, "rope_scaling"),
        (#"{"model_type":"mistral",SMALL,"sliding_window":16}"#, .unsupportedSource, "16"),
        (#"{"model_type":"llama",SMALL,"num_key_value_heads":3}"#, .valueOutOfRange, "key-value"),
        (#"{"model_type":"llama",SMALL,"head_dim":15}"#, .valueOutOfRange, "15"),
        (#"{"model_type":"llama",SMALL,"num_key_value_heads":0}"#, .valueOutOfRange, "num_key_value_heads"),
        (#"{"model_type":"llama",SMALL,"rms_norm_eps":"x"}"#, .valueOutOfRange, "rms_norm_eps"),
        (#"{"model_type":"llama","hidden_size":64}"#, .missingField, "intermediate_size"),
        (#"[]"#, .headerSyntax, "object"),
        (#"{"model_type":"mixtral",SMALL,"num_local_experts":1}"#, .valueOutOfRange, "experts"),
    ])
    func refused(text: String, code: IngotError.Code, word: String) throws {
        let text = text.replacing("SMALL", with: HyperparameterTests.small)
        let error = #expect(throws: IngotError.self) { _ = try read(text) }
        #expect(error?.code == code && error?.file == "config.json", "\(error as Any)")
        #expect("\(error?.found ?? "") \(error?.expected ?? "")".contains(word), "\(error as Any)")
    }
}
