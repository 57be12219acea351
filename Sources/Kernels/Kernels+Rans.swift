internal import CKernels

extension Kernels {
    /// How symbols are coded by rANS (Specs/rans.md).
    package struct RansRule: Sendable, Hashable {
        /// States of the trellis: 8, 16 or 32.
        package var states: Int
        /// The lowest bits of the symbols, which are kept elsewhere: 0 to 6.
        package var lowBits: Int

        /// A rule.
        package init(states: Int, lowBits: Int) {
            precondition([8, 16, 32].contains(states) && (0...6).contains(lowBits), "RansRule: out of range")
            self.states = states
            self.lowBits = lowBits
        }

        /// At most 16 classes of a fifth of an octave each: more, or finer, win nothing.
        fileprivate var kernel: ingot_rans_rule {
            ingot_rans_rule(states: Int32(states), low_bits: Int32(lowBits), max_classes: 16, unit: 51)
        }
    }

    /// Tables and sums of the rANS coder, in memory that grows and is reused; one value a worker.
    @safe package final class RansScratch {
        private var memory: UnsafeMutableRawBufferPointer?
        private static let alignment = 64

        /// Scratch without memory.
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

    /// Bytes of room that coding a chunk needs.
    package static func ransBound(_ shape: ChunkShape) -> Int { ingot_rans_bound(shape.kernel) }

    /// Codes the symbols of a quantized chunk, which without their low bits are -127 to 127.
    ///
    /// - Parameters:
    ///   - bytes: at least `ransBound` long.
    /// - Returns: how many of them the chunk takes.
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

    /// What `ransDecode` found wrong.
    package enum RansFault: Error, Sendable, Hashable {
        /// Too few bytes, or words or escapes missing or left over.
        case length
        /// A table that cannot be.
        case model
        /// A first state out of range.
        case state
        /// A last state other than the constant.
        case end
    }

    /// Restores a chunk, row-major: each weight is level * step, rounded once.
    ///
    /// - Parameters:
    ///   - bytes: what `ransEncode` made, any other bytes too.
    ///   - low: one a weight and `symbolSlack` behind, where there are low bits.
    ///   - weights: at least as many as the chunk has.
    /// - Throws: `RansFault`; `weights` is then without a meaning.
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
