internal import CBLAS
internal import TensorModel

/// Elementwise functions of a decoder over rows of binary32 numbers.
package enum Elementwise {
    /// Softmax over the first `count` of `length` numbers from `start` on, each times `scale`; the others become 0.
    package static func softmax(
        _ rows: inout MutableSpan<Float>, from start: Int, count: Int, of length: Int, scale: Float
    ) {
        precondition(
            start >= 0 && (0...length).contains(count) && rows.count - start >= length, "softmax: sizes differ")
        unsafe rows.withUnsafeMutableBufferPointer { rows in
            guard let base = rows.baseAddress else { return }
            unsafe ingot_softmax(base + start, count, length, scale)
        }
    }

    /// Replaces each gate by silu(gate + bias) * (up + bias).
    ///
    /// - Parameters:
    ///   - gate: `rows` rows of `columns` numbers without gaps, perhaps more numbers behind them; `up` too.
    ///   - gateBias: a number per column; nil for none. `upBias` too.
    package static func gate(
        _ gate: inout MutableSpan<Float>, _ up: Span<Float>, rows: Int, columns: Int, _ gateBias: [Float]?,
        _ upBias: [Float]?
    ) {
        precondition(
            rows >= 0 && columns >= 0 && gate.count >= rows * columns && up.count >= rows * columns
                && gateBias?.count ?? columns == columns && upBias?.count ?? columns == columns,
            "gate: sizes differ")
        unsafe gate.withUnsafeMutableBufferPointer { gate in
            unsafe up.withUnsafeBufferPointer { up in
                unsafe withPointer(gateBias) { gateBias in
                    unsafe withPointer(upBias) { upBias in
                        guard let gates = gate.baseAddress, let ups = up.baseAddress else { return }
                        for row in 0..<rows {
                            unsafe ingot_gate(gates + row * columns, ups + row * columns, gateBias, upBias, columns)
                        }
                    }
                }
            }
        }
    }

    /// RMSNorm of rows: x / sqrt(mean x^2 + epsilon) * scale.
    ///
    /// - Parameters:
    ///   - x: rows of `scale.count` numbers without gaps; `target` too.
    package static func norm(
        _ x: Span<Float>, _ scale: Span<Float>, epsilon: Double, into target: inout MutableSpan<Float>
    ) {
        let width = scale.count
        precondition(width > 0 && x.count % width == 0 && target.count >= x.count, "norm: sizes differ")
        unsafe x.withUnsafeBufferPointer { x in
            unsafe scale.withUnsafeBufferPointer { scale in
                unsafe target.withUnsafeMutableBufferPointer { target in
                    guard let from = x.baseAddress, let factors = scale.baseAddress, let to = target.baseAddress else {
                        return
                    }
                    for start in stride(from: 0, to: x.count, by: width) {
                        unsafe ingot_norm(to + start, from + start, factors, epsilon, width)
                    }
                }
            }
        }
    }

    /// Adds `factor` times x + bias to the numbers from `start` on.
    ///
    /// - Parameters:
    ///   - from: index of the first number of x; `count` numbers are added.
    ///   - bias: `count` numbers; nil for none.
    package static func add(
        _ x: Span<Float>, from: Int, count: Int, bias: Span<Float>?, factor: Float,
        to target: inout MutableSpan<Float>, at start: Int
    ) {
        precondition(
            from >= 0 && count >= 0 && x.count - from >= count && start >= 0 && target.count - start >= count
                && bias?.count ?? count == count, "add: sizes differ")
        unsafe x.withUnsafeBufferPointer { x in
            unsafe target.withUnsafeMutableBufferPointer { target in
                guard let source = x.baseAddress, let to = target.baseAddress else { return }
                guard let bias else { return unsafe ingot_add(to + start, source + from, nil, factor, count) }
                unsafe bias.withUnsafeBufferPointer {
                    unsafe ingot_add(to + start, source + from, $0.baseAddress, factor, count)
                }
            }
        }
    }

    /// Copies `count` numbers from index `from` of x to index `start` of the target.
    package static func copy(
        _ x: Span<Float>, from: Int, count: Int, to target: inout MutableSpan<Float>, at start: Int
    ) {
        precondition(
            from >= 0 && count >= 0 && x.count - from >= count && start >= 0 && target.count - start >= count,
            "copy: sizes differ")
        unsafe x.withUnsafeBufferPointer { x in
            unsafe target.withUnsafeMutableBufferPointer { target in
                guard let source = x.baseAddress, let to = target.baseAddress else { return }
                unsafe (to + start).update(from: source + from, count: count)
            }
        }
    }

    /// Turns the pairs of numbers of a head by angles.
    ///
    /// - Parameters:
    ///   - start: index of the first number of the head, which has twice as many numbers as there are angles.
    ///   - cosines: cosines of the angles; `sines` their sines.
    ///   - neighbours: whether number 2 i is turned with 2 i + 1; otherwise i with i + the number of angles.
    package static func turn(
        _ numbers: inout MutableSpan<Float>, from start: Int, _ cosines: Span<Float>, _ sines: Span<Float>,
        neighbours: Bool
    ) {
        let half = cosines.count
        precondition(sines.count == half && start >= 0 && numbers.count - start >= 2 * half, "turn: sizes differ")
        unsafe numbers.withUnsafeMutableBufferPointer { numbers in
            unsafe cosines.withUnsafeBufferPointer { cosines in
                unsafe sines.withUnsafeBufferPointer { sines in
                    guard let to = numbers.baseAddress, let c = cosines.baseAddress, let s = sines.baseAddress else {
                        return
                    }
                    unsafe ingot_turn(to + start, c, s, half, neighbours ? 1 : 0)
                }
            }
        }
    }

    private static func withPointer(_ numbers: [Float]?, _ body: (UnsafePointer<Float>?) -> Void) {
        guard let numbers else { return body(nil) }
        unsafe numbers.withUnsafeBufferPointer { unsafe body($0.baseAddress) }
    }
}
