import Checkpoints
import TensorModel

/// A file of a GGUF checkpoint: the only one, or a part of several.
package struct GGUFPart: Sendable, Hashable {
    /// The name of the file.
    package let name: String
    /// Its tensors, as places in the list of all tensors.
    package let tensors: Range<Int>
    /// Its metadata.
    package let metadata: GGUFKeyValues

    /// Most parts: their number has 16 bits in the metadata.
    private static let maximumCount = Int(UInt16.max)

    /// Divides a checkpoint into files as llama.cpp's gguf-split does with a size: a tensor begins a new part if its part would get larger. The
    /// first part has the metadata of the model, and every part has the metadata of the division.
    ///
    /// One file has no number in its name and no metadata of a division.
    ///
    /// - Parameters:
    ///   - stem: name of the file without suffix.
    ///   - metadata: the metadata of the model.
    ///   - byteCounts: bytes of each tensor, in order.
    ///   - maximumBytes: bytes of the padded tensors of a part at most; a larger tensor is a part of its own. nil for one file.
    /// - Throws: `goalUnreachable` for more parts than the format can number.
    package static func parts(
        stem: String, _ metadata: GGUFKeyValues, byteCounts: [UInt64], maximumBytes: UInt64?
    ) throws -> [GGUFPart] {
        var ranges: [Range<Int>] = []
        var start = 0
        var size: UInt64 = 0
        for (index, count) in byteCounts.enumerated() {
            let padded = Checked.roundUp(count, to: GGUFFileHeader.alignment) ?? .max
            if let maximumBytes, index > start, Checked.add(size, padded) ?? .max > maximumBytes {
                ranges.append(start..<index)
                (start, size) = (index, 0)
            }
            size = Checked.add(size, padded) ?? .max
        }
        ranges.append(start..<byteCounts.count)
        guard ranges.count > 1 else {
            return [GGUFPart(name: stem + GGUFFile.suffix, tensors: ranges[0], metadata: metadata)]
        }
        guard ranges.count <= maximumCount, let tensors = Int32(exactly: byteCounts.count) else {
            throw IngotError(
                .goalUnreachable, found: "\(ranges.count) files of at most \(maximumBytes ?? 0) bytes",
                expected: "at most \(maximumCount) files", remedy: "allow larger files")
        }
        let names = GGUFSplit.names(stem: stem, count: ranges.count)
        return zip(ranges, names).enumerated().map { number, part in
            var own = number == 0 ? metadata : GGUFKeyValues()
            own.append(GGUFSplit.numberKey, .u16(UInt16(number)))
            own.append(GGUFSplit.countKey, .u16(UInt16(ranges.count)))
            own.append(GGUFSplit.tensorsKey, .i32(tensors))
            return GGUFPart(name: part.1, tensors: part.0, metadata: own)
        }
    }
}
