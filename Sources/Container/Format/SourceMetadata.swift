package import Checkpoints
import TensorModel

/// What the source's header said of itself, `__metadata__`, as a shard of ours carries it (Specs/container.md, section 2).
package enum SourceMetadata {
    /// The key of `__metadata__` that holds it, as JSON text of an object of strings.
    package static let key = "ingot-source-metadata"

    /// What is carried over of a source's entries: all of them, or nothing where that is `format: pt` alone, which tells
    /// nothing and is what an export writes.
    package static func carried(_ entries: [SafetensorsHeader.MetadataEntry]) -> [SafetensorsHeader.MetadataEntry] {
        isUsual(entries) ? [] : entries
    }

    private static func isUsual(_ entries: [SafetensorsHeader.MetadataEntry]) -> Bool {
        entries.count == 1 && entries.value(of: "format") == "pt"
    }

    /// The text of entries.
    static func text(_ entries: [SafetensorsHeader.MetadataEntry]) -> String {
        JSONValue.object(entries.map { .init($0.key, .string($0.value)) }).text()
    }

    /// Reads the entries; nil unless the text is one that a writer makes.
    static func parse(_ text: String) -> [SafetensorsHeader.MetadataEntry]? {
        var entries: [SafetensorsHeader.MetadataEntry] = []
        var keys: Set<TensorName> = []
        var reader = JSONReader(Array(text.utf8), maximumDepth: 1)
        var isRepeated = false
        do {
            try reader.readObject { reader, key in
                if !keys.insert(TensorName(key)).inserted { isRepeated = true }
                entries.append(.init(key, try reader.readString()))
            }
            try reader.requireEnd()
        } catch {
            return nil
        }
        return isRepeated || entries.isEmpty || isUsual(entries) ? nil : entries
    }
}
