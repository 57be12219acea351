import TensorModel
import Testing

@Suite struct NamePatternTests {
    @Test(arguments: [
        ("*", "", true), ("*", "anything.at.all", true), ("a*", "a", true), ("a*b", "ab", true), ("a*b", "axxb", true),
        ("a*b", "axxbc", false), ("?", "", false), ("?", "x", true), ("?", "\u{1F600}", true), ("a?c", "abc", true),
        ("*.k_proj.weight", "model.layers.0.self_attn.k_proj.weight", true),
        ("*.k_proj.weight", "model.layers.0.self_attn.k_proj.weights", false), ("k_proj", "x.k_proj", false),
        ("*.[0-3].*", "model.layers.2.x", true), ("*.[0-3].*", "model.layers.4.x", false), ("[!a]", "b", true),
        ("[!a]", "a", false), ("[^a]", "b", true), ("[]]", "]", true), ("[a-]", "-", true), ("[a-]", "b", false),
        ("a.b", "axb", false), ("**", "x", true), ("*a*a*a*b", "aaab", true), ("*a*a*a*b", "aab", false),
        ("\u{E9}", "e\u{301}", false), ("model", "MODEL", false),
    ])
    func matches(pattern: String, name: String, expected: Bool) throws {
        #expect(try #require(NamePattern(pattern)).matches(TensorName(name)) == expected)
    }

    @Test(arguments: ["", "[", "[]", "a[b", "[!]", "[z-a]"]) func refused(pattern: String) {
        #expect(NamePattern(pattern) == nil)
    }

    /// A pattern that makes others try all ways takes no longer than name times pattern.
    @Test func worstCase() throws {
        let pattern = try #require(NamePattern(String(repeating: "*a", count: 200) + "b"))
        #expect(!pattern.matches(TensorName(String(repeating: "a", count: 20_000))))
        #expect(pattern.matches(TensorName(String(repeating: "a", count: 20_000) + "b")))
    }
}
