package import TensorModel

extension Remedy {
    /// Whether the remedy includes an option.
    package func includes(_ step: Option) -> Bool {
        switch self {
        case .text: false
        case .option(let option): option == step
        case .either(let first, or: let second), .both(let first, let second):
            first.includes(step) || second.includes(step)
        }
    }
}
