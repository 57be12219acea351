import Architectures
import Quantization
import SystemPackage
package import TensorModel
import Weights

extension CheckpointDiff {
    /// The comparison as JSON, schema `ingot.diff` version 1 (Specs/json.md); `top` names at most in the list of the most changed tensors.
    package func json(top: Int) -> JSONValue {
        .object([
            .init("schema", .string("ingot.diff")), .init("schema_version", .unsigned(1)),
            .init("same", .bool(isSame)), .init("weights_read", .bool(weightsRead)), .init("old", old.json),
            .init("new", new.json),
            .init(
                "counts",
                .object(
                    TensorDifference.Status.allCases.map { .init($0.rawValue, .unsigned(UInt64(count($0)))) } + [
                        .init("renamed", .unsigned(UInt64(renamed.count))),
                        .init("fused", .unsigned(UInt64(regrouped(.fused).count))),
                        .init("split", .unsigned(UInt64(regrouped(.split).count))),
                        .init("added", .unsigned(UInt64(added.count))),
                        .init("removed", .unsigned(UInt64(removed.count))),
                    ])),
            .init(
                "sizes",
                .object([
                    .init("total", sizes.total.json), .init("kinds", .array(sizes.kinds.map(\.json))),
                    .init("layers", .array(sizes.layers.map(\.json))),
                    .init("parts", .array(sizes.parts.map(\.json))),
                ])),
            .init("tensors", .array(tensors.map(\.json))),
            .init("top", .array(movers(top).map { .string($0.new.name.text) })),
            .init("added", .array(added.map { .object(TensorDifference.Side($0).members) })),
            .init("removed", .array(removed.map { .object(TensorDifference.Side($0).members) })),
            .init("companions", .array(companions.map(\.json))),
            .init(
                "metadata",
                .array(
                    metadata.map { change in
                        .object([
                            .init("key", .string(change.key)),
                            .init("old", change.old.map(JSONValue.string) ?? .null),
                            .init("new", change.new.map(JSONValue.string) ?? .null),
                        ])
                    })),
            .init("warnings", .array(warnings.map { .string(IngotErrorRenderer.text($0)) })),
        ])
    }
}

extension CheckpointDiff.Side {
    fileprivate var json: JSONValue {
        .object([
            .init("path", .string(path.string)), .init("format", .string(format)),
            .init("bytes", .unsigned(byteCount)), .init("files", .unsigned(UInt64(fileCount))),
            .init("tensors", .unsigned(UInt64(tensorCount))),
        ])
    }
}

extension SizeChange {
    fileprivate var members: [JSONValue.Member] {
        [
            .init("old", .unsigned(old)), .init("new", .unsigned(new)),
            .init("percent", percent.map(JSONValue.number) ?? .null),
        ]
    }

    fileprivate var json: JSONValue { .object(members) }
}

extension SizeChanges.Row {
    fileprivate var json: JSONValue { .object([.init("name", .string(name))] + size.members) }
}

extension TensorDifference.Side {
    /// Members of one side in `ingot.diff`.
    fileprivate var members: [JSONValue.Member] {
        [
            .init("name", .string(name.text)), .init("file", .string(fileName)), .init("dtype", .string(elementType)),
            .init("shape", .array(shape.dimensions.map { .unsigned(UInt64($0)) })),
            .init("scheme", .string(scheme)), .init("bytes", .unsigned(byteCount)),
        ] + (relativeActivationError.map { [.init("relative_activation_error", .number($0))] } ?? [])
    }
}

extension TensorDifference {
    fileprivate var json: JSONValue {
        .object([
            .init("name", .string(new.name.text)), .init("status", .string(status.rawValue)),
            .init("role", new.role.json),
            .init("old", .object(old.members)), .init("new", .object(new.members)),
            .init("regrouped", regrouping.map { .string($0.direction.rawValue) } ?? .null),
            .init("parts", .array(parts)),
            .init("renamed_by", rename.map { .string($0.name) } ?? .null),
            .init("sampled_relative_mse", rename?.sampled.map(JSONValue.number) ?? .null),
            .init("same_bytes", isSameBytes.map(JSONValue.bool) ?? .null),
            .init("elements", .unsigned(UInt64(new.shape.elementCount))),
            .init("changed", changed.map(JSONValue.unsigned) ?? .null),
            .init("not_finite_changed", weights.map { .unsigned($0.changedNonFinite) } ?? .null),
            .init("errors", weights.map { .object($0.errors.json) } ?? .null),
        ])
    }

    /// The parts of a fused or split tensor.
    private var parts: [JSONValue] {
        (regrouping?.parts ?? []).enumerated().map { index, part in
            let tensor = part.part.tensor
            return .object([
                .init("name", .string(tensor.name.text)), .init("file", .string(tensor.fileName)),
                .init("dtype", .string(tensor.elementType.rawValue)), .init("scheme", .string(tensor.scheme)),
                .init("expert", .unsigned(UInt64(part.expert))), .init("row", .unsigned(UInt64(part.whole.row))),
                .init("rows", .unsigned(UInt64(part.whole.rows))),
                .init("relative_mse", weights.map { .number($0.parts[index].relativeMSE) } ?? .null),
            ])
        }
    }
}

extension TensorDifference.Rename {
    /// Name of the evidence in reports.
    package var name: String {
        switch self {
        case .sameBytes: "same_bytes"
        case .sameOriginal: "same_original"
        case .similarWeights: "similar_weights"
        case .names: "names"
        }
    }

    /// Relative MSE of the samples; nil unless the evidence is `similarWeights`.
    package var sampled: Double? { if case .similarWeights(let error) = self { error } else { nil } }
}
