import Checkpoints
import Container
import Conversion
import FileAccess
import Inspection
import SystemPackage
import TensorModel

/// Targets for headers, JSON and text files.
enum TextTargets {
    /// A safetensors file. If the first byte is 1, the next eight bytes are the claimed size of the file, and the file follows.
    static func header(_ bytes: [UInt8]) throws {
        var file = bytes
        var byteCount = UInt64(bytes.count)
        if bytes.count >= 9, bytes[0] == 1 {
            byteCount = bytes[1..<9].reversed().reduce(0) { $0 << 8 | UInt64($1) }
            file = Array(bytes[9...])
        }
        let header = try SafetensorsHeader.parse(file, byteCount: byteCount, path: "fuzz")
        var end = header.dataStart
        for tensor in header.tensors {
            require(tensor.range.start == end, "a gap before \(tensor.name)")
            require(
                tensor.elementType.byteCount(of: tensor.shape) == tensor.range.count, "a size that is not the shape's")
            end = tensor.range.end
        }
        require(end == byteCount, "bytes behind the last tensor")
        let entries = header.tensors.map { tensor in
            SafetensorsWriter.Entry(
                name: tensor.name, elementType: tensor.elementType, shape: tensor.shape, byteCount: tensor.range.count)
        }
        // An accepted header can be written and read again without a change.
        let written = try SafetensorsWriter.header(tensors: entries, metadata: header.metadata)
        let total = UInt64(written.count) + (byteCount - header.dataStart)
        let again = try SafetensorsHeader.parse(written, byteCount: total, path: "again")
        require(
            again.tensors.map { "\($0.name.text) \($0.elementType) \($0.shape) \($0.range.count)" }
                == header.tensors.map { "\($0.name.text) \($0.elementType) \($0.shape) \($0.range.count)" },
            "other tensors when written and read again")
        require(again.metadata == header.metadata, "other metadata when written and read again")
    }

    /// A JSON document.
    static func json(_ bytes: [UInt8]) throws {
        let value = try JSONValue.parse(bytes)
        guard isFinite(value) else { return }
        for indented in [false, true] {
            let again = try JSONValue.parse(Array(value.text(indented: indented).utf8))
            require(again == value, "another value when written and read again")
        }
    }

    private static func isFinite(_ value: JSONValue) -> Bool {
        switch value {
        case .number(let number): number.isFinite
        case .array(let elements): elements.allSatisfy(isFinite)
        case .object(let members): members.allSatisfy { isFinite($0.value) }
        default: true
        }
    }

    /// A shard index.
    static func shardIndex(_ bytes: [UInt8]) throws {
        let index = try ShardIndex.parse(bytes, path: "fuzz", limits: .standard)
        for name in index.shardNames {
            require(
                !name.utf8.contains(UInt8(ascii: "/")) && !name.utf8.contains(UInt8(ascii: "\\"))
                    && !name.utf8.contains(0) && name != ".." && name.hasSuffix(".safetensors"),
                "a shard outside the directory")
        }
        require(index.tensors.allSatisfy { index.shardNames.indices.contains($0.shard) }, "a shard out of range")
    }

    /// A journal: first unchanged, then with valid checksums.
    static func journal(_ bytes: [UInt8]) {
        let (lines, end) = RecordFile.parse(bytes)
        require(end <= bytes.count, "an end behind the file")
        _ = JournalText.rewritten(lines)
        let texts = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map(Array.init)
        let sealed = texts.flatMap { text in
            Array("\(ContentHash.hexadecimal(ContentHash.checksum64(text.span))) ".utf8) + text + [UInt8(ascii: "\n")]
        }
        require(RecordFile.parse(sealed).lines == texts, "other lines than were written")
        let first = JournalText.rewritten(texts)
        require(JournalText.rewritten(first) == first, "other records when written and read again")
    }

    /// A manifest: first unchanged, then with a valid hash.
    static func manifest(_ bytes: [UInt8]) throws {
        _ = try? Manifest.parse(bytes, "fuzz")
        let hash = ContentHash(of: bytes.span)
        let manifest = try Manifest.parse(
            bytes + Array(",\n  \"manifest_xxh3_128\": \"\(hash)\"\n}\n".utf8), "fuzz")
        for file in manifest.files {
            let path = FilePath("root").appending(file.name).lexicallyNormalized()
            require(path.starts(with: "root") && path != "root", "a file outside the directory: \(file.name)")
        }
        let again = try Manifest.parse(manifest.encoded(), "again")
        require(again.files == manifest.files, "other files when written and read again")
    }

    /// A claims file.
    static func claims(_ bytes: [UInt8]) throws {
        let file = try ClaimsFile.parse(bytes, "fuzz")
        let again = try ClaimsFile.parse(file.encoded(), "again")
        require(again.encoded() == file.encoded(), "other claims when written and read again")
    }

    /// A pattern, a newline, and a name. A slow matcher must give the same answer.
    static func namePattern(_ bytes: [UInt8]) {
        let parts = bytes.split(separator: UInt8(ascii: "\n"), maxSplits: 1, omittingEmptySubsequences: false)
        let texts = parts.map { String(decoding: $0.prefix(2048), as: UTF8.self) }
        guard let pattern = NamePattern(texts[0]) else { return }
        let name = texts.count > 1 ? texts[1] : ""
        let found = pattern.matches(TensorName(name))
        guard let expected = SlowPattern.matches(Array(texts[0].unicodeScalars), Array(name.unicodeScalars)) else {
            return
        }
        require(found == expected, "\(found) where the slow matcher says \(expected)")
    }
}

/// An independent matcher of name patterns, by a table over all prefixes.
private enum SlowPattern {
    /// Whether the name matches; nil for an invalid pattern.
    static func matches(_ pattern: [Unicode.Scalar], _ name: [Unicode.Scalar]) -> Bool? {
        // Prefixes of the name that the pattern so far matches.
        var reached = [Bool](repeating: false, count: name.count + 1)
        reached[0] = true
        var index = 0
        while index < pattern.count {
            let scalar = pattern[index]
            index += 1
            if scalar == "*" {
                for end in reached.indices.dropFirst() where reached[end - 1] { reached[end] = true }
                continue
            }
            var accepts: (Unicode.Scalar) -> Bool = { $0 == scalar }
            if scalar == "?" { accepts = { _ in true } }
            if scalar == "[" {
                guard let (set, end) = members(pattern, index) else { return nil }
                accepts = set
                index = end
            }
            var next = [Bool](repeating: false, count: name.count + 1)
            for at in name.indices where reached[at] && accepts(name[at]) { next[at + 1] = true }
            reached = next
        }
        return reached[name.count]
    }

    private static func members(_ pattern: [Unicode.Scalar], _ start: Int) -> ((Unicode.Scalar) -> Bool, Int)? {
        var body = pattern[start...]
        let isNegated = body.first == "!" || body.first == "^"
        if isNegated { body = body.dropFirst() }
        var ranges: [(Unicode.Scalar, Unicode.Scalar)] = []
        while let low = body.first, low != "]" || ranges.isEmpty {
            let next = Array(body.prefix(3))
            if next.count == 3, next[1] == "-", next[2] != "]" {
                guard low <= next[2] else { return nil }
                ranges.append((low, next[2]))
                body = body.dropFirst(3)
            } else {
                ranges.append((low, low))
                body = body.dropFirst()
            }
        }
        guard body.first == "]", !ranges.isEmpty else { return nil }
        return ({ scalar in ranges.contains { $0.0 <= scalar && scalar <= $0.1 } != isNegated }, body.startIndex + 1)
    }
}
