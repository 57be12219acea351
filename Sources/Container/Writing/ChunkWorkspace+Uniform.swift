import Quantization
import TensorModel

/// Scheme `uniform` (Specs/uniform.md).
extension ChunkWorkspace {
    /// Encodes the chunk in `source`; false where one of its weights is not finite.
    func encodeUniform(
        _ place: ChunkPlace, _ parameters: UniformParameters, _ format: FloatFormat, _ codec: Codec
    ) -> Bool {
        switch parameters.scales {
        case .searched:
            guard expandFinite(format) else { return false }
            UniformQuantizer.encode(
                weights, rows: place.rows, columns: place.columns, parameters, scaleFormat: format, into: &groups)
            UniformQuantizer.decode(groups, rows: place.rows, columns: place.columns, parameters, into: &restored)
            encoded.entry.sums = ErrorSums.measure(weights, restored, count: count)
        case .minmax:
            guard isFinite(format) else { return false }
            let bytes = source
            encoded.entry.sums = UniformQuantizer.round(
                bytes.span.extracting(0..<sourceCount), format, rows: place.rows, columns: place.columns, parameters,
                into: &groups)
        }
        appendCodes(parameters.bits, codec)
        appendPlanes(of: groups.scales, groups.groupCount, format, codec)
        if !parameters.symmetric { appendPlanes(of: groups.biases, groups.groupCount, format, codec) }
        return true
    }

    /// Appends the codes: byte-aligned symbols for zstd's entropy coder, dense bits otherwise.
    private func appendCodes(_ bits: Int, _ codec: Codec) {
        let dense = BitPacking.byteCount(.dense, bits: bits, count: count)
        grow(&stream, dense)
        BitPacking.pack(groups.codes, count: count, .dense, bits: bits, into: &stream)
        guard codec == .zstd, BitPacking.layoutsDiffer(bits: bits) else { return append(stream, 0..<dense, codec) }
        let symbols = BitPacking.byteCount(.aligned, bits: bits, count: count)
        grow(&aligned, symbols)
        BitPacking.pack(groups.codes, count: count, .aligned, bits: bits, into: &aligned)
        append(stream, 0..<dense, .zstd, packed: (aligned, symbols))
    }

    /// Appends the byte planes of scales or biases, least significant first.
    private func appendPlanes(of values: [Float], _ groups: Int, _ format: FloatFormat, _ codec: Codec) {
        let width = format.byteWidth
        grow(&aligned, groups * width)
        grow(&stream, groups * width)
        FloatConversion.narrow(values, count: groups, format, into: &aligned)
        BytePlanes.split(aligned, count: groups, width: width, into: &stream)
        for plane in 0..<width { append(stream, plane * groups..<(plane + 1) * groups, codec) }
    }

    func decodeUniform(
        _ entry: ChunkEntry, _ place: ChunkPlace, _ parameters: UniformParameters, _ format: FloatFormat
    ) throws {
        let layout: BitPacking.Layout = entry.streams[0].codec == .zstd ? .aligned : .dense
        let byteCount = BitPacking.byteCount(layout, bits: parameters.bits, count: count)
        var start = 0
        let dense = BitPacking.byteCount(.dense, bits: parameters.bits, count: count)
        try read(0, at: &start, entry, byteCount: byteCount, plainBytes: dense, into: &stream)
        groups.prepare(rows: place.rows, columns: place.columns, parameters)
        try BitPacking.unpack(stream, count: count, layout, bits: parameters.bits, into: &groups.codes)
        let width = format.byteWidth
        let groupCount = groups.groupCount
        start = try readPlanes(entry, 1, at: start, count: groupCount, width)
        grow(&aligned, groupCount * width)
        BytePlanes.join(stream, count: groupCount, width: width, into: &aligned)
        FloatConversion.expand(aligned.span.extracting(0..<groupCount * width), format, into: &groups.scales)
        if !parameters.symmetric {
            try readPlanes(entry, 1 + width, at: start, count: groupCount, width)
            grow(&aligned, groupCount * width)
            BytePlanes.join(stream, count: groupCount, width: width, into: &aligned)
            FloatConversion.expand(aligned.span.extracting(0..<groupCount * width), format, into: &groups.biases)
        }
        try groups.validate(parameters)
        grow(&restored, count)
        UniformQuantizer.decode(groups, rows: place.rows, columns: place.columns, parameters, into: &restored)
        guard groups.isBounded(parameters) || restored[..<count].allSatisfy(\.isFinite) else {
            throw DecodingFailure.weightNotFinite
        }
    }
}
