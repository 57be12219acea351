import Foundation

/// How much of a loop that repeats a property runs: a share in `make test`, all of it in `make counts`.
///
/// `INGOT_SHARE` is the fraction of the cases, 0.2 without it. A share lies evenly over all cases; where it begins follows from `INGOT_SEED`,
/// random without it, so that runs try different cases. Both are printed once, and again where a test fails.
package enum Share {
    /// The fraction of the cases, above 0 and at most 1.
    package static let fraction: Double = {
        let asked = ProcessInfo.processInfo.environment["INGOT_SHARE"]
        guard let asked else { return 0.2 }
        guard let fraction = Double(asked), fraction > 0, fraction <= 1 else {
            preconditionFailure("INGOT_SHARE=\(asked): a fraction above 0 and at most 1 is needed")
        }
        return fraction
    }()

    /// Where shares begin.
    package static let seed: UInt64 = {
        let asked = ProcessInfo.processInfo.environment["INGOT_SEED"].flatMap { UInt64($0) }
        let seed = asked ?? UInt64.random(in: 0..<1_000_000)
        print(
            "share: \(fraction) of the cases of long loops; INGOT_SHARE=\(fraction) INGOT_SEED=\(seed) tries the same ones"
        )
        return seed
    }()

    /// How many of `count` cases run: the share, at least `minimum` of them.
    package static func count(of count: Int, minimum: Int = 1) -> Int {
        min(count, max(minimum, Int((Double(count) * fraction).rounded(.up))))
    }

    /// The cases that run, in their order.
    ///
    /// - Parameters:
    ///   - cases: all of them.
    ///   - minimum: how many run whatever the share is.
    package static func of<Cases: RandomAccessCollection>(_ cases: Cases, minimum: Int = 1) -> [Cases.Element] {
        let count = count(of: cases.count, minimum: minimum)
        guard count < cases.count else { return Array(cases) }
        let step = Double(cases.count) / Double(count)
        // Below one step: the golden ratio spreads seeds that follow each other.
        let start = (Double(seed) * 0.618_033_988_749_895).truncatingRemainder(dividingBy: 1) * step
        return (0..<count).map { number in
            let place = min(cases.count - 1, Int(start + Double(number) * step))
            return cases[cases.index(cases.startIndex, offsetBy: place)]
        }
    }

    /// The cases of a table that `make test` tries whole: a fifth of them in `make quick`, whose share is below a tenth.
    package static func ofTable<Case>(_ cases: [Case]) -> [Case] {
        fraction < 0.1 ? of(cases, minimum: (cases.count + 4) / 5) : cases
    }
}
