import Checkpoints
package import TensorModel

/// Which tensors of two checkpoints are the same, where one has the names of GGUF and the other those of Hugging Face.
///
/// Names are matched by `HuggingFaceNames`. The rows of query and key projections are in another order in GGUF files of architecture `llama`
/// (`RowOrder`). A tensor with the matrices of all experts matches the matrices of the experts.
package struct NameCorrespondence: Sendable {
    /// The names of a checkpoint.
    package enum Names: String, Sendable, Hashable {
        case gguf, huggingFace = "huggingface"
    }

    /// A tensor of the first checkpoint, and the rows of the second one that are the same.
    package struct Match: Sendable {
        /// The tensor of the first checkpoint.
        package let own: StoredWeights
        /// Rows of the second checkpoint, one below the other in the order of `own`; there is at least one part.
        package let parts: [TensorRows]
        /// Why they cannot be compared, such as `the shape 4x8, in the source 8x4`; nil if they can.
        package let obstacle: String?
        /// The number of the expert, if one of both tensors has several experts and the other this one; 0 otherwise.
        package let expert: Int

        init(_ own: StoredWeights, _ parts: [TensorRows], expert: Int = 0, obstacle: String? = nil) {
            (self.own, self.parts, self.expert, self.obstacle) = (own, parts, expert, obstacle)
        }
    }

    /// A tensor that only one checkpoint stores, and whose content the other one states otherwise or does not need.
    package struct Apart: Sendable {
        /// The tensor, and whether it is in the first checkpoint.
        package let tensor: StoredWeights, isOwn: Bool
        /// What is known about it, in words.
        package let reason: String
        /// Whether its content contradicts what the other checkpoint states.
        package let contradicts: Bool
    }

    /// The names of the first checkpoint; the second one has the others.
    package let names: Names
    /// The matches of tensors of the first checkpoint.
    package private(set) var matches: [Match] = []
    /// Output matrices of the second checkpoint that stand for the embedding of the first one.
    package private(set) var outputs: [Match] = []
    /// Tensors of the first checkpoint that have no match, and those of the second one.
    package private(set) var added: [StoredWeights] = [], missing: [StoredWeights] = []
    /// Tensors that only one of both stores.
    package private(set) var apart: [Apart] = []

    /// What is known about the names of two checkpoints.
    package enum Finding: Sendable {
        /// Both have names of one kind, or of none that is known: tensors of the same name match.
        case alike
        /// They have names of both kinds.
        case matched(NameCorrespondence)
        /// They have names of both kinds, but the order of rows is not known: why.
        case unknown(String)
    }

    /// Matches two checkpoints.
    ///
    /// - Throws: errors of reading; `sealInvalid` for a damaged tensor of factors of rotary frequencies.
    package static func find(_ own: OpenedCheckpoint, _ source: OpenedCheckpoint) throws -> Finding {
        guard let first = Names(own.tensors), let second = Names(source.tensors), first != second else {
            return .alike
        }
        let (gguf, plain) = first == .gguf ? (own, source) : (source, own)
        guard let metadata = try GGUFDecoder.metadata(of: gguf) else {
            return .unknown("the checkpoint with llama.cpp's names has no GGUF metadata")
        }
        guard let heads = try Heads(metadata) else {
            return .unknown(try Heads.reasonUnknown(metadata))
        }
        return .matched(
            try NameCorrespondence(own, source, first, heads, StatedConfiguration(of: plain)))
    }

    /// Numbers of heads whose rows are interleaved; none if the rows are as in Hugging Face checkpoints.
    private struct Heads {
        var queries: Int?, keys: Int?

        /// Reads the metadata; nil if they state no model of a family whose order of rows is known.
        init?(_ metadata: GGUFMetadataReader) throws {
            guard let family = try GGUFDecoder.family(metadata) else { return nil }
            guard family != .qwen2 else { return }
            guard let all = try metadata.unsigned("llama.attention.head_count"), all > 0 else { return nil }
            queries = Int(clamping: all)
            keys = try metadata.unsigned("llama.attention.head_count_kv").map { Int(clamping: $0) }
            if keys == nil, metadata.has("llama.attention.head_count_kv") { return nil }
            keys = keys ?? queries
        }

        static func reasonUnknown(_ metadata: GGUFMetadataReader) throws -> String {
            guard try GGUFDecoder.family(metadata) == nil else {
                return "the GGUF metadata state no number of heads for all layers alike"
            }
            return "the GGUF metadata tell no order of rows: \(try GGUFDecoder.reasonUnknown(metadata))"
        }
    }

    // MARK: - Matching

    private init(
        _ own: OpenedCheckpoint, _ source: OpenedCheckpoint, _ names: Names, _ heads: Heads,
        _ stated: StatedConfiguration?
    ) throws {
        self.names = names
        let others = Dictionary(source.tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        // How many of the experts in a tensor of the source match.
        var experts: [TensorName: Int] = [:]
        var used: Set<TensorName> = []
        for tensor in own.tensors {
            let match =
                names == .gguf
                ? NameCorrespondence.ofGGUF(tensor, others, heads)
                : NameCorrespondence.ofHuggingFace(tensor, others, heads)
            guard let match else {
                added.append(tensor)
                continue
            }
            matches.append(match)
            used.formUnion(match.parts.map(\.tensor.name))
            if let part = match.parts.first, match.parts.count == 1, part.tensor.shape.dimensions.count == 3,
                tensor.shape.dimensions.count == 2
            {
                experts[part.tensor.name, default: 0] += 1
            }
        }
        missing = source.tensors.filter { tensor in
            guard used.contains(tensor.name) else { return true }
            return experts[tensor.name].map { $0 < tensor.shape.dimensions[0] } ?? false
        }
        matchOutput(others)
        try setApart(own, source, stated)
    }

    /// The match of a tensor of a GGUF file; nil if the source has none of its name.
    private static func ofGGUF(
        _ tensor: StoredWeights, _ others: [TensorName: StoredWeights], _ heads: Heads
    ) -> Match? {
        switch HuggingFaceNames.meaning(tensor.name) {
        case .tensor(let name, let module):
            guard let other = others[name] else { return nil }
            return whole(tensor, other, module, heads) { .asInGGUF($0) }
        case .experts(let before, let after):
            func expert(_ number: Int) -> StoredWeights? { others[TensorName("\(before)\(number)\(after)")] }
            guard let first = expert(0) else { return nil }
            let dimensions = tensor.shape.dimensions
            guard dimensions.count == 3, tensor.shape.elementCount > 0 else {
                return Match(tensor, [TensorRows(first)], obstacle: "a shape without experts, \(tensor.shape)")
            }
            let found = (0..<dimensions[0]).compactMap(expert)
            let parts = found.map { TensorRows($0) }
            guard found.count == dimensions[0] else {
                return Match(tensor, parts, obstacle: "\(dimensions[0]) experts, in the source \(found.count)")
            }
            if let other = found.first(where: { $0.shape.dimensions != Array(dimensions.dropFirst()) }) {
                return Match(
                    tensor, parts, obstacle: "the shape \(tensor.shape), in the source \(other.shape) of an expert")
            }
            return Match(tensor, parts)
        case nil: return nil
        }
    }

    /// The match of a tensor of a Hugging Face checkpoint; nil if the source has none of its name.
    private static func ofHuggingFace(
        _ tensor: StoredWeights, _ others: [TensorName: StoredWeights], _ heads: Heads
    ) -> Match? {
        switch HuggingFaceNames.place(tensor.name) {
        case .tensor(let name, let module):
            guard let other = others[name] else { return nil }
            return whole(tensor, other, module, heads) { .asInHuggingFace($0) }
        case .expert(let name, let number):
            guard let other = others[name] else { return nil }
            let dimensions = other.shape.dimensions
            guard dimensions.count == 3, Array(dimensions.dropFirst()) == tensor.shape.dimensions,
                number < dimensions[0]
            else {
                return Match(
                    tensor, [TensorRows(other)], expert: number,
                    obstacle: "the shape \(tensor.shape) of expert \(number), in the source \(other.shape)")
            }
            let rows = tensor.shape.rows
            return Match(tensor, [TensorRows(other, row: number * rows, rows: rows)], expert: number)
        case nil: return nil
        }
    }

    /// The match of two whole tensors.
    private static func whole(
        _ tensor: StoredWeights, _ other: StoredWeights, _ module: String, _ heads: Heads,
        _ arrangement: (RowOrder) -> RowArrangement
    ) -> Match {
        guard tensor.shape == other.shape else {
            return Match(
                tensor, [TensorRows(other)], obstacle: "the shape \(tensor.shape), in the source \(other.shape)")
        }
        let interleaved: [String: Int?] = ["attn_q": heads.queries, "attn_k": heads.keys]
        guard let heads = interleaved[module] ?? nil, tensor.shape.elementCount > 0 else {
            return Match(tensor, [TensorRows(other)])
        }
        // A bias has a row per element.
        guard tensor.shape.dimensions.count <= 2, let rows = tensor.shape.dimensions.first,
            let order = RowOrder(rows: rows, heads: heads), order.headRows <= RowArrangement.maximumHeadRows
        else {
            return Match(
                tensor, [TensorRows(other)], obstacle: "a projection of shape \(tensor.shape) for \(heads) heads")
        }
        return Match(tensor, [TensorRows(other, arrangement(order))])
    }

    // MARK: - Tensors of one checkpoint only

    private static let output = TensorName("output.weight"), head = TensorName("lm_head.weight")
    private static let tokens = TensorName("model.embed_tokens.weight")
    /// Frequencies that old Hugging Face checkpoints store in each layer.
    private static let frequencies = ".rotary_emb.inv_freq"

    /// Matches the output matrix of a GGUF file with the embedding, if the Hugging Face checkpoint has no output matrix.
    private mutating func matchOutput(_ others: [TensorName: StoredWeights]) {
        switch names {
        case .gguf:
            guard let index = added.firstIndex(where: { $0.name == NameCorrespondence.output }),
                let tokens = others[NameCorrespondence.tokens], tokens.shape == added[index].shape
            else { return }
            matches.append(Match(added[index], [TensorRows(tokens)]))
            added.remove(at: index)
        case .huggingFace:
            guard let index = missing.firstIndex(where: { $0.name == NameCorrespondence.output }),
                let tokens = matches.first(where: { $0.own.name == NameCorrespondence.tokens })?.own,
                tokens.shape == missing[index].shape
            else { return }
            outputs.append(Match(tokens, [TensorRows(missing[index])]))
            missing.remove(at: index)
        }
    }

    /// Sets tensors apart that only one checkpoint stores for a good reason.
    private mutating func setApart(
        _ own: OpenedCheckpoint, _ source: OpenedCheckpoint, _ stated: StatedConfiguration?
    ) throws {
        var apart: [Apart] = []
        func isTied(_ tensor: StoredWeights) -> Bool {
            tensor.name == NameCorrespondence.head && stated?.tiesEmbeddings == true
        }
        for isOwn in [true, false] {
            for tensor in isOwn ? added : missing {
                if tensor.name == GGUFDecoder.frequencyFactors {
                    try (isOwn ? own : source).checkKept { $0 == tensor.name }
                    let (reason, contradicts) = try NameCorrespondence.compare(factors: tensor, stated)
                    apart.append(Apart(tensor: tensor, isOwn: isOwn, reason: reason, contradicts: contradicts))
                } else if isTied(tensor) {
                    apart.append(
                        Apart(
                            tensor: tensor, isOwn: isOwn,
                            reason: "not compared: config.json ties it to the embedding, so it is not used",
                            contradicts: false))
                } else if tensor.name.text.hasSuffix(NameCorrespondence.frequencies) {
                    apart.append(
                        Apart(
                            tensor: tensor, isOwn: isOwn,
                            reason: "not compared: rotary frequencies, which a GGUF file states in its metadata",
                            contradicts: false))
                }
            }
        }
        let found = Set(apart.map(\.tensor.name))
        added.removeAll { found.contains($0.name) }
        missing.removeAll { found.contains($0.name) }
        self.apart = apart
    }

    /// Compares factors of the rotary frequencies with the scaling of a `config.json`.
    private static func compare(
        factors tensor: StoredWeights, _ stated: StatedConfiguration?
    ) throws -> (reason: String, contradicts: Bool) {
        guard let stated else { return ("not compared: the other checkpoint has no config.json that states it", false) }
        switch stated.scaling {
        case .none: return ("factors of the rotary frequencies, which config.json does not scale", true)
        case .other(let kind): return ("not compared: config.json scales rotary frequencies by \(kind)", false)
        case .factors(let scaling):
            guard let factors = try GGUFDecoder.floats(tensor) else {
                return ("not compared: factors of type \(tensor.elementType.rawValue)", false)
            }
            guard let index = scaling.firstOther(in: factors, base: stated.ropeBase) else {
                return ("as the rope scaling of config.json states it", false)
            }
            return ("the factor \(factors[index]) of rotary frequency \(index), which config.json does not state", true)
        }
    }
}

extension NameCorrespondence.Names {
    /// The names of a list of tensors; nil if none is known, or if there are both kinds.
    fileprivate init?(_ tensors: [StoredWeights]) {
        let hasGGUF = tensors.contains { HuggingFaceNames.meaning($0.name) != nil }
        let hasHuggingFace = tensors.contains { HuggingFaceNames.place($0.name) != nil }
        guard hasGGUF != hasHuggingFace else { return nil }
        self = hasGGUF ? .gguf : .huggingFace
    }

    /// The names in words.
    package var text: String {
        switch self {
        case .gguf: "llama.cpp's"
        case .huggingFace: "Hugging Face's"
        }
    }

    /// The other names.
    package var other: Self { self == .gguf ? .huggingFace : .gguf }
}
