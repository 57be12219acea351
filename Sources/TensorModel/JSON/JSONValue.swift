/// A JSON document as a value. Objects keep the order of their members.
///
/// For small documents (configuration, manifest, reports). `JSONReader` reads headers with many tensors.
package enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    /// A whole number from 0 to 2^64 - 1, written without point and exponent.
    case unsigned(UInt64)
    /// Any other number.
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([Member])

    /// A key and its value.
    package struct Member: Sendable, Hashable {
        /// The key.
        package let key: String
        /// Its value.
        package let value: JSONValue

        /// Makes a member.
        package init(_ key: String, _ value: JSONValue) {
            self.key = key
            self.value = value
        }

        /// Whether both members are equal; keys are compared as bytes.
        package static func == (a: Self, b: Self) -> Bool { sameBytes(a.key, b.key) && a.value == b.value }
    }

    /// Whether both documents are equal: members in the same order, strings compared as bytes.
    package static func == (a: Self, b: Self) -> Bool {
        switch (a, b) {
        case (.null, .null): true
        case (.bool(let a), .bool(let b)): a == b
        case (.unsigned(let a), .unsigned(let b)): a == b
        case (.number(let a), .number(let b)): a == b
        case (.string(let a), .string(let b)): sameBytes(a, b)
        case (.array(let a), .array(let b)): a == b
        case (.object(let a), .object(let b)): a == b
        default: false
        }
    }

    /// Compares bytes. Swift's `==` also holds for canonically equivalent strings, such as `K` and the Kelvin sign.
    private static func sameBytes(_ a: String, _ b: String) -> Bool { TensorName(a) == TensorName(b) }

    /// The value of the first member with this key; nil if there is none, or if this is no object.
    package subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { JSONValue.sameBytes($0.key, key) }?.value
    }

    /// The string; nil for any other kind of value.
    package var string: String? { if case .string(let text) = self { text } else { nil } }

    /// The whole number; nil for any other kind of value.
    package var unsigned: UInt64? { if case .unsigned(let value) = self { value } else { nil } }

    /// The truth value; nil for any other kind of value.
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }

    /// The elements; nil for any other kind of value.
    package var array: [JSONValue]? { if case .array(let elements) = self { elements } else { nil } }

    /// The members; nil for any other kind of value.
    package var object: [Member]? { if case .object(let members) = self { members } else { nil } }
}

// MARK: - Reading

extension JSONValue {
    /// Reads a whole document. Recursion goes at most `maximumDepth` levels deep.
    ///
    /// - Throws: `duplicateKey` if a key occurs twice in one object, `nestingTooDeep` beyond `maximumDepth` levels, `trailingBytes` if more
    ///   text follows, `invalidText` for an invalid string, `headerSyntax` for any other fault.
    package static func parse(_ bytes: [UInt8], maximumDepth: Int = Limits.standard.documentDepth) throws -> JSONValue {
        var reader = JSONReader(bytes, maximumDepth: maximumDepth)
        let value = try read(&reader)
        try reader.requireEnd()
        return value
    }

    private static func read(_ reader: inout JSONReader) throws -> JSONValue {
        switch reader.peek() {
        case UInt8(ascii: "{"):
            var members: [Member] = []
            var seen: Set<TensorName> = []
            try reader.readObject { reader, key in
                guard seen.insert(TensorName(key)).inserted else {
                    throw reader.failure("the key `\(key.prefix(80))` a second time in one object", as: .duplicateKey)
                }
                members.append(Member(key, try read(&reader)))
            }
            return .object(members)
        case UInt8(ascii: "["):
            var elements: [JSONValue] = []
            try reader.readArray { reader in elements.append(try read(&reader)) }
            return .array(elements)
        case UInt8(ascii: "\""): return .string(try reader.readString())
        case UInt8(ascii: "-"), .some(0x30...0x39):
            let text = try reader.readNumberText()
            if let whole = UInt64(text) { return .unsigned(whole) }
            return .number(Double(text) ?? .nan)
        case .some: return try reader.readLiteral()
        case nil: throw reader.unexpected("a value")
        }
    }
}

// MARK: - Writing

extension JSONValue {
    /// The document as text, on one line, or indented by two spaces per level.
    ///
    /// A number that is not finite becomes `null`.
    ///
    /// - Parameters:
    ///   - level: levels of indentation at which the document stands inside another one.
    ///   - isPrefixed: whether the first line is indented too.
    package func text(indented: Bool = false, level: Int = 0, isPrefixed: Bool = false) -> String {
        var out = isPrefixed ? String(repeating: "  ", count: level) : ""
        write(to: &out, indent: indented ? level : nil)
        return out
    }

    private func write(to out: inout String, indent: Int?) {
        switch self {
        case .null: out += "null"
        case .bool(let value): out += value ? "true" : "false"
        case .unsigned(let value): out += String(value)
        case .number(let value): out += value.isFinite ? String(value) : "null"
        case .string(let text): JSONValue.writeString(text, to: &out)
        case .array(let elements):
            // An array without objects stays on one line.
            let flat = elements.allSatisfy { if case .object = $0 { false } else { true } }
            JSONValue.writeList("[", "]", elements, to: &out, indent: flat ? nil : indent) { element, out, indent in
                element.write(to: &out, indent: indent)
            }
        case .object(let members):
            JSONValue.writeList("{", "}", members, to: &out, indent: indent) { member, out, indent in
                JSONValue.writeString(member.key, to: &out)
                out += indent == nil ? ":" : ": "
                member.value.write(to: &out, indent: indent)
            }
        }
    }

    private static func writeList<Element>(
        _ open: String, _ close: String, _ list: [Element], to out: inout String, indent: Int?,
        _ write: (Element, inout String, Int?) -> Void
    ) {
        out += open
        for (index, element) in list.enumerated() {
            if index > 0 { out += "," }
            if let indent { out += "\n" + String(repeating: "  ", count: indent + 1) }
            write(element, &out, indent.map { $0 + 1 })
        }
        if let indent, !list.isEmpty { out += "\n" + String(repeating: "  ", count: indent) }
        out += close
    }

    /// Appends a string in quotes, with only those escapes that RFC 8259 demands.
    package static func writeString(_ text: String, to out: inout String) {
        out += "\""
        defer { out += "\"" }
        // Most strings need no escape: scanning bytes and appending all of them is many times faster than scalar by scalar.
        guard text.utf8.contains(where: { $0 < 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }) else {
            out += text
            return
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count + text.utf8.count / 4)
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
            case UInt8(ascii: "\n"): bytes += "\\n".utf8
            case UInt8(ascii: "\r"): bytes += "\\r".utf8
            case UInt8(ascii: "\t"): bytes += "\\t".utf8
            case 0..<0x20: bytes += ("\\u" + NumberText.padded(byte, digits: 4, radix: 16)).utf8
            default: bytes.append(byte)
            }
        }
        out += String(decoding: bytes, as: UTF8.self)
    }
}
