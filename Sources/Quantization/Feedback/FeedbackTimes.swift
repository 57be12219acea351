/// Time that workers spent on error feedback, added up over all of them, on the clock.
package struct FeedbackTimes: Sendable, Hashable {
    /// Reading moments of linear inputs and factoring them.
    package var factors = Duration.zero
    /// Searching panels, with the errors that are carried inside them.
    package var search = Duration.zero
    /// Carrying errors of earlier panels into a panel, and corrections of weights; both are products of matrices.
    package var products = Duration.zero
    /// Measuring the sums over activations.
    package var sums = Duration.zero

    /// No time spent yet.
    package init() {}

    /// Adds the times of another worker.
    package mutating func add(_ other: FeedbackTimes) {
        factors += other.factors
        search += other.search
        products += other.products
        sums += other.sums
    }
}
