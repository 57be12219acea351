/// Numbers of test cases that `make counts` collects.
package enum Tally {
    /// Prints the number of cases in a row of `make counts`.
    package static func print(_ number: Int, _ what: String) { Swift.print("count: \(number) \(what)") }
}
