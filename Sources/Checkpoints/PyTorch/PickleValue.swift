package import TensorModel

/// A value of a pickle: data or an inert name. A value that does not fit eight bytes is a position in a list of `PickleObjects`.
enum PickleValue: Sendable, Hashable {
    case none
    case bool(Bool)
    case int(Int64)
    case float(Double)
    /// Position in `texts`.
    case text(Int)
    /// Position in `tuples`.
    case tuple(Int)
    /// Position in `lists`.
    case list(Int)
    /// Position in `dictionaries`.
    case dictionary(Int)
    /// One of the names that a pickle may hold. It is never called.
    case global(PickleGlobal)
    /// Position in `storages`.
    case storage(Int)
    /// Position in `tensors`.
    case tensor(Int)
    /// A value without tensors whose content is not kept: bytes, a set, a device, a large integer.
    case opaque

    /// The kind in words, for messages.
    var kind: String {
        switch self {
        case .none: "None"
        case .bool: "a bool"
        case .int: "an integer"
        case .float: "a float"
        case .text: "a string"
        case .tuple: "a tuple"
        case .list: "a list"
        case .dictionary: "a dict"
        case .global: "a class or function"
        case .storage: "a storage"
        case .tensor: "a tensor"
        case .opaque: "an object"
        }
    }
}

/// A storage as a pickle describes it: its record and its elements.
package struct PickledStorage: Sendable, Hashable {
    /// The name of its record after `data/`.
    let key: String
    /// The type of the elements; nil for a storage of bytes, where each tensor states its own type.
    let elementType: ElementType?
    /// Number of elements, or of bytes if there is no type.
    let count: UInt64
}

/// A tensor as a pickle describes it: a view of a storage. It is not checked against the storage's record yet.
package struct PickledTensor: Sendable, Hashable {
    /// Position in `storages`.
    package let storage: Int
    let elementType: ElementType
    /// Position of the first element in the storage, in elements.
    let start: UInt64
    /// The dimensions.
    package let shape: Shape
    /// For each dimension, the distance between neighbouring indices, in elements of the storage.
    package let strides: [UInt64]
    /// Offset in the file of the opcode that makes the tensor, for messages.
    package let place: UInt64
}

/// All objects that a pickle made. `result` is the value of the pickle.
package struct PickleObjects: Sendable {
    struct Pair: Sendable {
        let key: PickleValue
        var value: PickleValue
    }

    var result = PickleValue.none
    var texts: [String] = []
    var tuples: [[PickleValue]] = []
    var lists: [[PickleValue]] = []
    var dictionaries: [[Pair]] = []
    /// Storages and tensors, in the order in which the pickle describes them.
    package var storages: [PickledStorage] = []
    package var tensors: [PickledTensor] = []

    /// The text of a value; nil for any other kind.
    func text(_ value: PickleValue) -> String? {
        if case .text(let index) = value { texts[index] } else { nil }
    }

    /// The elements of a tuple; nil for any other kind.
    func tuple(_ value: PickleValue) -> [PickleValue]? {
        if case .tuple(let index) = value { tuples[index] } else { nil }
    }
}

/// A key of a dict, compared as Python does: numbers by value, whatever their type.
enum PickleKey: Hashable {
    case none
    case int(Int64)
    case float(UInt64)
    case text(TensorName)

    /// Makes a key; nil for values whose content is not kept.
    init?(_ value: PickleValue, in objects: PickleObjects) {
        switch value {
        case .none: self = .none
        case .bool(let value): self = .int(value ? 1 : 0)
        case .int(let value): self = .int(value)
        case .float(let value): self = Int64(exactly: value).map(PickleKey.int) ?? .float(value.bitPattern)
        case .text(let index): self = .text(TensorName(objects.texts[index]))
        default: return nil
        }
    }
}

/// The names that the pickle of a state dict may hold. They are the names that `torch.load(weights_only=True)` accepts and that make plain
/// tensors and data. A name is compared with this fixed list and never called.
enum PickleGlobal: Sendable, Hashable {
    case rebuildTensor, rebuildTensorV2, rebuildTensorV3, rebuildParameter, rebuildParameterWithState
    case orderedDictionary, counter, size
    /// Makes something without tensors from any arguments.
    case data
    case set
    case storage(ElementType)
    case untypedStorage
    case elementType(ElementType)
    /// An element type or storage that Ingot has no name for, such as complex128. It is refused only if a tensor has it.
    case otherType, otherStorage

    /// The meaning of a name; nil if the name is not on the list.
    init?(module: String, name: String) {
        switch (module, name) {
        case ("torch._utils", "_rebuild_tensor"): self = .rebuildTensor
        case ("torch._utils", "_rebuild_tensor_v2"): self = .rebuildTensorV2
        case ("torch._utils", "_rebuild_tensor_v3"): self = .rebuildTensorV3
        case ("torch._utils", "_rebuild_parameter"): self = .rebuildParameter
        case ("torch._utils", "_rebuild_parameter_with_state"): self = .rebuildParameterWithState
        case ("collections", "OrderedDict"): self = .orderedDictionary
        case ("collections", "Counter"): self = .counter
        case ("torch", "Size"): self = .size
        case ("torch", "device"), ("_codecs", "encode"), ("builtins", "bytearray"), ("__builtin__", "bytearray"),
            ("builtins", "complex"), ("__builtin__", "complex"), ("torch.serialization", "_get_layout"):
            self = .data
        case ("builtins", "set"), ("__builtin__", "set"): self = .set
        case ("torch.storage", "UntypedStorage"): self = .untypedStorage
        case ("torch", let name):
            if let type = PickleGlobal.storages[name] {
                self = .storage(type)
            } else if let type = PickleGlobal.elementTypes[name] {
                self = .elementType(type)
            } else if PickleGlobal.otherTypes.contains(name) {
                self = .otherType
            } else if PickleGlobal.otherStorages.contains(name) {
                self = .otherStorage
            } else {
                return nil
            }
        default: return nil
        }
    }

    private static let storages: [String: ElementType] = [
        "FloatStorage": .f32, "HalfStorage": .f16, "BFloat16Storage": .bf16, "DoubleStorage": .f64, "LongStorage": .i64,
        "IntStorage": .i32, "ShortStorage": .i16, "CharStorage": .i8, "ByteStorage": .u8, "BoolStorage": .bool,
        "ComplexFloatStorage": .c64,
    ]
    private static let otherStorages: Set<String> = [
        "ComplexDoubleStorage", "QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage",
    ]
    private static let elementTypes: [String: ElementType] = [
        "float32": .f32, "float16": .f16, "bfloat16": .bf16, "float64": .f64, "int64": .i64, "int32": .i32,
        "int16": .i16,
        "int8": .i8, "uint8": .u8, "bool": .bool, "complex64": .c64, "uint16": .u16, "uint32": .u32, "uint64": .u64,
        "float8_e4m3fn": .f8e4m3, "float8_e5m2": .f8e5m2, "float8_e4m3fnuz": .f8e4m3fnuz,
        "float8_e5m2fnuz": .f8e5m2fnuz,
        "float8_e8m0fnu": .f8e8m0,
    ]
    private static let otherTypes: Set<String> = [
        "complex32", "complex128", "float4_e2m1fn_x2", "qint8", "quint8", "qint32", "quint4x2", "quint2x4", "bits8",
        "bits16",
        "bits1x8", "bits2x4", "bits4x2",
    ]
}
