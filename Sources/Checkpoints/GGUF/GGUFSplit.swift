import FileAccess
import SystemPackage
import TensorModel

/// Checkpoints that llama.cpp's gguf-split has split into several files: `model-00001-of-00003.gguf` and so on.
package enum GGUFSplit {
    /// Keys of the metadata: the number of a part (from 0), the number of parts, and the number of tensors in all parts.
    package static let numberKey = "split.no"
    package static let countKey = "split.count"
    package static let tensorsKey = "split.tensors.count"

    /// Whether a metadata key says how a file was split. Such keys begin with `split.`.
    package static func isKey(_ key: String) -> Bool { key.utf8.starts(with: "split.".utf8) }

    /// Stem, number (from 1) and count in the name of a part; nil for other names.
    static func part(_ name: String) -> (stem: String, number: Int, count: Int)? {
        guard TensorName.hasSuffix(name, GGUFFile.suffix) else { return nil }
        let stem = TensorName.dropSuffix(name, GGUFFile.suffix)
        let pieces = stem.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard pieces.count >= 4, pieces[pieces.count - 2].elementsEqual("of".utf8),
            let number = number(pieces[pieces.count - 3]), let count = number.of(pieces[pieces.count - 1]),
            (1...count).contains(number.value)
        else { return nil }
        let rest = pieces.suffix(3).reduce(3) { $0 + $1.count }
        return (String(decoding: stem.utf8.dropLast(rest), as: UTF8.self), number.value, count)
    }

    private struct Digits {
        let value: Int

        func of(_ text: Substring.UTF8View) -> Int? { GGUFSplit.number(text)?.value }
    }

    private static func number(_ text: Substring.UTF8View) -> Digits? {
        guard text.count == ShardName.digits, text.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return Digits(value: text.reduce(0) { 10 * $0 + Int($1 - 0x30) })
    }

    /// The names of all parts, in order.
    package static func names(stem: String, count: Int) -> [String] {
        (1...count).map { ShardName.numbered(stem, $0, of: count, suffix: GGUFFile.suffix) }
    }

    /// The names of all parts of the file that `name` is a part of; only `name` if it is not the name of a part.
    static func all(of name: String) -> [String] {
        guard let part = part(name) else { return [name] }
        return names(stem: part.stem, count: part.count)
    }

    /// Requires that the metadata of a part agrees with its name.
    static func check(_ shard: Shard, position: Int, of count: Int) throws {
        guard shard.header.format == .gguf else {
            guard count > 1, part(shard.fileName) != nil else { return }
            throw mismatch(shard, "a file of format \(shard.header.format.rawValue)", expected: "a part in GGUF")
        }
        let metadata = shard.header.metadata
        let number = metadata.value(of: numberKey).flatMap { Int($0) }
        let stated = metadata.value(of: countKey).flatMap { Int($0) }
        // A file that was not split has no such metadata, or states that it is the only part.
        if count == 1, stated ?? 0 <= 1, number ?? 0 == 0 { return }
        guard let number, let stated else {
            throw mismatch(shard, "no \(number == nil ? numberKey : countKey), though there are \(count) parts")
        }
        guard stated == count else {
            throw mismatch(shard, "\(countKey) \(stated)", expected: "\(count), by the names of the files")
        }
        guard number == position else {
            throw mismatch(shard, "\(numberKey) \(number)", expected: "\(position), by the name of the file")
        }
    }

    /// Requires that all parts together hold the number of tensors that each of them states.
    static func checkTotal(_ shards: [Shard]) throws {
        guard shards.count > 1, shards.allSatisfy({ $0.header.format == .gguf }) else { return }
        let total = shards.reduce(0) { $0 + $1.header.tensors.count }
        for shard in shards {
            let stated = shard.header.metadata.value(of: tensorsKey).flatMap { Int($0) }
            guard stated == total else {
                throw mismatch(
                    shard, stated.map { "\(tensorsKey) \($0)" } ?? "no \(tensorsKey)",
                    expected: "\(total), the tensors of all parts")
            }
        }
    }

    private static func mismatch(_ shard: Shard, _ found: String, expected: String? = nil) -> IngotError {
        IngotError(
            .indexMismatch, file: shard.file.path.string, found: found, expected: expected,
            remedy: "the parts are not of one checkpoint, or were renamed: fetch them again under their own names")
    }
}
