package import TensorModel

/// A report as one HTML file that needs nothing else: style, program and data are in it, and it opens without a network.
///
/// The page draws itself from the JSON of the report (Specs/json.md). What a tensor's name says can do no harm: the data
/// block holds no character that HTML knows, and the program makes text nodes of it, never markup.
package enum HTMLReport {
    /// The page's program, in order: one scope, each file using those before it.
    private static let program: [[UInt8]] = [
        PackageResources.format_js, PackageResources.dom_js, PackageResources.model_js, PackageResources.charts_js,
        PackageResources.sizes_js, PackageResources.heatmap_js, PackageResources.rate_js,
        PackageResources.histogram_js, PackageResources.table_js, PackageResources.page_js,
    ]

    /// The page for the JSON of `ingot.inspect` or `ingot.verify`; `title` says what was looked at.
    package static func page(title: String, json: JSONValue) -> String {
        parts(title: title, json: [json.text()]).joined()
    }

    /// The same in parts, for JSON that comes in parts: no more than one is held at a time. The last ends the last line.
    package static func parts(title: String, json: some Sequence<String>) -> some Sequence<String> {
        let script = "(() => {\n\"use strict\";\n" + program.map(text).joined(separator: "\n") + "})();"
        let values = [
            "title": MarkupText.escaped(IngotErrorRenderer.escaped(title)), "style": text(PackageResources.report_css),
            "script": script, "peers": dataBlock(text(PackageResources.peers_json)),
        ]
        var sections: [AnySequence<String>] = []
        // One pass: what was put in is not looked into for places to put more.
        var rest = text(PackageResources.page_html)[...]
        while let open = firstRange(of: "{{", in: rest), let close = firstRange(of: "}}", in: rest[open.upperBound...])
        {
            sections.append(AnySequence(CollectionOfOne(String(rest[..<open.lowerBound]))))
            let place = String(rest[open.upperBound..<close.lowerBound])
            sections.append(
                place == "data"
                    ? AnySequence(json.lazy.map(dataBlock)) : AnySequence(CollectionOfOne(values[place] ?? "")))
            rest = rest[close.upperBound...]
        }
        sections.append(AnySequence(CollectionOfOne(String(rest))))
        return sections.joined()
    }

    private static func text(_ file: [UInt8]) -> String { String(decoding: file, as: UTF8.self) }

    private static func firstRange(of mark: String, in text: Substring) -> Range<String.Index>? {
        var at = text.startIndex
        while at < text.endIndex {
            if text[at...].utf8.starts(with: mark.utf8) { return at..<text.utf8.index(at, offsetBy: mark.utf8.count) }
            at = text.utf8.index(after: at)
        }
        return nil
    }

    /// JSON with nothing in it that could end a script element, begin a comment in one, separate lines, or be a command in the log of
    /// a CI system.
    ///
    /// These characters occur in strings only, where `\u003c` and its like mean the same.
    private static func dataBlock(_ json: String) -> String {
        let bytes = IngotErrorRenderer.json(json).utf8
        var safe: [UInt8] = []
        safe.reserveCapacity(bytes.count + bytes.count / 64)
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "<"): safe += Array("\\u003c".utf8)
            case UInt8(ascii: ">"): safe += Array("\\u003e".utf8)
            case UInt8(ascii: "&"): safe += Array("\\u0026".utf8)
            default: safe.append(byte)
            }
        }
        return String(decoding: safe, as: UTF8.self)
    }
}
