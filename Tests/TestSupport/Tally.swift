/// Numbers of test cases that `make counts` collects.
package enum Tally {
    /// Prints how many cases of a kind were tried, under the name of their row, and of how many where it was a share.
    package static func print(_ number: Int, of all: Int? = nil, _ what: String) {
        let share = all.map { $0 > number ? " of \($0)" : "" } ?? ""
        Swift.print("count: \(number)\(share) \(what)")
    }
}
