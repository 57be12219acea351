import FileAccess
import SystemPackage
import TensorModel

/// States of all tokens between two layers, group by group: in memory, or in a scratch file.
struct StateStore: ~Copyable {
    private var groups: [[Float]?]
    private let file: ScratchFile?
    private let usesFile: Bool
    private let tokens: [Int], width: Int

    /// A store for groups of tokens.
    ///
    /// - Parameters:
    ///   - tokens: number of tokens of each group.
    ///   - scratch: the directory of a scratch file; nil keeps the states in memory.
    init(tokens: [Int], width: Int, scratch: FilePath?) throws {
        self.tokens = tokens
        self.width = width
        groups = [[Float]?](repeating: nil, count: tokens.count)
        usesFile = scratch != nil
        if let scratch {
            file = try ScratchFile(in: scratch)
        } else {
            file = nil
        }
    }

    private func start(_ group: Int) -> Int { tokens[..<group].reduce(0, +) * width }

    /// Stores the states of a group.
    mutating func store(_ states: consuming TokenStates, _ group: Int) throws {
        if usesFile {
            try file?.write(states.values, at: start(group))
        } else {
            groups[group] = states.values
        }
    }

    /// Takes the states of a group, which are then no longer in memory.
    mutating func take(_ group: Int) throws -> TokenStates {
        let count = tokens[group]
        if usesFile, let values = try file?.read(count * width, at: start(group)) {
            return TokenStates(tokens: count, width: width, values: values)
        }
        guard let values = groups[group] else { preconditionFailure("states are stored before they are taken") }
        groups[group] = nil
        return TokenStates(tokens: count, width: width, values: values)
    }
}
