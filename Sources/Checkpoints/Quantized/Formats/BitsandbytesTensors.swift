import FileAccess
import Kernels
import TensorModel

/// Weights of bitsandbytes: NF4 and FP4 in U8, and LLM.int8() in I8.
///
/// Layout: bitsandbytes 0.50. Blocks run across rows. A weight of 4 bits is table[code] * absmax in binary32, rounded once to the type that the
/// state names. A weight of 8 bits is code * SCB, times 1/127 as a binary32 number, in F32.
enum BitsandbytesTensors {
    private static let kinds = ["nf4", "fp4"]

    /// Whether the tensors of a module are of bitsandbytes.
    static func match(_ codes: FoundTensor, _ tensors: StoredTensors) throws -> LogicalTensor? {
        let name = codes.tensor.name.text
        let states = kinds.compactMap { kind in
            tensors.find("\(name).quant_state.bitsandbytes__\(kind)").map { (kind, $0) }
        }
        if let (kind, state) = states.first { return try fourBits(codes, name, kind, state, tensors) }
        if codes.type != .i8, tensors.find(name + ".absmax") != nil {
            _ = try tensors.require("\(name).quant_state.bitsandbytes__nf4", for: codes, .bitsandbytes)
        }
        let module = TensorName.dropSuffix(name, ".weight")
        guard codes.type == .i8, codes.dimensions.count == 2,
            let scale = tensors.first([module + ".SCB", name + ".SCB"])
        else { return nil }
        return try bytes(codes, module, scale, tensors)
    }

    private static func bytes(
        _ codes: FoundTensor, _ module: String, _ scale: FoundTensor, _ tensors: StoredTensors
    ) throws -> LogicalTensor {
        let (rows, columns) = (codes.dimensions[0], codes.dimensions[1])
        guard scale.type == .f32, scale.count == rows, rows > 0, columns > 0 else {
            throw StoredTensors.wrongShape(scale, "F32, one number for each row", beside: codes)
        }
        var builder = LogicalTensorBuilder(codes: codes)
        let part = builder.add(.scales, scale)
        builder.drop([module + ".weight_format", module + ".weight.weight_format"], tensors)
        let scales = SideValues(
            part: part, storage: .f32, blockRows: 1, blockColumns: columns, sliceRows: rows, gridRows: rows,
            gridColumns: 1)
        var decoder = QuantizedBytes(
            rows: rows, columns: columns, format: .f32,
            layout: .rows(bits: 8, rowBytes: columns), kind: .signed, scales: scales)
        decoder.factor = 0x1.020408p-7
        return try LogicalTensor(
            codes.tensor.name, codes.dimensions, decoder, builder,
            .init(
                method: .bitsandbytes, shortName: "bnb int8", summary: "int8, one scale a row", codeBits: 8,
                levels: 256,
                needsConsent: true), codes)
    }

    /// What the state of a tensor says, a JSON object.
    private struct State {
        let blockSize: Int, shape: Shape, format: FloatFormat
        /// The block size and offset of scales that are quantized themselves; nil if they are not.
        let nested: (blockSize: Int, offset: Float)?

        init(_ found: FoundTensor) throws {
            func failure(_ text: String) -> IngotError {
                StoredTensors.refusal(found, text, "the state that bitsandbytes writes, as JSON")
            }
            guard found.type == .u8, found.tensor.range.count <= 1 << 16 else {
                throw failure("\(found.tensor.range.count) bytes of \(found.type.rawValue)")
            }
            guard let value = try? JSONValue.parse(found.file.bytes(found.tensor.range)) else {
                throw failure("bytes that are no JSON object")
            }
            let names: [String: FloatFormat] = ["float16": .f16, "bfloat16": .bf16, "float32": .f32]
            guard let block = value["blocksize"]?.unsigned.flatMap({ Int(exactly: $0) }), (1...1 << 16).contains(block),
                let dimensions = value["shape"]?.array?.map({ $0.unsigned.flatMap { Int(exactly: $0) } }),
                !dimensions.contains(nil), let shape = Shape(dimensions.compactMap(\.self)), shape.elementCount > 0,
                shape.elementCount < 1 << 48, let format = value["dtype"]?.string.flatMap({ names[$0] })
            else { throw failure("no `blocksize`, `shape` or `dtype` that can be used") }
            (blockSize, self.shape, self.format) = (block, shape, format)
            guard let size = value["nested_blocksize"]?.unsigned else {
                nested = nil
                return
            }
            guard let size = Int(exactly: size), (1...1 << 16).contains(size),
                let offset = value["nested_offset"].flatMap(State.number)
            else { throw failure("no `nested_offset`, or an unusable `nested_blocksize`") }
            nested = (size, Float(offset))
        }

        /// A finite number.
        private static func number(_ value: JSONValue) -> Double? {
            switch value {
            case .unsigned(let whole): Double(whole)
            case .number(let number) where number.isFinite: number
            default: nil
            }
        }
    }

    private static func fourBits(
        _ codes: FoundTensor, _ name: String, _ kind: String, _ stateTensor: FoundTensor, _ tensors: StoredTensors
    ) throws -> LogicalTensor {
        let state = try State(stateTensor)
        if let stated = tensors.configuration?.value["bnb_4bit_quant_type"]?.string, stated != kind {
            throw StoredTensors.refusal(
                codes, "codes of \(kind)",
                "codes of \(stated.prefix(80)), as \(tensors.configuration?.path ?? "") states")
        }
        let count = state.shape.elementCount
        guard codes.tensor.range.count == UInt64((count + 1) / 2) else {
            throw StoredTensors.refusal(
                codes, "\(codes.tensor.range.count) bytes", "\((count + 1) / 2), for shape \(state.shape.description)")
        }
        var builder = LogicalTensorBuilder(codes: codes)
        let absmax = try tensors.require(name + ".absmax", for: codes, .bitsandbytes)
        let map = try tensors.require(name + ".quant_map", for: codes, .bitsandbytes)
        let blocks = (count - 1) / state.blockSize + 1
        guard absmax.count == blocks, absmax.type == (state.nested == nil ? .f32 : .u8) else {
            throw StoredTensors.wrongShape(
                absmax,
                "\(state.nested == nil ? "F32" : "U8"), \(blocks) numbers, one for each block of \(state.blockSize)",
                beside: codes)
        }
        guard map.type == .f32, map.count == 16 else {
            throw StoredTensors.wrongShape(map, "16 F32 numbers", beside: codes)
        }
        let part = builder.add(.scales, absmax)
        _ = builder.add(.codebooks, map)
        _ = builder.add(.other, stateTensor)
        var adjustment = SideValues.Adjustment.none
        if let nested = state.nested {
            let outer = try tensors.require(name + ".nested_absmax", for: codes, .bitsandbytes)
            let levels = try tensors.require(name + ".nested_quant_map", for: codes, .bitsandbytes)
            guard outer.type == .f32, outer.count == (blocks - 1) / nested.blockSize + 1, levels.type == .f32,
                levels.count == 256
            else {
                throw StoredTensors.wrongShape(
                    outer, "F32, one number for each \(nested.blockSize) blocks, beside 256 levels", beside: codes)
            }
            adjustment = .nested(
                table: builder.add(.codebooks, levels), scales: builder.add(.scales, outer), block: nested.blockSize,
                offset: nested.offset)
        }
        var table = try SideValues.floats(FilePart(map.file, map.tensor.range), from: 0, count: 16)
        table += [Float](repeating: 0, count: 240)
        let scales = SideValues(
            part: part, storage: state.nested == nil ? .f32 : .u8, blockRows: 1, blockColumns: state.blockSize,
            sliceRows: 1,
            gridRows: 1, gridColumns: blocks, adjustment: adjustment)
        let decoder = QuantizedBytes(
            rows: 1, columns: count, format: state.format,
            layout: .rows(bits: 4, rowBytes: (count + 1) / 2, highFirst: true), kind: .table, table: table,
            scales: scales)
        let nested = state.nested == nil ? "" : ", scales of 8 bits"
        return try LogicalTensor(
            codes.tensor.name, state.shape.dimensions, decoder, builder,
            .init(
                method: .bitsandbytes, shortName: "\(kind) b\(state.blockSize)",
                summary: "\(kind.uppercased()), blocks of \(state.blockSize)\(nested)", codeBits: 4, levels: 16,
                needsConsent: true), codes)
    }
}
