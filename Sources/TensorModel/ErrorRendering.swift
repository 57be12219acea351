/// The one place where errors, warnings and names from files become text for people.
package enum IngotErrorRenderer {
    /// The message, over a few lines:
    ///
    ///     error: offsetsNotContiguous: 8 bytes between two tensors belong to neither
    ///       file: model.safetensors, tensor: lm_head.weight, byte offset 1024
    ///       expected: each tensor begins where the one before it ends
    ///       to do: the file is damaged or not what its name says: fetch it again
    ///
    /// - Parameter words: the words of steps that need an option; without flags if nothing else is given.
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

    /// What a message quotes is cut to so many characters where it is made; a character may be a letter with a million accents.
    private static func clipped(_ text: String) -> String {
        let most = 4000
        guard text.utf8.count > most else { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.prefix(most))) + "..."
    }

    /// Text from a file, safe to print on a terminal and in the log of a CI system.
    ///
    /// Control and formatting characters become `\u{..}`: a tensor's name may hold terminal escape sequences. So does the first
    /// of two colons and of two number signs: `::error::` at the start of a line is a command to GitHub's runner, `##[error]` and
    /// `##vso[..]` anywhere are commands to it and to Azure's agent, and text may be broken into lines anywhere. So does
    /// a backslash before `u{`, so that no two texts look the same.
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

    /// The escape of a character, whatever it is.
    package static func escape(_ scalar: Unicode.Scalar) -> String { "\\u{\(String(scalar.value, radix: 16))}" }

    /// Whether a character is none that one sees: a control or formatting character, or one that ends a line.
    private static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: true
        default: false
        }
    }

    /// Whether nothing of a text needs an escape; may be false of one of which nothing does.
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

    /// JSON text, safe to print in the log of a CI system: the first of two number signs becomes `\u0023`, and what ends a line elsewhere
    /// than in JSON becomes `\u0085`, `\u2028` or `\u2029`; all of them mean the same.
    ///
    /// These characters stand in strings alone, and a string never begins a line.
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
