import FileAccess
package import Quantization
import TensorModel

/// Encodes chunks of any scheme, in buffers that are reused.
package struct ChunkEncoder {
    /// Bytes an encoder grows to at most, with fp32 input: weights, restored weights, levels, streams, compression contexts.
    package static let maximumBytes = 10 << 20

    private var weights: [Float] = []
    private var planes: [UInt8] = []
    private var uniform = UniformEncoder()
    private var trellis = TrellisEncoder()
    private let writer = StreamWriter()

    /// Makes an encoder; buffers grow when first used.
    package init() {}

    /// Encodes a chunk.
    ///
    /// - Parameters:
    ///   - elements: the chunk's elements; next to each other in schemes other than `trellis`, as the grid of these has it.
    ///   - prologue: scheme, codec and element type.
    ///   - rule: how to encode in scheme `trellis`; nil in the others.
    ///   - wantsLargest: whether `largestRestored` is wanted.
    ///   - chunk: cleared and filled.
    package mutating func encode(
        _ elements: ElementRectangle, as prologue: PayloadPrologue, by rule: TrellisRule? = nil,
        wantsLargest: Bool = false, into chunk: inout EncodedChunk
    ) {
        chunk.clear()
        let (rows, columns) = (elements.rows, elements.columns)
        switch prologue.scheme {
        case .lossless:
            let width = prologue.format.byteWidth
            planes.grow(to: elements.byteCount)
            LosslessCodec.split(elements.bytes.span.extracting(elements.range), prologue.format, into: &planes)
            for plane in 0..<width {
                writer.append(
                    planes, plane * elements.count..<(plane + 1) * elements.count, prologue.codec, to: &chunk)
            }
        case .uniform(let parameters):
            switch parameters.scales {
            case .searched:
                chunk.nonFinite = elements.expand(into: &weights)
                guard chunk.nonFinite.isZero else { return appendNothing(prologue, &chunk) }
                uniform.encode(
                    weights, rows: rows, columns: columns, parameters, prologue.format, prologue.codec, writer,
                    to: &chunk)
                if wantsLargest { chunk.largestRestored = uniform.largestRestored(elements.count) }
            case .minmax:
                chunk.nonFinite.add(
                    elements.bytes.span.extracting(elements.range), prologue.format, firstElement: 0)
                guard chunk.nonFinite.isZero else { return appendNothing(prologue, &chunk) }
                uniform.round(elements, parameters, prologue.codec, writer, to: &chunk)
            }
        case .trellis(let parameters):
            guard let rule else { preconditionFailure("a trellis without a step") }
            chunk.nonFinite = elements.expand(into: &weights)
            guard chunk.nonFinite.isZero else { return appendNothing(prologue, &chunk) }
            chunk.entry.step = rule.step
            chunk.entry.sums = trellis.search(
                weights, rows: rows, columns: columns, parameters, rule, prologue.format, restores: wantsLargest)
            trellis.appendStreams(
                weights, rows: rows, columns: columns, parameters, prologue.format, prologue.codec, writer, to: &chunk)
            if wantsLargest { chunk.largestRestored = trellis.largestRestored(elements.count) }
        }
        chunk.entry.checksum = ContentHash.checksum64(chunk.bytes.span.extracting(0..<chunk.byteCount))
    }

    /// Leaves a chunk with NaN or infinity empty: the conversion fails, and says so, once all of the tensor was seen.
    private func appendNothing(_ prologue: PayloadPrologue, _ chunk: inout EncodedChunk) {
        writer.appendEmpty(prologue.scheme.streamCount(prologue.format, prologue.codec), to: &chunk)
        chunk.entry.checksum = ContentHash.checksum64(chunk.bytes.span.extracting(0..<0))
    }
}
