import TensorModel

/// The named tensors of a state dict, in its order, found among the objects of a pickle.
struct StateDictionary {
    /// A tensor and its name.
    struct Entry {
        let name: TensorName
        /// Position in `PickleObjects.tensors`.
        let tensor: Int
    }

    /// The tensors, in the order of the dict.
    private(set) var entries: [Entry] = []
    /// Warnings about what was left out or chosen, without the file's name.
    private(set) var remarks: [String] = []

    private let objects: PickleObjects
    private let limits: Limits
    private let place: UInt64
    private var names = NameTable()
    private var leafCount = 0
    /// Number of tensors that are in lists, or under keys that cannot be names.
    private var hiddenTensors = 0
    private var visits = 0
    /// Bytes of all names together.
    private var nameBytes: UInt64 = 0
    /// Containers that were left out. Each is searched once.
    private var leftOut: Set<PickleValue> = []

    /// The keys under which training scripts store the state dict of the model, beside other things.
    private static let usualKeys = ["state_dict", "model_state_dict", "model"]
    private static let maximumDepth = 256

    /// Finds the tensors.
    ///
    /// A tensor's name joins its key and the keys of the dicts around it by `.`. If the outer dict has no tensors of its own, and exactly
    /// one of `state_dict`, `model_state_dict` and `model` is a dict with tensors, only that dict is read.
    ///
    /// - Parameters:
    ///   - key: the keys of the dict to read, joined by `.`; nil for the rule above.
    ///   - place: offset of the pickle in the file, for messages.
    init(_ objects: PickleObjects, key: String?, at place: UInt64, limits: Limits) throws {
        self.objects = objects
        self.limits = limits
        self.place = place
        guard case .dictionary(let outer) = objects.result else {
            throw IngotError(
                .unsupportedSource, offset: place, found: "a pickle of \(objects.result.kind)",
                expected: "a state dict: names with tensors", remedy: PyTorchRemedy.name)
        }
        try walk(try root(outer, key))
        if leafCount > 0 { remarks.append("\(leafCount) entries that are no tensors are left out") }
        if hiddenTensors > 0 {
            remarks.append("\(hiddenTensors) tensors in lists, or under keys that are no names, are left out")
        }
    }

    // MARK: - Choice of the dict

    private mutating func root(_ outer: Int, _ key: String?) throws -> Int {
        if let key { return try descend(from: outer, by: key) }
        let holdsTensors = objects.dictionaries[outer].contains { if case .tensor = $0.value { true } else { false } }
        guard !holdsTensors else { return outer }
        let found = try StateDictionary.usualKeys.compactMap { key in
            try member(of: outer, key).flatMap { try hasTensors($0) ? (key, $0) : nil }
        }
        guard found.count == 1, let only = found.first else { return outer }
        let others = objects.dictionaries[outer].count - 1
        let rest = others == 0 ? "" : "; the other \(others) entries beside it are left out"
        remarks.append("the state dict is the one under `\(only.0)`\(rest)")
        return only.1
    }

    /// The dict that a path of keys leads to. A key may hold dots itself, so the longest matching key is taken.
    private func descend(from outer: Int, by path: String) throws -> Int {
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
            text(of: pair.key).map { $0.utf8.elementsEqual(key.utf8) } ?? false
        }
        if case .dictionary(let index) = pair?.value { return index }
        return nil
    }

    /// A key as part of a name: a text, or the digits of an integer; nil for other keys.
    private func text(of key: PickleValue) -> String? {
        if case .int(let number) = key { return String(number) }
        return objects.text(key)
    }

    /// The first few keys of a dict that lead to dicts, for messages.
    private func dictionaryKeys(of dictionary: Int) -> String {
        let keys = objects.dictionaries[dictionary].lazy.compactMap { pair -> String? in
            guard case .dictionary = pair.value else { return nil }
            return text(of: pair.key).map { "`\($0.prefix(40))`" }
        }
        let first = keys.prefix(8)
        return first.isEmpty ? "none" : first.joined(separator: ", ")
    }

    /// Whether a dict or one inside it holds a tensor.
    private mutating func hasTensors(_ dictionary: Int) throws -> Bool {
        var waiting = [dictionary]
        var seen: Set<Int> = [dictionary]
        while let next = waiting.popLast() {
            for pair in objects.dictionaries[next] {
                try visit()
                switch pair.value {
                case .tensor: return true
                case .dictionary(let inner): if seen.insert(inner).inserted { waiting.append(inner) }
                default: break
                }
            }
        }
        return false
    }

    // MARK: - Tensors

    /// Counts steps instead of objects, because memo entries let a small pickle refer to one dict very often.
    private mutating func visit() throws {
        visits += 1
        guard visits <= 4 * limits.tensorsPerFile else {
            throw IngotError(
                .pickleInvalid, offset: place,
                found: "dictionaries that contain each other more than \(visits - 1) times",
                expected: "a state dict without cycles or repeated nesting")
        }
    }

    private struct Level {
        let dictionary: Int
        let prefix: String
        var next = 0
    }

    private mutating func walk(_ root: Int) throws {
        var levels = [Level(dictionary: root, prefix: "")]
        var open: Set<Int> = [root]
        while let level = levels.last {
            let pairs = objects.dictionaries[level.dictionary]
            guard level.next < pairs.count else {
                open.remove(level.dictionary)
                levels.removeLast()
                continue
            }
            levels[levels.count - 1].next += 1
            try visit()
            let pair = pairs[level.next]
            switch pair.value {
            case .tensor(let tensor):
                guard let name = name(pair.key, in: level) else {
                    hiddenTensors += 1
                    continue
                }
                try add(TensorName(name), tensor)
            case .dictionary(let inner):
                guard let name = name(pair.key, in: level) else {
                    leaveOut(pair.value)
                    continue
                }
                guard open.insert(inner).inserted else {
                    throw IngotError(
                        .pickleInvalid, tensor: TensorName(name), offset: place,
                        found: "a dictionary that contains itself",
                        expected: "dictionaries that do not contain themselves")
                }
                guard levels.count < StateDictionary.maximumDepth, name.utf8.count <= limits.nameBytes else {
                    throw IngotError(
                        .nestingTooDeep, offset: place,
                        found: "dicts \(levels.count + 1) deep, whose keys make \(name.utf8.count) bytes",
                        expected: "at most \(StateDictionary.maximumDepth), and \(limits.nameBytes) bytes")
                }
                levels.append(Level(dictionary: inner, prefix: name + "."))
            default: leaveOut(pair.value)
            }
        }
    }

    /// The name of an entry: its key after the keys of the dicts around it; nil for a key that is neither text nor integer.
    private func name(_ key: PickleValue, in level: Level) -> String? {
        text(of: key).map { level.prefix + $0 }
    }

    private mutating func add(_ name: TensorName, _ tensor: Int) throws {
        let place = objects.tensors[tensor].place
        guard name.text.utf8.count <= limits.nameBytes else {
            throw IngotError(
                .nameTooLong, offset: place, found: "a name of \(name.text.utf8.count) bytes",
                expected: "at most \(limits.nameBytes) bytes")
        }
        guard !name.text.utf8.contains(0) else {
            throw IngotError(.invalidText, offset: place, found: "NUL in a tensor's name")
        }
        guard entries.count < limits.tensorsPerFile else {
            throw IngotError(
                .tooManyTensors, offset: place, found: "more than \(limits.tensorsPerFile) tensors",
                expected: "at most \(limits.tensorsPerFile)")
        }
        guard names.insert(name, at: entries.count, stored: { entries[$0].name }) == nil else {
            throw IngotError(
                .duplicateKey, tensor: name, offset: place, found: "a tensor's name a second time",
                remedy: "keys such as 'a.b' beside 'b' in a dict 'a' make one name: save the tensors under others")
        }
        nameBytes += UInt64(name.text.utf8.count)
        guard nameBytes <= limits.headerBytes else {
            throw IngotError(
                .headerTooLarge, offset: place, found: "names of more than \(limits.headerBytes) bytes together",
                expected: "at most that many, the limit of a safetensors header")
        }
        entries.append(Entry(name: name, tensor: tensor))
    }

    /// Counts an entry that is left out, and the tensors in it, for the warnings.
    private mutating func leaveOut(_ value: PickleValue) {
        leafCount += 1
        var waiting = [value]
        while let next = waiting.popLast() {
            switch next {
            case .tensor: hiddenTensors += 1
            case .list(let index): if leftOut.insert(next).inserted { waiting += objects.lists[index] }
            case .tuple(let index): if leftOut.insert(next).inserted { waiting += objects.tuples[index] }
            case .dictionary(let index):
                if leftOut.insert(next).inserted { waiting += objects.dictionaries[index].map(\.value) }
            default: break
            }
        }
    }
}
