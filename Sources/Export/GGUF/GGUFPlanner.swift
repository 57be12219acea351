import Architectures
import Checkpoints
import FileAccess
import Moments
import Quantization
import SystemPackage
import TensorModel
import Weights

/// Plans a GGUF file of a recipe: the type of each tensor, and places in one or more files.
struct GGUFPlanner {
    private let checkpoint: OpenedCheckpoint
    private let content: GGUFContent
    private let settings: GGUFSettings
    private let moments: MomentsFile?
    /// Places of the tensors in the checkpoint.
    private let places: [TensorName: Int]

    /// Prepares plans of a checkpoint.
    init(_ checkpoint: OpenedCheckpoint, _ content: GGUFContent, _ settings: GGUFSettings, _ moments: MomentsFile?) {
        (self.checkpoint, self.content, self.settings, self.moments) = (checkpoint, content, settings, moments)
        places = Dictionary(
            checkpoint.tensors.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The plan of a file, and what was done otherwise than asked.
    ///
    /// - Parameter stem: the name of the file without suffix.
    /// - Throws: `unsupportedSource` for a matrix that does not fit, or that another program quantized; errors of the format.
    func plan(_ recipe: GGUFRecipe, stem: String) throws -> (plan: ExportPlan, warnings: [IngotWarning]) {
        var mix = GGUFMix(recipe, model, isPure: settings.isPure, hasImportance: moments != nil)
        var warnings: [IngotWarning] = []
        let drafts = try content.tensors.map { try draft($0, &mix, &warnings) }
        if let warning = lossWarning(recipe, drafts) { warnings.append(warning) }
        let byteCounts = zip(content.tensors, drafts).map { $1.byteCount(of: $0) }
        let parts = try GGUFPart.parts(
            stem: stem,
            content.metadata(fileType: recipe.fileType, quantizationVersion: 2),
            byteCounts: byteCounts, maximumBytes: settings.shardBytes)
        var plan = ExportPlan(files: [], tensors: [])
        for (number, part) in parts.enumerated() {
            let header = try GGUFFileHeader(
                part.metadata,
                part.tensors.map { index in
                    .init(
                        content.tensors[index].name, content.tensors[index].shape, type: drafts[index].type,
                        byteCount: byteCounts[index])
                })
            var file = ExportPlan.File(
                name: part.name, byteCount: header.fileBytes, constants: [(offset: 0, bytes: header.bytes)])
            for (index, offset) in zip(part.tensors, header.offsets) {
                let (tensor, draft) = (content.tensors[index], drafts[index])
                let place = header.byteCount + offset
                switch tensor.content {
                case .made(let bytes): file.constants.append((offset: place, bytes: bytes))
                case .stored(let stored, let order):
                    plan.tensors.append(
                        planned(
                            tensor, stored, order, draft,
                            .init(
                                entry: tensor.name, file: number, offset: place, rowBytes: draft.rowBytes(of: tensor)))
                    )
                }
            }
            plan.files.append(file)
        }
        return (plan, warnings)
    }

    /// How a tensor is written.
    private struct Draft {
        /// ggml's number of its type.
        let type: UInt32
        let encoding: RowEncoding
        /// Bytes of a row of stored bytes; nil for other encodings.
        let storedRowBytes: Int?

        func rowBytes(of tensor: GGUFTensorPlan) -> Int {
            storedRowBytes ?? encoding.rowBytes(columns: tensor.shape.columns).first ?? 0
        }

        func byteCount(of tensor: GGUFTensorPlan) -> UInt64 {
            UInt64(rowBytes(of: tensor)) * UInt64(max(1, tensor.shape.rows))
        }
    }

    private func planned(
        _ tensor: GGUFTensorPlan, _ parts: [GGUFTensorPlan.Part], _ order: RowOrder?, _ draft: Draft,
        _ stream: ExportPlan.Stream
    ) -> ExportPlan.Tensor {
        let shape = tensor.shape
        // The elements of a vector move like rows.
        let isMoved = order != nil && shape.dimensions.count <= 1
        let (rows, columns) = isMoved ? (shape.elementCount, 1) : (max(1, shape.rows), shape.columns)
        let width = isMoved ? stream.rowBytes / max(1, shape.elementCount) : stream.rowBytes
        let hasBlocks = if case .blocks = draft.encoding { true } else { false }
        return ExportPlan.Tensor(
            name: tensor.name, rows: rows, columns: columns, encoding: draft.encoding,
            sources: sources(of: parts, order, withInputs: hasBlocks),
            streams: [.init(entry: stream.entry, file: stream.file, offset: stream.offset, rowBytes: width)])
    }

    /// The rows of the checkpoint that a tensor is made of.
    private func sources(
        of parts: [GGUFTensorPlan.Part], _ order: RowOrder?, withInputs: Bool
    ) -> [ExportPlan.Source] {
        parts.flatMap { part -> [ExportPlan.Source] in
            guard let place = places[part.weights.name] else { return [] }
            let all = 0..<max(1, part.weights.shape.rows)
            let runs = withInputs ? moments?.inputs(of: part.weights.name, part.weights.shape) : nil
            return (runs ?? [(rows: all, input: nil)]).map { run in
                .init(
                    tensor: place, rows: run.rows, firstRow: part.firstRow + run.rows.lowerBound,
                    move: order.map { .toGGUF($0) } ?? .none, input: run.input)
            }
        }
    }

    /// A matrix whose type is open: one that is not kept, and that no override names.
    struct OpenMatrix: Sendable {
        /// The types that its rows fit, from the fewest bits on.
        let types: [BlockType]
        /// The same as encodings.
        let candidate: ExportErrors.Candidate
    }

    /// The matrices whose types are open, in the order of the file.
    ///
    /// - Throws: `unsupportedSource` for a matrix that another program quantized, and for rows that fit no type.
    func openMatrices() throws -> [OpenMatrix] {
        let hasOutput = model.hasOutput
        return try content.tensors.compactMap { tensor in
            guard case .stored(let parts, let order) = tensor.content, let source = tensor.sources.first,
                source.format != nil, !GGUFMix.isKept(tensor.name.text, tensor.shape), override(of: tensor) == nil
            else { return nil }
            try requireConsent(source)
            let columns = tensor.shape.columns
            guard columns % BlockType.q8_0.elements == 0 else {
                throw IngotError(
                    .unsupportedSource, file: source.file.path.string, tensor: source.name,
                    found: "rows of \(columns) weights", expected: "whole blocks of \(BlockType.q8_0.elements)",
                    remedy: "state a type for this tensor, such as F16")
            }
            let types: [BlockType] =
                columns % BlockType.q2_K.elements == 0
                ? [.q2_K, .q3_K, .iq4_xs, .q4_K, .q5_K, .q6_K, .q8_0] : [.q4_0, .iq4_nl, .q4_1, .q5_0, .q5_1, .q8_0]
            let isHead = tensor.role.kind == .head || tensor.role.kind == .embedding && !hasOutput
            return OpenMatrix(
                types: types,
                candidate: .init(
                    name: tensor.name, columns: columns, weights: tensor.elementCount,
                    sources: sources(of: parts, order, withInputs: true), isHead: isHead && tensor.role.layer == nil,
                    encodings: types.map { .blocks($0, settings.rounding) },
                    bytes: types.map { UInt64(tensor.elementCount / $0.elements * $0.bytes) }))
        }
    }

    private func override(of tensor: GGUFTensorPlan) -> GGUFSettings.Override? {
        settings.overrides.first { override in
            override.pattern.matches(tensor.name)
                || tensor.sources.first.map { override.pattern.matches($0.name) } == true
        }
    }

    private func requireConsent(_ source: StoredWeights) throws {
        guard settings.allowsRequantizing || !source.needsConsent else {
            throw IngotError(
                .unsupportedSource, file: source.file.path.string, tensor: source.name,
                found: "codes of another quantizer: \(source.encoding ?? source.quantized?.summary ?? "codes")",
                expected: "weights, or codes of the type that is written",
                remedy: .option(.requantize))
        }
    }

    private func draft(
        _ tensor: GGUFTensorPlan, _ mix: inout GGUFMix, _ warnings: inout [IngotWarning]
    ) throws -> Draft {
        guard let source = tensor.sources.first else {
            return Draft(type: GGUFRecipe.TensorType.float(.f32).number, encoding: .elements(.f32), storedRowBytes: nil)
        }
        let chosen = mix.type(of: tensor.name.text, tensor.shape)
        guard source.format != nil else {
            // Whole numbers stay; the counters of the mix have run along.
            guard let number = GGUFRecipe.number(of: source.elementType) else {
                throw IngotError(
                    .unsupportedSource, file: source.file.path.string, tensor: source.name,
                    found: "elements of type \(source.elementType.rawValue), which GGUF has no type for",
                    expected: "numbers that GGUF has a type for")
            }
            return Draft(
                type: number, encoding: .stored,
                storedRowBytes: tensor.shape.columns * source.elementType.byteWidth)
        }
        guard let chosen else { return kept(source) }
        let asked = override(of: tensor)?.type ?? chosen
        let type = try fitting(asked, tensor, source, &warnings)
        if let encoding = source.encoding, encoding == type.name, case .blocks(let own) = type {
            return Draft(
                type: type.number, encoding: .stored,
                storedRowBytes: tensor.shape.columns / own.elements * own.bytes)
        }
        switch type {
        case .float(let format): return Draft(type: type.number, encoding: .elements(format), storedRowBytes: nil)
        case .blocks(.mxfp4) where tensor.sources.allSatisfy({ $0.microscaling != nil }):
            return Draft(type: type.number, encoding: .sameMicroscaling(.blocks), storedRowBytes: nil)
        case .blocks(let own):
            try requireConsent(source)
            return Draft(type: type.number, encoding: .blocks(own, settings.rounding), storedRowBytes: nil)
        }
    }

    /// Vectors, norms and routers: F32, as llama.cpp's converter writes them; those of a GGUF source as they are.
    private func kept(_ source: StoredWeights) -> Draft {
        let format = checkpoint.formatName == "gguf" && source.encoding == nil ? source.format ?? .f32 : .f32
        return Draft(
            type: GGUFRecipe.TensorType.float(format).number, encoding: .elements(format), storedRowBytes: nil)
    }

    /// The type, or what is used where the rows are no whole blocks.
    private func fitting(
        _ type: GGUFRecipe.TensorType, _ tensor: GGUFTensorPlan, _ source: StoredWeights,
        _ warnings: inout [IngotWarning]
    ) throws -> GGUFRecipe.TensorType {
        let columns = tensor.shape.columns
        let used = GGUFMix.fallback(of: type, columns: columns)
        guard used != type else { return type }
        guard settings.allowsFallback else {
            throw IngotError(
                .unsupportedSource, file: source.file.path.string, tensor: source.name,
                found: "rows of \(columns) weights",
                expected: "whole blocks of \(type.elements), for type \(type.name)",
                remedy: .either("choose a type with smaller blocks", or: .option(.allowFallback)))
        }
        warnings.append(
            IngotWarning(
                file: source.file.path.string,
                "`\(source.name.text)` is \(used.name) instead of \(type.name): its rows of \(columns) weights are no whole "
                    + "blocks of \(type.elements)"))
        return used
    }

    /// A warning for two bits without knowledge of the activations.
    private func lossWarning(_ recipe: GGUFRecipe, _ drafts: [Draft]) -> IngotWarning? {
        guard moments == nil, drafts.contains(where: { $0.type == BlockType.q2_K.rawValue }) else { return nil }
        return IngotWarning(
            file: checkpoint.path.string,
            "\(recipe.rawValue) without a calibration: models whose activations differ much between columns lose nearly "
                + "all of their quality")
    }

    /// What the rules of a mix ask of the model, from its tensors.
    private var model: GGUFMix.Model {
        let tensors = content.tensors
        func rows(_ part: String) -> Int? {
            tensors.first { TensorName.hasSuffix($0.name.text, part) }?.shape.rows
        }
        let (queries, values) = (rows(".attn_q.weight"), rows(".attn_v.weight"))
        let experts = tensors.first { $0.shape.dimensions.count == 3 }?.shape.dimensions[0] ?? 0
        return GGUFMix.Model(
            layers: (tensors.compactMap(\.role.layer).max() ?? -1) + 1, heads: queries ?? 0, keyValueHeads: values ?? 0,
            experts: experts > 1 ? experts : 0,
            hasOutput: tensors.contains { $0.name.text == "output.weight" },
            valueTensors: tensors.count {
                ["attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight"].contains(where: $0.name.text.hasSuffix)
            })
    }
}

extension StoredWeights {
    /// Whether its codes should not be quantized again without the user's consent.
    var needsConsent: Bool {
        quantized?.needsConsent ?? (encoding.map { !["MXFP4", "NVFP4"].contains($0) } ?? false)
    }
}

extension GGUFRecipe {
    /// ggml's number of a type of whole or wide numbers; nil for a type that ggml does not have.
    static func number(of type: ElementType) -> UInt32? {
        switch type {
        case .i8: 24
        case .i16: 25
        case .i32: 26
        case .i64: 27
        case .f64: 28
        default: nil
        }
    }
}
