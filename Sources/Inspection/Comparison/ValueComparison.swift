import Checkpoints
import Container
import FileAccess
package import Quantization
import TensorModel
package import Weights
import Work

/// Compares the values of tensors of any element types, without statistics.
///
/// Floating-point numbers of 8 to 64 bits are compared as real numbers, whatever their types. Other elements are equal if types and bytes are.
package struct ValueComparison: Sendable {
    /// A tensor, and the rows of the source to compare it with.
    package struct Pair: Sendable {
        /// The tensor.
        package let own: StoredWeights
        /// The rows, one below the other; at least one part.
        let parts: [TensorRows]

        /// Pairs two tensors.
        package init(_ own: StoredWeights, _ original: StoredWeights) { self.init(own, [TensorRows(original)]) }

        /// Pairs a tensor with rows of others.
        init(_ own: StoredWeights, _ parts: [TensorRows]) { (self.own, self.parts) = (own, parts) }

        /// The tensor of the source; the first one of several.
        var original: StoredWeights { parts[0].tensor }
        /// Bytes of the rows in the source.
        var originalBytes: UInt64 { parts.reduce(0) { $0 + $1.byteCount } }
        /// Whether it is one whole tensor of the source, row by row.
        var isPlain: Bool { parts.count == 1 && parts[0].isWhole && parts[0].arrangement == nil }

        /// What to compare weight by weight. Nil if the shapes differ, or elements are not F16, BF16 or F32.
        var weights: TensorComparison.Pair? {
            guard !isPlain else { return TensorComparison.Pair(original, own) }
            var row = 0
            var rows: [(TensorRows, TensorRows)] = []
            for part in parts {
                guard part.rows <= own.shape.rows - row else { return nil }
                rows.append((part, TensorRows(own, row: row, rows: part.rows)))
                row += part.rows
            }
            return row == own.shape.rows ? TensorComparison.Pair(rows) : nil
        }
    }

    private let memory: UInt64, jobs: Int

    /// Prepares comparisons; `memory` in bytes, `jobs` pieces at the same time.
    package init(memory: UInt64, jobs: Int) { (self.memory, self.jobs) = (memory, jobs) }

    /// Compares all pairs; returns one result per pair, in order.
    ///
    /// - Throws: `usage` if the memory is below the smallest budget; errors of reading; damage of an encoded tensor names the tensor.
    package func run(_ pairs: [Pair]) async throws -> [ValueAgreement] {
        var results = pairs.map { ValueComparison.unlike($0) ?? .equal }
        var weights: [(index: Int, pair: TensorComparison.Pair)] = []
        var bytes: [(index: Int, pair: ByteComparison.Pair)] = []
        var numbers: [(index: Int, pair: NumberPair)] = []
        for (index, pair) in pairs.enumerated() where results[index] == .equal {
            if let pair = pair.weights {
                weights.append((index, pair))
            } else if !pair.isPlain {
                results[index] = .incomparable("\(pair.own.elementType.rawValue) in another layout than the source's")
            } else if let pair = try NumberPair(pair) {
                numbers.append((index, pair))
            } else if let pair = ByteComparison.Pair(pair.original, pair.own) {
                bytes.append((index, pair))
            } else {
                results[index] = .incomparable("\(pair.own.elementType.rawValue) in another form than the source's")
            }
        }
        if !weights.isEmpty {
            try await TensorComparison(memory: memory, jobs: jobs, wantsStatistics: false).run(weights.map(\.pair)) {
                results[weights[$0].index] = ValueAgreement($1.differences)
            }
        }
        let compared = try await ByteComparison(memory: memory, jobs: jobs).run(bytes.map(\.pair))
        for (item, found) in zip(bytes, compared) where !found.isSame {
            results[item.index] = try ValueComparison.agreement(found, pairs[item.index])
        }
        for (item, found) in zip(numbers, try await compare(numbers.map(\.pair))) {
            results[item.index] = ValueAgreement(found)
        }
        return results
    }

    /// Why two tensors cannot be compared; nil if they can.
    private static func unlike(_ pair: Pair) -> ValueAgreement? {
        let (own, original) = (pair.own, pair.original)
        guard !pair.isPlain || own.shape == original.shape else {
            return .incomparable("the shape \(own.shape), in the source \(original.shape)")
        }
        guard
            !pair.isPlain || own.elementType == original.elementType
                || NumberPair.hasValues(own) && NumberPair.hasValues(original)
        else {
            return .incomparable(
                "the type \(own.elementType.rawValue), in the source \(original.elementType.rawValue)")
        }
        return nil
    }

    /// The agreement of tensors of the same type with other bytes.
    private static func agreement(_ found: ByteComparison.Result, _ pair: Pair) throws -> ValueAgreement {
        let own = pair.own
        guard let index = found.firstChanged else {
            return .incomparable("\(own.elementType.rawValue) of other bytes than the source's")
        }
        func value(_ tensor: StoredWeights) throws -> ExactValue? {
            let width = own.elementType.bitWidth / 8
            guard width > 0 else { return nil }
            var bytes = [UInt8](repeating: 0, count: width)
            if let elements = try tensor.sealedElements() {
                try elements.read(index * UInt64(width), count: width, into: &bytes)
            } else {
                try tensor.bytes.read(index * UInt64(width), count: width, into: &bytes)
            }
            return ExactValue(bytes, own.elementType)
        }
        let columns = UInt64(own.shape.columns)
        let first = ValueDifferences.Weight(
            row: Int(index / columns), column: Int(index % columns), value: try value(own),
            reference: try value(pair.original))
        return .different(ValueDifferences(count: found.changed, first: first))
    }

    // MARK: - Floats of 8 and 64 bits

    /// Two tensors of floating-point numbers, at least one of which is F64 or a float of 8 bits.
    private struct NumberPair: Sendable {
        let own: Numbers, original: Numbers
        let rows: Int, columns: Int

        init?(_ pair: Pair) throws {
            guard NumberPair.hasValues(pair.own), NumberPair.hasValues(pair.original) else { return nil }
            (own, original) = (try Numbers(pair.own), try Numbers(pair.original))
            (rows, columns) = (pair.own.shape.rows, pair.own.shape.columns)
        }

        /// Whether the elements of a tensor have values that binary64 holds exactly.
        static func hasValues(_ tensor: StoredWeights) -> Bool {
            tensor.isReadable && tensor.elementType.isFloat && CountedFormat(of: tensor.elementType) != nil
        }

        /// Rectangles of whole rows or of a part of one row.
        var places: [ChunkPlace] {
            guard rows > 0, columns > 0 else { return [] }
            let width = min(columns, ValueComparison.pieceNumbers)
            let height = max(1, ValueComparison.pieceNumbers / columns)
            return stride(from: 0, to: rows, by: height).flatMap { row in
                stride(from: 0, to: columns, by: width).map { column in
                    ChunkPlace(
                        row: row, column: column, rows: min(height, rows - row), columns: min(width, columns - column))
                }
            }
        }
    }

    /// A tensor whose elements can be read as binary64.
    private enum Numbers: Sendable {
        case weights(ReadableWeights)
        case elements(TensorBytes, CountedFormat, columns: Int)
        case sealed(SealedElements, CountedFormat, columns: Int)

        init(_ tensor: StoredWeights) throws {
            if let weights = try ReadableWeights(tensor) {
                self = .weights(weights)
            } else if let format = CountedFormat(of: tensor.elementType), let elements = try tensor.sealedElements() {
                self = .sealed(elements, format, columns: tensor.shape.columns)
            } else if let format = CountedFormat(of: tensor.elementType) {
                self = .elements(tensor.bytes, format, columns: tensor.shape.columns)
            } else {
                preconditionFailure("a tensor without values")
            }
        }
    }

    /// Reads rectangles of one side.
    private struct NumberReader {
        private var reader = RowReader(), read = ReadWeights()
        private var bytes: [UInt8] = []
        /// The numbers of the last rectangle, row by row, in the first elements.
        private(set) var values: [Double] = []

        mutating func read(_ place: ChunkPlace, of numbers: Numbers) throws {
            switch numbers {
            case .weights(let weights):
                try reader.read(place, of: weights, into: &read)
                values.grow(to: place.count)
                for index in 0..<place.count { values[index] = Double(read.weights[index]) }
            case .elements(let tensor, let format, let columns):
                let width = format.byteWidth
                bytes.grow(to: place.count * width)
                try tensor.read(
                    UInt64((place.row * columns + place.column) * width), count: place.columns * width,
                    rows: place.rows, stride: columns * width, into: &bytes)
                let elements = bytes
                format.expand(elements.span, count: place.count, into: &values)
            case .sealed(let tensor, let format, let columns):
                let (width, length) = (format.byteWidth, place.columns * format.byteWidth)
                bytes.grow(to: place.count * width)
                for row in 0..<place.rows {
                    let start = ((place.row + row) * columns + place.column) * width
                    try tensor.read(UInt64(start), count: length, into: &bytes, at: row * length)
                }
                let elements = bytes
                format.expand(elements.span, count: place.count, into: &values)
            }
        }
    }

    /// Numbers per piece.
    private static let pieceNumbers = 1 << 17
    /// Bytes per worker: numbers, elements and weights of a piece of both tensors, and a decoder of chunks.
    private static let workspaceBytes = UInt64(2 * 28 * pieceNumbers + ChunkDecoder.maximumBytes)

    private func compare(_ pairs: [NumberPair]) async throws -> [ValueDifferences] {
        var results = [ValueDifferences](repeating: ValueDifferences(), count: pairs.count)
        let items = pairs.indices.lazy.flatMap { pair in
            pairs[pair].places.lazy.map { (pair: pair, place: $0) }
        }
        let workers = max(1, min(jobs, Int(memory / ValueComparison.workspaceBytes)))
        try await Pipeline(jobs: workers, lookahead: 2 * workers) { (own: NumberReader(), original: NumberReader()) }
            .run(items) { item, readers -> PieceDifference? in
                let (pair, place) = (pairs[item.pair], item.place)
                try readers.own.read(place, of: pair.own)
                try readers.original.read(place, of: pair.original)
                return PieceDifference(
                    readers.original.values.span.extracting(first: place.count),
                    readers.own.values.span.extracting(first: place.count))
            } consume: { item, difference in
                let place = item.place
                results[item.pair].add(difference, row: place.row, column: place.column, columns: place.columns)
            }
        return results
    }
}
