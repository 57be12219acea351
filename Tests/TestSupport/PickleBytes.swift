package import TensorModel

/// Builds pickles from opcodes, also invalid ones.
package enum PickleBytes {
    /// A pickle of a protocol version and the given opcodes, with the end opcode.
    package static func pickle(_ body: [UInt8], version: UInt8 = 2) -> [UInt8] { [0x80, version] + body + op(".") }

    /// An opcode by its character.
    package static func op(_ character: Unicode.Scalar) -> [UInt8] { [UInt8(ascii: character)] }

    /// A string.
    package static func text(_ text: String) -> [UInt8] {
        op("X") + ZipImage.number(UInt64(text.utf8.count), 4) + Array(text.utf8)
    }

    /// An integer in Python's own encoding for its size.
    package static func int(_ value: Int64) -> [UInt8] {
        switch value {
        case 0..<256: op("K") + [UInt8(value)]
        case 256..<65536: op("M") + ZipImage.number(UInt64(value), 2)
        case Int64(Int32.min)...Int64(Int32.max): op("J") + ZipImage.number(UInt64(bitPattern: value), 4)
        default: [0x8A, 8] + ZipImage.number(UInt64(bitPattern: value), 8)
        }
    }

    /// A tuple.
    package static func tuple(_ items: [[UInt8]]) -> [UInt8] { op("(") + items.flatMap { $0 } + op("t") }

    /// A list.
    package static func list(_ items: [[UInt8]]) -> [UInt8] { op("]") + op("(") + items.flatMap { $0 } + op("e") }

    /// A dict with string keys.
    package static func dictionary(_ pairs: [(String, [UInt8])]) -> [UInt8] {
        op("}") + op("(") + pairs.flatMap { text($0.0) + $0.1 } + op("u")
    }

    /// A reference to a name in a module.
    package static func global(_ module: String, _ name: String) -> [UInt8] {
        op("c") + Array("\(module)\n\(name)\n".utf8)
    }

    /// A function call.
    package static func call(_ function: [UInt8], _ arguments: [[UInt8]]) -> [UInt8] {
        function + tuple(arguments) + op("R")
    }

    /// A storage of `count` elements.
    package static func storage(_ key: String, type: String = "FloatStorage", count: Int64) -> [UInt8] {
        let module = type == "UntypedStorage" ? "torch.storage" : "torch"
        return tuple([text("storage"), global(module, type), text(key), text("cpu"), int(count)]) + op("Q")
    }

    /// A tensor as a view of a typed storage; offset and strides in elements.
    package static func tensor(
        _ storage: [UInt8], offset: Int64 = 0, _ shape: [Int64], strides: [Int64]? = nil, more: [[UInt8]] = []
    ) -> [UInt8] {
        call(global("torch._utils", "_rebuild_tensor_v2"), view(storage, offset, shape, strides) + more)
    }

    /// A tensor as a view of an untyped storage; `type` is the name of the dtype.
    package static func tensor(
        _ storage: [UInt8], offset: Int64 = 0, _ shape: [Int64], strides: [Int64]? = nil, type: String
    ) -> [UInt8] {
        call(
            global("torch._utils", "_rebuild_tensor_v3"),
            view(storage, offset, shape, strides) + [global("torch", type)])
    }

    private static func view(_ storage: [UInt8], _ offset: Int64, _ shape: [Int64], _ strides: [Int64]?) -> [[UInt8]] {
        let strides = strides ?? rowMajor(shape)
        let hooks = call(global("collections", "OrderedDict"), [])
        return [storage, int(offset), tuple(shape.map(int)), tuple(strides.map(int)), [0x89], hooks]
    }

    /// Strides of a row-major tensor, in elements.
    package static func rowMajor(_ shape: [Int64]) -> [Int64] {
        var strides = shape.map { _ in Int64(1) }
        for index in shape.indices.dropLast().reversed() {
            strides[index] = strides[index + 1] &* max(1, shape[index + 1])
        }
        return strides
    }

    /// PyTorch's name for storages of an element type.
    package static func storageName(_ type: ElementType) -> String {
        switch type {
        case .f32: "FloatStorage"
        case .f16: "HalfStorage"
        case .bf16: "BFloat16Storage"
        case .f64: "DoubleStorage"
        case .i64: "LongStorage"
        case .i32: "IntStorage"
        case .i16: "ShortStorage"
        case .i8: "CharStorage"
        case .u8: "ByteStorage"
        case .bool: "BoolStorage"
        default: preconditionFailure("no storage class of \(type.rawValue)")
        }
    }
}

/// Files as `torch.save` writes them.
package enum PyTorchImage {
    /// An archive with a pickle and storages.
    package static func archive(
        _ pickle: [UInt8], storages: [(String, [UInt8])], prefix: String = "archive/", byteOrder: String? = "little",
        version: String? = "3\n"
    ) -> ZipImage {
        var records = [ZipImage.Record(prefix + "data.pkl", pickle)]
        if let byteOrder { records.append(ZipImage.Record(prefix + "byteorder", Array(byteOrder.utf8))) }
        records += storages.map { ZipImage.Record(prefix + "data/" + $0.0, $0.1) }
        if let version { records.append(ZipImage.Record(prefix + "version", Array(version.utf8))) }
        records.append(ZipImage.Record(prefix + ".data/serialization_id", Array("0123".utf8)))
        for index in records.indices { records[index].useDescriptor() }
        return ZipImage(records)
    }

    /// A state dict in which each tensor has its own storage.
    package static func stateDictionary(_ tensors: [SampleTensor]) -> ZipImage {
        var pairs: [(String, [UInt8])] = []
        var storages: [(String, [UInt8])] = []
        for (index, tensor) in tensors.enumerated() {
            let count = Int64(tensor.bytes.count / (tensor.type.bitWidth / 8))
            let storage = PickleBytes.storage(
                String(index), type: PickleBytes.storageName(tensor.type), count: count)
            pairs.append((tensor.name, PickleBytes.tensor(storage, tensor.shape.map(Int64.init))))
            storages.append((String(index), tensor.bytes))
        }
        return archive(PickleBytes.pickle(PickleBytes.dictionary(pairs)), storages: storages)
    }
}
