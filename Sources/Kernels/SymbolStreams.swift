internal import CKernels

extension Kernels {
    /// The streams of a chunk's symbols, one byte per symbol: codes in stream 2 * class + parity, escapes, and low bits.
    package struct SymbolStreams: ~Escapable {
        /// The class of each row, below `starts.count / 2`; empty if there is one class.
        package var rowClasses: Span<UInt8>
        /// All streams of codes, with `symbolSlack` bytes behind the end of each.
        package var codes: Span<UInt8>
        /// Start of each stream in `codes`.
        package var starts: Span<Int>
        /// Number of symbols in each stream.
        package var counts: Span<Int>
        /// Symbols without a code: `escapeCount` of them, and `symbolSlack` bytes behind.
        package var escapes: Span<UInt8>
        /// Number of symbols in `escapes`.
        package var escapeCount: Int
        /// The low bits of each symbol, one byte each, and `symbolSlack` bytes behind; unused if the alphabet has no low bits.
        package var lowBits: Span<UInt8>

        /// Streams in the memory of the given spans.
        @_lifetime(copy rowClasses, copy codes, copy starts, copy counts, copy escapes, copy lowBits)
        package init(
            rowClasses: Span<UInt8>, codes: Span<UInt8>, starts: Span<Int>, counts: Span<Int>, escapes: Span<UInt8>,
            escapeCount: Int, lowBits: Span<UInt8>
        ) {
            self.rowClasses = rowClasses
            self.codes = codes
            self.starts = starts
            self.counts = counts
            self.escapes = escapes
            self.escapeCount = escapeCount
            self.lowBits = lowBits
        }

        /// Traps if the spans do not match each other or are too short for a chunk of this shape.
        func requireSizes(_ shape: ChunkShape, _ alphabet: TrellisAlphabet) {
            let classes = starts.count / 2
            precondition(counts.count == starts.count && starts.count == 2 * classes, "SymbolStreams: counts")
            precondition((1...maximumRowClasses).contains(classes), "SymbolStreams: classes")
            precondition(
                escapeCount >= 0 && escapes.count >= escapeCount + symbolSlack
                    && (alphabet.lowBits == 0 || lowBits.count >= shape.weightCount + symbolSlack),
                "SymbolStreams: sizes differ")
            for stream in 0..<starts.count {
                precondition(
                    starts[stream] >= 0 && counts[stream] >= 0
                        && starts[stream] + counts[stream] + symbolSlack <= codes.count,
                    "SymbolStreams: a stream's place")
            }
            if rowClasses.count > 0 {
                for row in 0..<shape.rows {
                    precondition(rowClasses[row] < classes, "SymbolStreams: a class without streams")
                }
            } else {
                precondition(classes == 1, "SymbolStreams: classes of rows are missing")
            }
        }

        /// Calls `body` with pointers to the spans, which are valid until it returns.
        func withKernel<Result>(_ alphabet: TrellisAlphabet, _ body: (ingot_symbol_streams) -> Result) -> Result {
            unsafe rowClasses.withUnsafeBufferPointer { rowClasses in
                unsafe codes.withUnsafeBufferPointer { codes in
                    unsafe starts.withUnsafeBufferPointer { starts in
                        unsafe counts.withUnsafeBufferPointer { counts in
                            unsafe escapes.withUnsafeBufferPointer { escapes in
                                unsafe lowBits.withUnsafeBufferPointer { low in
                                    unsafe body(
                                        ingot_symbol_streams(
                                            classes: Int32(starts.count / 2),
                                            row_classes: rowClasses.count == 0 ? nil : rowClasses.baseAddress,
                                            codes: codes.baseAddress, starts: starts.baseAddress,
                                            counts: counts.baseAddress, escapes: escapes.baseAddress,
                                            escape_count: escapeCount,
                                            low: alphabet.lowBits == 0 ? nil : low.baseAddress))
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Buffers for the streams of a chunk's symbols.
    package struct SymbolBuffers: ~Copyable, ~Escapable {
        /// The class of each row, below `starts.count / 2`; empty if there is one class.
        package var rowClasses: Span<UInt8>
        /// Room for all symbols of the class and `symbolSlack` more bytes, from each start on.
        package var codes: MutableSpan<UInt8>
        /// Start of each stream in `codes`.
        package var starts: Span<Int>
        /// Receives the number of symbols in each stream.
        package var counts: MutableSpan<Int>
        /// Room for one symbol per weight and `symbolSlack` more bytes.
        package var escapes: MutableSpan<UInt8>
        /// Room for one byte per weight and `symbolSlack` more bytes; unused if the alphabet has no low bits.
        package var lowBits: MutableSpan<UInt8>

        /// Buffers in the memory of the given spans.
        @_lifetime(copy rowClasses, copy codes, copy starts, copy counts, copy escapes, copy lowBits)
        package init(
            rowClasses: Span<UInt8>, codes: consuming MutableSpan<UInt8>, starts: Span<Int>,
            counts: consuming MutableSpan<Int>, escapes: consuming MutableSpan<UInt8>,
            lowBits: consuming MutableSpan<UInt8>
        ) {
            self.rowClasses = rowClasses
            self.codes = codes
            self.starts = starts
            self.counts = counts
            self.escapes = escapes
            self.lowBits = lowBits
        }

        /// Traps if a class has no streams, or if a stream has no room for all symbols of its rows.
        func requireRoom(_ shape: ChunkShape, _ alphabet: TrellisAlphabet) {
            let classes = starts.count / 2
            precondition(
                (1...maximumRowClasses).contains(classes) && starts.count == 2 * classes, "SymbolBuffers: classes")
            precondition(
                counts.count == starts.count && (rowClasses.count == 0 || rowClasses.count >= shape.rows)
                    && escapes.count >= shape.weightCount + symbolSlack
                    && (alphabet.lowBits == 0 || lowBits.count >= shape.weightCount + symbolSlack),
                "SymbolBuffers: no room")
            var rowsOfClass = [Int](repeating: 0, count: classes)
            if rowClasses.count == 0 { rowsOfClass[0] = shape.rows }
            for row in 0..<(rowClasses.count == 0 ? 0 : shape.rows) {
                precondition(rowClasses[row] < classes, "SymbolBuffers: a class without streams")
                rowsOfClass[Int(rowClasses[row])] += 1
            }
            for stream in 0..<starts.count {
                let end = stream + 1 < starts.count ? starts[stream + 1] : codes.count
                precondition(
                    starts[stream] >= 0 && end <= codes.count
                        && end - starts[stream] >= rowsOfClass[stream / 2] * shape.columns + symbolSlack,
                    "SymbolBuffers: no room for a stream")
            }
        }

        /// Calls `body` with pointers to the spans, which are valid until it returns.
        mutating func withKernel<Result>(_ body: (ingot_symbol_buffers) -> Result) -> Result {
            unsafe rowClasses.withUnsafeBufferPointer { rowClasses in
                unsafe codes.withUnsafeMutableBufferPointer { codes in
                    unsafe starts.withUnsafeBufferPointer { starts in
                        unsafe counts.withUnsafeMutableBufferPointer { counts in
                            unsafe escapes.withUnsafeMutableBufferPointer { escapes in
                                unsafe lowBits.withUnsafeMutableBufferPointer { low in
                                    unsafe body(
                                        ingot_symbol_buffers(
                                            classes: Int32(starts.count / 2),
                                            row_classes: rowClasses.count == 0 ? nil : rowClasses.baseAddress,
                                            codes: codes.baseAddress, starts: starts.baseAddress,
                                            counts: counts.baseAddress, escapes: escapes.baseAddress,
                                            low: low.baseAddress))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
