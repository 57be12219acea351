package import TensorModel

/// Runs a pickle of protocol 2 to 4 that builds data: dicts, lists, numbers, texts, and descriptions of tensors.
///
/// It never calls or imports anything: a name must be in a fixed list (`PickleGlobal`). The accepted opcodes are those of
/// `torch.load(weights_only=True)` and a few opcodes of protocols 3 and 4 that make data. All values are in flat lists, so deep nesting
/// costs no stack, neither to build nor to free.
package struct PickleMachine {
    /// Limits of what a pickle may cost.
    package struct Budget: Sendable {
        /// Values on the stack, in the memo, and in tuples, lists and dicts, all together. A value takes 16 bytes.
        var values = 1 << 24
        /// Open marks, and levels of nested tuples.
        var depth = 256
        /// Bytes of a module's name, and of a name in it.
        var nameBytes = 256

        /// The default budget.
        package init() {}
    }

    var objects = PickleObjects()
    var stack: [PickleValue] = []
    private var marks: [Int] = []
    private var memo: [PickleValue?] = []
    /// Number of memo entries that are set. The opcode MEMOIZE sets the entry with this number.
    private var memoized = 0
    /// The first description of each storage, by its key.
    var storageKinds: [TensorName: PickledStorage] = [:]
    /// For each tuple, the levels of tuples inside it.
    private var tupleDepths: [UInt16] = []
    private var values = 0
    private var position = 0
    private var frameEnd: Int?
    /// Position of the current opcode.
    private var opcodeStart = 0
    private let bytes: [UInt8]
    private let base: UInt64
    private let budget: Budget
    let limits: Limits

    /// - Parameter base: offset of the pickle in its file, for messages.
    init(_ bytes: [UInt8], at base: UInt64, limits: Limits = .standard, budget: Budget = Budget()) {
        self.bytes = bytes
        self.base = base
        self.limits = limits
        self.budget = budget
    }

    /// Offset of the current opcode in the file.
    var place: UInt64 { base + UInt64(opcodeStart) }

    /// An error at the current opcode.
    func failure(
        _ found: String, as code: IngotError.Code = .pickleInvalid, expected: String? = nil, remedy: Remedy? = nil
    ) -> IngotError {
        IngotError(code, offset: place, found: found, expected: expected, remedy: remedy)
    }

    /// Runs a pickle and returns all objects it made.
    ///
    /// - Throws: `pickleInvalid`, `unsupportedOpcode`, `disallowedGlobal`, `invalidText`, `duplicateKey`, `nestingTooDeep`, and the errors
    ///   of tensor descriptions.
    package static func run(
        _ bytes: [UInt8], at base: UInt64, limits: Limits = .standard, budget: Budget = Budget()
    ) throws -> PickleObjects {
        var machine = PickleMachine(bytes, at: base, limits: limits, budget: budget)
        try machine.run()
        return machine.objects
    }

    private mutating func run() throws {
        var isDone = false
        while !isDone {
            opcodeStart = position
            let opcode = try read()
            guard opcodeStart > 0 || opcode == 0x80 else {
                throw failure(
                    "a pickle that begins with byte 0x\(String(opcode, radix: 16))", expected: "protocol 2 to 4",
                    remedy: nil)
            }
            isDone = try execute(opcode)
            if let end = frameEnd, position >= end {
                guard position == end else { throw failure("an opcode across the end of its frame") }
                frameEnd = nil
            }
        }
        guard marks.isEmpty, stack.count == 1, let result = stack.first else {
            throw failure("\(stack.count) values at the end", expected: "one")
        }
        guard position == bytes.count, frameEnd == nil else {
            opcodeStart = position
            throw failure("\(bytes.count - position) bytes after the end of the pickle", expected: "none")
        }
        objects.result = result
        for dictionary in objects.dictionaries where dictionary.count > 1 { try requireDistinctKeys(dictionary) }
    }

    /// Throws for a key that occurs twice. No pickler writes one, and readers could disagree about which value counts.
    private func requireDistinctKeys(_ dictionary: [PickleObjects.Pair]) throws {
        var seen: Set<PickleKey> = []
        seen.reserveCapacity(dictionary.count)
        for pair in dictionary {
            guard let key = PickleKey(pair.key, in: objects), !seen.insert(key).inserted else { continue }
            throw IngotError(
                .duplicateKey, tensor: objects.text(pair.key).map { TensorName($0) }, offset: base,
                found: "a key of a dict a second time",
                expected: "distinct keys: Python keeps only one of equal keys")
        }
    }

    // MARK: - Bytes

    private mutating func read() throws -> UInt8 {
        guard position < bytes.count else { throw failure("a pickle that is cut off", expected: "an end (STOP)") }
        position += 1
        return bytes[position - 1]
    }

    /// The next `count` bytes. Throws if fewer are left.
    private mutating func take(_ count: UInt64) throws -> ArraySlice<UInt8> {
        guard count <= UInt64(bytes.count - position) else {
            throw failure("\(count) bytes announced", expected: "at most \(bytes.count - position), which remain")
        }
        position += Int(count)
        return bytes[position - Int(count)..<position]
    }

    private mutating func number(_ count: UInt64) throws -> UInt64 {
        try take(count).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    private mutating func line() throws -> String {
        let end = bytes[position...].prefix(budget.nameBytes + 1).firstIndex(of: 0x0A)
        guard let end else { throw failure("a name without end", expected: "at most \(budget.nameBytes) bytes") }
        let text = String(validating: bytes[position..<end], as: UTF8.self)
        position = end + 1
        guard let text else { throw failure("a name that is no UTF-8", as: .invalidText) }
        return text
    }

    private mutating func pushText(_ count: UInt64) throws {
        guard let text = String(validating: try take(count), as: UTF8.self) else {
            throw failure("a string that is no UTF-8", as: .invalidText)
        }
        objects.texts.append(text)
        try push(.text(objects.texts.count - 1))
    }

    // MARK: - Stack and memo

    /// Counts `count` values against the budget. Throws `pickleInvalid` beyond it.
    mutating func spend(_ count: Int) throws {
        values += count
        guard values <= budget.values else {
            throw failure("a pickle of more than \(budget.values) values", expected: "at most that many")
        }
    }

    private mutating func push(_ value: PickleValue) throws {
        try spend(1)
        stack.append(value)
    }

    /// The lowest position of the stack that an opcode may take: the one above the last mark.
    private var floor: Int { marks.last ?? 0 }

    private mutating func pop() throws -> PickleValue {
        guard stack.count > floor, let value = stack.popLast() else {
            throw failure("nothing on the stack for \(PickleOpcode.name(bytes[opcodeStart]))")
        }
        return value
    }

    private func top() throws -> PickleValue {
        guard stack.count > floor, let value = stack.last else {
            throw failure("nothing on the stack for \(PickleOpcode.name(bytes[opcodeStart]))")
        }
        return value
    }

    private mutating func popMark() throws -> [PickleValue] {
        guard let mark = marks.popLast() else {
            throw failure("no mark for \(PickleOpcode.name(bytes[opcodeStart]))")
        }
        let items = Array(stack[mark...])
        stack.removeLast(items.count)
        return items
    }

    mutating func pushTuple(_ items: [PickleValue]) throws {
        try spend(items.count)
        var depth: UInt16 = 0
        for case .tuple(let index) in items { depth = max(depth, tupleDepths[index] + 1) }
        guard depth < budget.depth else {
            throw failure("tuples \(depth) deep", as: .nestingTooDeep, expected: "at most \(budget.depth)")
        }
        tupleDepths.append(depth)
        objects.tuples.append(items)
        try push(.tuple(objects.tuples.count - 1))
    }

    private mutating func pushTuple(of count: Int) throws {
        var items: [PickleValue] = []
        for _ in 0..<count { items.append(try pop()) }
        try pushTuple(items.reversed())
    }

    /// Adds an empty dict.
    mutating func newDictionary() -> PickleValue {
        objects.dictionaries.append([])
        return .dictionary(objects.dictionaries.count - 1)
    }

    private func recall(_ index: UInt64) throws -> PickleValue {
        guard index < memo.count, let value = memo[Int(index)] else {
            throw failure("memo entry \(index), which was never set")
        }
        return value
    }

    /// Sets an entry of the memo. Picklers number entries consecutively, so a number far beyond the others is refused before it costs
    /// memory.
    private mutating func memoize(_ index: UInt64) throws {
        guard index < 1 << 16 || index <= UInt64(memo.count) else {
            throw failure("memo entry \(index)", expected: "at most \(max(1 << 16, memo.count))")
        }
        let value = try top()
        while memo.count <= index {
            try spend(1)
            memo.append(nil)
        }
        if memo[Int(index)] == nil { memoized += 1 }
        memo[Int(index)] = value
    }

    // MARK: - Containers

    private mutating func append(_ items: [PickleValue]) throws {
        guard case .list(let index) = try top() else {
            throw failure("an item for \(try top().kind)", expected: "a list")
        }
        try spend(items.count)
        objects.lists[index] += items
    }

    private mutating func set(_ items: [PickleValue]) throws {
        guard case .dictionary(let index) = try top() else {
            throw failure("an entry for \(try top().kind)", expected: "a dict")
        }
        guard items.count.isMultiple(of: 2) else { throw failure("a key without a value") }
        try spend(items.count)
        for at in stride(from: 0, to: items.count, by: 2) {
            objects.dictionaries[index].append(PickleObjects.Pair(key: items[at], value: items[at + 1]))
        }
    }

    private mutating func build() throws {
        let state = try pop()
        // The state of an OrderedDict holds its attributes; torch stores the versions of modules there.
        guard case .dictionary = try top(), case .dictionary = state else {
            throw failure(
                "state for \(try top().kind)", as: .unsupportedOpcode, expected: "BUILD only for OrderedDict",
                remedy: PyTorchRemedy.run)
        }
    }

    private mutating func openMark() throws {
        guard marks.count < budget.depth else {
            throw failure("\(marks.count) marks open", as: .nestingTooDeep, expected: "at most \(budget.depth)")
        }
        marks.append(stack.count)
    }

    private mutating func beginFrame() throws {
        let count = try number(8)
        guard frameEnd == nil, count <= UInt64(bytes.count - position) else {
            throw failure(
                "a frame of \(count) bytes", expected: "at most \(bytes.count - position), and none in another")
        }
        frameEnd = position + Int(count)
    }

    // MARK: - Opcodes

    /// Executes an opcode. Returns true at the end of the pickle.
    private mutating func execute(_ opcode: UInt8) throws -> Bool {
        switch PickleOpcode(rawValue: opcode) {
        case .proto:
            let version = try read()
            guard (2...4).contains(version) else {
                throw failure(
                    "pickle protocol \(version)", as: .unsupportedOpcode, expected: "2 to 4",
                    remedy: PyTorchRemedy.run)
            }
        case .stop: return true
        case .frame: try beginFrame()
        case .mark: try openMark()
        case .nothing: try push(.none)
        case .newTrue: try push(.bool(true))
        case .newFalse: try push(.bool(false))
        case .int32: try push(.int(Int64(Int32(truncatingIfNeeded: try number(4)))))
        case .int8: try push(.int(Int64(try number(1))))
        case .int16: try push(.int(Int64(try number(2))))
        case .long1: try pushLong(UInt64(try read()))
        case .float64:
            let bits = try take(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            try push(.float(Double(bitPattern: bits)))
        case .text: try pushText(try number(4))
        case .shortText: try pushText(try number(1))
        case .longText: try pushText(try number(8))
        case .shortBytes8, .shortBytes: _ = try take(try number(1)); try push(.opaque)
        case .bytes: _ = try take(try number(4)); try push(.opaque)
        case .emptyTuple: try pushTuple([])
        case .tuple: try pushTuple(try popMark())
        case .tuple1: try pushTuple(of: 1)
        case .tuple2: try pushTuple(of: 2)
        case .tuple3: try pushTuple(of: 3)
        case .emptyList:
            objects.lists.append([])
            try push(.list(objects.lists.count - 1))
        case .append: try append([try pop()])
        case .appends: try append(try popMark())
        case .emptyDictionary: try push(newDictionary())
        case .setItem:
            let value = try pop()
            try set([try pop(), value])
        case .setItems: try set(try popMark())
        case .emptySet: try push(.opaque)
        case .get: try push(recall(try number(1)))
        case .longGet: try push(recall(try number(4)))
        case .put: try memoize(try number(1))
        case .longPut: try memoize(try number(4))
        case .memoize: try memoize(UInt64(memoized))
        case .global: try pushGlobal()
        case .reduce:
            let arguments = try pop()
            let function = try pop()
            try push(reduce(function, arguments))
        case .newObject:
            throw failure(
                "a new object of \(try pop().kind), \(try top().kind)", as: .disallowedGlobal,
                expected: "tensors and data",
                remedy: PyTorchRemedy.run)
        case .build: try build()
        case .persistentID: try push(storage(try pop()))
        case nil:
            throw failure(
                "pickle opcode \(PickleOpcode.name(opcode))", as: .unsupportedOpcode,
                expected: "an opcode that builds data", remedy: PyTorchRemedy.run)
        }
        return false
    }

    private mutating func pushLong(_ count: UInt64) throws {
        let digits = try take(count)
        guard count <= 8 else { return try push(.opaque) }
        var value = digits.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        // Sign-extend the two's complement number of `count` bytes.
        if count > 0, count < 8, digits.last.map({ $0 >= 0x80 }) == true { value |= ~0 << (8 * count) }
        try push(.int(Int64(bitPattern: value)))
    }

    private mutating func pushGlobal() throws {
        let module = try line()
        let name = try line()
        guard let global = PickleGlobal(module: module, name: name) else {
            throw failure(
                "the name `\(module).\(name)`, which is not one of a state dict", as: .disallowedGlobal,
                expected: "tensors, numbers, texts, and containers of them", remedy: PyTorchRemedy.run)
        }
        try push(.global(global))
    }
}

/// The accepted opcodes. They make data.
enum PickleOpcode: UInt8 {
    case proto = 0x80
    case stop = 0x2E
    case frame = 0x95
    case mark = 0x28
    case nothing = 0x4E
    case newTrue = 0x88
    case newFalse = 0x89
    case int32 = 0x4A
    case int8 = 0x4B
    case int16 = 0x4D
    case long1 = 0x8A
    case float64 = 0x47
    case text = 0x58
    case shortText = 0x8C
    case longText = 0x8D
    /// SHORT_BINSTRING, a byte string of Python 2.
    case shortBytes8 = 0x55
    case shortBytes = 0x43
    case bytes = 0x42
    case emptyTuple = 0x29
    case tuple = 0x74
    case tuple1 = 0x85
    case tuple2 = 0x86
    case tuple3 = 0x87
    case emptyList = 0x5D
    case append = 0x61
    case appends = 0x65
    case emptyDictionary = 0x7D
    case setItem = 0x73
    case setItems = 0x75
    case emptySet = 0x8F
    case get = 0x68
    case longGet = 0x6A
    case put = 0x71
    case longPut = 0x72
    case memoize = 0x94
    case global = 0x63
    case reduce = 0x52
    case newObject = 0x81
    case build = 0x62
    case persistentID = 0x51

    /// Python's names of the refused opcodes, and of those that messages mention.
    private static let names: [UInt8: String] = [
        0x28: "MARK", 0x30: "POP", 0x31: "POP_MARK", 0x32: "DUP", 0x46: "FLOAT", 0x49: "INT", 0x4C: "LONG",
        0x50: "PERSID",
        0x51: "BINPERSID", 0x52: "REDUCE", 0x53: "STRING", 0x54: "BINSTRING", 0x56: "UNICODE", 0x61: "APPEND",
        0x62: "BUILD",
        0x63: "GLOBAL", 0x64: "DICT", 0x65: "APPENDS", 0x67: "GET", 0x69: "INST", 0x6C: "LIST", 0x6F: "OBJ",
        0x70: "PUT",
        0x71: "BINPUT", 0x72: "LONG_BINPUT", 0x73: "SETITEM", 0x74: "TUPLE", 0x75: "SETITEMS", 0x81: "NEWOBJ",
        0x82: "EXT1",
        0x83: "EXT2", 0x84: "EXT4", 0x85: "TUPLE1", 0x86: "TUPLE2", 0x87: "TUPLE3", 0x8B: "LONG4", 0x8E: "BINBYTES8",
        0x90: "ADDITEMS", 0x91: "FROZENSET", 0x92: "NEWOBJ_EX", 0x93: "STACK_GLOBAL", 0x94: "MEMOIZE",
        0x96: "BYTEARRAY8",
        0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
    ]

    /// Python's name of an opcode, or its number in hexadecimal.
    static func name(_ opcode: UInt8) -> String { names[opcode] ?? "0x" + String(opcode, radix: 16) }
}
