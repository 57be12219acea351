import TensorModel

/// The templates that make a text of a conversation.
struct ChatTemplates {
    /// The template without a name; nil if there is none.
    private var usual: String?
    /// The other templates, by name.
    private var named: [(name: String, template: String)] = []

    /// Finds the templates: in `tokenizer_config.json`, else in `chat_template.jinja` and the files of `additional_chat_templates`, else in
    /// `chat_template.json`.
    ///
    /// - Throws: `invalidText`, `headerSyntax` and the like for files that are no text or no JSON object; errors of reading.
    init(_ files: ModelFiles, settings: ModelDocument?) throws {
        if let value = settings?["chat_template"] {
            add(value)
        } else if let text = try files.text("chat_template.jinja") {
            usual = text
            for file in try files.names(in: "additional_chat_templates", suffix: ".jinja") {
                let name = TensorName.dropSuffix(String(file.split(separator: "/").last ?? ""), ".jinja")
                if let text = try files.text(file) { add(name, text) }
            }
        } else if let value = try files.object("chat_template.json")?["chat_template"] {
            add(value)
        }
    }

    private mutating func add(_ value: JSONValue) {
        if let text = value.string { usual = text }
        for entry in value.array ?? [] {
            if let name = entry["name"]?.string, let template = entry["template"]?.string { add(name, template) }
        }
    }

    private mutating func add(_ name: String, _ template: String) {
        guard name != "default" else { return usual = template }
        // Letters and digits stay, as in the Python package gguf.
        let key = String(
            decoding: name.utf8.map { byte in
                let isKept = (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte | 0x20)
                return isKept ? byte : UInt8(ascii: "_")
            }, as: UTF8.self)
        if !key.isEmpty, !named.contains(where: { $0.name == key }) { named.append((key, template)) }
    }

    /// Appends the templates.
    func write(to metadata: inout GGUFKeyValues) {
        for (name, template) in named { metadata.append("tokenizer.chat_template.\(name)", .text(template)) }
        if !named.isEmpty { metadata.append("tokenizer.chat_templates", .texts(named.map(\.name))) }
        if let usual, !usual.isEmpty { metadata.append("tokenizer.chat_template", .text(usual)) }
    }
}
