internal import Kernels
import TensorModel

/// Packs symbols of one byte each into the bytes of a stream, and unpacks them (Specs/trellis.md, "Streams").
package enum SymbolPacking {
    /// How symbols share bytes.
    package enum Form: Sendable, Hashable {
        /// The fewest bytes: for storing, or for a codec that finds repetitions.
        case stored
        /// Whole symbols in each byte: for an entropy coder of bytes.
        case coded
    }

    /// Whether the two forms differ for these parameters.
    package static func differ(_ parameters: TrellisParameters) -> Bool {
        guard let width = parameters.fixedWidth else { return false }
        return width != 4 && width != 8 && width != 2
    }

    private static func layout(_ form: Form) -> BitPacking.Layout { form == .stored ? .dense : .aligned }

    /// Bytes that `count` packed symbols take.
    package static func byteCount(_ parameters: TrellisParameters, _ form: Form, _ count: Int) -> Int {
        guard let width = parameters.fixedWidth else { return (count + 2) / 3 }
        return BitPacking.byteCount(layout(form), bits: width, count: count)
    }

    /// Packs `count` symbols, from index `start` on, into the first bytes of `packed`.
    package static func pack(
        _ symbols: [UInt8], _ start: Int, _ count: Int, _ parameters: TrellisParameters, _ form: Form,
        into packed: inout [UInt8]
    ) {
        let span = symbols.span.extracting(start..<start + count)
        var target = packed.mutableSpan
        if let width = parameters.fixedWidth {
            Kernels.pack(span, layout(form).kernel, bits: width, into: &target)
        } else {
            Kernels.packThirds(span, into: &target)
        }
    }

    /// Unpacks `count` symbols into `symbols`, from index `start` on. May write two more bytes behind them.
    ///
    /// - Throws: `codeTooLarge`, `tailNotZero` or `symbolTooLarge`.
    package static func unpack(
        _ packed: [UInt8], _ count: Int, _ parameters: TrellisParameters, _ form: Form, into symbols: inout [UInt8],
        at start: Int
    ) throws(DecodingFailure) {
        let bytes = byteCount(parameters, form, count)
        var target = symbols.mutableSpan
        guard let width = parameters.fixedWidth else {
            guard Kernels.unpackThirds(packed.span.extracting(first: bytes), into: &target, at: start) else {
                throw .symbolTooLarge
            }
            for index in count..<3 * bytes where symbols[start + index] != 0 { throw .tailNotZero }
            return
        }
        do throws(Kernels.UnpackFault) {
            try Kernels.unpack(packed.span, count: count, layout(form).kernel, bits: width, into: &target, at: start)
        } catch {
            switch error {
            case .codeTooLarge: throw .codeTooLarge
            case .tailNotZero: throw .tailNotZero
            }
        }
    }
}
