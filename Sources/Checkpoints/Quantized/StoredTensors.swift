import FileAccess
import Kernels
import SystemPackage
import TensorModel

/// A tensor as a file stores it, with its file.
struct FoundTensor: Sendable {
    let tensor: StoredTensor
    let file: MappedFile

    var type: ElementType { tensor.elementType }
    var dimensions: [Int] { tensor.shape.dimensions }
    var count: Int { tensor.shape.elementCount }
}

/// All stored tensors of a checkpoint by name, and what is said about their quantization.
struct StoredTensors: Sendable {
    let shards: [Shard]
    let places: [TensorName: Checkpoint.Place]
    /// What a configuration states; nil if there is none.
    let configuration: QuantizationConfiguration?
    /// The element type of the model by its configuration; nil if it names none.
    let elementType: FloatFormat?

    /// The tensor with this name; nil if there is none.
    func find(_ name: String) -> FoundTensor? {
        guard let place = places[TensorName(name)] else { return nil }
        let shard = shards[Int(place.shard)]
        return FoundTensor(tensor: shard.header.tensors[Int(place.tensor)], file: shard.file)
    }

    /// The first of these tensors that exists.
    func first(_ names: [String]) -> FoundTensor? { names.lazy.compactMap(find).first }

    /// The tensor with this name, which `codes` need.
    ///
    /// - Throws: `unsupportedSource`, naming both.
    func require(_ name: String, for codes: FoundTensor, _ method: QuantizationMethod) throws -> FoundTensor {
        if let found = find(name) { return found }
        throw StoredTensors.refusal(
            codes, "codes of \(method.rawValue) without `\(name.prefix(160))`", "the tensor that belongs to them",
            remedy: "fetch the checkpoint again, with all its shards")
    }

    /// An error about a tensor.
    static func refusal(
        _ about: FoundTensor, _ found: String, _ expected: String, remedy: Remedy? = nil
    ) -> IngotError {
        IngotError(
            .unsupportedSource, file: about.file.path.string, tensor: about.tensor.name,
            offset: about.tensor.range.start, found: found, expected: expected,
            remedy: remedy ?? "the tensors are not of one checkpoint, or of a variant that ingot does not know")
    }

    /// Requires a shape.
    ///
    /// - Throws: `unsupportedSource`.
    static func require(_ tensor: FoundTensor, shape: [Int], beside codes: FoundTensor) throws {
        guard tensor.dimensions != shape else { return }
        throw wrongShape(tensor, shape.map(String.init).joined(separator: "x"), beside: codes)
    }

    /// The error for a shape that does not fit the codes.
    static func wrongShape(_ tensor: FoundTensor, _ expected: String, beside codes: FoundTensor) -> IngotError {
        refusal(
            tensor, "shape \(tensor.tensor.shape.description)",
            "\(expected), to fit `\(codes.tensor.name.text.prefix(160))` of shape \(codes.tensor.shape.description)")
    }
}

/// A tensor of weights that is stored as codes and other tensors.
struct LogicalTensor: Sendable {
    let name: TensorName
    let shape: Shape
    let format: FloatFormat
    let decoder: any DerivedBytes
    let form: QuantizedForm
    /// Tensors that mean nothing without the codes and are not needed to decode them, such as scales of activations.
    let dropped: [TensorName]
    /// What was assumed; nil if nothing was.
    var warning: String?
}

/// Collects what a logical tensor is made of.
struct LogicalTensorBuilder {
    private(set) var parts: [QuantizedForm.Part] = []
    var dropped: [TensorName] = []
    /// What was assumed; nil if nothing was.
    var warning: String?

    init(codes: FoundTensor) { _ = add(.codes, codes) }

    /// Adds a stored tensor. Returns its index among the parts.
    mutating func add(_ role: QuantizedForm.Role, _ found: FoundTensor) -> Int {
        parts.append(.init(role: role, tensor: found.tensor, file: found.file))
        return parts.count - 1
    }

    /// Drops a tensor if it exists.
    mutating func drop(_ names: [String], _ tensors: StoredTensors) {
        for name in names where tensors.find(name) != nil { dropped.append(TensorName(name)) }
    }
}

/// The weights that codes stand for, as a matrix with slices.
struct MatrixShape {
    /// Rows of all slices together, and columns.
    let rows: Int, columns: Int
    /// Rows of a slice.
    let sliceRows: Int
    /// The dimensions of the tensor.
    let dimensions: [Int]

    /// Number of slices.
    var slices: Int { sliceRows == 0 ? 0 : rows / sliceRows }

    /// The matrix of a tensor; nil below rank 2, above rank 4, without elements, and if its size overflows.
    init?(_ dimensions: [Int]) {
        guard (2...4).contains(dimensions.count), let shape = Shape(dimensions), shape.elementCount > 0,
            shape.elementCount < 1 << 48
        else { return nil }
        (rows, columns, sliceRows) = (shape.rows, shape.columns, dimensions[dimensions.count - 2])
        self.dimensions = dimensions
    }
}

extension SideValues.Storage {
    /// How a scale of an element type is stored; nil for a type that scales do not have.
    init?(scale type: ElementType) {
        switch type {
        case .f32: self = .f32
        case .f16: self = .f16
        case .bf16: self = .bf16
        case .f8e4m3: self = .e4m3
        case .f8e8m0: self = .e8m0
        default: return nil
        }
    }
}

extension FoundTensor {
    /// How its numbers are stored as scales.
    ///
    /// - Throws: `unsupportedSource` for a type that scales do not have.
    func scaleStorage() throws -> SideValues.Storage {
        guard let storage = SideValues.Storage(scale: type) else {
            throw StoredTensors.refusal(self, "scales of type \(type.rawValue)", "F32, F16, BF16, F8_E4M3 or F8_E8M0")
        }
        return storage
    }

    /// Its type as a format of decoded weights.
    ///
    /// - Throws: `unsupportedSource` for any other type than F32, F16 and BF16.
    func floatFormat() throws -> FloatFormat {
        guard let format = type.quantizable else {
            throw StoredTensors.refusal(self, "scales of type \(type.rawValue)", "F32, F16 or BF16")
        }
        return format
    }
}
