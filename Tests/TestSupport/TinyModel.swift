package import SystemPackage
import TensorModel

/// A model of two small layers with random weights, as a directory with `config.json`, and ids to run it on.
package enum TinyModel {
    /// Sizes of the model.
    package static let hidden = 24, feedForward = 40, layers = 2, vocabulary = 530, experts = 4

    /// The members of its `config.json`, in which `changes` replaces values or adds members.
    package static func configuration(isMixture: Bool = false, changes: [String: String] = [:]) -> String {
        var members = [
            "model_type": isMixture ? #""mixtral""# : #""llama""#, "hidden_size": "\(hidden)",
            "intermediate_size": "\(feedForward)", "num_hidden_layers": "\(layers)", "vocab_size": "\(vocabulary)",
            "num_attention_heads": "4", "num_key_value_heads": "2", "rms_norm_eps": "1e-5",
            "max_position_embeddings": "64",
        ]
        if isMixture { members["num_local_experts"] = "\(experts)" }
        members.merge(changes) { $1 }
        return "{" + members.sorted { $0.key < $1.key }.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ", ")
            + "}"
    }

    /// The tensors.
    package static func tensors(isMixture: Bool = false) -> [SampleTensor] {
        func matrix(_ name: String, _ rows: Int, _ columns: Int) -> SampleTensor {
            SampleTensor(name + ".weight", .f32, [rows, columns])
        }
        func ones(_ name: String) -> SampleTensor {
            SampleTensor(name + ".weight", .f32, [hidden], values: [Float](repeating: 1, count: hidden))
        }
        var tensors = [
            matrix("model.embed_tokens", vocabulary, hidden), matrix("lm_head", vocabulary, hidden), ones("model.norm"),
        ]
        for layer in 0..<layers {
            let start = "model.layers.\(layer)."
            tensors += [
                ones(start + "input_layernorm"), ones(start + "post_attention_layernorm"),
                matrix(start + "self_attn.q_proj", hidden, hidden),
                matrix(start + "self_attn.k_proj", hidden / 2, hidden),
                matrix(start + "self_attn.v_proj", hidden / 2, hidden),
                matrix(start + "self_attn.o_proj", hidden, hidden),
            ]
            func gated(_ names: [String]) -> [SampleTensor] {
                [
                    matrix(names[0], feedForward, hidden), matrix(names[1], feedForward, hidden),
                    matrix(names[2], hidden, feedForward),
                ]
            }
            guard isMixture else {
                tensors += gated(["gate", "up", "down"].map { "\(start)mlp.\($0)_proj" })
                continue
            }
            tensors.append(matrix(start + "block_sparse_moe.gate", experts, hidden))
            for expert in 0..<experts {
                tensors += gated(["w1", "w3", "w2"].map { "\(start)block_sparse_moe.experts.\(expert).\($0)" })
            }
        }
        return tensors
    }

    /// Writes the model into a new directory.
    package static func write(
        to path: FilePath, isMixture: Bool = false, changes: [String: String] = [:]
    ) throws {
        try SampleSource.write(
            [tensors(isMixture: isMixture)], to: path,
            companions: ["config.json": configuration(isMixture: isMixture, changes: changes)])
    }

    /// A `.npy` file of ids of the vocabulary.
    package static func ids(_ count: Int, seed: UInt64 = 3) -> [UInt8] {
        var generator = SeededGenerator(seed)
        return npy("<i4", "(\(count),)", (0..<count).flatMap { _ in GGUFSample.word(generator.next() % 530, 4) })
    }

    /// A `.npy` file with a type and a shape in words of numpy.
    package static func npy(_ type: String, _ shape: String, _ data: [UInt8]) -> [UInt8] {
        var header = "{'descr': '\(type)', 'fortran_order': False, 'shape': \(shape), }"
        header += String(repeating: " ", count: 63 - (10 + header.utf8.count) % 64) + "\n"
        return [0x93] + Array("NUMPY".utf8) + [1, 0] + GGUFSample.word(UInt64(header.utf8.count), 2)
            + Array(header.utf8) + data
    }
}
