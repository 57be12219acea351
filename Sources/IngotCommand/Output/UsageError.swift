import ArgumentParser
import TensorModel

/// Errors of the command line in the form of all other errors: what was given, what is allowed, what to do.
enum UsageError {
    /// Refuses an unknown verb, also behind `help`.
    ///
    /// - Parameter arguments: the arguments of the command.
    static func requireKnownVerb(_ arguments: ArraySlice<String>) throws {
        let verbs = Ingot.configuration.subcommands.map { String(describing: $0).lowercased() } + ["help"]
        let isHelp = arguments.first == "help"
        guard let word = isHelp ? arguments.dropFirst().first : arguments.first, !word.hasPrefix("-"),
            !verbs.contains(word)
        else { return }
        throw IngotError(
            .usage, found: isHelp ? "help for `\(word)`" : "the verb `\(word)`",
            expected: "one of \(verbs.joined(separator: ", "))",
            remedy: .text(
                nearest(to: word, in: verbs).map { "did you mean `ingot \(isHelp ? "help " : "")\($0)`?" }
                    ?? "`ingot help` lists the verbs"))
    }

    /// The error in our form.
    ///
    /// - Parameter text: the message of the argument parser: `Error: ...`, then help and usage.
    static func error(_ text: String, verb: String?) -> IngotError {
        var error = divided(protected(text), verb: verb)
        error.found = unprotected(error.found)
        error.expected = error.expected.map(unprotected)
        return error
    }

    /// Stands for a line feed inside an argument, which the message quotes, so that splitting into lines keeps the argument whole.
    private static let lineEnd: Unicode.Scalar = "\u{F8FE}"

    private static func protected(_ text: String) -> String {
        var message = text.unicodeScalars
        // The message may quote the value after `=` without its option.
        for argument in CommandLine.arguments.dropFirst() {
            for part in [argument[...]] + argument.split(separator: "=", maxSplits: 1).dropFirst()
            where part.unicodeScalars.contains("\n") {
                message = message.replacing(
                    part.unicodeScalars, with: part.unicodeScalars.map { $0 == "\n" ? lineEnd : $0 })
            }
        }
        return String(message)
    }

    private static func unprotected(_ text: String) -> String { text.replacing(String(lineEnd), with: "\n") }

    private static func divided(_ text: String, verb: String?) -> IngotError {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let description = lines.first { $0.hasPrefix("Help:") }.flatMap(meaning)
        if let end = lines.firstIndex(where: { $0.hasPrefix("Help:") || $0.hasPrefix("Usage:") }) {
            lines.removeSubrange(end...)
        }
        var message = lines.joined(separator: "\n")
        if message.hasPrefix("Error: ") { message.removeFirst("Error: ".count) }
        let help = "`ingot help\(verb.map { " \($0)" } ?? "")` lists the options"
        guard let (value, option, choices) = invalidValue(message) else {
            return IngotError(.usage, found: trimmed(message), remedy: .text(help))
        }
        return IngotError(
            .usage, found: "`\(value)` for \(option)",
            expected: choices.isEmpty ? description : "one of \(choices.joined(separator: ", "))",
            remedy: .text(nearest(to: value, in: choices).map { "did you mean \(option) \($0)?" } ?? help))
    }

    /// Value, option and choices of a message such as `The value 'x' is invalid for '--codec <codec>'. Please provide one of 'a' or 'b'.`
    private static func invalidValue(_ message: String) -> (value: String, option: String, choices: [String])? {
        let (head, middle) = ("The value '", "' is invalid for '")
        guard message.hasPrefix(head), let place = message.firstRange(of: middle) else { return nil }
        let value = String(message[message.index(message.startIndex, offsetBy: head.count)..<place.lowerBound])
        let rest = message[place.upperBound...]
        guard let quote = rest.firstIndex(of: "'") else { return nil }
        let option = rest[..<quote].split(separator: " ").first.map(String.init) ?? String(rest[..<quote])
        let after = rest[rest.index(after: quote)...]
        let listed = after.split(separator: "\n").filter { $0.hasPrefix("  - ") }.map { String($0.dropFirst(4)) }
        let quoted = after.split(separator: "'", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
        return (value, option, listed.isEmpty ? quoted : listed)
    }

    /// The help of an option, from a line such as `Help:  --top <n>  Rows at most.`; nil if there is none.
    private static func meaning(_ line: String) -> String? {
        let text = line.dropFirst("Help:".count).drop { $0 == " " }
        guard let gap = text.firstRange(of: "  ") else { return nil }
        let meaning = trimmed(String(text[gap.upperBound...].drop { $0 == " " }))
        return meaning.isEmpty ? nil : meaning
    }

    private static func trimmed(_ message: String) -> String {
        var text = message.replacing("\n", with: " ")
        while text.last == " " || text.last == "." { text.removeLast() }
        return text
    }

    // MARK: - Did you mean

    /// The choice that differs from a word in the fewest letters; nil if none is near.
    static func nearest(to word: String, in choices: [String]) -> String? {
        guard word.utf8.count <= 64 else { return nil }
        let distances = choices.map { ($0, distance(Array(word.lowercased().utf8), Array($0.utf8))) }
        guard let best = distances.min(by: { $0.1 < $1.1 }), best.1 <= max(1, min(best.0.count, word.count) / 3) else {
            return choices.first { $0.count > 2 && word.count > 2 && $0.hasPrefix(word.lowercased()) }
        }
        return best.0
    }

    /// Number of letters to insert, delete, replace or exchange with their neighbour (restricted Damerau-Levenshtein distance).
    private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var rows = [Array(0...b.count)]
        for i in 1..<(a.count + 1) {
            var row = [i]
            for j in 1..<(b.count + 1) {
                var cost = min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
                if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { cost = min(cost, rows[i - 2][j - 2] + 1) }
                row.append(cost)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}
