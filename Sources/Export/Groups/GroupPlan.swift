import Architectures
import Checkpoints
import Container
import FileAccess
import Moments
import Publishing
import Quantization
import SystemPackage
import TensorModel
import Weights

/// Plans an export to MLX or compressed-tensors: which tensors become codes, their entries, and what `config.json` says of them.
struct GroupPlan {
    /// A matrix that becomes codes, or could have.
    struct Module: Sendable {
        /// Its name without `.weight`.
        let name: String
        /// Bits of a code; nil if it stays as it is.
        let bits: Int?
    }

    /// The plan, without files beside the weights.
    private(set) var plan: ExportPlan
    /// The modules, in the order of the output.
    private(set) var modules: [Module] = []
    /// Shards with their entries, and bytes of all entries, for the index.
    let shards: [(fileName: String, tensors: [TensorName])], dataBytes: UInt64
    /// What was kept because it does not fit.
    private(set) var warnings: [IngotWarning] = []

    /// A tensor of the output before its entries have places.
    private struct Draft {
        let part: ExportTarget.Part
        let source: ExportPlan.Source
        let encoding: RowEncoding
        let entries: [(name: TensorName, type: ElementType, shape: Shape)]
        let constants: [(name: TensorName, type: ElementType, shape: Shape, bytes: [UInt8])]
    }

    /// Plans an export.
    ///
    /// - Parameter target: what each tensor becomes in the Hugging Face layout.
    /// - Throws: `unsupportedSource` for a matrix that does not fit, unless fallbacks are allowed.
    init(
        _ checkpoint: OpenedCheckpoint, _ settings: GroupSettings, _ moments: MomentsFile?, stem: String,
        target: (TensorName, Shape) -> ExportTarget
    ) throws {
        var drafts: [Draft] = []
        for (index, tensor) in checkpoint.tensors.enumerated() {
            let target = target(tensor.name, tensor.shape)
            var row = 0
            for part in target.parts {
                // A vector whose elements move has a row for each element; one row is read.
                let rows = part.shape.rows
                let source = ExportPlan.Source(
                    tensor: index, rows: row..<row + rows, firstRow: 0,
                    move: target.order.map { .toHuggingFace($0) } ?? .none)
                row += rows
                drafts.append(try GroupPlan.draft(part, source, tensor, settings, &modules, &warnings))
            }
        }
        var layout = SafetensorsLayout(limit: settings.shardBytes)
        for draft in drafts {
            layout.begin(
                bytes: draft.entries.reduce(0) { $0 + ($1.type.byteCount(of: $1.shape) ?? 0) }
                    + draft.constants.reduce(0) { $0 + UInt64($1.bytes.count) })
            for entry in draft.entries { layout.add(entry.name, entry.type, entry.shape) }
            for entry in draft.constants { layout.add(entry.name, entry.type, entry.shape, constant: entry.bytes) }
        }
        let placed = try layout.place(
            stem: stem, metadata: [.init("format", settings.runtime == .mlx ? "mlx" : "pt")])
        plan = ExportPlan(files: placed.files, tensors: [])
        for draft in drafts {
            let shape = draft.part.shape
            let isMoved = draft.source.move != .none && shape.dimensions.count <= 1
            let (rows, columns) = isMoved ? (shape.elementCount, 1) : (shape.rows, shape.columns)
            let widths =
                draft.encoding == .stored || draft.encoding == .sameParts
                ? draft.entries.map { Int(($0.type.byteCount(of: $0.shape) ?? 0) / UInt64(max(1, rows))) }
                : draft.encoding.rowBytes(columns: columns)
            let streams = zip(draft.entries, widths).compactMap { entry, width in
                placed.places[entry.name].map {
                    ExportPlan.Stream(entry: entry.name, file: $0.file, offset: $0.offset, rowBytes: width)
                }
            }
            var source = draft.source
            if draft.encoding.usesActivations {
                source.input = moments?.inputs(of: draft.part.name, draft.part.shape).first?.input
            }
            plan.tensors.append(
                ExportPlan.Tensor(
                    name: draft.part.name, rows: rows, columns: columns, encoding: draft.encoding, sources: [source],
                    streams: streams))
        }
        (shards, dataBytes) = (placed.shards, placed.dataBytes)
    }

    private static func draft(
        _ part: ExportTarget.Part, _ source: ExportPlan.Source, _ tensor: StoredWeights, _ settings: GroupSettings,
        _ modules: inout [Module], _ warnings: inout [IngotWarning]
    ) throws -> Draft {
        let bits = bits(of: part, tensor, settings)
        guard let own = tensor.format else {
            return Draft(
                part: part, source: source, encoding: .stored, entries: [(part.name, tensor.elementType, part.shape)],
                constants: [])
        }
        let format = settings.format ?? own
        func plain() -> Draft {
            Draft(
                part: part, source: source, encoding: .elements(format),
                entries: [(part.name, format.elementType, part.shape)], constants: [])
        }
        guard let module = module(of: part) else { return plain() }
        guard let bits else {
            modules.append(Module(name: module, bits: nil))
            return plain()
        }
        if settings.mode == .mxfp4 {
            return try microscaling(part, source, tensor, module, settings, &modules, &warnings) ?? plain()
        }
        let groups = GroupEncoding(
            runtime: settings.runtime == .mlx ? .mlx : .compressedTensors, bits: bits, groupSize: settings.groupSize,
            scales: format, rounding: settings.rounding)
        let columns = part.shape.columns
        guard groups.fits(columns: columns), let rows = Shape(Array(part.shape.dimensions.dropLast())) else {
            try refuse(part, tensor, settings, unit: groups.unit, &warnings)
            modules.append(Module(name: module, bits: nil))
            return plain()
        }
        let encoding = encoding(groups, source, tensor, part)
        guard settings.allowsRequantizing || !encoding.needsWeights || !tensor.needsConsent else {
            throw consent(part, tensor)
        }
        modules.append(Module(name: module, bits: bits))
        func shape(_ last: Int) -> Shape { Shape(rows.dimensions + [last]) ?? rows }
        let (words, sides) = (shape(columns * bits / 32), shape(groups.groupCount(columns: columns)))
        func name(_ suffix: String) -> TensorName { TensorName(module + suffix) }
        switch settings.runtime {
        case .mlx:
            return Draft(
                part: part, source: source, encoding: encoding,
                entries: [
                    (name(".weight"), .u32, words), (name(".scales"), format.elementType, sides),
                    (name(".biases"), format.elementType, sides),
                ], constants: [])
        case .compressedTensors:
            let dimensions = part.shape.dimensions.flatMap { value in
                (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
            }
            return Draft(
                part: part, source: source, encoding: encoding,
                entries: [(name(".weight_packed"), .i32, words), (name(".weight_scale"), format.elementType, sides)],
                constants: [
                    (
                        name(".weight_shape"), .i64, Shape([part.shape.dimensions.count]) ?? part.shape,
                        dimensions
                    )
                ])
        }
    }

    /// A matrix that becomes MXFP4 of MLX; nil if its rows do not fit and it stays as it is.
    private static func microscaling(
        _ part: ExportTarget.Part, _ source: ExportPlan.Source, _ tensor: StoredWeights, _ module: String,
        _ settings: GroupSettings, _ modules: inout [Module], _ warnings: inout [IngotWarning]
    ) throws -> Draft? {
        let (columns, group) = (part.shape.columns, MicroscalingLayout.group)
        guard columns % group == 0, let rows = Shape(Array(part.shape.dimensions.dropLast())) else {
            try refuse(part, tensor, settings, unit: "whole groups of \(group)", &warnings)
            modules.append(Module(name: module, bits: nil))
            return nil
        }
        let isCopied = tensor.microscaling != nil && part.shape.columns == tensor.shape.columns
        guard settings.allowsRequantizing || isCopied || !tensor.needsConsent else {
            throw consent(part, tensor)
        }
        modules.append(Module(name: module, bits: settings.bits))
        func entry(_ suffix: String, _ type: ElementType, _ last: Int) -> (TensorName, ElementType, Shape) {
            (TensorName(module + suffix), type, Shape(rows.dimensions + [last]) ?? rows)
        }
        return Draft(
            part: part, source: source,
            encoding: isCopied ? .sameMicroscaling(.apart) : .microscaling(settings.rounding),
            entries: [entry(".weight", .u32, columns / 8), entry(".scales", .u8, columns / group)], constants: [])
    }

    /// Refuses a matrix whose rows do not fit, or says that it stays.
    private static func refuse(
        _ part: ExportTarget.Part, _ tensor: StoredWeights, _ settings: GroupSettings, unit: String,
        _ warnings: inout [IngotWarning]
    ) throws {
        let (file, columns) = (tensor.file.path.string, part.shape.columns)
        guard settings.allowsFallback else {
            throw IngotError(
                .unsupportedSource, file: file, tensor: part.name, found: "rows of \(columns) weights", expected: unit,
                remedy: .either("choose a group size that divides the rows", or: .option(.allowFallback)))
        }
        warnings.append(
            IngotWarning(
                file: file,
                "`\(part.name.text)` stays \((settings.format ?? tensor.format)?.elementType.rawValue ?? ""): its rows of "
                    + "\(columns) weights are no \(unit)"))
    }

    /// The error for codes that would be quantized again.
    private static func consent(_ part: ExportTarget.Part, _ tensor: StoredWeights) -> IngotError {
        IngotError(
            .unsupportedSource, file: tensor.file.path.string, tensor: part.name,
            found: "codes of another quantizer: \(tensor.encoding ?? tensor.quantized?.summary ?? "codes")",
            expected: "weights", remedy: .option(.requantize))
    }

    /// How a matrix becomes groups: with the codes that it has, if they are what is asked for.
    private static func encoding(
        _ groups: GroupEncoding, _ source: ExportPlan.Source, _ tensor: StoredWeights, _ part: ExportTarget.Part
    ) -> RowEncoding {
        let isMLX = groups.runtime == .mlx
        guard source.move == .none, part.shape == tensor.shape, tensor.format == groups.scales else {
            return .groups(groups)
        }
        if let own = CodeReader.parameters(of: tensor), own.bits == groups.bits, own.groupSize == groups.groupSize,
            own.symmetric != isMLX, part.shape.columns % own.groupSize == 0
        {
            return .sameGroups(groups)
        }
        guard let form = tensor.quantized, form.method == (isMLX ? .mlx : .compressedTensors),
            form.codeBits == groups.bits
        else { return .groups(groups) }
        let (rows, columns) = (part.shape.rows, part.shape.columns)
        let widths = groups.rowBytes(columns: columns)
        let roles: [QuantizedForm.Role] = isMLX ? [.codes, .scales, .zeroPoints] : [.codes, .scales]
        let parts = form.parts.filter { $0.role != .other }
        let fits =
            parts.map(\.role) == roles
            && zip(parts, widths).allSatisfy { $0.tensor.range.count == UInt64($1 * rows) }
            && parts[0].tensor.elementType == (isMLX ? .u32 : .i32)
            && parts[1].tensor.elementType == groups.scales.elementType
        return fits && form.parts.prefix(roles.count).map(\.role) == roles ? .sameParts : .groups(groups)
    }

    /// The module of a matrix that runtimes can multiply in codes: a linear layer, an embedding or a head. Nil for any other tensor.
    private static func module(of part: ExportTarget.Part) -> String? {
        let suffix = ".weight"
        let text = part.name.text
        guard part.shape.dimensions.count == 2, part.shape.elementCount > 0, TensorName.hasSuffix(text, suffix) else {
            return nil
        }
        switch TensorRole(part.name).kind {
        case .embedding, .head: guard TensorRole.isEmbeddingOrHead(part.name) else { return nil }
        case .attentionQuery, .attentionKey, .attentionValue, .attentionFused, .attentionOutput, .gate, .up, .gateUp,
            .down, .router:
            break
        case .norm, .bias, .other: return nil
        }
        return String(decoding: text.utf8.dropLast(suffix.utf8.count), as: UTF8.self)
    }

    /// Bits of a matrix; nil if it stays as it is.
    private static func bits(of part: ExportTarget.Part, _ tensor: StoredWeights, _ settings: GroupSettings) -> Int? {
        if let override = settings.overrides.first(where: { $0.pattern.matches(part.name) }) {
            return override.bits
        }
        switch TensorRole(part.name).kind {
        case .router: return nil
        // compressed-tensors quantizes classes `Linear`, and every recipe of its users leaves out the head.
        case .embedding, .head: return settings.runtime == .mlx ? settings.bits : nil
        default: return settings.bits
        }
    }
}
