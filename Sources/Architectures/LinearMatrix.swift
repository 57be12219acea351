package import TensorModel

/// A matrix of a linear layer: one that has gradients in a file of moments. Routers are none.
///
/// The same matrix has the same value, whether its name is that of Hugging Face or of llama.cpp. A fused projection is a matrix of its own
/// kind, whose rows are those of its `parts`.
package struct LinearMatrix: Sendable, Hashable {
    /// The number of the layer; nil for the head.
    package let layer: Int?
    /// The kind: `head`, or one of `kinds`.
    package let kind: TensorRole.Kind
    /// The number of the expert; nil if all tokens pass.
    package let expert: Int?

    /// The kinds of matrices in a layer, in the order in which data passes through them.
    package static let kinds: [TensorRole.Kind] = [
        .attentionQuery, .attentionKey, .attentionValue, .attentionFused, .attentionOutput, .gate, .up, .gateUp, .down,
    ]

    /// Whether each expert can have a matrix of a kind.
    private static func hasExperts(_ kind: TensorRole.Kind) -> Bool { [.gate, .up, .gateUp, .down].contains(kind) }

    /// A matrix in a layer. Nil for a negative number, for another kind than `kinds`, and for an expert's matrix of a kind that experts do not
    /// have.
    package init?(layer: Int, _ kind: TensorRole.Kind, expert: Int? = nil) {
        guard layer >= 0, LinearMatrix.kinds.contains(kind), (expert ?? 0) >= 0,
            expert == nil || LinearMatrix.hasExperts(kind)
        else { return nil }
        (self.layer, self.kind, self.expert) = (layer, kind, expert)
    }

    private init() { (layer, kind, expert) = (nil, .head, nil) }

    /// The output head.
    package static let head = LinearMatrix()

    /// The matrix of a tensor, by its name (`TensorInputs` has the rules); nil for tensors that are no linear layer of a decoder.
    ///
    /// - Parameter expert: which matrix of a tensor that holds one per expert; it counts for such tensors alone.
    package init?(_ name: TensorName, expert: Int = 0) {
        guard let inputs = TensorInputs(name), let input = inputs.input(ofExpert: expert) else { return nil }
        guard let layer = input.layer else {
            self = .head
            return
        }
        self.init(layer: layer, TensorRole(name).kind, expert: input.expert)
    }

    /// The matrices whose rows a fused projection has, one after the other; empty for other kinds.
    package var parts: [LinearMatrix] {
        let kinds: [TensorRole.Kind] =
            switch kind {
            case .attentionFused: [.attentionQuery, .attentionKey, .attentionValue]
            case .gateUp: [.gate, .up]
            default: []
            }
        guard let layer else { return [] }
        return kinds.compactMap { LinearMatrix(layer: layer, $0, expert: expert) }
    }
}

extension LinearMatrix: Comparable {
    /// Whether data passes through `a` before `b`: by layer, kind and expert; the head comes last.
    package static func < (a: LinearMatrix, b: LinearMatrix) -> Bool {
        (a.layer ?? .max, a.kind, a.expert ?? -1) < (b.layer ?? .max, b.kind, b.expert ?? -1)
    }
}

// MARK: - Text

extension LinearMatrix: CustomStringConvertible {
    /// The matrix as text, the same for ever: `layers.3.attn_q`, `layers.3.experts.2.ffn_down`, `head`.
    package var text: String {
        guard let layer else { return kind.rawValue }
        return "layers.\(layer)." + (expert.map { "experts.\($0)." } ?? "") + kind.rawValue
    }

    /// The same as `text`.
    package var description: String { text }

    /// Reads a text; nil for any that `text` never gives.
    package init?(text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map {
            String(Substring($0))
        }
        guard let last = parts.last, let kind = TensorRole.Kind(rawValue: last) else { return nil }
        if kind == .head, parts.count == 1 {
            self = .head
            return
        }
        guard parts.count == 3 || parts.count == 5 && parts[2] == "experts", parts[0] == "layers",
            let layer = TensorRole.number(parts[1])
        else { return nil }
        let expert = parts.count == 5 ? TensorRole.number(parts[3]) : nil
        guard parts.count == 3 || expert != nil, let matrix = LinearMatrix(layer: layer, kind, expert: expert),
            TensorName(matrix.text) == TensorName(text)
        else { return nil }
        self = matrix
    }
}
