import Architectures
import Checkpoints
import Container
import FileAccess
import Quantization
import SystemPackage
import TensorModel
import Weights

/// The rows that are read at once, and what becomes of them in each plan.
struct RowBand: Sendable {
    /// What a band becomes in one plan.
    struct Use: Sendable {
        /// Index of the plan, and of the tensor in it.
        let plan: Int, tensor: Int
        /// The row of the output that the first row of the band becomes.
        let firstRow: Int
        /// The order of rows in the output.
        let move: RowMove
        /// The linear input of the rows, if the calibration has an entry for it.
        let input: LinearInput?
    }

    /// Index of the tensor in the checkpoint.
    let tensor: Int
    /// Its rows.
    let rows: Range<Int>
    /// What becomes of them.
    let uses: [Use]
}

/// Bytes for a place of a file.
struct ExportPiece: Sendable {
    /// Indices of the plan and its file.
    let plan: Int, file: Int
    /// Offset in the file, and the range of the bytes in the result's buffer.
    let offset: UInt64, range: Range<Int>
    /// Their hash.
    let hash: ContentHash
}

/// What became of a band. The buffer is reused.
struct ExportedBand: Sendable {
    var bytes: [UInt8] = []
    var pieces: [ExportPiece] = []

    /// Adds the first `count` bytes of a buffer.
    mutating func add(_ source: [UInt8], _ count: Int, to stream: ExportPlan.Stream, plan: Int, row: Int) {
        guard count > 0 else { return }
        let start = pieces.last?.range.upperBound ?? 0
        bytes.grow(to: start + count)
        bytes.replaceSubrange(start..<start + count, with: source[..<count])
        pieces.append(
            ExportPiece(
                plan: plan, file: stream.file, offset: stream.offset + UInt64(row * stream.rowBytes),
                range: start..<start + count, hash: ContentHash(of: source.span.extracting(0..<count))))
    }
}

/// Reads bands of rows and encodes them; the buffers of one worker.
struct RowsExporter {
    private var reader = RowReader()
    private var read = ReadWeights()
    private var moved: [Float] = [], movedBytes: [UInt8] = []
    private var encoded: [UInt8] = [], side: [UInt8] = []
    private var chunk = UniformChunk()
    private var feedback = BlockFeedback()
    private var codes = CodeReader()
    private let calibration: ExportCalibration?

    /// Makes buffers that grow when first used.
    ///
    /// - Parameter calibration: what is known of the activations; nil for nothing.
    init(_ calibration: ExportCalibration?) { self.calibration = calibration }

    /// The weights of the last band that was read as weights, row by row.
    var weights: [Float] { read.weights }

    /// A tensor of the source: as weights, or as bytes alone.
    struct Readable: Sendable {
        let stored: StoredWeights
        /// How its weights are read; nil if it has none that can be read.
        let weights: ReadableWeights?
        /// Bytes of a stored row; 0 if rows are no whole bytes.
        let rowBytes: Int

        init(_ tensor: StoredWeights) throws {
            stored = tensor
            weights = try ReadableWeights(tensor)
            let (rows, count) = (UInt64(max(1, tensor.shape.rows)), tensor.storedRowsBytes)
            rowBytes = count % rows == 0 ? Int(count / rows) : 0
        }
    }

    /// Reads a band and encodes it for each use.
    ///
    /// - Throws: `nonFinite` for weights that no codes can stand for; `valueOutOfRange` if a value does not fit the element type; errors of
    ///   reading.
    mutating func export(
        _ band: RowBand, of source: Readable, _ plans: [ExportPlan], into result: inout ExportedBand
    ) throws {
        result.pieces.removeAll(keepingCapacity: true)
        let needsWeights = band.uses.contains { plans[$0.plan].tensors[$0.tensor].encoding.needsWeights }
        let columns = source.stored.shape.columns
        if needsWeights {
            guard let readable = source.weights else { preconditionFailure("a plan for weights that cannot be read") }
            let place = ChunkPlace(row: band.rows.lowerBound, column: 0, rows: band.rows.count, columns: columns)
            try reader.read(place, of: readable, into: &read)
        }
        for use in band.uses {
            let tensor = plans[use.plan].tensors[use.tensor]
            try encode(tensor, use, band, source, into: &result)
        }
    }

    private mutating func encode(
        _ tensor: ExportPlan.Tensor, _ use: RowBand.Use, _ band: RowBand, _ source: Readable,
        into result: inout ExportedBand
    ) throws {
        let columns = tensor.columns
        let rows = band.rows.count * source.stored.shape.columns / max(1, columns)
        switch tensor.encoding {
        case .stored:
            let count = band.rows.count * source.rowBytes
            encoded.grow(to: count)
            try source.stored.readStoredRows(band.rows, rowBytes: source.rowBytes, into: &encoded)
            // With a move, a row of the output is an element of a vector, or a row.
            let width = count / max(1, rows)
            if use.move != .none {
                movedBytes.grow(to: count)
                RowsExporter.move(encoded, use.move, rows: rows, width: width, into: &movedBytes)
                result.add(movedBytes, count, to: tensor.streams[0], plan: use.plan, row: use.firstRow)
            } else {
                result.add(encoded, count, to: tensor.streams[0], plan: use.plan, row: use.firstRow)
            }
        case .elements(let format):
            let count = rows * columns
            encoded.grow(to: count * format.byteWidth)
            if read.elementFormat == format {
                // The elements as they are: NaN keeps its bits.
                if use.move == .none {
                    encoded.replaceSubrange(
                        0..<count * format.byteWidth, with: read.elements[..<(count * format.byteWidth)])
                } else {
                    RowsExporter.move(
                        read.elements, use.move, rows: rows, width: columns * format.byteWidth, into: &encoded)
                }
            } else {
                let overflows = FloatConversion.narrow(
                    weights(use.move, rows: rows, columns: columns), count: count, format, into: &encoded)
                guard overflows == 0 else {
                    throw FloatRecoding.failure(overflows, format, source.stored.name, source.stored.file.path)
                }
            }
            result.add(
                encoded, count * format.byteWidth, to: tensor.streams[0], plan: use.plan, row: use.firstRow)
        case .blocks(let type, let rounding):
            try requireFinite(source)
            let weights = weights(use.move, rows: rows, columns: columns)
            let known = use.input.flatMap { input in calibration?.hasTokens(input) == true ? input : nil }
            if rounding == .searched, BlockFeedback.supports(type), let input = known, let calibration {
                let made = try calibration.made(of: input)
                feedback.encode(weights, rows: rows, made.factors, made.additions, type, into: &encoded)
            } else {
                BlockQuantizer.encode(
                    weights, rows: rows, columns: columns, type, rounding,
                    importance: try importance(use.input, columns, rounding), into: &encoded)
            }
            result.add(
                encoded, rows * tensor.streams[0].rowBytes, to: tensor.streams[0], plan: use.plan, row: use.firstRow)
        case .groups(let groups):
            try requireFinite(source)
            try encode(groups, rows: rows, columns: columns, use)
            add(groups, rows: rows, columns: columns, tensor, use, to: &result)
        case .sameGroups(let groups):
            guard let readable = source.weights else { preconditionFailure("codes of a tensor without weights") }
            try codes.read(rows: band.rows, of: readable, into: &chunk)
            add(groups, rows: rows, columns: columns, tensor, use, to: &result)
        case .microscaling(let rounding):
            try requireFinite(source)
            BlockQuantizer.encodeLikeMLX(
                weights(use.move, rows: rows, columns: columns), rows: rows, columns: columns, rounding,
                importance: try importance(use.input, columns, rounding), into: &encoded)
            let count = rows * columns / MicroscalingLayout.group
            MicroscalingLayout.split(encoded, count: count, codes: &movedBytes, scales: &side)
            for (bytes, stream) in zip([movedBytes, side], tensor.streams) {
                result.add(bytes, rows * stream.rowBytes, to: stream, plan: use.plan, row: use.firstRow)
            }
        case .sameMicroscaling(let form):
            try repack(band, source, as: form, tensor, use, into: &result)
        case .sameParts:
            for (part, stream) in zip(source.stored.quantized?.parts ?? [], tensor.streams) {
                let count = band.rows.count * stream.rowBytes
                encoded.grow(to: count)
                let start = part.tensor.range.start + UInt64(band.rows.lowerBound * stream.rowBytes)
                guard let range = ByteRange(start: start, count: UInt64(count)) else { continue }
                try part.file.read(range, into: &encoded)
                result.add(encoded, count, to: stream, plan: use.plan, row: use.firstRow)
            }
        }
    }

    /// Copies codes and scales of MXFP4 into another layout, or into another order of rows.
    private mutating func repack(
        _ band: RowBand, _ source: Readable, as form: MicroscalingForm, _ tensor: ExportPlan.Tensor,
        _ use: RowBand.Use, into result: inout ExportedBand
    ) throws {
        guard let own = source.stored.microscaling else { preconditionFailure("a plan for codes that are not there") }
        let (rows, columns) = (band.rows.count, tensor.columns)
        let count = rows * columns / MicroscalingLayout.group
        var parts: [[UInt8]] = []
        switch own {
        case .blocks:
            encoded.grow(to: rows * source.rowBytes)
            try source.stored.readStoredRows(band.rows, rowBytes: source.rowBytes, into: &encoded)
            parts = [encoded]
        case .apart:
            for (index, part) in (source.stored.quantized?.parts ?? []).prefix(2).enumerated() {
                let width = own.rowBytes(columns: columns)[index]
                let start = part.tensor.range.start + UInt64(band.rows.lowerBound * width)
                guard let range = ByteRange(start: start, count: UInt64(rows * width)) else { continue }
                var bytes = [UInt8](repeating: 0, count: rows * width)
                try part.file.read(range, into: &bytes)
                parts.append(bytes)
            }
        }
        switch (own, form) {
        case (.blocks, .apart):
            MicroscalingLayout.split(encoded, count: count, codes: &movedBytes, scales: &side)
            parts = [movedBytes, side]
        case (.apart, .blocks):
            MicroscalingLayout.join(parts[0], parts[1], count: count, into: &encoded)
            parts = [encoded]
        case (.blocks, .blocks), (.apart, .apart): break
        }
        for (bytes, stream) in zip(parts, tensor.streams) {
            let size = rows * stream.rowBytes
            guard use.move != .none else {
                result.add(bytes, size, to: stream, plan: use.plan, row: use.firstRow)
                continue
            }
            movedBytes.grow(to: size)
            RowsExporter.move(bytes, use.move, rows: rows, width: stream.rowBytes, into: &movedBytes)
            result.add(movedBytes, size, to: stream, plan: use.plan, row: use.firstRow)
        }
    }

    /// Packs `chunk`, and adds codes, scales and biases to the result.
    private mutating func add(
        _ groups: GroupEncoding, rows: Int, columns: Int, _ tensor: ExportPlan.Tensor, _ use: RowBand.Use,
        to result: inout ExportedBand
    ) {
        let count = rows * columns
        encoded.grow(to: count * groups.bits / 8)
        BitPacking.pack(chunk.codes, count: count, .dense, bits: groups.bits, into: &encoded)
        result.add(encoded, count * groups.bits / 8, to: tensor.streams[0], plan: use.plan, row: use.firstRow)
        let values = rows * groups.groupCount(columns: columns)
        for (place, numbers) in [chunk.scales, chunk.biases].enumerated().prefix(tensor.streams.count - 1) {
            side.grow(to: values * groups.scales.byteWidth)
            FloatConversion.narrow(numbers, count: values, groups.scales, into: &side)
            result.add(
                side, values * groups.scales.byteWidth, to: tensor.streams[place + 1], plan: use.plan,
                row: use.firstRow)
        }
    }

    /// Codes, scales and biases of the weights, into `chunk`.
    private mutating func encode(
        _ groups: GroupEncoding, rows: Int, columns: Int, _ use: RowBand.Use
    ) throws {
        let weights = weights(use.move, rows: rows, columns: columns)
        let size = groups.groupSize ?? columns
        guard groups.rounding == .searched else {
            return UniformQuantizer.round(
                like: groups.runtime == .mlx ? .mlx : .compressedTensors, weights, rows: rows, columns: columns,
                groupSize: size, bits: groups.bits, groups.scales, into: &chunk)
        }
        let input = use.input.flatMap { input in calibration?.hasTokens(input) == true ? input : nil }
        let made = try input.flatMap { try calibration?.made(of: $0) }
        if let made, groups.groupSize != nil {
            return feedback.encode(
                weights, rows: rows, made.factors, made.additions, bits: groups.bits, groupSize: size,
                isSymmetric: groups.runtime == .compressedTensors, scales: groups.scales, into: &chunk)
        }
        switch groups.runtime {
        case .compressedTensors:
            UniformQuantizer.encodeSigned(
                weights, rows: rows, columns: columns, groupSize: size, bits: groups.bits, scaleFormat: groups.scales,
                into: &chunk)
        case .mlx:
            guard let parameters = UniformParameters(bits: groups.bits, groupSize: size, symmetric: false) else {
                preconditionFailure("a plan with groups that are not encoded")
            }
            UniformQuantizer.encode(
                weights, rows: rows, columns: columns, parameters, scaleFormat: groups.scales, into: &chunk)
        }
        // The scale of a whole row is that of the search without feedback.
        if let made {
            feedback.encodeChannels(
                weights, rows: rows, made.factors, made.additions, bits: groups.bits, scales: groups.scales,
                into: &chunk)
        }
    }

    /// The importance of the columns of an input; empty for none. llama.cpp takes ones for an expert that no token reached.
    private func importance(_ input: LinearInput?, _ columns: Int, _ rounding: ExportRounding) throws -> [Float] {
        guard let input, let calibration else { return [] }
        if calibration.hasTokens(input) { return try calibration.importance(of: input) }
        return rounding == .reference ? [Float](repeating: 1, count: columns) : []
    }

    /// The weights of the band in the order of the output.
    private mutating func weights(_ move: RowMove, rows: Int, columns: Int) -> [Float] {
        guard move != .none else { return read.weights }
        moved.grow(to: rows * columns)
        RowsExporter.move(read.weights, move, rows: rows, width: columns, into: &moved)
        return moved
    }

    /// Copies rows of `width` values in the order of the output. The band begins at a multiple of the move's unit.
    private static func move<Value>(
        _ from: [Value], _ move: RowMove, rows: Int, width: Int, into target: inout [Value]
    ) {
        for row in 0..<rows {
            let source = move.source(of: row) * width
            target.replaceSubrange(row * width..<(row + 1) * width, with: from[source..<source + width])
        }
    }

    private func requireFinite(_ source: Readable) throws {
        guard read.hasNonFinite else { return }
        throw IngotError(
            .nonFinite, file: source.stored.file.path.string, tensor: source.stored.name,
            found: "weights that are NaN or infinite", expected: "finite weights: codes cannot stand for others",
            remedy: "repair the tensor, or export it as floating-point numbers")
    }
}

extension StoredWeights {
    /// Bytes of its elements; of blocks and payloads, those of the stored form.
    fileprivate var storedRowsBytes: UInt64 {
        switch form {
        case .plain(let bytes): encoding == nil ? bytes.byteCount : byteCount
        case .payload: descriptor?.sourceBytes ?? byteCount
        }
    }

    /// Reads stored rows: elements of a tensor that is no weight, or blocks of a GGUF file.
    fileprivate func readStoredRows(_ rows: Range<Int>, rowBytes: Int, into buffer: inout [UInt8]) throws {
        let (start, count) = (UInt64(rows.lowerBound * rowBytes), rows.count * rowBytes)
        switch form {
        case .plain(let bytes):
            guard encoding != nil, let part = bytes.parts.first else {
                return try bytes.read(start, count: count, into: &buffer)
            }
            guard let range = ByteRange(start: part.range.start + start, count: UInt64(count)) else { return }
            try part.file.read(range, into: &buffer)
        case .payload:
            guard let elements = try sealedElements() else {
                preconditionFailure("the stored bytes of a payload that has no elements")
            }
            try elements.read(start, count: count, into: &buffer)
        }
    }
}
