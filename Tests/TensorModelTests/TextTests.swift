import TensorModel
import Testing

/// Numbers, CSV and markup.
@Suite struct TextTests {
    @Test func numbers() {
        #expect(NumberText.fixed(0.125, 2) == "0.13" && NumberText.fixed(-0.001, 2) == "0.00")
        #expect(NumberText.fixed(-2.5, 1) == "-2.5" && NumberText.fixed(1234.5, 0) == "1235")
        #expect(NumberText.fixed(.infinity, 2) == "inf" && NumberText.fixed(1e300, 2) == "1e+300")
        #expect(NumberText.trimmed(3.25, 4) == "3.25" && NumberText.trimmed(300, 2) == "300")
        #expect(NumberText.trimmed(300, 0) == "300" && NumberText.trimmed(1e300, 2) == "1e+300")
        #expect(NumberText.padded(42, digits: 5) == "00042" && NumberText.padded(123_456, digits: 5) == "123456")
        #expect(
            NumberText.padded(0, digits: 0) == "0" && NumberText.padded(255 as UInt8, digits: 4, radix: 16) == "00ff")
    }

    /// A name that a spreadsheet would take for a formula stays text; other cells are quoted where RFC 4180 demands it.
    @Test func csv() {
        #expect(
            CSVText.name("=1+1") == "'=1+1" && CSVText.name("'a") == "''a" && CSVText.name("\u{FF1D}a") == "'\u{FF1D}a")
        #expect(CSVText.name("a\nb") == #"a\u{a}b"# && CSVText.name("") == "")
        #expect(CSVText.name("-a,\"b") == #""'-a,""b""#)
        #expect(CSVText.cell("[2, 3]") == #""[2, 3]""# && CSVText.cell(" a") == "\" a\"" && CSVText.cell("-1") == "-1")
        #expect(
            CSVText.number(-0.5) == "-0.5" && CSVText.number(Double.nan) == "" && CSVText.number(nil as Double?) == "")
        #expect(CSVText.number(7) == "7" && CSVText.number(nil as Int?) == "")
    }

    @Test func markup() {
        #expect(MarkupText.escaped("<a b=\"c\">&'\n") == "&lt;a b=&quot;c&quot;&gt;&amp;'&#10;")
        #expect(MarkupText.escaped("\u{1B}[0m\u{FFFE}") == #"\u{1b}[0m\u{fffe}"#)
    }

    @Test func growing() {
        var buffer: [UInt16] = [1, 2]
        buffer.grow(to: 1)
        #expect(buffer == [1, 2])
        buffer.grow(to: 4)
        #expect(buffer == [1, 2, 0, 0])
    }
}
