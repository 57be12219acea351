import TensorModel

/// The metadata `general.*` of a GGUF file made from a Hugging Face checkpoint. The keys about tensor types are not here.
struct GeneralMetadata {
    /// The architecture.
    let architecture: String
    /// The name of the model, as a title.
    let name: String
    /// Number of weights as a label, such as `7.2B` or `8x7.2B`.
    let sizeLabel: String
    /// `generation_config.json`; nil if there is none.
    let generation: ModelDocument?
    /// The licence of the model.
    let card: ModelCard

    /// Settings of sampling: the key in GGUF after `general.sampling.`, the keys in `generation_config.json`, and whether it is a whole number.
    private static let sampling: [(key: String, sources: [String], isWhole: Bool)] = [
        ("top_k", ["top_k"], true), ("top_p", ["top_p"], false), ("min_p", ["min_p"], false),
        ("xtc_probability", ["xtc_probability"], false), ("xtc_threshold", ["xtc_threshold"], false),
        ("temp", ["temperature"], false), ("penalty_last_n", ["penalty_last_n"], true),
        ("penalty_repeat", ["penalty_repeat", "repetition_penalty"], false), ("mirostat", ["mirostat"], true),
        ("mirostat_tau", ["mirostat_tau"], false), ("mirostat_eta", ["mirostat_eta"], false),
    ]

    /// Appends the entries, in the order of llama.cpp's converter. Settings of sampling of an unexpected type are left out.
    func write(to metadata: inout GGUFKeyValues) {
        metadata.append("general.architecture", .text(architecture))
        metadata.append("general.type", .text("model"))
        for (key, sources, isWhole) in GeneralMetadata.sampling {
            guard let number = sources.lazy.compactMap({ generation?[$0]?.double }).first else { continue }
            if isWhole {
                if let whole = Int32(exactly: number) { metadata.append("general.sampling.\(key)", .i32(whole)) }
            } else if Float(number).isFinite {
                metadata.append("general.sampling.\(key)", .f32(Float(number)))
            }
        }
        metadata.append("general.name", .text(name))
        metadata.append("general.size_label", .text(sizeLabel))
        for (key, value) in card.licence { metadata.append("general.\(key)", .text(value)) }
    }

    /// The title that llama.cpp's converter makes of a name. Spaces replace dashes. A word in small letters gets a capital, unless it is a
    /// version or begins with a digit.
    static func title(_ name: String) -> String {
        name.utf8.split { $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: " ") }.map { word in
            String(decoding: isTitled(word) ? titled(word) : Array(word), as: UTF8.self)
        }.joined(separator: " ")
    }

    private static func isSmall(_ byte: UInt8) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) }

    private static func isCapital(_ byte: UInt8) -> Bool { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    private static func isTitled(_ word: Substring.UTF8View) -> Bool {
        guard word.contains(where: isSmall), !word.contains(where: isCapital), let first = word.first, !isDigit(first)
        else { return false }
        let version = word.dropFirst()
        let isVersion =
            first == UInt8(ascii: "v") && !version.isEmpty
            && version.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy {
                !$0.isEmpty && $0.allSatisfy(isDigit)
            }
        return !isVersion
    }

    private static func titled(_ word: Substring.UTF8View) -> [UInt8] {
        var isAfterLetter = false
        return word.map { byte in
            defer { isAfterLetter = isSmall(byte) || isCapital(byte) || byte >= 0x80 }
            return isSmall(byte) && !isAfterLetter ? byte - 0x20 : byte
        }
    }

    /// A number of weights in thousands, millions and so on, with two digits at least: `135M`, `7.2B`.
    static func label(_ count: UInt64) -> String {
        let (unit, letter): (UInt64, String) =
            switch count {
            case 1_000_000_000_001...: (1_000_000_000_000, "T")
            case 1_000_000_001...: (1_000_000_000, "B")
            case 1_000_001...: (1_000_000, "M")
            default: (1_000, "K")
            }
        /// The count in units of `unit / scale`; half a unit goes to the even number.
        func rounded(_ scale: UInt64) -> UInt64 {
            let step = unit / scale
            let (quotient, rest) = count.quotientAndRemainder(dividingBy: step)
            return 2 * rest > step || 2 * rest == step && quotient % 2 == 1 ? quotient + 1 : quotient
        }
        let whole = rounded(1)
        let places = whole == 0 ? 2 : whole < 10 ? 1 : 0
        guard places > 0 else { return "\(whole)\(letter)" }
        let scale: UInt64 = places == 2 ? 100 : 10
        let scaled = rounded(scale)
        return "\(scaled / scale).\(NumberText.padded(scaled % scale, digits: places))\(letter)"
    }
}

/// The licence that the head of a model card (`README.md`) states.
struct ModelCard {
    /// Keys as GGUF files have them after `general.`, and their texts.
    private(set) var licence: [(key: String, value: String)] = []

    private static let keys = [
        ("license", "license"), ("license_name", "license.name"), ("license_link", "license.link"),
    ]

    /// Reads the head of a card: the lines between two lines `---`. Of YAML, only `key: text` on one line is understood; anything else counts
    /// as not stated.
    init(_ text: String?) {
        guard let text else { return }
        let lines = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map {
            String(decoding: $0.last == UInt8(ascii: "\r") ? $0.dropLast() : $0, as: UTF8.self)
        }
        guard lines.first == "---", let end = lines.dropFirst().firstIndex(of: "---") else { return }
        for (source, key) in ModelCard.keys {
            guard let line = lines[1..<end].first(where: { $0.utf8.starts(with: "\(source): ".utf8) }) else { continue }
            var value = line.utf8.dropFirst(source.utf8.count + 2).drop { $0 == UInt8(ascii: " ") }[...]
            while value.last == UInt8(ascii: " ") { value.removeLast() }
            for quote in [UInt8(ascii: "\""), UInt8(ascii: "'")]
            where value.count >= 2 && value.first == quote && value.last == quote {
                value = value.dropFirst().dropLast()
            }
            guard let first = value.first, !"[{|>&*!%@`".utf8.contains(first) else { continue }
            licence.append((key, String(decoding: value, as: UTF8.self)))
        }
    }
}
