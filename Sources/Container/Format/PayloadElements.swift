internal import TensorModel

extension ElementType {
    /// The number of the type in prologues (Specs/container.md, section 2). Traps for a type that no payload has.
    var payloadNumber: UInt8 {
        switch self {
        case .f16: 1
        case .bf16: 2
        case .f32: 3
        case .u8: 16
        case .i8: 17
        case .f8e4m3: 18
        case .f8e5m2: 19
        case .f8e8m0: 20
        case .u16: 21
        case .i16: 22
        case .u32: 23
        case .i32: 24
        default: preconditionFailure("an element type that no payload has")
        }
    }

    /// The type as a format of weights. Traps for other types.
    var weightFormat: FloatFormat {
        guard let quantizable else { preconditionFailure("elements that are no weights") }
        return quantizable
    }
}
