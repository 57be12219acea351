package import Architectures
package import TensorModel
package import Weights

/// A tensor of a GGUF file to be written: its name and shape, and where its rows come from. The type of its elements is open.
package struct GGUFTensorPlan: Sendable {
    /// Rows that follow each other.
    package struct Part: Sendable {
        /// The tensor that has them.
        package let weights: StoredWeights
        /// The number of the first of them in the GGUF tensor, seen as a matrix whose columns are the last dimension.
        package let firstRow: Int
    }

    /// Where the elements come from.
    package enum Content: Sendable {
        /// Rows of the checkpoint: one part, or one for each expert, in the order of their numbers. Row `r` of the GGUF tensor is row
        /// `order.place(ofSource: r)` of the stored one; without an order it is the same row. Tensors of several parts have no order.
        case stored([Part], order: RowOrder?)
        /// Binary32 numbers that no tensor of the checkpoint has, as bytes. They are written as type F32.
        case made([UInt8])
    }

    /// The name in the GGUF file.
    package let name: TensorName
    /// The dimensions, the slowest varying first.
    package let shape: Shape
    /// Where the elements come from.
    package let content: Content
    /// The kind of the tensor and its layer: `.embedding`, `.head`, `.attentionValue`, `.down` and so on.
    package let role: TensorRole

    init(_ name: TensorName, _ shape: Shape, _ content: Content) {
        (self.name, self.shape, self.content) = (name, shape, content)
        role = TensorRole(name)
    }

    /// A tensor of one part.
    init(_ name: TensorName, _ weights: StoredWeights, order: RowOrder? = nil) {
        self.init(name, weights.shape, .stored([Part(weights: weights, firstRow: 0)], order: order))
    }

    /// Number of elements.
    package var elementCount: Int { shape.elementCount }

    /// The tensors of the checkpoint that it is made of.
    package var sources: [StoredWeights] {
        if case .stored(let parts, _) = content { parts.map(\.weights) } else { [] }
    }

    /// Whether `a` stands before `b` in a file: first the tensors outside of layers, then layer by layer, and each by the bytes of its name.
    /// llama-quantize writes this order.
    static func isBefore(_ a: GGUFTensorPlan, _ b: GGUFTensorPlan) -> Bool {
        let (first, second) = (layer(a.name), layer(b.name))
        return first == second ? a.name < b.name : first < second
    }

    /// The number after `blk.`; -1 for other names.
    private static func layer(_ name: TensorName) -> Int {
        let parts = name.text.utf8.split(separator: UInt8(ascii: "."), maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0].elementsEqual("blk".utf8), !parts[1].isEmpty,
            parts[1].allSatisfy({ (0x30...0x39).contains($0) })
        else { return -1 }
        return Int(String(decoding: parts[1], as: UTF8.self)) ?? -1
    }
}
