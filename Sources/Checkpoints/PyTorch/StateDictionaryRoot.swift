import TensorModel

/// Chooses the dict of a PyTorch file that holds the weights of the model.
///
/// Training scripts store the state dict of the model beside that of the optimizer, the scheduler and more. Keys of the outermost dict
/// decide:
/// - `--key` names the dict.
/// - Entries named after an optimizer, a scheduler, a gradient scaler or a random number generator are left out.
/// - If one of the usual keys (`model`, `state_dict`, ...) leads to a dict with tensors, and no other entry may hold weights of the model,
///   that dict is taken. Tensors of rank 0 and 1 beside it are left out.
/// - If no usual key does, the outermost dict is the state dict.
/// - Everything else is ambiguous.
struct StateDictionaryRoot {
    /// The choice.
    struct Choice {
        /// Position in `PickleObjects.dictionaries`.
        let dictionary: Int
        /// Positions of pairs of the dict that are left out.
        var leftOut: Set<Int> = []
        /// Warnings about the choice, without the file's name.
        var remarks: [String] = []
    }

    private let objects: PickleObjects
    private let outer: Int
    private let place: UInt64
    private let limits: Limits

    /// Keys under which training scripts store the weights of the model.
    private static let usualKeys: Set<String> = [
        "state_dict", "model_state_dict", "model", "module", "model_state", "ema", "ema_state_dict", "ema_model",
        "model_ema",
        "state_dict_ema", "net", "network", "weights", "params",
    ]

    /// Words in the keys of training states that are no weights of the model. A key is divided at `_`, `.` and `-`.
    private static let trainingWords: Set<String> = [
        "optimizer", "optimizers", "optim", "optims", "opt", "scheduler", "schedulers", "sched", "rng", "scaler",
        "scalers",
    ]

    init(_ objects: PickleObjects, outer: Int, at place: UInt64, limits: Limits) {
        self.objects = objects
        self.outer = outer
        self.place = place
        self.limits = limits
    }

    /// Chooses the dict.
    ///
    /// - Parameter key: keys that lead to it, joined by `.`; `.` for the outermost one; nil for the rules above.
    /// - Throws: `unsupportedSource` if the key leads nowhere, or if the choice is ambiguous; `pickleInvalid` if dicts refer to each other
    ///   too often.
    func choose(_ key: String?) throws -> Choice {
        if let key { return Choice(dictionary: key == "." ? outer : try descend(by: key)) }
        var (usual, other, training): ([(String, Int)], [String], Set<Int>) = ([], [], [])
        var search = Search(limit: 4 * limits.tensorsPerFile, place: place)
        let pairs = objects.dictionaries[outer]
        for (index, pair) in pairs.enumerated() {
            let name = objects.keyText(pair.key) ?? ""
            switch pair.value {
            case .dictionary(let inner):
                if StateDictionaryRoot.isTrainingState(name) {
                    training.insert(index)
                } else if try search.findsTensors(inner, in: objects) {
                    if StateDictionaryRoot.usualKeys.contains(name) {
                        usual.append((name, inner))
                    } else {
                        other.append(name)
                    }
                }
            case .tensor(let tensor) where objects.tensors[tensor].shape.isMatrix: other.append(name)
            default: break
            }
        }
        guard let only = usual.first else { return whole(leavingOut: training) }
        guard usual.count == 1, other.isEmpty else { throw ambiguous(usual.map(\.0), other) }
        var choice = Choice(dictionary: only.1)
        let left = pairs.count - 1
        choice.remarks = [
            "the state dict is the one under `\(only.0)`"
                + (left == 0 ? "" : "; the other \(left) entries beside it are left out")
        ]
        return choice
    }

    /// The outermost dict, without the training states in it.
    private func whole(leavingOut training: Set<Int>) -> Choice {
        var choice = Choice(dictionary: outer, leftOut: training)
        if !training.isEmpty {
            let names = training.sorted().compactMap { objects.keyText(objects.dictionaries[outer][$0].key) }
            choice.remarks = ["training states are left out: \(listed(names))"]
        }
        return choice
    }

    /// Whether a key names a state of the training that is no weight of the model.
    private static func isTrainingState(_ key: String) -> Bool {
        key.utf8.split { $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }.contains {
            trainingWords.contains(String(Substring($0)).lowercased())
        }
    }

    private func ambiguous(_ usual: [String], _ other: [String]) -> IngotError {
        IngotError(
            .unsupportedSource, offset: place,
            found: "weights under more than one key: \(listed(usual + other))",
            expected: "one state dict", remedy: .option(.chooseKey(usual + ["."])))
    }

    /// At most eight names, for messages.
    private func listed(_ names: [String]) -> String {
        names.prefix(8).map { "`\($0.prefix(40))`" }.joined(separator: ", ") + (names.count > 8 ? ", ..." : "")
    }

    // MARK: - By key

    /// The dict that a path of keys leads to. A key may hold dots itself, so the longest matching key is taken.
    private func descend(by path: String) throws -> Int {
        var parts = path.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)[...]
        var dictionary = outer
        while !parts.isEmpty {
            let found = (1...parts.count).reversed().lazy.compactMap { count -> (Int, Int)? in
                let key = String(decoding: Array(parts.prefix(count).joined(separator: ".".utf8)), as: UTF8.self)
                return member(of: dictionary, key).map { ($0, count) }
            }.first
            guard let (next, count) = found else {
                let key = String(decoding: Array(parts.joined(separator: ".".utf8)), as: UTF8.self)
                throw IngotError(
                    .unsupportedSource, offset: place, found: "no dict under the key `\(key.prefix(80))`",
                    expected: "keys of dicts, joined by `.`; here: \(dictionaryKeys(of: dictionary))",
                    remedy: "give one of these")
            }
            dictionary = next
            parts = parts.dropFirst(count)
        }
        return dictionary
    }

    private func member(of dictionary: Int, _ key: String) -> Int? {
        let pair = objects.dictionaries[dictionary].first { pair in
            objects.keyText(pair.key).map { $0.utf8.elementsEqual(key.utf8) } ?? false
        }
        if case .dictionary(let index) = pair?.value { return index }
        return nil
    }

    /// The first few keys of a dict that lead to dicts, for messages.
    private func dictionaryKeys(of dictionary: Int) -> String {
        let keys = objects.dictionaries[dictionary].lazy.compactMap { pair -> String? in
            guard case .dictionary = pair.value else { return nil }
            return objects.keyText(pair.key)
        }
        return keys.isEmpty ? "none" : listed(Array(keys.prefix(9)))
    }

    /// A search for tensors in dicts. It counts its steps, because memo entries let a small pickle refer to one dict very often.
    private struct Search {
        let limit: Int
        let place: UInt64
        var steps = 0

        /// Whether a dict or one inside it holds a tensor.
        mutating func findsTensors(_ dictionary: Int, in objects: PickleObjects) throws -> Bool {
            var waiting = [dictionary]
            var seen: Set<Int> = [dictionary]
            while let next = waiting.popLast() {
                for pair in objects.dictionaries[next] {
                    steps += 1
                    guard steps <= limit else {
                        throw IngotError(
                            .pickleInvalid, offset: place,
                            found: "dictionaries that contain each other more than \(limit) times",
                            expected: "a state dict without cycles or repeated nesting")
                    }
                    switch pair.value {
                    case .tensor: return true
                    case .dictionary(let inner): if seen.insert(inner).inserted { waiting.append(inner) }
                    default: break
                    }
                }
            }
            return false
        }
    }
}

extension PickleObjects {
    /// A key as part of a name: a text, or the digits of an integer; nil for other keys.
    func keyText(_ key: PickleValue) -> String? {
        if case .int(let number) = key { return String(number) }
        return text(key)
    }
}
