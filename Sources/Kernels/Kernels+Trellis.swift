internal import CKernels

extension Kernels {
    /// Columns of a strip of the trellis scheme.
    package static var stripWidth: Int { Int(INGOT_TRELLIS_STRIP) }
    /// Bytes behind the last symbol of a stream that must be there.
    package static var symbolSlack: Int { Int(INGOT_TRELLIS_SLACK) }
    /// Row classes a chunk has at most.
    package static var maximumRowClasses: Int { Int(INGOT_TRELLIS_MAX_CLASSES) }
    /// Entries of a histogram of levels.
    package static var levelHistogramSize: Int { Int(INGOT_TRELLIS_HISTOGRAM) }

    /// How weights become levels (Specs/trellis.md, "The encoder").
    package struct TrellisRule: Sendable, Hashable {
        /// States of the trellis: 8, 16 or 32.
        package var states: Int
        /// 1 / step.
        package var inverseStep: Float
        /// What is taken off each magnitude, in levels.
        package var deadZone: Float
        /// What is left is multiplied with this.
        package var shrink: Float
        /// Weights farther out than this, in levels, are searched for as if they stood there; above 0, at most 16381.
        package var farthest: Float

        /// A rule whose symbols have a magnitude of at most `greatestSymbol`, 1 to 8191.
        package init(states: Int, inverseStep: Float, deadZone: Float, shrink: Float, greatestSymbol: Int) {
            precondition((1...8191).contains(greatestSymbol), "TrellisRule: symbols out of range")
            self.init(
                states: states, inverseStep: inverseStep, deadZone: deadZone, shrink: shrink,
                farthest: Float(2 * greatestSymbol - 1))
        }

        /// A rule.
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

    /// How symbols become bytes.
    package struct TrellisAlphabet: Sendable, Hashable {
        /// Symbols of magnitude up to this have a code; 1 to 127, where nothing escapes.
        package var limit: Int
        /// Bits of each symbol that are stored apart: 0 to 6, more than 0 only with a limit of 127.
        package var lowBits: Int

        /// An alphabet.
        package init(limit: Int, lowBits: Int) {
            precondition((1...127).contains(limit) && (0...6).contains(lowBits), "TrellisAlphabet: out of range")
            precondition(lowBits == 0 || limit == 127, "TrellisAlphabet: low bits need a limit of 127")
            self.limit = limit
            self.lowBits = lowBits
        }

        fileprivate var kernel: ingot_trellis_alphabet {
            ingot_trellis_alphabet(limit: Int32(limit), low_bits: Int32(lowBits))
        }
    }

    /// Elements of the symbol buffer of a chunk: its strips, each padded to its full width.
    package static func symbolCount(rows: Int, columns: Int) -> Int {
        maskCount(rows: rows, columns: columns) * stripWidth
    }

    /// Elements of the mask buffer of a chunk.
    package static func maskCount(rows: Int, columns: Int) -> Int { ingot_trellis_strips(columns) * rows }

    /// Bytes of scratch that the search of a chunk needs.
    package static func scratchCount(rows: Int, states: Int) -> Int { rows * stripWidth * (2 + states / 8) }

    /// Finds each column's best way through the trellis.
    ///
    /// - Parameters:
    ///   - weights: finite, row-major, rows * columns of them.
    ///   - symbols: at least `symbolCount`; strip by strip, row by row.
    ///   - oddMasks: at least `maskCount`; bit c of a strip's row is the parity of column c's state.
    ///   - scratch: at least `scratchCount`.
    /// - Returns: whether a weight was farther out than the rule lets symbols go.
    package static func trellisQuantize(
        _ weights: Span<Float>, rows: Int, columns: Int, rule: TrellisRule, symbols: inout MutableSpan<Int16>,
        oddMasks: inout MutableSpan<UInt64>, scratch: inout MutableSpan<UInt16>
    ) -> Bool {
        precondition(rows > 0 && columns > 0 && weights.count == rows * columns, "trellisQuantize: sizes differ")
        precondition(
            symbols.count >= symbolCount(rows: rows, columns: columns)
                && oddMasks.count >= maskCount(rows: rows, columns: columns)
                && scratch.count * 2 >= scratchCount(rows: rows, states: rule.states), "trellisQuantize: no room")
        let kernelRule = ingot_trellis_rule(
            states: Int32(rule.states), inverse_step: rule.inverseStep, dead_zone: rule.deadZone, shrink: rule.shrink,
            farthest: rule.farthest)
        return unsafe weights.withUnsafeBufferPointer { weights in
            unsafe symbols.withUnsafeMutableBufferPointer { symbols in
                unsafe oddMasks.withUnsafeMutableBufferPointer { masks in
                    unsafe scratch.withUnsafeMutableBytes { scratch in
                        unsafe ingot_trellis_quantize(
                            weights.baseAddress, rows, columns, kernelRule, symbols.baseAddress, masks.baseAddress,
                            scratch.baseAddress?.assumingMemoryBound(to: UInt8.self)) != 0
                    }
                }
            }
        }
    }

    /// Restores a quantized chunk, row-major: each weight is level * step, rounded once, as `trellisDecode` will make it.
    package static func trellisRestore(
        symbols: Span<Int16>, oddMasks: Span<UInt64>, rows: Int, columns: Int, step: Float,
        into weights: inout MutableSpan<Float>
    ) {
        precondition(
            symbols.count >= symbolCount(rows: rows, columns: columns)
                && oddMasks.count >= maskCount(rows: rows, columns: columns) && weights.count >= rows * columns,
            "trellisRestore: no room")
        unsafe symbols.withUnsafeBufferPointer { symbols in
            unsafe oddMasks.withUnsafeBufferPointer { masks in
                unsafe weights.withUnsafeMutableBufferPointer { weights in
                    unsafe ingot_trellis_restore(
                        symbols.baseAddress, masks.baseAddress, rows, columns, step, weights.baseAddress)
                }
            }
        }
    }

    /// Adds the magnitude of every level of a quantized chunk to a histogram of `levelHistogramSize` entries.
    package static func trellisHistogram(
        symbols: Span<Int16>, oddMasks: Span<UInt64>, rows: Int, columns: Int, into counts: inout MutableSpan<UInt64>
    ) {
        precondition(
            symbols.count >= symbolCount(rows: rows, columns: columns)
                && oddMasks.count >= maskCount(rows: rows, columns: columns) && counts.count >= levelHistogramSize,
            "trellisHistogram: no room")
        unsafe symbols.withUnsafeBufferPointer { symbols in
            unsafe oddMasks.withUnsafeBufferPointer { masks in
                unsafe counts.withUnsafeMutableBufferPointer { counts in
                    unsafe ingot_trellis_histogram(
                        symbols.baseAddress, masks.baseAddress, rows, columns, counts.baseAddress)
                }
            }
        }
    }

    /// Writes a chunk's symbols to streams of one byte each: stream 2 * class + parity, and one of escapes.
    ///
    /// - Parameters:
    ///   - rowClasses: one a row, below `starts.count / 2`; empty where there is one class.
    ///   - streams: from each start on, room for all symbols of the class, and `symbolSlack`.
    ///   - counts: receives the symbols of each stream.
    ///   - escapes: room for one a weight, and `symbolSlack`.
    ///   - low: room for one a weight, and `symbolSlack`, where the alphabet has low bits.
    /// - Returns: the number of escapes.
    package static func trellisRoute(
        symbols: Span<Int16>, oddMasks: Span<UInt64>, rowClasses: Span<UInt8>, rows: Int, columns: Int,
        alphabet: TrellisAlphabet, streams: inout MutableSpan<UInt8>, starts: Span<Int>,
        counts: inout MutableSpan<Int>, escapes: inout MutableSpan<UInt8>, low: inout MutableSpan<UInt8>
    ) -> Int {
        let weights = rows * columns
        precondition(
            symbols.count >= symbolCount(rows: rows, columns: columns)
                && oddMasks.count >= maskCount(rows: rows, columns: columns)
                && (rowClasses.count == 0 || rowClasses.count >= rows), "trellisRoute: sizes differ")
        precondition(
            counts.count == starts.count && escapes.count >= weights + symbolSlack
                && (alphabet.lowBits == 0 || low.count >= weights + symbolSlack), "trellisRoute: no room")
        requireRoom(rowClasses: rowClasses, rows: rows, columns: columns, starts: starts, room: streams.count)
        var escapeCount = 0
        unsafe symbols.withUnsafeBufferPointer { symbols in
            unsafe oddMasks.withUnsafeBufferPointer { masks in
                unsafe rowClasses.withUnsafeBufferPointer { classes in
                    unsafe starts.withUnsafeBufferPointer { starts in
                        unsafe streams.withUnsafeMutableBufferPointer { streams in
                            unsafe counts.withUnsafeMutableBufferPointer { counts in
                                unsafe escapes.withUnsafeMutableBufferPointer { escapes in
                                    unsafe low.withUnsafeMutableBufferPointer { low in
                                        unsafe ingot_trellis_route(
                                            symbols.baseAddress, masks.baseAddress,
                                            classes.count == 0 ? nil : classes.baseAddress, rows, columns,
                                            alphabet.kernel, streams.baseAddress,
                                            starts.baseAddress,
                                            counts.baseAddress,
                                            escapes.baseAddress, &escapeCount, low.baseAddress)
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        return escapeCount
    }

    /// Traps where a class has no streams, or its streams no room for all symbols of its rows.
    private static func requireRoom(
        rowClasses: Span<UInt8>, rows: Int, columns: Int, starts: Span<Int>, room: Int
    ) {
        let classes = starts.count / 2
        precondition((1...maximumRowClasses).contains(classes) && starts.count == 2 * classes, "trellisRoute: classes")
        var rowsOfClass = [Int](repeating: 0, count: classes)
        if rowClasses.count == 0 { rowsOfClass[0] = rows }
        for row in 0..<(rowClasses.count == 0 ? 0 : rows) {
            precondition(rowClasses[row] < classes, "trellisRoute: a class without streams")
            rowsOfClass[Int(rowClasses[row])] += 1
        }
        for stream in 0..<starts.count {
            let end = stream + 1 < starts.count ? starts[stream + 1] : room
            precondition(
                starts[stream] >= 0 && end <= room
                    && end - starts[stream] >= rowsOfClass[stream / 2] * columns + symbolSlack,
                "trellisRoute: no room for a stream")
        }
    }

    /// Restores a chunk, row-major: each weight is level * step, rounded once.
    ///
    /// - Parameters:
    ///   - rowClasses: one a row, below `starts.count / 2`; empty where there is one class.
    ///   - streams: one byte a symbol; `symbolSlack` bytes behind the end of each stream.
    ///   - starts: where each stream begins.
    ///   - counts: the symbols of each stream.
    ///   - escapes: `escapeCount` of them, and `symbolSlack` bytes behind.
    ///   - low: one a weight and `symbolSlack` behind, where the alphabet has low bits.
    ///   - weights: at least rows * columns.
    /// - Returns: false where a stream has more or fewer symbols than it must; `weights` is then without a meaning.
    package static func trellisDecode(
        states: Int, rowClasses: Span<UInt8>, rows: Int, columns: Int, alphabet: TrellisAlphabet, step: Float,
        streams: Span<UInt8>, starts: Span<Int>, counts: Span<Int>, escapes: Span<UInt8>, escapeCount: Int,
        low: Span<UInt8>, into weights: inout MutableSpan<Float>
    ) -> Bool {
        let count = rows * columns
        let classes = starts.count / 2
        precondition([8, 16, 32].contains(states) && counts.count == starts.count && starts.count == 2 * classes)
        precondition((1...maximumRowClasses).contains(classes), "trellisDecode: classes")
        precondition(
            weights.count >= count && escapeCount >= 0 && escapes.count >= escapeCount + symbolSlack
                && (alphabet.lowBits == 0 || low.count >= count + symbolSlack), "trellisDecode: sizes differ")
        for stream in 0..<starts.count {
            precondition(
                starts[stream] >= 0 && counts[stream] >= 0
                    && starts[stream] + counts[stream] + symbolSlack <= streams.count, "trellisDecode: a stream's place"
            )
        }
        if rowClasses.count > 0 {
            for row in 0..<rows { precondition(rowClasses[row] < classes, "trellisDecode: a class without streams") }
        } else {
            precondition(classes == 1, "trellisDecode: classes of rows are missing")
        }
        return unsafe rowClasses.withUnsafeBufferPointer { rowClasses in
            unsafe streams.withUnsafeBufferPointer { streams in
                unsafe starts.withUnsafeBufferPointer { starts in
                    unsafe counts.withUnsafeBufferPointer { counts in
                        unsafe escapes.withUnsafeBufferPointer { escapes in
                            unsafe low.withUnsafeBufferPointer { low in
                                unsafe weights.withUnsafeMutableBufferPointer { weights in
                                    unsafe ingot_trellis_decode(
                                        Int32(states), rowClasses.count == 0 ? nil : rowClasses.baseAddress, rows,
                                        columns, alphabet.kernel, step, streams.baseAddress,
                                        starts.baseAddress,
                                        counts.baseAddress,
                                        Int32(classes), escapes.baseAddress, escapeCount,
                                        alphabet.lowBits == 0 ? nil : low.baseAddress, weights.baseAddress)
                                        == Int32(INGOT_TRELLIS_OK)
                                }
                            }
                        }
                    }
                }
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

    /// Unpacks three symbols from each byte, into `symbols` from `start` on.
    ///
    /// - Returns: false where a byte is above 215.
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

    /// The sum of squares of each row, in binary32 and the lane order of `errorSums`.
    package static func rowEnergies(
        _ weights: Span<Float>, rows: Int, columns: Int, into energies: inout MutableSpan<Float>
    ) {
        precondition(weights.count >= rows * columns && energies.count >= rows, "rowEnergies: sizes differ")
        unsafe weights.withUnsafeBufferPointer { weights in
            unsafe energies.withUnsafeMutableBufferPointer { energies in
                guard let from = weights.baseAddress, let to = energies.baseAddress else { return }
                unsafe ingot_row_energies(from, rows, columns, to)
            }
        }
    }
}
