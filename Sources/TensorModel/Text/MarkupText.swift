/// Escapes text for XML and HTML.
package enum MarkupText {
    /// Text for an element's content or an attribute in double quotes.
    ///
    /// A newline becomes a character reference, so that attributes keep it. Characters that XML 1.0 does not allow become `\u{..}`.
    package static func escaped(_ text: String) -> String {
        var safe = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": safe += "&amp;"
            case "<": safe += "&lt;"
            case ">": safe += "&gt;"
            case "\"": safe += "&quot;"
            case "\n": safe += "&#10;"
            case "\u{20}"..."\u{D7FF}", "\u{E000}"..."\u{FFFD}", "\u{10000}"..."\u{10FFFF}":
                safe.unicodeScalars.append(scalar)
            default: safe += IngotErrorRenderer.escape(scalar)
            }
        }
        return safe
    }
}
