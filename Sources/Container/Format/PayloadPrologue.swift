import FileAccess
package import Quantization
package import TensorModel

/// The first 64 bytes of a payload: scheme, codec, element type and grid (Specs/container.md, "Payload").
package struct PayloadPrologue: Sendable, Hashable {
    static let byteCount = 64
    static let magic = Array("INGOTPL1".utf8)

    /// How the tensor is stored.
    package let scheme: TensorScheme
    /// The requested codec. Streams that it does not shrink are stored uncompressed.
    package let codec: Codec
    /// Element type of the tensor, and of its scales and biases.
    package let elementType: ElementType
    /// How the matrix is cut.
    package let grid: ChunkGrid
    /// Bytes of the payload, including padding.
    package var payloadBytes: UInt64 = 0

    /// The format of the weights. Traps if the elements are codes: then the scheme is `lossless`, and there are no weights to ask for.
    package var format: FloatFormat { elementType.weightFormat }

    /// Bytes per entry of the chunk table.
    package var entryBytes: Int {
        ChunkEntry.fixedBytes + ChunkEntry.bytesPerStream * scheme.streamCount(elementType, codec)
    }

    /// Bytes of prologue and chunk table.
    var tableEnd: Int { PayloadPrologue.byteCount + grid.count * entryBytes }

    /// Bytes of side information behind the chunk table: the scale bytes of columns and rows.
    package var sideBytes: Int {
        guard case .trellis(let parameters) = scheme else { return 0 }
        return parameters.scaleBytes?.count(rows: grid.rows, columns: grid.columns) ?? 0
    }

    /// Bytes of everything before the first chunk: prologue, chunk table, side information.
    var frontBytes: Int { tableEnd + sideBytes }

    /// Upper bound of the bytes that do not depend on the weights: prologue, chunk table, side information, padding.
    package var fixedBytes: Int { frontBytes + Int(ContainerFormat.alignment) - 1 }

    /// Bytes of a payload whose chunks take `streamBytes` bytes in total.
    package func payloadBytes(streamBytes: Int) -> Int {
        let alignment = Int(ContainerFormat.alignment)
        return (frontBytes + streamBytes + alignment - 1) / alignment * alignment
    }

    /// A lower bound of the bytes of a payload.
    var minimumBytes: Int { frontBytes + grid.count * scheme.minimumChunkBytes(elementType, codec) }

    func encoded() -> [UInt8] {
        var bytes = PayloadPrologue.magic
        var bits: UInt8 = 0
        var flags: UInt8 = 0
        var group: UInt32 = 0
        switch scheme {
        case .uniform(let parameters):
            bits = UInt8(parameters.bits)
            flags = parameters.symmetric ? 1 : 0
            group = UInt32(parameters.groupSize)
        case .trellis(let parameters):
            bits = UInt8(parameters.states)
            flags = UInt8(parameters.lowBits)
            group = UInt32(parameters.alphabet) | UInt32(parameters.rowClasses) << 16
        case .lossless: break
        }
        LittleEndian.append(scheme.number, to: &bytes)
        bytes += [bits, flags]
        LittleEndian.append(group, to: &bytes)
        bytes += [codec.rawValue, elementType.payloadNumber]
        LittleEndian.append(UInt16(scheme.streamCount(elementType, codec)), to: &bytes)
        LittleEndian.append(UInt32(grid.count), to: &bytes)
        LittleEndian.append(UInt64(grid.rows), to: &bytes)
        LittleEndian.append(UInt64(grid.columns), to: &bytes)
        LittleEndian.append(UInt32(grid.chunkRows), to: &bytes)
        LittleEndian.append(UInt32(grid.chunkColumns), to: &bytes)
        LittleEndian.append(UInt64(sideBytes), to: &bytes)
        LittleEndian.append(payloadBytes, to: &bytes)
        return bytes
    }

    /// Whether `bytes` are exactly this prologue, which follows from the header.
    func matches(_ bytes: [UInt8]) -> Bool { bytes == encoded() }
}

/// One entry of a chunk table.
package struct ChunkEntry: Sendable, Hashable {
    static let fixedBytes = 48
    static let bytesPerStream = 8

    /// Offset of the chunk's first byte from the start of the payload.
    package var offset: UInt64 = 0
    /// XXH3-64 of the chunk's stored bytes.
    package var checksum: UInt64 = 0
    /// Error sums of the chunk.
    package var sums = ErrorSums.zero
    /// The step of a chunk of scheme `trellis`; nil in other schemes.
    package var step: Float?
    /// The streams, in the order of the scheme. They are contiguous.
    package var streams: [Stream] = []

    /// Size and codec of a stored stream.
    package struct Stream: Sendable, Hashable {
        /// Stored bytes.
        package var byteCount: UInt32
        /// Codec of the stored bytes; `none` if uncompressed.
        package var codec: Codec
        /// Number of symbols in the stream in scheme `trellis`; 0 in other schemes.
        package var symbols = 0
    }

    /// Stored bytes of the chunk.
    package var byteCount: UInt64 { streams.reduce(0) { $0 + UInt64($1.byteCount) } }

    func encode(into bytes: inout [UInt8]) {
        LittleEndian.append(offset, to: &bytes)
        LittleEndian.append(checksum, to: &bytes)
        for sum in [sums.signal, sums.noise, sums.maxError] { LittleEndian.append(sum.bitPattern, to: &bytes) }
        LittleEndian.append(UInt64(step?.bitPattern ?? 0), to: &bytes)
        for stream in streams {
            LittleEndian.append(stream.byteCount, to: &bytes)
            LittleEndian.append(UInt32(stream.codec.rawValue) | UInt32(stream.symbols) << 8, to: &bytes)
        }
    }

    /// Reads an entry at byte `index`. Nil if a field has an invalid value, if a stream has a codec other than `asked` or `none`, or if
    /// the symbols of a trellis chunk do not sum to `weights`.
    package init?(
        _ bytes: [UInt8], at index: Int, _ scheme: TensorScheme, _ elementType: ElementType, _ asked: Codec,
        weights: Int
    ) {
        func double(_ offset: Int) -> Double {
            Double(bitPattern: LittleEndian.load(UInt64.self, bytes, at: index + offset))
        }
        offset = LittleEndian.load(UInt64.self, bytes, at: index)
        checksum = LittleEndian.load(UInt64.self, bytes, at: index + 8)
        sums = ErrorSums(signal: double(16), noise: double(24), maxError: double(32))
        let bits = LittleEndian.load(UInt64.self, bytes, at: index + 40)
        guard [sums.signal, sums.noise, sums.maxError].allSatisfy({ $0.isFinite && $0.sign == .plus }) else {
            return nil
        }
        for stream in 0..<scheme.streamCount(elementType, asked) {
            let place = index + ChunkEntry.fixedBytes + stream * ChunkEntry.bytesPerStream
            let number = LittleEndian.load(UInt32.self, bytes, at: place + 4)
            guard let codec = Codec(rawValue: UInt8(number & 255)), codec == .none || codec == asked else { return nil }
            streams.append(
                Stream(
                    byteCount: LittleEndian.load(UInt32.self, bytes, at: place), codec: codec,
                    symbols: Int(number >> 8)))
        }
        guard case .trellis(let parameters) = scheme else {
            guard bits == 0, streams.allSatisfy({ $0.symbols == 0 }), scheme != .lossless || sums == .zero else {
                return nil
            }
            return
        }
        let stepBits = UInt32(truncatingIfNeeded: bits)
        step = Float(bitPattern: stepBits)
        guard bits >> 32 == 0, let step, step.isNormal, step.sign == .plus,
            let extras = streams.last, extras.symbols == 0, extras.codec == .none
        else { return nil }
        if asked == .rans {
            guard streams[0].codec == .rans, streams[0].symbols == weights else { return nil }
        } else {
            guard streams.prefix(parameters.symbolStreams).reduce(0, { $0 + $1.symbols }) == weights,
                streams[parameters.symbolStreams].symbols <= weights
            else { return nil }
        }
    }

    /// An entry without streams.
    package init() {}
}
