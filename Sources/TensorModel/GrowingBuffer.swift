extension Array where Element: Numeric {
    /// Makes room for `count` elements; a buffer that is reused never shrinks.
    package mutating func grow(to count: Int) {
        if self.count < count { self += [Element](repeating: 0, count: count - self.count) }
    }
}
