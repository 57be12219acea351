import TensorModel

/// Order of tensors and groups: names ascending, figures descending. Items without the figure come last. `error` is the relative error over
/// activations of calibrated tensors, and the relative MSE of others.
package enum TensorOrder: String, Sendable, Hashable, CaseIterable {
    case file, name, size, elements, bits, mean, std, absmax, kurtosis, outliers, zeros, nonfinite, entropy, error

    /// The figure to sort by; nil if it is missing, and for `file` and `name`.
    func figure(_ figures: TensorFigures) -> Double? {
        switch self {
        case .file, .name: nil
        case .size: Double(figures.bytes)
        case .elements: Double(figures.elements)
        case .bits: figures.bitsPerElement
        case .mean: figures.mean.map(abs)
        case .std: figures.standardDeviation
        case .absmax: figures.absoluteMaximum
        case .kurtosis: figures.kurtosis
        case .outliers: figures.count > 0 ? Double(figures.outliers) : nil
        case .zeros: figures.count > 0 ? Double(figures.zeros) : nil
        case .nonfinite: figures.count > 0 ? Double(figures.nan + figures.infinite) : nil
        case .entropy: figures.codeEntropy ?? figures.valueEntropy
        case .error: figures.relativeActivationError ?? figures.relativeMSE
        }
    }

    /// Sorts items and keeps the first `maximum`, or all if `maximum` is nil. Equal items keep their order.
    func ordered<Item: Named>(_ items: [Item], top maximum: Int?, _ figures: (Item) -> TensorFigures) -> [Item] {
        var places = Array(items.indices)
        switch self {
        case .file: break
        case .name: places.sort { items[$0].name == items[$1].name ? $0 < $1 : items[$0].name < items[$1].name }
        default:
            let keys = items.map { figure(figures($0)) ?? -.infinity }
            places.sort { keys[$0] == keys[$1] ? $0 < $1 : keys[$0] > keys[$1] }
        }
        return places.prefix(maximum ?? places.count).map { items[$0] }
    }
}

/// An item with a name to sort by.
protocol Named {
    var name: TensorName { get }
}

extension CheckpointReport.Tensor: Named {}
extension TensorGroup: Named {}
