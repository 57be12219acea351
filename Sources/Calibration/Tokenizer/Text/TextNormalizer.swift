import TensorModel

/// Steps that change a text before it is cut into pieces.
struct TextNormalizer: Sendable {
    /// One step.
    enum Step: Sendable {
        /// Normalization form C.
        case compose
        /// Text before everything, unless there is nothing.
        case prepend([UInt8])
        /// One text for each occurrence of another, from left to right.
        case replace([UInt8], by: [UInt8])
    }

    /// The steps, in order.
    var steps: [Step] = []

    private static let maximumSteps = 32

    /// Text after all steps.
    func normalized(_ bytes: [UInt8]) -> [UInt8] {
        var text = bytes
        for step in steps {
            switch step {
            case .compose: text = CanonicalComposition.normalized(text)
            case .prepend(let front): if !text.isEmpty { text = front + text }
            case .replace(let old, by: let new): text = TextNormalizer.replaced(text, old, by: new)
            }
        }
        return text
    }

    /// Replaces each occurrence of a text that is not empty.
    static func replaced(_ bytes: [UInt8], _ old: [UInt8], by new: [UInt8]) -> [UInt8] {
        guard let first = old.first, bytes.contains(first) else { return bytes }
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count + bytes.count / 4)
        var index = 0
        while index < bytes.count {
            if bytes[index] == first, bytes.count - index >= old.count,
                bytes[index..<index + old.count].elementsEqual(old)
            {
                output += new
                index += old.count
            } else {
                output.append(bytes[index])
                index += 1
            }
        }
        return output
    }

    // MARK: - From tokenizer.json

    /// Reads the member `normalizer`.
    ///
    /// - Throws: `tokenizerInvalid` for what is not supported.
    init(_ json: JSONValue?) throws {
        if let json, json != .null { try add(json, depth: 0) }
    }

    /// Makes a normalizer of these steps.
    init(steps: [Step] = []) { self.steps = steps }

    private mutating func add(_ json: JSONValue, depth: Int) throws {
        guard let type = json["type"]?.string else {
            throw TokenizerFailure.invalid("a normalizer without `type`", "an object with a type, or null")
        }
        guard steps.count < TextNormalizer.maximumSteps, depth < 8 else {
            throw TokenizerFailure.unsupported("more than \(TextNormalizer.maximumSteps) normalizers")
        }
        switch type {
        case "Sequence":
            guard let parts = json["normalizers"]?.array else {
                throw TokenizerFailure.invalid("a sequence without `normalizers`", "an array")
            }
            for part in parts { try add(part, depth: depth + 1) }
        case "NFC": steps.append(.compose)
        case "Prepend":
            guard let text = json["prepend"]?.string else {
                throw TokenizerFailure.invalid("a normalizer Prepend without `prepend`", "a text")
            }
            steps.append(.prepend(Array(text.utf8)))
        case "Replace":
            guard let content = json["content"]?.string, let pattern = json["pattern"] else {
                throw TokenizerFailure.invalid("a normalizer Replace without `pattern` and `content`")
            }
            guard let old = pattern["String"]?.string else {
                throw TokenizerFailure.unsupported("a normalizer Replace with a regular expression")
            }
            guard !old.isEmpty else { throw TokenizerFailure.unsupported("a normalizer Replace of nothing") }
            steps.append(.replace(Array(old.utf8), by: Array(content.utf8)))
        default: throw TokenizerFailure.unsupported("the normalizer \(type.prefix(80))")
        }
    }

    /// Bytes that one byte of text becomes, at most.
    var growth: Int {
        steps.reduce(1) { growth, step in
            switch step {
            case .compose: min(growth * 3, 1 << 20)
            case .prepend(let front): min(growth * (1 + front.count), 1 << 20)
            case .replace(let old, by: let new):
                min(growth * max(1, (new.count + old.count - 1) / max(1, old.count)), 1 << 20)
            }
        }
    }
}
