import TensorModel
import Testing

/// Names are bytes.
@Suite struct TensorNameTests {
    @Test("Equal names have equal hashes, however their strings came about") func hashes() {
        for length in 0..<40 {
            let text = String(repeating: "n", count: length)
            let pieces = (0..<length).reduce(into: "") { text, _ in text += "n" }
            #expect(TensorName(text) == TensorName(pieces))
            #expect(TensorName(text).hashValue == TensorName(pieces).hashValue)
            #expect(TensorName(text) != TensorName(text + "n"))
            #expect(TensorName(text) < TensorName(text + "n"))
        }
    }

    @Test("Any byte that differs makes another name, at any place") func differences() {
        let base = Array("model.layers.17.mlp.down_proj.weight".utf8)
        var names: Set<TensorName> = [TensorName(String(decoding: base, as: UTF8.self))]
        for index in base.indices {
            var other = base
            other[index] = UInt8(ascii: "!")
            #expect(names.insert(TensorName(String(decoding: other, as: UTF8.self))).inserted)
        }
        #expect(names.count == base.count + 1)
    }

    @Test func normalizationIsNotEquality() {
        #expect("\u{E9}" == "e\u{301}")
        #expect(TensorName("\u{E9}") != TensorName("e\u{301}"))
        #expect(TensorName("K") != TensorName("\u{212A}"))
        #expect(Set([TensorName("\u{E9}"), TensorName("e\u{301}")]).count == 2)
    }

    @Test func orderIsThatOfBytes() {
        let sorted = ["", "A", "Z", "a", "a.b", "aa", "b", "e\u{301}", "\u{E9}", "\u{FFFF}", "\u{1F600}"]
        #expect(sorted.reversed().map(TensorName.init).sorted().map(\.text.utf8.count) == sorted.map(\.utf8.count))
        for (first, second) in zip(sorted, sorted.dropFirst()) {
            #expect(TensorName(first) < TensorName(second))
            #expect(!(TensorName(second) < TensorName(first)))
        }
    }
}
