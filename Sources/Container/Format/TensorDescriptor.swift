package import FileAccess
package import Quantization
package import TensorModel

/// The description of a tensor with a payload: JSON text in `__metadata__`, under the tensor's name.
///
/// Its length does not depend on the weights, so a writer can reserve space for the header.
package struct TensorDescriptor: Sendable, Hashable {
    /// How the tensor is stored.
    package var scheme: TensorScheme
    /// The requested codec.
    package var codec: Codec
    /// Element type of the source tensor.
    package let elementType: ElementType
    /// Shape of the source tensor.
    package var shape: Shape
    /// The error certificate: the error sums of the chunks, added in chunk order.
    package var sums: ErrorSums
    /// The certificate over activations of a calibrated tensor; nil for any other.
    package var calibrated: CalibratedError?
    /// XXH3-128 of the bytes of the source tensor.
    package var sourceHash: ContentHash

    /// The error of a calibrated tensor, weighted by the second moments of its input.
    package struct CalibratedError: Sendable, Hashable {
        /// tr(W H W^T) and tr(E H E^T).
        package var sums: ActivationSums
        /// The hash of the file of moments.
        package let calibration: ContentHash

        /// The error of a tensor; the sums may be filled in later.
        package init(sums: ActivationSums = ActivationSums(), calibration: ContentHash) {
            (self.sums, self.calibration) = (sums, calibration)
        }
    }

    /// A description. Certificate and hash may be filled in later. Traps if the scheme cannot hold the element type.
    package init(
        scheme: TensorScheme, codec: Codec, elementType: ElementType, shape: Shape,
        sums: ErrorSums = ErrorSums.zero, calibrated: CalibratedError? = nil,
        sourceHash: ContentHash = ContentHash(high: 0, low: 0)
    ) {
        self.scheme = scheme
        self.codec = codec
        precondition(scheme.accepts(elementType), "elements that the scheme cannot hold")
        self.elementType = elementType
        self.shape = shape
        self.sums = sums
        self.calibrated = calibrated
        self.sourceHash = sourceHash
    }

    /// A description of a tensor of weights.
    package init(
        scheme: TensorScheme, codec: Codec, format: FloatFormat, shape: Shape, calibrated: CalibratedError? = nil
    ) {
        self.init(
            scheme: scheme, codec: codec, elementType: format.elementType, shape: shape, calibrated: calibrated)
    }

    /// Whether the elements are codes or scales of another quantizer, stored as they are.
    package var holdsCodes: Bool { elementType.quantizable == nil }

    /// The format of the weights. Traps if `holdsCodes`.
    package var format: FloatFormat { elementType.weightFormat }

    /// Bytes of the source tensor.
    package var sourceBytes: UInt64 { UInt64(shape.elementCount * elementType.byteWidth) }

    /// Whether a payload can hold a tensor of this type and shape: matrices of weights; of code types also vectors. It has elements.
    package static func canDescribe(_ elementType: ElementType, _ shape: Shape) -> Bool {
        elementType.quantizable != nil
            ? shape.isMatrix : elementType.isCodeType && shape.elementCount > 0 && !shape.dimensions.isEmpty
    }

    /// The prologue of the tensor's payload; `payloadBytes` is not set.
    package var prologue: PayloadPrologue {
        PayloadPrologue(
            scheme: scheme, codec: codec, elementType: elementType,
            grid: ChunkGrid(rows: shape.rows, columns: shape.columns, scheme))
    }

    func text() -> String {
        var members: [JSONValue.Member] = [.init("scheme", .string(scheme.name))]
        members += scheme.members
        members.append(.init("codec", .string(codec.name)))
        members.append(.init("dtype", .string(elementType.rawValue)))
        members.append(.init("shape", .array(shape.dimensions.map { .unsigned(UInt64($0)) })))
        for (key, sum) in [("signal", sums.signal), ("noise", sums.noise), ("max_error", sums.maxError)] {
            members.append(.init(key, .string(ContentHash.hexadecimal(sum.bitPattern))))
        }
        if let calibrated {
            for (key, sum) in [("h_signal", calibrated.sums.signal), ("h_noise", calibrated.sums.noise)] {
                members.append(.init(key, .string(ContentHash.hexadecimal(sum.bitPattern))))
            }
            members.append(.init("calibration_xxh3_128", .string(calibrated.calibration.description)))
        }
        members.append(.init("source_xxh3_128", .string(sourceHash.description)))
        return JSONValue.object(members).text()
    }

    /// Reads a description. Nil unless `text()` would write the same bytes.
    init?(_ text: String) {
        guard let value = try? JSONValue.parse(Array(text.utf8), maximumDepth: 3),
            let codec = value["codec"]?.string.flatMap(Codec.init(name:)),
            let elementType = value["dtype"]?.string.flatMap(ElementType.init(rawValue:)),
            let dimensions = value["shape"]?.array?.map({ $0.unsigned.flatMap { Int(exactly: $0) } }),
            !dimensions.contains(nil), let shape = Shape(dimensions.compactMap(\.self)),
            TensorDescriptor.canDescribe(elementType, shape),
            let hash = value["source_xxh3_128"]?.string.flatMap(ContentHash.init(hexadecimal:))
        else { return nil }
        func sum(_ key: String) -> Double? {
            guard let digits = value[key]?.string, let bits = UInt64(digits, radix: 16),
                case let sum = Double(bitPattern: bits), sum.isFinite, sum.sign == .plus
            else { return nil }
            return sum
        }
        let sums = ["signal", "noise", "max_error"].compactMap(sum)
        guard sums.count == 3 else { return nil }
        var calibrated: CalibratedError?
        if let calibration = value["calibration_xxh3_128"] {
            guard let hash = calibration.string.flatMap(ContentHash.init(hexadecimal:)), let signal = sum("h_signal"),
                let noise = sum("h_noise")
            else { return nil }
            calibrated = CalibratedError(calibration: hash)
            calibrated?.sums.signal = signal
            calibrated?.sums.noise = noise
        }
        guard let scheme = TensorScheme(value) else { return nil }
        guard calibrated == nil || scheme.hasScaleBytes, scheme.accepts(codec), scheme.accepts(elementType),
            dimensions.count <= Limits.standard.rank,
            scheme != .lossless || sums.allSatisfy({ $0 == 0 })
        else { return nil }
        self.init(
            scheme: scheme, codec: codec, elementType: elementType, shape: shape,
            sums: ErrorSums(signal: sums[0], noise: sums[1], maxError: sums[2]), calibrated: calibrated,
            sourceHash: hash)
        guard self.text() == text else { return nil }
    }
}

extension TensorScheme {
    /// Reads a scheme from the member `scheme` of an object and the members of its parameters; nil if one is missing or invalid.
    package init?(_ value: JSONValue) {
        func integer(_ key: String) -> Int? { value[key]?.unsigned.flatMap { Int(exactly: $0) } }
        switch value["scheme"]?.string {
        case "lossless": self = .lossless
        case "uniform":
            guard let bits = integer("bits"), let group = integer("group_size"),
                let symmetric = value["symmetric"]?.bool,
                let parameters = UniformParameters(bits: bits, groupSize: group, symmetric: symmetric)
            else { return nil }
            self = .uniform(parameters)
        case "trellis":
            guard let states = integer("states"), let alphabet = integer("alphabet"),
                let low = integer("low_bits"), let classes = integer("row_classes"),
                var parameters = TrellisParameters(
                    states: states, alphabet: alphabet, lowBits: low, rowClasses: classes)
            else { return nil }
            if let scales = value["scale_bytes"] {
                guard let name = scales.string, let scales = ScaleBytes(rawValue: name) else { return nil }
                parameters.scaleBytes = scales
            }
            self = .trellis(parameters)
        default: return nil
        }
    }

    /// Whether rows or columns have scale bytes; only then a tensor may be calibrated.
    fileprivate var hasScaleBytes: Bool {
        if case .trellis(let parameters) = self { parameters.scaleBytes != nil } else { false }
    }

    /// The scheme's parameters as members of a JSON object.
    package var members: [JSONValue.Member] {
        switch self {
        case .uniform(let parameters):
            [
                .init("bits", .unsigned(UInt64(parameters.bits))),
                .init("group_size", .unsigned(UInt64(parameters.groupSize))),
                .init("symmetric", .bool(parameters.symmetric)),
            ]
        case .trellis(let parameters):
            [
                .init("states", .unsigned(UInt64(parameters.states))),
                .init("alphabet", .unsigned(UInt64(parameters.alphabet))),
                .init("low_bits", .unsigned(UInt64(parameters.lowBits))),
                .init("row_classes", .unsigned(UInt64(parameters.rowClasses))),
            ] + (parameters.scaleBytes.map { [.init("scale_bytes", .string($0.rawValue))] } ?? [])
        case .lossless: []
        }
    }
}
