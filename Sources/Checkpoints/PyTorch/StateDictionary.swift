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

    private static let maximumDepth = 256

    /// Finds the tensors.
    ///
    /// A tensor's name joins its key and the keys of the dicts around it by `.`. `StateDictionaryRoot` chooses the dict.
    ///
    /// - Parameters:
    ///   - key: the keys of the dict to read, joined by `.`; `.` for the outermost one; nil for the usual ones.
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
        let chosen = try StateDictionaryRoot(objects, outer: outer, at: place, limits: limits).choose(key)
        remarks += chosen.remarks
        try walk(chosen.dictionary, leavingOut: chosen.leftOut)
        if leafCount > 0 { remarks.append("\(leafCount) entries that are no tensors are left out") }
        if hiddenTensors > 0 {
            remarks.append("\(hiddenTensors) tensors in lists, or under keys that are no names, are left out")
        }
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

    /// - Parameter excluded: positions of pairs in the root that are left out.
    private mutating func walk(_ root: Int, leavingOut excluded: Set<Int>) throws {
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
            if levels.count == 1, excluded.contains(level.next) { continue }
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
        objects.keyText(key).map { level.prefix + $0 }
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
