/// Numbers as text, without Foundation.
package enum NumberText {
    /// A number with `digits` decimal places: `0.50`. NaN, infinity and numbers that would have more than 15 digits are written in full.
    package static func fixed(_ value: Double, _ digits: Int) -> String {
        guard value.isFinite else { return "\(value)" }
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let scaled = (abs(value) * scale).rounded()
        guard scaled < 1e15 else { return "\(value)" }
        let text = padded(Int(scaled), digits: digits + 1)
        let sign = value < 0 && scaled > 0 ? "-" : ""
        return digits == 0 ? sign + text : sign + text.dropLast(digits) + "." + text.suffix(digits)
    }

    /// A number with at most `digits` decimal places and no zeros at the end: `0.5`.
    package static func trimmed(_ value: Double, _ digits: Int) -> String {
        var text = fixed(value, digits)[...]
        guard text.utf8.contains(UInt8(ascii: ".")), !text.utf8.contains(UInt8(ascii: "e")) else { return String(text) }
        while text.last == "0" { text.removeLast() }
        if text.last == "." { text.removeLast() }
        return String(text)
    }

    /// A whole number of 0 or more with at least `digits` digits, padded with zeros: `00042`.
    package static func padded(_ number: some BinaryInteger, digits: Int, radix: Int = 10) -> String {
        let text = String(number, radix: radix)
        return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }
}
