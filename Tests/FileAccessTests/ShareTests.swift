import TestSupport
import Testing

/// The shares of long loops: as many cases as were asked for, all different, from beginning to end.
@Suite struct ShareTests {
    @Test(arguments: [1, 2, 3, 7, 40, 999, 129_488]) func cases(count: Int) throws {
        let found = Share.of(0..<count)
        #expect(found.count == Share.count(of: count))
        #expect(Set(found).count == found.count && found == found.sorted())
        let step = Double(count) / Double(found.count)
        let (first, last) = (Double(try #require(found.first)), Double(try #require(found.last)))
        #expect(first <= step && last >= Double(count) - step - 1)
        #expect(Share.of(0..<count, minimum: count) == Array(0..<count))
    }
}
