/// Counts of cases that `make counts` collects.
package enum Tally {
    /// Prints how many cases of a kind were tried, under the name of their row.
    package static func print(_ number: Int, _ what: String) { Swift.print("count: \(number) \(what)") }
}
