import Architectures
import TensorModel

extension GroupPlan {
    private static let head = "lm_head"

    /// The members that `config.json` gets: they tell the runtime how to read the codes.
    func configuration(_ settings: GroupSettings) -> [JSONValue.Member] {
        switch settings.runtime {
        case .mlx: mlxConfiguration(settings)
        case .compressedTensors: [.init("quantization_config", compressedConfiguration(settings))]
        }
    }

    /// `quantization` and its copy `quantization_config`, as mlx-lm writes them, with an entry for every module: older loaders need it for
    /// modules that differ, and all accept it.
    private func mlxConfiguration(_ settings: GroupSettings) -> [JSONValue.Member] {
        func entry(_ bits: Int) -> [JSONValue.Member] {
            [
                .init("group_size", settings.groupSize.map { .unsigned(UInt64($0)) } ?? .null),
                .init("bits", .unsigned(UInt64(bits))), .init("mode", .string(settings.mode.rawValue)),
            ]
        }
        let own = modules.filter { $0.bits != settings.bits }.map { module in
            JSONValue.Member(module.name, module.bits.map { .object(entry($0)) } ?? .bool(false))
        }
        let value = JSONValue.object(entry(settings.bits) + own)
        return [.init("quantization", value), .init("quantization_config", value)]
    }

    /// `quantization_config` as compressed-tensors 0.20 reads it: a group of modules for each number of bits, and the linear layers that have
    /// no codes.
    private func compressedConfiguration(_ settings: GroupSettings) -> JSONValue {
        func group(_ targets: [JSONValue], _ bits: Int) -> JSONValue {
            .object([
                .init("targets", .array(targets)), .init("input_activations", .null),
                .init("output_activations", .null),
                .init(
                    "weights",
                    .object([
                        .init("num_bits", .unsigned(UInt64(bits))), .init("type", .string("int")),
                        .init("symmetric", .bool(true)),
                        .init("strategy", .string(settings.groupSize == nil ? "channel" : "group")),
                        .init("group_size", settings.groupSize.map { .unsigned(UInt64($0)) } ?? .null),
                        .init("dynamic", .bool(false)),
                    ])),
            ])
        }
        var groups: [JSONValue.Member] = [.init("group_0", group([.string("Linear")], settings.bits))]
        let others = Set(modules.compactMap(\.bits)).subtracting([settings.bits]).sorted()
        for (number, bits) in others.enumerated() {
            let names = modules.filter { $0.bits == bits }.map { JSONValue.string($0.name) }
            groups.append(.init("group_\(number + 1)", group(names, bits)))
        }
        // A tied head has no tensor here, and is a linear layer in the runtime.
        var ignored = modules.filter {
            $0.bits == nil && TensorRole(TensorName($0.name + ".weight")).kind != .embedding
        }
        .map(\.name)
        if !modules.contains(where: { $0.name == GroupPlan.head }) { ignored.append(GroupPlan.head) }
        return .object([
            .init("quant_method", .string("compressed-tensors")), .init("format", .string("pack-quantized")),
            .init("quantization_status", .string("compressed")), .init("global_compression_ratio", .null),
            .init("kv_cache_scheme", .null), .init("ignore", .array(ignored.map { .string($0) })),
            .init("config_groups", .object(groups)),
            .init("version", .string("0.20.0")),
        ])
    }
}
