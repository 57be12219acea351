/// The one place where errors, warnings and names from files become text for people.
public enum IngotErrorRenderer {
    /// The message, over a few lines:
    ///
    ///     error: offsetsNotContiguous: 8 bytes between two tensors belong to neither
    ///       file: model.safetensors, tensor: lm_head.weight, byte offset 1024
    ///       expected: each tensor begins where the one before it ends
    ///       to do: the file is damaged or not what its name says: fetch it again
    public static func text(_ error: IngotError) -> String {
        var lines = ["error: \(error.code.rawValue): \(escaped(clipped(error.found)))"]
        var places: [String] = []
        if let file = error.file { places.append("file: \(escaped(file))") }
        if let tensor = error.tensor { places.append("tensor: \(escaped(tensor.text))") }
        if let offset = error.offset { places.append("byte offset \(offset)") }
        if !places.isEmpty { lines.append("  " + places.joined(separator: ", ")) }
        if let expected = error.expected { lines.append("  expected: \(escaped(clipped(expected)))") }
        lines.append("  to do: \(escaped(error.remedy))")
        return lines.joined(separator: "\n")
    }

    /// The message of a warning, on one line.
    public static func text(_ warning: IngotWarning) -> String {
        let tensor = warning.tensor.map { ", tensor \(escaped($0.text))" } ?? ""
        return "warning: \(escaped(warning.file))\(tensor): \(escaped(clipped(warning.message)))"
    }

    /// What a message quotes is cut to so many characters where it is made; a character may be a letter with a million accents.
    private static func clipped(_ text: String) -> String {
        let most = 4000
        guard text.utf8.count > most else { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.prefix(most))) + "..."
    }

    /// Text from a file, safe to print: control and formatting characters become `\u{..}`.
    ///
    /// A tensor's name may hold terminal escape sequences; printed raw they would act on the user's terminal.
    public static func escaped(_ text: String) -> String {
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return text }
        var safe = ""
        safe.reserveCapacity(text.utf8.count)
        for scalar in text.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate:
                safe += "\\u{\(String(scalar.value, radix: 16))}"
            default: safe.unicodeScalars.append(scalar)
            }
        }
        return safe
    }
}
