package import Checkpoints
import TensorModel

/// The `__metadata__` of the source's header, as a shard carries it (Specs/container.md, section 2).
package enum SourceMetadata {
    /// The key in `__metadata__`. Its value is the JSON text of an object of strings.
    package static let key = "ingot-source-metadata"

    /// The entries of a source to carry over: all, or none if the only one is `format: pt`, which an export writes anyway.
    package static func carried(_ entries: [SafetensorsHeader.MetadataEntry]) -> [SafetensorsHeader.MetadataEntry] {
        isUsual(entries) ? [] : entries
    }

    private static func isUsual(_ entries: [SafetensorsHeader.MetadataEntry]) -> Bool {
        entries.count == 1 && entries.value(of: "format") == "pt"
    }

    /// The JSON text of entries.
    static func text(_ entries: [SafetensorsHeader.MetadataEntry]) -> String {
        JSONValue.object(entries.map { .init($0.key, .string($0.value)) }).text()
    }

    /// Reads the entries. Nil if the text is not an object of strings, repeats a key, is empty, or is only `format: pt`.
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
