import Architectures
import Checkpoints
import Container
import FileAccess
import Quantization
import SystemPackage
package import TensorModel
import Weights

extension CheckpointReport {
    /// The report as JSON, schema `ingot.inspect` version 1 (Specs/json.md).
    ///
    /// - Parameter groups: groups to list beside the tensors; nil lists none.
    package func json(_ groups: [TensorGroup]? = nil) -> JSONValue {
        .object(head + listed(groups) + [.init("tensors", .array(tensors.map(\.json))), .init("warnings", notes)])
    }

    /// The same JSON as indented text in parts, one tensor per part, so that a report of many tensors needs little memory.
    package func jsonText(_ groups: [TensorGroup]? = nil) -> some Sequence<String> {
        let opening = JSONValue.object(head + listed(groups)).text(indented: true)
        let closing = "\"warnings\": " + notes.text(indented: true)
        let count = tensors.count
        return (0..<count + 2).lazy.map { part in
            switch part {
            case 0: String(opening.dropLast(2)) + ",\n  \"tensors\": [" + (count == 0 ? "],\n" : "\n")
            case count + 1: "  \(closing)\n}\n"
            default:
                tensors[part - 1].json.text(indented: true, level: 2, isPrefixed: true)
                    + (part == count ? "\n  ],\n" : ",\n")
            }
        }
    }

    private var head: [JSONValue.Member] {
        [
            .init("schema", .string("ingot.inspect")), .init("schema_version", .unsigned(1)),
            .init("path", .string(path.string)), .init("format", .string(formatName)),
            .init("model", model?.json ?? .null),
            .init("quantization", .array(quantization.map(\.json))),
            .init("elements", .unsigned(UInt64(elements))), .init("bytes", account.json),
            .init("weights_read", .bool(weightsRead)),
            .init(
                "files",
                .array(
                    files.map { file in
                        .object([
                            .init("name", .string(file.name)), .init("bytes", file.account.json),
                            .init("metadata", .object(file.metadata)),
                        ])
                    })),
        ]
    }

    private func listed(_ groups: [TensorGroup]?) -> [JSONValue.Member] {
        guard let groups else { return [] }
        return [.init("groups", .array(groups.map(\.json)))]
    }

    private var notes: JSONValue { .array(warnings.map { .string(IngotErrorRenderer.text($0)) }) }
}

extension CheckpointReport.Tensor {
    var json: JSONValue {
        var members: [JSONValue.Member] = [
            .init("name", .string(name.text)), .init("file", .string(fileName)),
            .init("role", role.json), .init("holds_weights", .bool(holdsWeights)),
            .init("dtype", elementTypeName.map(JSONValue.string) ?? .null),
            .init("shape", .array(shape.dimensions.map { .unsigned(UInt64($0)) })),
            .init("bytes", .unsigned(byteCount)),
            .init("bits_per_element", bitsPerElement.map(JSONValue.number) ?? .null),
            .init("scheme", .string(descriptor?.scheme.name ?? stored.encoding ?? "kept")),
        ]
        if let descriptor {
            members += descriptor.scheme.members
            members.append(.init("codec", .string(descriptor.codec.name)))
            members += descriptor.sums.json
            if let calibrated = descriptor.calibrated {
                members += calibrated.sums.json
                members.append(.init("calibration_xxh3_128", .string(calibrated.calibration.description)))
            }
            members.append(.init("source_xxh3_128", .string(descriptor.sourceHash.description)))
        }
        if let form = stored.quantized { members.append(.init("quantization", form.json)) }
        members.append(.init("statistics", statistics?.json ?? .null))
        return .object(members)
    }
}

extension TensorGroup {
    /// The group as JSON (Specs/json.md, `groups`).
    var json: JSONValue {
        func number(_ value: Double?) -> JSONValue { value.map { .number($0) } ?? .null }
        let members: [JSONValue.Member] = [
            .init("name", .string(name.text)), .init("tensors", .unsigned(UInt64(figures.tensors))),
            .init("elements", .unsigned(UInt64(figures.elements))), .init("bytes", .unsigned(figures.bytes)),
            .init("bits_per_element", number(figures.bitsPerElement)), .init("min", number(figures.minimum)),
            .init("max", number(figures.maximum)), .init("mean", number(figures.mean)),
            .init("std", number(figures.standardDeviation)), .init("absmax", number(figures.absoluteMaximum)),
            .init("skewness", number(figures.skewness)), .init("kurtosis", number(figures.kurtosis)),
            .init("zeros", .unsigned(figures.zeros)),
            .init("subnormal", .unsigned(figures.subnormal)), .init("nan", .unsigned(figures.nan)),
            .init("infinite", .unsigned(figures.infinite)), .init("outliers_6_sigma", .unsigned(figures.outliers)),
            .init("value_entropy_bits", number(figures.valueEntropy)),
            .init("code_entropy_bits", number(figures.codeEntropy)),
            .init("relative_mse", number(figures.relativeMSE)),
        ]
        let error = figures.relativeActivationError.map {
            JSONValue.Member("mean_relative_activation_error", .number($0))
        }
        return .object(members + [error].compactMap(\.self))
    }
}
extension QuantizedForm {
    /// How a tensor is stored, as JSON (Specs/json.md, `quantization` of a tensor).
    var json: JSONValue {
        let roles = Role.allCases.filter { byteCount(of: $0) > 0 }
        return .object([
            .init("method", .string(method.rawValue)), .init("summary", .string(summary)),
            .init("code_bits", .unsigned(UInt64(codeBits))), .init("levels", .unsigned(UInt64(levels))),
            .init("bytes", .object(roles.map { .init($0.key, .unsigned(byteCount(of: $0))) })),
            .init(
                "parts",
                .array(
                    parts.map { part in
                        .object([
                            .init("role", .string(part.role.key)), .init("name", .string(part.tensor.name.text)),
                            .init("dtype", .string(part.tensor.elementType.rawValue)),
                            .init("shape", .array(part.tensor.shape.dimensions.map { .unsigned(UInt64($0)) })),
                        ])
                    })),
        ])
    }
}

extension QuantizedForm.Role {
    /// The name in JSON.
    var key: String { self == .zeroPoints ? "zero_points" : rawValue }
}
