package import TensorModel

/// A report as one HTML file that opens offline: style, program and data are inside it.
///
/// The page draws itself from the JSON of the report (Specs/json.md). Tensor names cannot inject markup: the data block has no character
/// that is special in HTML, and the program creates text nodes from names.
package enum HTMLReport {
    /// JavaScript of the page in one scope; a file uses only files before it.
    private static let program: [[UInt8]] = [
        PackageResources.format_js, PackageResources.dom_js, PackageResources.model_js, PackageResources.charts_js,
        PackageResources.sizes_js, PackageResources.heatmap_js, PackageResources.rate_js,
        PackageResources.histogram_js, PackageResources.table_js, PackageResources.facts_js,
        PackageResources.evaluation_js, PackageResources.page_js,
    ]

    /// The page for JSON of `ingot.inspect`, `ingot.verify` or `ingot.evaluate`; `title` names the checkpoint.
    package static func page(title: String, json: JSONValue) -> String {
        parts(title: title, json: [json.text()]).joined()
    }

    /// The page in parts, for JSON in parts; holds one part at a time. The last part ends with a newline.
    package static func parts(title: String, json: some Sequence<String>) -> some Sequence<String> {
        let script = "(() => {\n\"use strict\";\n" + program.map(text).joined(separator: "\n") + "})();"
        let values = [
            "title": MarkupText.escaped(IngotErrorRenderer.escaped(title)), "style": text(PackageResources.report_css),
            "script": script, "peers": dataBlock(text(PackageResources.peers_json)),
        ]
        var sections: [AnySequence<String>] = []
        // One pass: inserted text is not searched for more places.
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

    /// Escapes JSON so that it cannot end a script element, begin a comment in it, separate lines, or be a command in a CI log.
    ///
    /// The escaped characters occur only in JSON strings, where `\u003c` and the like have the same meaning.
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
