extension Array where Element: Numeric {
    /// Appends zeros until there are `count` elements. A longer array stays as it is, so a reused buffer only grows.
    @inlinable package mutating func grow(to count: Int) {
        if self.count < count { self += [Element](repeating: 0, count: count - self.count) }
    }
}
