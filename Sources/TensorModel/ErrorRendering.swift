/// Turns errors, warnings and names from files into text for people. All such text is made here.
package enum IngotErrorRenderer {
    /// The message of an error, in two to four lines:
    ///
    ///     error: offsetsNotContiguous: 8 bytes between two tensors belong to neither
    ///       file: model.safetensors, tensor: lm_head.weight, byte offset 1024
    ///       expected: each tensor begins where the one before it ends
    ///       to do: the file is damaged or not what its name says: fetch it again
    ///
    /// - Parameter words: turns a step that needs an option into words. The default words name no flags.
    package static func text(_ error: IngotError, _ words: Remedy.Words = { $0.text }) -> String {
        var lines = ["error: \(error.code.rawValue): \(escaped(clipped(error.found)))"]
        var places: [String] = []
        if let file = error.file { places.append("file: \(escaped(file))") }
        if let tensor = error.tensor { places.append("tensor: \(escaped(tensor.text))") }
        if let offset = error.offset { places.append("byte offset \(offset)") }
        if !places.isEmpty { lines.append("  " + places.joined(separator: ", ")) }
        if let expected = error.expected { lines.append("  expected: \(escaped(clipped(expected)))") }
        lines.append("  to do: \(escaped(error.remedy.text(words)))")
        return lines.joined(separator: "\n")
    }

    /// The message of a warning, on one line.
    package static func text(_ warning: IngotWarning) -> String {
        let tensor = warning.tensor.map { ", tensor \(escaped($0.text))" } ?? ""
        return "warning: \(escaped(warning.file))\(tensor): \(escaped(clipped(warning.message)))"
    }

    /// Cuts a text to 4000 Unicode scalars. Callers cut by characters, and one character may have a million accents.
    private static func clipped(_ text: String) -> String {
        let maximum = 4000
        guard text.utf8.count > maximum else { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.prefix(maximum))) + "..."
    }

    /// Text from a file, made safe to print on a terminal and in the log of a CI system.
    ///
    /// These characters become `\u{..}`:
    /// - control and formatting characters, because a tensor's name may hold terminal escape sequences;
    /// - the first of two colons and the first of two number signs. `::error::` at the start of a line is a command to GitHub's runner.
    ///   `##[error]` and `##vso[..]` are commands in any place, to GitHub's runner and to Azure's agent. A text may be broken into lines in
    ///   any place;
    /// - a backslash before `u{`, so that different texts look different.
    package static func escaped(_ text: String) -> String {
        if isPlain(text.utf8.span) { return text }
        var safe = ""
        safe.reserveCapacity(text.utf8.count + 16)
        let scalars = text.unicodeScalars
        for index in scalars.indices {
            let scalar = scalars[index]
            let rest = scalars[scalars.index(after: index)...]
            let isEscaped: Bool =
                switch scalar {
                case ":", "#": rest.first == scalar
                case "\\": rest.starts(with: ["u", "{"])
                default: isHidden(scalar)
                }
            if isEscaped {
                safe += escape(scalar)
            } else {
                safe.unicodeScalars.append(scalar)
            }
        }
        return safe
    }

    /// The escape `\u{..}` of any character.
    package static func escape(_ scalar: Unicode.Scalar) -> String { "\\u{\(String(scalar.value, radix: 16))}" }

    /// Whether a character is invisible: a control or formatting character, a line or paragraph separator, or a surrogate.
    private static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: true
        default: false
        }
    }

    /// A quick check: true means that the text needs no escape, false means that it may need one.
    private static func isPlain(_ bytes: Span<UInt8>) -> Bool {
        var last: UInt8 = 0
        for index in bytes.indices {
            let byte = bytes[index]
            guard byte >= 0x20, byte < 0x7F else { return false }
            if byte == last, byte == UInt8(ascii: ":") || byte == UInt8(ascii: "#") { return false }
            if byte == UInt8(ascii: "u"), last == UInt8(ascii: "\\") { return false }
            last = byte
        }
        return true
    }

    /// JSON text, made safe to print in the log of a CI system. It stands for the same JSON value.
    ///
    /// The first of two number signs becomes `\u0023`. Line ends that JSON allows inside strings become `\u0085`, `\u2028` or `\u2029`.
    /// These characters occur only inside strings. Two colons stay as they are, because the contents of a string never begin a line.
    package static func json(_ text: String) -> String {
        let bytes = text.utf8.span
        var safe: [UInt8] = []
        var copied = 0
        for index in bytes.indices {
            let left = bytes.count - index
            let (width, escape): (Int, String) =
                switch bytes[index] {
                case UInt8(ascii: "#") where left > 1 && bytes[index + 1] == UInt8(ascii: "#"): (1, "\\u0023")
                case 0xC2 where left > 1 && bytes[index + 1] == 0x85: (2, "\\u0085")
                case 0xE2 where left > 2 && bytes[index + 1] == 0x80 && bytes[index + 2] & 0xFE == 0xA8:
                    (3, bytes[index + 2] == 0xA8 ? "\\u2028" : "\\u2029")
                default: (0, "")
                }
            guard width > 0 else { continue }
            for place in copied..<index { safe.append(bytes[place]) }
            safe += escape.utf8
            copied = index + width
        }
        guard copied > 0 else { return text }
        for place in copied..<bytes.count { safe.append(bytes[place]) }
        return String(decoding: safe, as: UTF8.self)
    }
}
