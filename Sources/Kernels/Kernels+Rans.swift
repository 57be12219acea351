internal import CKernels

extension Kernels {
    /// Parameters of rANS coding (Specs/rans.md).
    package struct RansRule: Sendable, Hashable {
        /// States of the trellis: 8, 16 or 32.
        package var states: Int
        /// Number of low bits of each symbol that are stored elsewhere: 0 to 6.
        package var lowBits: Int

        /// A rule; traps if a value is out of range.
        package init(states: Int, lowBits: Int) {
            precondition([8, 16, 32].contains(states) && (0...6).contains(lowBits), "RansRule: out of range")
            self.states = states
            self.lowBits = lowBits
        }

        /// At most 16 classes of 0.2 octave (51/256) each. More or narrower classes gain nothing (Specs/rans.md, section 8).
        fileprivate var kernel: ingot_rans_rule {
            ingot_rans_rule(states: Int32(states), low_bits: Int32(lowBits), max_classes: 16, unit: 51)
        }
    }

    /// Working memory of the rANS coder, reused from chunk to chunk. Each worker needs its own.
    @safe package final class RansScratch {
        private var memory: UnsafeMutableRawBufferPointer?
        private static let alignment = 64

        /// Scratch that allocates memory at its first use.
        package init() {}

        deinit { unsafe memory?.deallocate() }

        fileprivate func reserve(_ shape: ChunkShape) -> UnsafeMutableRawPointer? {
            let needed = ingot_rans_scratch(shape.kernel)
            if let memory = unsafe memory, memory.count >= needed { return memory.baseAddress }
            unsafe memory?.deallocate()
            unsafe memory = .allocate(byteCount: needed, alignment: RansScratch.alignment)
            return unsafe memory?.baseAddress
        }
    }

    /// Bytes that the buffer given to `ransEncode` must have for a chunk.
    package static func ransBound(_ shape: ChunkShape) -> Int { ingot_rans_bound(shape.kernel) }

    /// Encodes the symbols of a quantized chunk. Traps if a symbol without its low bits is not in -128...127.
    ///
    /// - Parameters:
    ///   - symbols: as `trellisQuantize` writes them.
    ///   - oddMasks: as `trellisQuantize` writes them.
    ///   - bytes: at least `ransBound` bytes.
    /// - Returns: the number of bytes that the coded chunk takes.
    package static func ransEncode(
        symbols: Span<Int16>, oddMasks: Span<UInt64>, _ shape: ChunkShape, rule: RansRule,
        into bytes: inout MutableSpan<UInt8>, _ scratch: RansScratch
    ) -> Int {
        precondition(
            shape.rows > 0 && shape.columns > 0 && symbols.count >= symbolCount(shape)
                && oddMasks.count >= maskCount(shape) && bytes.count >= ransBound(shape), "ransEncode: no room")
        let memory = unsafe scratch.reserve(shape)
        let count = unsafe symbols.withUnsafeBufferPointer { symbols in
            unsafe oddMasks.withUnsafeBufferPointer { masks in
                unsafe bytes.withUnsafeMutableBufferPointer { bytes in
                    unsafe ingot_rans_encode(
                        symbols.baseAddress, masks.baseAddress, shape.kernel, rule.kernel, bytes.baseAddress, memory)
                }
            }
        }
        precondition(count > 0, "ransEncode: a symbol out of range")
        return count
    }

    /// Why `ransDecode` refuses bytes.
    package enum RansFault: Error, Sendable, Hashable {
        /// Too few bytes, or words or escapes are missing or left over.
        case length
        /// An invalid table.
        case model
        /// An initial state is out of range.
        case state
        /// A final state differs from 2^15.
        case end
    }

    /// Decodes a chunk to row-major weights: each is level * step, rounded once.
    ///
    /// - Parameters:
    ///   - bytes: the coded chunk. Any bytes are safe.
    ///   - low: with low bits, one byte per weight and `symbolSlack` more bytes; otherwise unused.
    ///   - weights: room for at least as many weights as the chunk has.
    /// - Throws: `RansFault`; `weights` is then undefined.
    package static func ransDecode(
        _ bytes: Span<UInt8>, _ shape: ChunkShape, rule: RansRule, low: Span<UInt8>, step: Float,
        into weights: inout MutableSpan<Float>, _ scratch: RansScratch
    ) throws(RansFault) {
        let count = shape.weightCount
        precondition(
            shape.rows > 0 && shape.columns > 0 && weights.count >= count
                && (rule.lowBits == 0 || low.count >= count + symbolSlack),
            "ransDecode: sizes differ")
        let memory = unsafe scratch.reserve(shape)
        let status: Int32 = unsafe bytes.withUnsafeBufferPointer { bytes in
            unsafe low.withUnsafeBufferPointer { low in
                unsafe weights.withUnsafeMutableBufferPointer { weights in
                    unsafe ingot_rans_decode(
                        bytes.baseAddress, bytes.count, shape.kernel, rule.kernel,
                        rule.lowBits == 0 ? nil : low.baseAddress, step, weights.baseAddress, shape.columns, memory)
                }
            }
        }
        switch Int(status) {
        case INGOT_RANS_OK: return
        case INGOT_RANS_BAD_LENGTH: throw .length
        case INGOT_RANS_BAD_MODEL: throw .model
        case INGOT_RANS_BAD_STATE: throw .state
        default: throw .end
        }
    }
}
