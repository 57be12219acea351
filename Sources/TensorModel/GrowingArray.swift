extension Array where Element: Numeric {
    /// Makes room for `count` elements: zeros are appended where there are fewer. Buffers that are reused only grow.
    @inlinable package mutating func grow(to count: Int) {
        if self.count < count { self += [Element](repeating: 0, count: count - self.count) }
    }
}
