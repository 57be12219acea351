package import Architectures
import Checkpoints
package import FileAccess
package import SystemPackage
package import TensorModel

/// An opened file of corrections (Specs/moments.md, "Corrections"): for each input of an output or down projection a matrix M, by which its
/// weights W become W - W M, so that they make up for what the frozen matrices before them do.
package struct CorrectionFile: Sendable {
    /// The file.
    package let file: MappedFile
    /// What it says about its origin.
    package let description: CorrectionDescription
    private let places: [LinearInput: (codes: ByteRange, scales: ByteRange, blocks: BlockLayout)]

    /// The suffixes of the two tensors of an input.
    static let codes = "correction", scales = "scales"

    /// Opens a file, and checks everything but the numbers.
    ///
    /// - Throws: `momentsInvalid` if it is no file of corrections, or one that no writer makes; the errors of safetensors.
    package init(_ path: FilePath, limits: Limits = .standard) throws {
        file = try MappedFile.open(path)
        do {
            let header = try SafetensorsHeader.read(file, limits: limits)
            description = try CorrectionDescription(header.metadata)
            var found: [LinearInput: [String: StoredTensor]] = [:]
            for tensor in header.tensors {
                guard let (input, part) = CorrectionFile.read(tensor.name) else {
                    throw IngotError(
                        .momentsInvalid, tensor: tensor.name, found: "a tensor that no file of corrections has",
                        expected: "names such as layers.0.down_in.correction")
                }
                found[input, default: [:]][part] = tensor
            }
            var places: [LinearInput: (codes: ByteRange, scales: ByteRange, blocks: BlockLayout)] = [:]
            for (input, parts) in found {
                guard let codes = parts[CorrectionFile.codes], let scales = parts[CorrectionFile.scales],
                    scales.elementType == .f32, scales.shape.dimensions.count == 1,
                    (1...MomentsLayout.maximumColumns).contains(scales.shape.dimensions[0]), codes.elementType == .i8,
                    case let blocks = description.blocks.layout(columns: scales.shape.dimensions[0]),
                    codes.shape.dimensions == [blocks.squareCount]
                else {
                    throw IngotError(
                        .momentsInvalid, tensor: TensorName(input.text), found: "codes and scales of other shapes",
                        expected: "F32 scales, one a column, and I8 codes, a square a block")
                }
                places[input] = (codes.range, scales.range, blocks)
            }
            self.places = places
        } catch let error as IngotError {
            throw error.inFile(path.string)
        }
    }

    private static func read(_ name: TensorName) -> (LinearInput, String)? {
        for part in [codes, scales] where TensorName.hasSuffix(name.text, "." + part) {
            return LinearInput(text: String(Substring(name.text.utf8.dropLast(part.utf8.count + 1)))).map { ($0, part) }
        }
        return nil
    }

    /// The inputs that have a correction.
    package var inputs: [LinearInput] { places.keys.sorted() }

    /// The blocks of an input's matrix; nil if it has none.
    package func blocks(of input: LinearInput) -> BlockLayout? { places[input]?.blocks }

    /// The matrix of a block, row by row, in binary32.
    ///
    /// - Throws: `momentsInvalid` for a scale that is negative or not finite; errors of reading.
    package func matrix(_ block: Int, of input: LinearInput) throws -> [Float] {
        guard let place = places[input] else { return [] }
        let columns = place.blocks.columns(of: block)
        let count = columns.count
        guard
            let codes = ByteRange(
                start: place.codes.start + UInt64(place.blocks.squareStart(of: block)), count: UInt64(count * count)),
            let scales = ByteRange(
                start: place.scales.start + 4 * UInt64(columns.lowerBound), count: 4 * UInt64(count))
        else { return [] }
        let factors = try file.floats(scales)
        guard factors.allSatisfy({ $0 >= 0 && $0.isFinite }) else {
            throw IngotError(
                .momentsInvalid, file: file.path.string, tensor: TensorName(input.text + "." + CorrectionFile.scales),
                found: "a scale that is negative or not finite", expected: "finite numbers of 0 or more")
        }
        let bytes = try file.bytes(codes)
        return bytes.indices.map { Float(Int8(bitPattern: bytes[$0])) * factors[$0 / count] }
    }
}

/// Writes a file of corrections, input by input in their order. It appears complete.
package struct CorrectionWriter: ~Copyable {
    private var file: AtomicFile
    private let layout: [MomentsLayout.Input]
    private let blocks: MomentBlocks
    private var next = 0

    /// Begins a file.
    ///
    /// - Throws: `momentsInvalid` for a layout that no file can have; errors of writing.
    package init(_ path: FilePath, _ inputs: [MomentsLayout.Input], _ description: CorrectionDescription) throws {
        let layout = inputs.sorted { $0.input < $1.input }
        let entries = try layout.flatMap { entry -> [SafetensorsWriter.Entry] in
            let count = description.blocks.layout(columns: entry.columns).squareCount
            guard let codes = Shape([count]), let scales = Shape([entry.columns]), count < 1 << 40 else {
                throw IngotError(
                    .momentsInvalid, tensor: TensorName(entry.input.text), found: "\(entry.columns) columns",
                    expected: "fewer, or narrower blocks")
            }
            return [
                SafetensorsWriter.Entry(
                    name: TensorName(entry.input.text + "." + CorrectionFile.scales), elementType: .f32, shape: scales,
                    byteCount: 4 * UInt64(entry.columns)),
                SafetensorsWriter.Entry(
                    name: TensorName(entry.input.text + "." + CorrectionFile.codes), elementType: .i8, shape: codes,
                    byteCount: UInt64(count)),
            ]
        }
        let header = try SafetensorsWriter.header(tensors: entries, metadata: description.metadata)
        var file = try AtomicFile(path)
        try file.append(header.span)
        self.init(file, layout, description.blocks)
    }

    private init(_ file: consuming AtomicFile, _ layout: [MomentsLayout.Input], _ blocks: MomentBlocks) {
        self.file = file
        (self.layout, self.blocks) = (layout, blocks)
    }

    /// Appends the matrix of the next input.
    ///
    /// - Parameters:
    ///   - codes: of all blocks, each row by row.
    ///   - scales: one a column of the input.
    package mutating func append(codes: [Int8], scales: [Float]) throws {
        let entry = layout[next]
        precondition(
            codes.count == blocks.layout(columns: entry.columns).squareCount && scales.count == entry.columns,
            "codes and scales of the next input")
        let factors = LittleEndian.bytes(scales[...])
        try file.append(factors.span)
        let bytes = codes.map { UInt8(bitPattern: $0) }
        try file.append(bytes.span)
        next += 1
    }

    /// Gives the file its name.
    package consuming func publish() throws {
        precondition(next == layout.count, "inputs are missing")
        try file.publish()
    }
}
