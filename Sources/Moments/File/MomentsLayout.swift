package import Architectures
import Checkpoints
import TensorModel

/// The inputs of a file of moments: what each has in the file, and in which order.
package struct MomentsLayout: Sendable, Hashable {
    /// An input and its columns.
    package struct Input: Sendable, Hashable {
        /// The input.
        package let input: LinearInput
        /// Its columns: elements of an activation, 1 or more.
        package let columns: Int

        /// Makes an entry.
        package init(_ input: LinearInput, columns: Int) {
            self.input = input
            self.columns = columns
        }
    }

    /// Columns of an input at most. A model's largest layer has about a hundredth of that.
    package static let maximumColumns = 1 << 24

    /// The inputs in their order (`LinearInput`), each once.
    package let inputs: [Input]
    /// For each group, the places of its inputs in `inputs`. A group is a layer, or the head. An unfinished file goes on behind a group.
    package let groups: [Range<Int>]
    /// The gradients, which stand behind all inputs as one group more; nil if the file has none.
    package let gradients: GradientsLayout?

    /// Makes a layout of inputs in any order.
    ///
    /// - Throws: `momentsInvalid` if there is none, one occurs twice, or one has no column or more than `maximumColumns`.
    package init(_ inputs: [Input], gradients: GradientsLayout? = nil) throws {
        guard !inputs.isEmpty else {
            throw IngotError(.momentsInvalid, found: "no input of a linear layer", expected: "one or more")
        }
        self.inputs = inputs.sorted { $0.input < $1.input }
        for entry in inputs where !(1...MomentsLayout.maximumColumns).contains(entry.columns) {
            throw IngotError(
                .momentsInvalid, tensor: TensorName(entry.input.text), found: "\(entry.columns) columns",
                expected: "1 to \(MomentsLayout.maximumColumns)")
        }
        for (first, second) in zip(self.inputs, self.inputs.dropFirst()) where first.input == second.input {
            throw IngotError(.momentsInvalid, tensor: TensorName(first.input.text), found: "the input a second time")
        }
        var groups: [Range<Int>] = []
        for (place, entry) in self.inputs.enumerated() {
            if let last = groups.last, self.inputs[last.lowerBound].input.layer == entry.input.layer {
                groups[groups.count - 1] = last.lowerBound..<place + 1
            } else {
                groups.append(place..<place + 1)
            }
        }
        self.groups = groups
        self.gradients = gradients
    }

    /// Number of groups, that of the gradients among them.
    var groupCount: Int { groups.count + (gradients == nil ? 0 : 1) }
}

/// The tensors of an input in a file of moments, in their order (Specs/moments.md).
enum MomentTensor: String, Sendable, CaseIterable {
    /// U64, halves: tokens of each half.
    case tokens
    /// F64, halves: the weights of each half's tokens, added up.
    case weights
    /// F64, one number: the shrinkage.
    case shrinkage
    /// F32, halves x columns: the diagonal of each half's moments.
    case diagonals
    /// F32: upper triangles of the merged moments' blocks.
    case moments

    /// Its name for an input.
    func name(of input: LinearInput) -> TensorName { TensorName("\(input.text).\(rawValue)") }

    /// Type and shape; nil if the shape has too many elements.
    func form(_ layout: BlockLayout, halves: Int) -> (type: ElementType, shape: Shape)? {
        let form: (ElementType, [Int])? =
            switch self {
            case .moments: layout.triangleCount.map { (.f32, [$0]) }
            case .diagonals: (.f32, [halves, layout.columns])
            case .tokens: (.u64, [halves])
            case .weights: (.f64, [halves])
            case .shrinkage: (.f64, [1])
            }
        guard let form, let shape = Shape(form.1) else { return nil }
        return (form.0, shape)
    }

    /// Reads the name of a tensor; nil for any other name.
    static func read(_ name: TensorName) -> (input: LinearInput, tensor: MomentTensor)? {
        guard let dot = name.text.utf8.lastIndex(of: UInt8(ascii: ".")) else { return nil }
        let last = String(Substring(name.text.utf8[name.text.utf8.index(after: dot)...]))
        guard let tensor = MomentTensor(rawValue: last),
            let input = LinearInput(text: String(Substring(name.text.utf8[..<dot])))
        else { return nil }
        return (input, tensor)
    }
}
