import FileAccess
package import Quantization
import TensorModel

/// Encodes chunks of any scheme. Its buffers are reused from chunk to chunk.
package struct ChunkEncoder {
    /// Upper bound of an encoder's memory in bytes, with F32 input: weights, restored weights, levels, streams, compression contexts.
    package static let maximumBytes = 10 << 20

    private var weights: [Float] = []
    private var planes: [UInt8] = []
    private var uniform = UniformEncoder()
    private var trellis = TrellisEncoder()
    private let writer = StreamWriter()

    /// Makes an encoder; buffers grow when first used.
    package init() {}

    /// Encodes a chunk. If it has NaN or infinite elements and the scheme cannot store them, its streams are empty.
    ///
    /// - Parameters:
    ///   - elements: the chunk's elements; contiguous in schemes other than `trellis`, as their grids guarantee.
    ///   - prologue: scheme, codec and element type.
    ///   - rule: how to search the levels in scheme `trellis`; nil in other schemes.
    ///   - wantsLargest: whether to set `largestRestored`.
    ///   - chunk: receives the encoded chunk.
    package mutating func encode(
        _ elements: ElementRectangle, as prologue: PayloadPrologue, by rule: TrellisRule? = nil,
        wantsLargest: Bool = false, into chunk: inout EncodedChunk
    ) {
        chunk.clear()
        let (rows, columns) = (elements.rows, elements.columns)
        switch prologue.scheme {
        case .lossless:
            let width = prologue.elementType.byteWidth
            planes.grow(to: elements.byteCount)
            LosslessCodec.split(elements.bytes.span.extracting(elements.range), prologue.elementType, into: &planes)
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

    /// Appends empty streams for a chunk with NaN or infinity. The conversion fails when it has seen the whole tensor.
    private func appendNothing(_ prologue: PayloadPrologue, _ chunk: inout EncodedChunk) {
        writer.appendEmpty(prologue.scheme.streamCount(prologue.elementType, prologue.codec), to: &chunk)
        chunk.entry.checksum = ContentHash.checksum64(chunk.bytes.span.extracting(0..<0))
    }
}
