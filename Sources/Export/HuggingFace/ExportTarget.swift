import TensorModel
import Weights

/// What an export makes of a tensor.
struct ExportTarget: Sendable {
    /// A tensor of the output.
    struct Part: Sendable {
        let name: TensorName
        let shape: Shape
    }

    /// The tensors of the output whose rows follow each other in the source tensor; none if the export leaves it out.
    var parts: [Part]
    /// The order of the rows; nil for that of the source.
    var order: RowOrder?

    /// The tensor as it is.
    init(_ name: TensorName, _ shape: Shape) { parts = [Part(name: name, shape: shape)] }

    /// The tensor as these parts.
    init(_ parts: [Part], _ order: RowOrder? = nil) { (self.parts, self.order) = (parts, order) }
}
