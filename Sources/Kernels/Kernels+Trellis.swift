internal import CKernels

extension Kernels {
    /// Columns per strip of the trellis scheme.
    package static var stripWidth: Int { Int(INGOT_TRELLIS_STRIP) }
    /// Bytes that a buffer must have behind the last symbol of a stream.
    package static var symbolSlack: Int { Int(INGOT_TRELLIS_SLACK) }
    /// The largest number of row classes in a chunk.
    package static var maximumRowClasses: Int { Int(INGOT_TRELLIS_MAX_CLASSES) }
    /// Entries of a histogram of level magnitudes.
    package static var levelHistogramSize: Int { Int(INGOT_TRELLIS_HISTOGRAM) }

    /// How weights become levels (Specs/trellis.md, "The encoder").
    package struct TrellisRule: Sendable, Hashable {
        /// States of the trellis: 8, 16 or 32.
        package var states: Int
        /// 1 / step.
        package var inverseStep: Float
        /// Subtracted from each magnitude, in levels.
        package var deadZone: Float
        /// Factor of the magnitude that remains after the dead zone.
        package var shrink: Float
        /// The search clamps larger magnitudes to this one, in levels; above 0, at most 16381.
        package var farthest: Float

        /// A rule whose symbols have a magnitude of at most `greatestSymbol`, 1 to 8191.
        package init(states: Int, inverseStep: Float, deadZone: Float, shrink: Float, greatestSymbol: Int) {
            precondition((1...8191).contains(greatestSymbol), "TrellisRule: symbols out of range")
            self.init(
                states: states, inverseStep: inverseStep, deadZone: deadZone, shrink: shrink,
                farthest: Float(2 * greatestSymbol - 1))
        }

        /// A rule; traps if a value is out of range.
        package init(states: Int, inverseStep: Float, deadZone: Float, shrink: Float, farthest: Float) {
            precondition([8, 16, 32].contains(states), "TrellisRule: no such code")
            precondition(farthest > 0 && farthest <= 16381, "TrellisRule: levels out of range")
            self.states = states
            self.inverseStep = inverseStep
            self.deadZone = deadZone
            self.shrink = shrink
            self.farthest = farthest
        }
    }

    /// How symbols become bytes (Specs/trellis.md, section 3).
    package struct TrellisAlphabet: Sendable, Hashable {
        /// Symbols of at most this magnitude have a code: 1 to 127. With 127 there are no escapes.
        package var limit: Int
        /// Number of low bits of each symbol that are stored apart: 0 to 6, above 0 only with a limit of 127.
        package var lowBits: Int

        /// An alphabet; traps if a value is out of range.
        package init(limit: Int, lowBits: Int) {
            precondition((1...127).contains(limit) && (0...6).contains(lowBits), "TrellisAlphabet: out of range")
            precondition(lowBits == 0 || limit == 127, "TrellisAlphabet: low bits need a limit of 127")
            self.limit = limit
            self.lowBits = lowBits
        }

        /// The alphabet as the C kernels take it.
        var kernel: ingot_trellis_alphabet {
            ingot_trellis_alphabet(limit: Int32(limit), low_bits: Int32(lowBits))
        }
    }

    /// Elements of the symbol buffer of a chunk, whose strips are padded to their full width.
    package static func symbolCount(_ shape: ChunkShape) -> Int { maskCount(shape) * stripWidth }

    /// Elements of the mask buffer of a chunk: one per row of each strip.
    package static func maskCount(_ shape: ChunkShape) -> Int { ingot_trellis_strips(shape.columns) * shape.rows }

    /// Bytes of scratch that `trellisQuantize` needs for a chunk.
    package static func scratchCount(rows: Int, states: Int) -> Int { rows * stripWidth * (2 + states / 8) }

    /// Finds the best path through the trellis for each column.
    ///
    /// - Parameters:
    ///   - weights: the finite, row-major weights of the chunk.
    ///   - symbols: at least `symbolCount` elements; written strip by strip, in a strip row by row.
    ///   - oddMasks: at least `maskCount` elements; bit c of a strip's row is the parity of column c's state.
    ///   - scratch: at least `scratchCount` bytes.
    /// - Returns: whether a weight was clamped to the rule's `farthest`.
    package static func trellisQuantize(
        _ weights: Span<Float>, _ shape: ChunkShape, rule: TrellisRule, symbols: inout MutableSpan<Int16>,
        oddMasks: inout MutableSpan<UInt64>, scratch: inout MutableSpan<UInt16>
    ) -> Bool {
        precondition(
            shape.rows > 0 && shape.columns > 0 && weights.count == shape.weightCount, "trellisQuantize: sizes differ")
        precondition(
            symbols.count >= symbolCount(shape) && oddMasks.count >= maskCount(shape)
                && scratch.count * 2 >= scratchCount(rows: shape.rows, states: rule.states), "trellisQuantize: no room")
        let kernelRule = ingot_trellis_rule(
            states: Int32(rule.states), inverse_step: rule.inverseStep, dead_zone: rule.deadZone, shrink: rule.shrink,
            farthest: rule.farthest)
        return unsafe weights.withUnsafeBufferPointer { weights in
            unsafe symbols.withUnsafeMutableBufferPointer { symbols in
                unsafe oddMasks.withUnsafeMutableBufferPointer { masks in
                    unsafe scratch.withUnsafeMutableBytes { scratch in
                        unsafe ingot_trellis_quantize(
                            weights.baseAddress, shape.kernel, kernelRule, symbols.baseAddress, masks.baseAddress,
                            scratch.baseAddress?.assumingMemoryBound(to: UInt8.self)) != 0
                    }
                }
            }
        }
    }

    /// Restores a quantized chunk, row-major: each weight is level * step, rounded once. `trellisDecode` gives the same weights.
    package static func trellisRestore(
        symbols: Span<Int16>, oddMasks: Span<UInt64>, _ shape: ChunkShape, step: Float,
        into weights: inout MutableSpan<Float>
    ) {
        precondition(
            symbols.count >= symbolCount(shape) && oddMasks.count >= maskCount(shape)
                && weights.count >= shape.weightCount, "trellisRestore: no room")
        unsafe symbols.withUnsafeBufferPointer { symbols in
            unsafe oddMasks.withUnsafeBufferPointer { masks in
                unsafe weights.withUnsafeMutableBufferPointer { weights in
                    unsafe ingot_trellis_restore(
                        symbols.baseAddress, masks.baseAddress, shape.kernel, step, weights.baseAddress)
                }
            }
        }
    }

    /// `trellisErrors` requires a number of columns that is a multiple of this.
    package static let errorColumns = 16

    /// The error sums of a chunk's weights against what `trellisRestore` makes of its symbols; the same bits as `errorSums` gives.
    ///
    /// - Parameter shape: its columns are a multiple of `errorColumns`.
    package static func trellisErrors(
        _ weights: Span<Float>, symbols: Span<Int16>, oddMasks: Span<UInt64>, _ shape: ChunkShape, step: Float
    ) -> (signal: Double, noise: Double, maxError: Double) {
        precondition(
            symbols.count >= symbolCount(shape) && oddMasks.count >= maskCount(shape)
                && weights.count >= shape.weightCount && shape.columns % errorColumns == 0, "trellisErrors: no room")
        return unsafe weights.withUnsafeBufferPointer { weights in
            unsafe symbols.withUnsafeBufferPointer { symbols in
                unsafe oddMasks.withUnsafeBufferPointer { masks in
                    let sums = unsafe ingot_trellis_errors(
                        weights.baseAddress, symbols.baseAddress, masks.baseAddress, shape.kernel, step)
                    return (sums.signal, sums.noise, sums.max_error)
                }
            }
        }
    }

    /// Adds the magnitude of every level of a quantized chunk to a histogram of `levelHistogramSize` entries.
    package static func trellisHistogram(
        symbols: Span<Int16>, oddMasks: Span<UInt64>, _ shape: ChunkShape, into counts: inout MutableSpan<UInt64>
    ) {
        precondition(
            symbols.count >= symbolCount(shape) && oddMasks.count >= maskCount(shape)
                && counts.count >= levelHistogramSize, "trellisHistogram: no room")
        unsafe symbols.withUnsafeBufferPointer { symbols in
            unsafe oddMasks.withUnsafeBufferPointer { masks in
                unsafe counts.withUnsafeMutableBufferPointer { counts in
                    unsafe ingot_trellis_histogram(
                        symbols.baseAddress, masks.baseAddress, shape.kernel, counts.baseAddress)
                }
            }
        }
    }

    /// Writes the symbols of a chunk to streams. Traps if a buffer is too short.
    ///
    /// - Returns: the number of escapes.
    package static func trellisRoute(
        symbols: Span<Int16>, oddMasks: Span<UInt64>, _ shape: ChunkShape, alphabet: TrellisAlphabet,
        into buffers: inout SymbolBuffers
    ) -> Int {
        precondition(
            symbols.count >= symbolCount(shape) && oddMasks.count >= maskCount(shape), "trellisRoute: sizes differ")
        buffers.requireRoom(shape, alphabet)
        return unsafe symbols.withUnsafeBufferPointer { symbols in
            unsafe oddMasks.withUnsafeBufferPointer { masks in
                unsafe buffers.withKernel { buffers in
                    unsafe ingot_trellis_route(
                        symbols.baseAddress, masks.baseAddress, shape.kernel, alphabet.kernel, buffers)
                }
            }
        }
    }

    /// Restores a chunk from its streams, row-major: each weight is level * step, rounded once.
    ///
    /// - Parameters:
    ///   - states: states of the trellis: 8, 16 or 32.
    ///   - weights: room for at least as many weights as the chunk has.
    /// - Returns: false if a stream has more or fewer symbols than the chunk needs; `weights` is then undefined.
    package static func trellisDecode(
        _ streams: SymbolStreams, _ shape: ChunkShape, states: Int, alphabet: TrellisAlphabet, step: Float,
        into weights: inout MutableSpan<Float>
    ) -> Bool {
        precondition([8, 16, 32].contains(states), "trellisDecode: no such code")
        precondition(weights.count >= shape.weightCount, "trellisDecode: sizes differ")
        streams.requireSizes(shape, alphabet)
        return unsafe weights.withUnsafeMutableBufferPointer { weights in
            unsafe streams.withKernel(alphabet) { streams in
                unsafe ingot_trellis_decode(
                    Int32(states), shape.kernel, alphabet.kernel, streams, step, weights.baseAddress)
                    == Int32(INGOT_TRELLIS_OK)
            }
        }
    }

    /// Packs `symbols`, each below 6, three to a byte.
    package static func packThirds(_ symbols: Span<UInt8>, into packed: inout MutableSpan<UInt8>) {
        precondition(packed.count >= (symbols.count + 2) / 3, "packThirds: sizes differ")
        unsafe symbols.withUnsafeBufferPointer { symbols in
            unsafe packed.withUnsafeMutableBufferPointer { packed in
                guard let from = symbols.baseAddress, let to = packed.baseAddress else { return }
                unsafe ingot_pack_thirds(from, to, symbols.count)
            }
        }
    }

    /// Unpacks three symbols from each byte into `symbols`, from index `start` on.
    ///
    /// - Returns: false if a byte is above 215.
    package static func unpackThirds(
        _ packed: Span<UInt8>, into symbols: inout MutableSpan<UInt8>, at start: Int
    ) -> Bool {
        precondition(start >= 0 && symbols.count >= start + 3 * packed.count, "unpackThirds: sizes differ")
        return unsafe packed.withUnsafeBufferPointer { packed in
            unsafe symbols.withUnsafeMutableBufferPointer { symbols in
                guard let from = packed.baseAddress, let to = symbols.baseAddress else { return true }
                return unsafe ingot_unpack_thirds(from, to + start, packed.count) == 0
            }
        }
    }

    /// The sum of squares of each row, in binary32, added in the lane order of `errorSums`.
    package static func rowEnergies(
        _ weights: Span<Float>, _ shape: ChunkShape, into energies: inout MutableSpan<Float>
    ) {
        precondition(
            weights.count >= shape.weightCount && energies.count >= shape.rows, "rowEnergies: sizes differ")
        unsafe weights.withUnsafeBufferPointer { weights in
            unsafe energies.withUnsafeMutableBufferPointer { energies in
                guard let from = weights.baseAddress, let to = energies.baseAddress else { return }
                unsafe ingot_row_energies(from, shape.kernel, to)
            }
        }
    }
}
