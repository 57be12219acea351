package import Architectures
import Checkpoints
package import FileAccess
package import SystemPackage
package import TensorModel

/// An opened file of moments (Specs/moments.md). Opening checks everything but the numbers of diagonals, moments and gradients, which are
/// checked when they are read.
package struct MomentsFile: Sendable {
    /// The path.
    package var path: FilePath { file.path }
    /// What the file says about its origin.
    package let description: MomentsDescription
    /// The inputs, in their order.
    package let entries: [Entry]
    /// The file, for hashes of its content.
    package let file: MappedFile
    private let places: [LinearInput: Int]
    /// The gradients: of which matrices, and where.
    let gradientPlaces: GradientPlaces

    /// An input.
    package struct Entry: Sendable {
        /// The input.
        package let input: LinearInput
        /// Its columns, and the blocks of its moments.
        package let blocks: BlockLayout
        /// Tokens of each half; 0 beside a weight that is not 0 if they are not known.
        package let tokens: [UInt64]
        /// The weights of each half's tokens, added up.
        package let weights: [Double]
        /// The chosen shrinkage, 0 to 1; 0 for a diagonal.
        package let shrinkage: Double
        fileprivate let diagonals: ByteRange
        fileprivate let moments: ByteRange

        /// Tokens of all halves.
        package var tokenCount: UInt64 { tokens.reduce(0) { $0.addingReportingOverflow($1).partialValue } }
        /// Whether the number of tokens is not known, though there were some.
        package var hasUnknownTokens: Bool { tokenCount == 0 && weights.contains { $0 > 0 } }
    }

    /// Opens a file.
    ///
    /// - Throws: `momentsInvalid` if it is no file of moments, or one that no writer makes; the errors of safetensors.
    package init(_ path: FilePath, limits: Limits = .standard) throws { try self.init(MappedFile.open(path), limits) }

    private init(_ file: MappedFile, _ limits: Limits) throws {
        try self.init(file, SafetensorsHeader.read(file, limits: limits))
    }

    /// Opens a file that has all inputs, but no gradients yet.
    ///
    /// - Parameters:
    ///   - header: the first bytes of the file: all of its header.
    ///   - byteCount: bytes that the whole file will have.
    init(unfinished path: FilePath, header: [UInt8], byteCount: UInt64) throws {
        try self.init(
            MappedFile.open(path), SafetensorsHeader.parse(header, byteCount: byteCount, path: path.string))
    }

    private init(_ file: MappedFile, _ header: SafetensorsHeader) throws {
        do {
            description = try MomentsDescription(header.metadata)
            gradientPlaces = try GradientPlaces(header, description)
            entries = try MomentsFile.entries(header, description, file)
        } catch let error as IngotError {
            throw error.inFile(file.path.string)
        }
        self.file = file
        places = Dictionary(uniqueKeysWithValues: entries.enumerated().map { ($1.input, $0) })
    }

    /// The entry of an input; nil if the file has none.
    package subscript(input: LinearInput) -> Entry? { places[input].map { entries[$0] } }

    // MARK: - Numbers

    /// The diagonal of each half's moments: the mean of the squares of each column. Zeros for a half without tokens.
    ///
    /// - Throws: `momentsInvalid` for a number that is negative or not finite.
    package func diagonals(of entry: Entry) throws -> [[Float]] {
        let numbers = try file.floats(entry.diagonals)
        for (place, number) in numbers.enumerated() where !(number >= 0 && number.isFinite) {
            throw failure(
                entry, .diagonals, "\(number) for column \(place % entry.blocks.columns)", expected: "0 or more")
        }
        return (0..<description.halves).map {
            Array(numbers[$0 * entry.blocks.columns..<($0 + 1) * entry.blocks.columns])
        }
    }

    /// The upper triangle of a block of the merged moments, row by row: of a block of `n` columns `n` numbers for row 0, `n - 1` for row 1,
    /// down to 1. They are neither shrunk nor damped.
    ///
    /// - Throws: `momentsInvalid` for a number that is not finite, or a negative one on the diagonal.
    package func triangle(_ block: Int, of entry: Entry) throws -> [Float] {
        let width = entry.blocks.columns(of: block).count
        return try numbers(entry, from: entry.blocks.triangleStart(of: block), width: width, rows: width)
    }

    /// The diagonal of the merged moments, one number a column, from the moments themselves.
    ///
    /// - Throws: as `triangle`.
    package func diagonal(of entry: Entry) throws -> [Float] {
        if entry.blocks.width == 1 { return try numbers(entry, from: 0, width: 1, rows: entry.blocks.columns) }
        var diagonal: [Float] = []
        for block in 0..<entry.blocks.count {
            let triangle = try triangle(block, of: entry)
            var place = 0
            for width in (1...entry.blocks.columns(of: block).count).reversed() {
                diagonal.append(triangle[place])
                place += width
            }
        }
        return diagonal
    }

    /// Reads all numbers, and checks them.
    ///
    /// - Throws: `momentsInvalid` for a number that is not finite, a negative one on a diagonal, a diagonal that the halves do not give, or a
    ///   gradient or weight that is negative.
    package func check() throws {
        for entry in entries {
            let (halves, diagonal) = (try diagonals(of: entry), try self.diagonal(of: entry))
            let weight = entry.weights.reduce(0, +)
            for column in diagonal.indices {
                let sum = zip(halves, entry.weights).reduce(0) { $0 + Double($1.0[column]) * $1.1 }
                let mean = weight > 0 ? sum / weight : 0
                // Both are rounded to binary32.
                guard abs(mean - Double(diagonal[column])) <= 1e-5 * mean + 1e-37 else {
                    throw failure(
                        entry, .moments, "\(diagonal[column]) on the diagonal, column \(column)",
                        expected: "\(mean), as the halves say")
                }
            }
        }
        try checkGradients()
    }

    /// Reads triangles of one width, or the diagonal of blocks of one column (`width` 1, `rows` of them), and checks the numbers.
    private func numbers(_ entry: Entry, from start: Int, width: Int, rows: Int) throws -> [Float] {
        let count = width == 1 ? rows : width * (width + 1) / 2
        guard let range = ByteRange(start: entry.moments.start + 4 * UInt64(start), count: 4 * UInt64(count)) else {
            return []
        }
        let numbers = try file.floats(range)
        guard numbers.allSatisfy(\.isFinite) else {
            throw failure(entry, .moments, "a number that is not finite", expected: "finite numbers")
        }
        var place = 0
        for row in 0..<rows {
            guard numbers[place] >= 0 else {
                throw failure(entry, .moments, "\(numbers[place]) on the diagonal", expected: "0 or more")
            }
            place += width == 1 ? 1 : width - row
        }
        return numbers
    }

    private func failure(_ entry: Entry, _ tensor: MomentTensor, _ found: String, expected: String) -> IngotError {
        IngotError(
            .momentsInvalid, file: path.string, tensor: tensor.name(of: entry.input), found: found, expected: expected)
    }
}

// MARK: - Opening

extension MomentsFile {
    private static func entries(
        _ header: SafetensorsHeader, _ description: MomentsDescription, _ file: MappedFile
    ) throws -> [Entry] {
        var tensors: [LinearInput: [MomentTensor: StoredTensor]] = [:]
        for stored in header.tensors where GradientTensor.read(stored.name) == nil {
            guard let (input, tensor) = MomentTensor.read(stored.name) else {
                throw IngotError(
                    .momentsInvalid, tensor: stored.name, found: "a tensor that no file of moments has",
                    expected: "names such as layers.0.attention_in.moments")
            }
            tensors[input, default: [:]][tensor] = stored
        }
        guard !tensors.isEmpty else { throw IngotError(.momentsInvalid, found: "no moments", expected: "an input") }
        return try tensors.sorted { $0.key < $1.key }.map { try entry($0.key, $0.value, description, file) }
    }

    private static func entry(
        _ input: LinearInput, _ tensors: [MomentTensor: StoredTensor], _ description: MomentsDescription,
        _ file: MappedFile
    ) throws -> Entry {
        func range(_ tensor: MomentTensor, _ blocks: BlockLayout) throws -> ByteRange {
            guard let stored = tensors[tensor] else {
                throw IngotError(
                    .momentsInvalid, tensor: TensorName(input.text), found: "no tensor \(tensor.name(of: input))",
                    expected: "all of " + MomentTensor.allCases.map(\.rawValue).joined(separator: ", "))
            }
            let form = tensor.form(blocks, halves: description.halves)
            guard let form, stored.elementType == form.type, stored.shape == form.shape else {
                throw IngotError(
                    .momentsInvalid, tensor: stored.name, found: "\(stored.elementType.rawValue) \(stored.shape)",
                    expected: form.map { "\($0.type.rawValue) \($0.shape)" } ?? "fewer columns")
            }
            return stored.range
        }
        let columns = tensors[.diagonals]?.shape.columns ?? 1
        guard (1...MomentsLayout.maximumColumns).contains(columns) else {
            throw IngotError(
                .momentsInvalid, tensor: MomentTensor.diagonals.name(of: input), found: "\(columns) columns",
                expected: "1 to \(MomentsLayout.maximumColumns)")
        }
        let blocks = description.blocks.layout(columns: columns)
        let weights = try file.words(range(.weights, blocks)).map { Double(bitPattern: $0) }
        for weight in weights where !(weight >= 0 && weight.isFinite) {
            throw IngotError(
                .momentsInvalid, tensor: MomentTensor.weights.name(of: input), found: "\(weight)",
                expected: "finite numbers of 0 or more")
        }
        let tokens = try file.words(range(.tokens, blocks))
        guard zip(tokens, weights).allSatisfy({ $0 == 0 || $1 > 0 }), tokens.allSatisfy({ $0 < 1 << 62 }) else {
            throw IngotError(
                .momentsInvalid, tensor: MomentTensor.tokens.name(of: input), found: "\(tokens) for weights \(weights)",
                expected: "tokens only where there is weight")
        }
        let shrinkage = try file.words(range(.shrinkage, blocks)).first.map { Double(bitPattern: $0) } ?? .nan
        guard shrinkage >= 0, shrinkage <= 1 else {
            throw IngotError(
                .momentsInvalid, tensor: MomentTensor.shrinkage.name(of: input), found: "\(shrinkage)",
                expected: "0 to 1")
        }
        return Entry(
            input: input, blocks: blocks, tokens: tokens, weights: weights, shrinkage: shrinkage,
            diagonals: try range(.diagonals, blocks), moments: try range(.moments, blocks))
    }
}
