/// Chooses one of several sizes for each of many items, so that all together fit in a number of bytes and cost little.
///
/// Each item starts at its smallest size. The step that saves most per byte is taken next, along the lower convex hull of the sizes of each
/// item, until no step fits. Another choice of the same bytes costs less only by what the last steps could not fill.
package enum SizeAllocation {
    /// A size that an item can have.
    package struct Size: Sendable, Hashable {
        /// Bytes of the item.
        package let bytes: UInt64
        /// What its errors cost; finite, 0 or more.
        package let cost: Double

        /// A size.
        package init(bytes: UInt64, cost: Double) { (self.bytes, self.cost) = (bytes, cost) }
    }

    /// A step of an item along its hull.
    private struct Step {
        let item: Int
        /// The size before it, and after it.
        let from: Int, to: Int
        let bytes: UInt64
        /// Cost saved per byte.
        let slope: Double
    }

    /// Chooses a size for each item.
    ///
    /// - Parameters:
    ///   - items: the sizes of each item, at least one.
    ///   - bytes: the most bytes of all items together.
    /// - Returns: the index of the size of each item; nil if the smallest sizes together are larger.
    package static func choose(_ items: [[Size]], within bytes: UInt64) -> [Int]? {
        var chosen: [Int] = [], steps: [Step] = []
        var left = bytes
        for (item, sizes) in items.enumerated() {
            let hull = hull(sizes)
            guard let first = hull.first, sizes[first].bytes <= left else { return nil }
            left -= sizes[first].bytes
            chosen.append(first)
            for (from, to) in zip(hull, hull.dropFirst()) {
                let more = sizes[to].bytes - sizes[from].bytes
                steps.append(
                    Step(
                        item: item, from: from, to: to, bytes: more,
                        slope: (sizes[from].cost - sizes[to].cost) / Double(more)))
            }
        }
        // Equal slopes: in the order of the items. Slopes of an item fall along its hull, so its steps come in order.
        steps.sort { ($1.slope, $0.item) < ($0.slope, $1.item) }
        for step in steps where chosen[step.item] == step.from && step.bytes <= left {
            chosen[step.item] = step.to
            left -= step.bytes
        }
        return chosen
    }

    /// The indices of the sizes on the lower convex hull, from the smallest on: every step saves less per byte than the one before.
    private static func hull(_ sizes: [Size]) -> [Int] {
        let order = sizes.indices.sorted {
            (sizes[$0].bytes, sizes[$0].cost, $0) < (sizes[$1].bytes, sizes[$1].cost, $1)
        }
        var hull: [Int] = []
        for index in order {
            if let last = hull.last, sizes[index].cost >= sizes[last].cost { continue }
            while hull.count >= 2, isAbove(sizes[hull[hull.count - 1]], sizes[hull[hull.count - 2]], sizes[index]) {
                hull.removeLast()
            }
            hull.append(index)
        }
        return hull
    }

    /// Whether a size lies on or above the line between a smaller and a larger one.
    private static func isAbove(_ middle: Size, _ small: Size, _ large: Size) -> Bool {
        let (first, second) = (Double(middle.bytes - small.bytes), Double(large.bytes - middle.bytes))
        return (small.cost - middle.cost) * second <= (middle.cost - large.cost) * first
    }
}

extension SizeAllocation {
    /// A matrix that can have one of several types.
    package struct Matrix: Sendable {
        /// Number of weights.
        package let weights: Int
        /// Bytes of the matrix in each type, ascending.
        package let bytes: [UInt64]
        /// What its errors cost in each type; nil if that is not known.
        package let losses: [Double]?

        /// A matrix.
        package init(weights: Int, bytes: [UInt64], losses: [Double]?) {
            (self.weights, self.bytes, self.losses) = (weights, bytes, losses)
        }

        /// Bits per weight of a type.
        func bits(_ type: Int) -> Double { 8 * Double(bytes[type]) / Double(max(1, weights)) }
    }

    /// Chooses a type for each matrix.
    ///
    /// Matrices whose losses are not known get the smallest type that has at least as many bits per weight as the others have on average; the
    /// largest that fits if no loss is known.
    ///
    /// - Parameter bytes: the most bytes of all matrices together.
    /// - Returns: the index of the type of each matrix; nil if the smallest types together are larger.
    package static func choose(_ matrices: [Matrix], within bytes: UInt64) -> [Int]? {
        let known = matrices.indices.filter { matrices[$0].losses != nil }
        let others = matrices.indices.filter { matrices[$0].losses == nil }
        let items = known.map { index in
            zip(matrices[index].bytes, matrices[index].losses ?? []).map { Size(bytes: $0, cost: $1) }
        }
        let weights = Double(max(1, known.reduce(0) { $0 + matrices[$1].weights }))
        // From fewer bits on: the first level that the average of the others does not pass.
        let levels = Set(others.flatMap { index in matrices[index].bytes.indices.map(matrices[index].bits) }).sorted()
        var best: [Int]?
        for level in levels.isEmpty ? [0] : levels {
            var types = [Int](repeating: 0, count: matrices.count)
            for index in others {
                let matrix = matrices[index]
                types[index] = matrix.bytes.indices.first { matrix.bits($0) >= level } ?? matrix.bytes.count - 1
            }
            let used = others.reduce(UInt64(0)) { $0 + matrices[$1].bytes[types[$1]] }
            guard used <= bytes, let chosen = choose(items, within: bytes - used) else { return best }
            for (index, type) in zip(known, chosen) { types[index] = type }
            best = types
            let bits = known.reduce(0.0) { $0 + 8 * Double(matrices[$1].bytes[types[$1]]) } / weights
            if !known.isEmpty, bits <= level { break }
        }
        return best
    }
}
