import TensorModel

/// Carries out the functions that a state dict's pickle names. This only makes descriptions of storages and tensors; it reads no data and
/// runs no code.
extension PickleMachine {
    /// Cost of the description of a storage or tensor in the budget, in values, without sizes and strides.
    private static let valuesPerObject = 8

    /// The storage that a persistent id refers to.
    mutating func storage(_ id: PickleValue) throws -> PickleValue {
        guard let parts = objects.tuple(id), parts.count == 5, objects.text(parts[0]) == "storage",
            case .global(let kind) = parts[1], let key = objects.text(parts[2]), objects.text(parts[3]) != nil,
            case .int(let count) = parts[4]
        else {
            throw failure(
                "a persistent id that is no storage", expected: "(\"storage\", type, key, location, number of elements)"
            )
        }
        guard count >= 0 else { throw failure("a storage of \(count) elements", as: .invalidShape) }
        let type: ElementType?
        switch kind {
        case .storage(let elements): type = elements
        case .untypedStorage: type = nil
        default:
            throw failure(
                "a storage class whose element type is not known", as: .unknownElementType,
                expected: "a torch storage class with a known element type",
                remedy: "convert the tensor to a type that safetensors has, and save again")
        }
        let storage = PickledStorage(key: key, elementType: type, count: UInt64(count))
        // torch keeps the description in the first id with this key, so all later ids must agree with it.
        let first = storageKinds.updateValue(storage, forKey: TensorName(key)) ?? storage
        guard first == storage else {
            throw failure(
                "storage `\(key.prefix(80))` as something else than before",
                expected: "the same type and number of elements wherever it is named")
        }
        try spend(PickleMachine.valuesPerObject)
        objects.storages.append(storage)
        return .storage(objects.storages.count - 1)
    }

    /// The result of a call. Only functions of the list are accepted.
    mutating func reduce(_ function: PickleValue, _ arguments: PickleValue) throws -> PickleValue {
        guard case .global(let name) = function else {
            throw failure("a call of \(function.kind)", as: .disallowedGlobal, expected: "a function of the list")
        }
        guard let parts = objects.tuple(arguments) else { throw failure("arguments that are \(arguments.kind)") }
        switch name {
        case .rebuildTensor:
            try require(parts, 4...4)
            return try tensor(parts, type: nil, isTyped: true)
        case .rebuildTensorV2:
            try require(parts, 6...7)
            try refuseMetadata(parts.dropFirst(6).first)
            return try tensor(parts, type: nil, isTyped: true)
        case .rebuildTensorV3:
            try require(parts, 7...8)
            try refuseMetadata(parts.dropFirst(7).first)
            guard case .global(.elementType(let type)) = parts[6] else {
                throw failure(
                    "a tensor of an element type without a name in safetensors", as: .unknownElementType,
                    remedy: "convert the tensor to a type that safetensors has, and save again")
            }
            return try tensor(parts, type: type, isTyped: false)
        case .rebuildParameter, .rebuildParameterWithState:
            try require(parts, name == .rebuildParameter ? 3...3 : 4...4)
            guard case .tensor = parts[0] else { throw failure("a parameter made of \(parts[0].kind)") }
            return parts[0]
        case .orderedDictionary:
            try require(parts, 0...0)
            return newDictionary()
        case .counter:
            try require(parts, 0...1)
            guard let first = parts.first else { return newDictionary() }
            guard case .dictionary(let index) = first, case .dictionary(let copy) = newDictionary() else {
                throw failure("a Counter of \(first.kind)", expected: "a dict")
            }
            try spend(2 * objects.dictionaries[index].count)
            objects.dictionaries[copy] = objects.dictionaries[index]
            return .dictionary(copy)
        case .size:
            try require(parts, 1...1)
            guard objects.tuple(parts[0]) != nil else { throw failure("a torch.Size of \(parts[0].kind)") }
            return parts[0]
        case .data: return .opaque
        case .set:
            try require(parts, 0...1)
            // The members. Tensors among them are left out with a warning.
            guard case .list = parts.first else { return .opaque }
            return parts[0]
        case .storage, .untypedStorage, .elementType, .otherType, .otherStorage:
            throw failure(
                "a call of a storage class or an element type", as: .disallowedGlobal,
                expected: "a function of the list",
                remedy: PyTorchRemedy.run)
        }
    }

    private func require(_ parts: [PickleValue], _ count: ClosedRange<Int>) throws {
        guard count.contains(parts.count) else {
            throw failure(
                "\(parts.count) arguments",
                expected: count.count == 1 ? "\(count.lowerBound)" : "\(count.lowerBound) to \(count.upperBound)")
        }
    }

    /// Refuses metadata: it marks a tensor as a negated or conjugated view, whose bytes are not its values.
    private func refuseMetadata(_ value: PickleValue?) throws {
        switch value {
        case nil, .some(.none): return
        case .dictionary(let index) where objects.dictionaries[index].isEmpty: return
        default:
            throw failure(
                "a tensor with metadata, as a negated or conjugated view has", as: .unsupportedSource,
                expected: "tensors whose stored bytes are their values", remedy: PyTorchRemedy.resave)
        }
    }

    /// Makes a tensor from storage, offset, size and stride. The other arguments matter only for training.
    private mutating func tensor(_ parts: [PickleValue], type: ElementType?, isTyped: Bool) throws -> PickleValue {
        guard case .storage(let storage) = parts[0] else {
            throw failure("a tensor made of \(parts[0].kind)", expected: "a storage")
        }
        guard let elements = isTyped ? objects.storages[storage].elementType : type else {
            throw failure("a tensor without an element type", as: .unknownElementType)
        }
        let start = try natural(parts[1], "offset")
        guard let sizes = objects.tuple(parts[2]), let steps = objects.tuple(parts[3]), sizes.count == steps.count
        else {
            throw failure("a tensor whose size and stride do not match", as: .invalidShape)
        }
        guard sizes.count <= limits.rank else {
            throw failure("\(sizes.count) dimensions", as: .invalidShape, expected: "at most \(limits.rank)")
        }
        try spend(PickleMachine.valuesPerObject + 2 * sizes.count)
        let dimensions = try sizes.map { Int(try natural($0, "size")) }
        let strides = try steps.map { try natural($0, "stride") }
        guard let shape = Shape(dimensions), elements.byteCount(of: shape) != nil else {
            throw failure("a tensor of more elements than can be counted", as: .invalidShape)
        }
        objects.tensors.append(
            PickledTensor(
                storage: storage, elementType: elements, start: start, shape: shape, strides: strides, place: place))
        return .tensor(objects.tensors.count - 1)
    }

    private func natural(_ value: PickleValue, _ what: String) throws -> UInt64 {
        guard case .int(let number) = value else {
            throw failure("\(value.kind) as a tensor's \(what)", as: .invalidShape, expected: "an integer")
        }
        guard number >= 0 else {
            throw failure("\(what) \(number) of a tensor", as: .invalidShape, expected: "0 or more")
        }
        return UInt64(number)
    }
}
