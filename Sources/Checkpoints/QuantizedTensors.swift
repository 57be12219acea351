package import TensorModel

/// Recognises tensors that another quantizer made, by their names and element types.
package enum QuantizedTensors {
    /// A quantizer's naming: the tensor with the codes, its element types, and the tensors beside it, one of which must exist.
    private struct Naming {
        let method: String
        /// Ending of the name of the codes, replaced by each of `companions`.
        let ending: String
        let types: Set<ElementType>
        let companions: [String]
    }

    /// The layouts of AutoGPTQ and AutoAWQ, compressed-tensors, GPT-OSS, FP8 checkpoints of DeepSeek and NVIDIA ModelOpt, bitsandbytes and MLX.
    private static let namings = [
        Naming(method: "GPTQ or AWQ", ending: ".qweight", types: [.i32], companions: [".qzeros", ".scales"]),
        Naming(
            method: "compressed-tensors", ending: ".weight_packed", types: [.i32, .u8], companions: [".weight_scale"]),
        Naming(method: "MXFP4", ending: "_blocks", types: [.u8], companions: ["_scales"]),
        Naming(
            method: "FP8", ending: ".weight", types: [.f8e4m3, .f8e5m2],
            companions: [".weight_scale_inv", ".weight_scale", ".scale_weight", ".scales"]),
        Naming(method: "NVFP4", ending: ".weight", types: [.u8], companions: [".weight_scale_2"]),
        Naming(
            method: "bitsandbytes", ending: ".weight", types: [.u8, .i8],
            companions: [".weight.absmax", ".weight.quant_map", ".SCB"]),
        Naming(method: "MLX", ending: ".weight", types: [.u32], companions: [".scales"]),
    ]

    /// The first tensor with codes of another quantizer, the quantizer, and the tensor beside it that tells; nil if there is none.
    package static func first(
        in tensors: [StoredTensor]
    ) -> (tensor: TensorName, method: String, companion: TensorName)? {
        let candidates = tensors.lazy.flatMap { tensor in
            namings.lazy.filter {
                $0.types.contains(tensor.elementType) && TensorName.hasSuffix(tensor.name.text, $0.ending)
            }
            .map { (tensor.name, $0) }
        }
        guard candidates.first != nil else { return nil }
        let names = Set(tensors.map(\.name))
        for (name, naming) in candidates {
            let stem = String(decoding: name.text.utf8.dropLast(naming.ending.utf8.count), as: UTF8.self)
            for ending in naming.companions where names.contains(TensorName(stem + ending)) {
                return (name, naming.method, TensorName(stem + ending))
            }
        }
        return nil
    }

    /// The tensors that hold no weights but parts of them that another quantizer made: codes, and the scales, zero points and the like beside
    /// them.
    package static func parts(of tensors: [(name: TensorName, elementType: ElementType)]) -> Set<TensorName> {
        var names: Set<TensorName> = []
        var found: Set<TensorName> = []
        var modules: Set<String> = []
        for (name, type) in tensors {
            for naming in namings
            where naming.types.contains(type) && TensorName.hasSuffix(name.text, naming.ending) {
                if names.isEmpty { names = Set(tensors.map(\.name)) }
                let stem = String(decoding: name.text.utf8.dropLast(naming.ending.utf8.count), as: UTF8.self)
                let companions = naming.companions.map { TensorName(stem + $0) }.filter(names.contains)
                guard !companions.isEmpty else { continue }
                found.insert(name)
                found.formUnion(companions)
                if naming.ending.hasPrefix(".") { modules.insert(stem) }
            }
        }
        guard !modules.isEmpty else { return found }
        // All else of such a module is a part too, but a bias.
        for (name, _) in tensors {
            let bytes = name.text.utf8
            let isPart = bytes.indices.contains { index in
                bytes[index] == UInt8(ascii: ".") && modules.contains(String(Substring(bytes[..<index])))
                    && !bytes[index...].elementsEqual(".bias".utf8)
            }
            if isPart { found.insert(name) }
        }
        return found
    }
}
