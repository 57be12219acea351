import TensorModel
import Testing

/// Text from files as it is printed: nothing in it is a command to a terminal or to the agent of a CI system, and nothing is lost.
@Suite struct ErrorRenderingTests {
    @Test(arguments: [
        ("model.layers.0.q_proj.weight", "model.layers.0.q_proj.weight"), ("a:b #1", "a:b #1"),
        ("::error::x", "\\u{3a}:error\\u{3a}:x"), (":::", "\\u{3a}\\u{3a}:"),
        ("a ##[error]x", "a \\u{23}#[error]x"), ("###", "\\u{23}\\u{23}#"), ("##VSO[a]b", "\\u{23}#VSO[a]b"),
        ("a\nb\u{1B}[m", "a\\u{a}b\\u{1b}[m"), ("\\u{3a}:", "\\u{5c}u{3a}:"), ("C:\\users\\u", "C:\\users\\u"),
        ("\u{E9}\u{202E}::", "\u{E9}\\u{202e}\\u{3a}:"), ("\\::", "\\\\u{3a}:"),
    ])
    func escapes(text: String, expected: String) {
        #expect(IngotErrorRenderer.escaped(text) == expected)
    }

    /// Texts of the characters that matter, by chance: what is printed has none of the beginnings of commands, and tells what it was.
    @Test func everyTextIsTold() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = Generator(state: seed)
        let alphabet: [Unicode.Scalar] = [
            ":", ":", "#", "#", "[", "\\", "u", "{", "3", "a", "}", "5", "c", " ", "\n", "\u{1B}", "\u{E9}", "\u{202E}",
            "x",
        ]
        for _ in 0..<20_000 {
            var text = ""
            for _ in 0..<Int.random(in: 0...12, using: &generator) {
                text.unicodeScalars.append(alphabet.randomElement(using: &generator) ?? "x")
            }
            let shown = IngotErrorRenderer.escaped(text)
            #expect(!shown.utf8Contains("::") && !shown.utf8Contains("##") && !shown.contains("\n"), "seed \(seed)")
            #expect(TensorName(Self.unescaped(shown)) == TensorName(text), "seed \(seed): \(shown)")
        }
    }

    /// JSON means the same, and holds no two number signs.
    @Test(arguments: [
        "##vso[task.x]y", "###", "\\##", "\"##\"", "a#b", "", "#", "##",
        "a\u{2028}b\u{2029}\u{85}\u{2027}", "\u{E2}\u{C2}\u{85}",
    ]) func json(text: String) throws {
        let document = JSONValue.object([.init(text, .array([.string(text), .string("é" + text)]))])
        let shown = IngotErrorRenderer.json(document.text(indented: true))
        #expect(!shown.utf8Contains("##"))
        #expect(!shown.unicodeScalars.contains { ["\u{85}", "\u{2028}", "\u{2029}"].contains($0) })
        #expect(try JSONValue.parse(Array(shown.utf8)) == document)
    }

    /// A remedy of several steps; whoever renders it words those that need an option.
    @Test func remedies() {
        let remedy = Remedy.both(
            .either("move it away", or: .option(.replaceOutput)), .option(.goOn(finished: 1, of: 3, tensors: 0)))
        #expect(
            remedy.text
                == "move it away, or have it replaced; 1 of 3 shards are done: the same conversion goes on from there")
        #expect(remedy.text { "\($0)" } == "move it away, or replaceOutput; goOn(finished: 1, of: 3, tensors: 0)")
        let error = IngotError(.cannotCreate, found: "it exists", remedy: remedy)
        #expect(IngotErrorRenderer.text(error).hasSuffix("  to do: \(remedy.text)"))
        #expect(IngotErrorRenderer.text(error) { _ in "x" }.hasSuffix("  to do: move it away, or x; x"))
    }

    /// Without other words no error names a flag.
    @Test func usualRemedies() {
        for code in IngotError.Code.allCases {
            let remedy = IngotError(code, found: "").remedy.text
            #expect(!remedy.isEmpty && !remedy.contains("--"), "\(code)")
        }
    }

    /// What a reader makes of printed text.
    private static func unescaped(_ text: String) -> String {
        text.replacing(/\\u\{([0-9a-f]+)\}/) { match in
            UInt32(match.1, radix: 16).flatMap(Unicode.Scalar.init).map(String.init) ?? "?"
        }
    }

    struct Generator: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ (state >> 29)
        }
    }
}

extension String {
    /// Whether bytes occur in it, whatever characters they belong to.
    fileprivate func utf8Contains(_ part: String) -> Bool {
        let (bytes, part) = (Array(utf8), Array(part.utf8))
        return bytes.indices.contains { bytes[$0...].starts(with: part) }
    }
}
