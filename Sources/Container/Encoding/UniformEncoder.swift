import Quantization
import TensorModel

/// Encodes chunks of scheme `uniform` (Specs/uniform.md).
struct UniformEncoder {
    private var groups = UniformChunk()
    private var restored: [Float] = []
    private var stream: [UInt8] = [], aligned: [UInt8] = []

    /// Encodes finite weights with searched scales.
    mutating func encode(
        _ weights: [Float], rows: Int, columns: Int, _ parameters: UniformParameters, _ format: FloatFormat,
        _ codec: Codec, _ writer: StreamWriter, to chunk: inout EncodedChunk
    ) {
        restored.grow(to: rows * columns)
        UniformQuantizer.encode(
            weights, rows: rows, columns: columns, parameters, scaleFormat: format, into: &groups)
        UniformQuantizer.decode(groups, rows: rows, columns: columns, parameters, into: &restored)
        chunk.entry.sums = ErrorSums.measure(weights, restored, count: rows * columns)
        appendStreams(rows * columns, parameters, format, codec, writer, &chunk)
    }

    /// The largest magnitude of the weights restored last; `count` is their number.
    func largestRestored(_ count: Int) -> Float { restored[..<count].reduce(0) { max($0, $1.magnitude) } }

    /// Encodes finite, contiguous elements with scales from the extremes of each group.
    mutating func round(
        _ elements: ElementRectangle, _ parameters: UniformParameters, _ codec: Codec, _ writer: StreamWriter,
        to chunk: inout EncodedChunk
    ) {
        chunk.entry.sums = UniformQuantizer.round(
            elements.bytes.span.extracting(elements.range), elements.elementType.weightFormat, rows: elements.rows,
            columns: elements.columns, parameters, into: &groups)
        appendStreams(elements.count, parameters, elements.elementType.weightFormat, codec, writer, &chunk)
    }

    private mutating func appendStreams(
        _ count: Int, _ parameters: UniformParameters, _ format: FloatFormat, _ codec: Codec, _ writer: StreamWriter,
        _ chunk: inout EncodedChunk
    ) {
        appendCodes(count, parameters.bits, codec, writer, &chunk)
        appendPlanes(of: groups.scales, format, codec, writer, &chunk)
        if !parameters.symmetric { appendPlanes(of: groups.biases, format, codec, writer, &chunk) }
    }

    /// Appends the codes: in the aligned layout for zstd's entropy coder, otherwise in the dense layout.
    private mutating func appendCodes(
        _ count: Int, _ bits: Int, _ codec: Codec, _ writer: StreamWriter, _ chunk: inout EncodedChunk
    ) {
        let dense = BitPacking.byteCount(.dense, bits: bits, count: count)
        stream.grow(to: dense)
        BitPacking.pack(groups.codes, count: count, .dense, bits: bits, into: &stream)
        guard codec == .zstd, BitPacking.layoutsDiffer(bits: bits) else {
            return writer.append(stream, 0..<dense, codec, to: &chunk)
        }
        let symbols = BitPacking.byteCount(.aligned, bits: bits, count: count)
        aligned.grow(to: symbols)
        BitPacking.pack(groups.codes, count: count, .aligned, bits: bits, into: &aligned)
        writer.append(stream, 0..<dense, .zstd, packed: (aligned, symbols), to: &chunk)
    }

    /// Appends the byte planes of scales or biases, least significant first.
    private mutating func appendPlanes(
        of values: [Float], _ format: FloatFormat, _ codec: Codec, _ writer: StreamWriter, _ chunk: inout EncodedChunk
    ) {
        let (width, count) = (format.byteWidth, groups.groupCount)
        aligned.grow(to: count * width)
        stream.grow(to: count * width)
        FloatConversion.narrow(values, count: count, format, into: &aligned)
        BytePlanes.split(aligned, count: count, width: width, into: &stream)
        for plane in 0..<width { writer.append(stream, plane * count..<(plane + 1) * count, codec, to: &chunk) }
    }
}
