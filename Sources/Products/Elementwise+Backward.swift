internal import CBLAS
internal import TensorModel

/// Elementwise functions of a backward pass.
extension Elementwise {
    /// Takes gradients through a softmax: each becomes `scale` * weight * (gradient - sum of gradient * weight).
    ///
    /// - Parameters:
    ///   - gradients: those at the weights; afterwards those at the scores before scaling.
    ///   - weights: what `softmax` gave, at the same places.
    ///   - start: index of the first number of a row of `length`, of which the first `count` count; the others become 0.
    package static func softmaxBackward(
        _ gradients: inout MutableSpan<Float>, _ weights: Span<Float>, from start: Int, count: Int, of length: Int,
        scale: Float
    ) {
        precondition(
            start >= 0 && (0...length).contains(count) && gradients.count - start >= length
                && weights.count - start >= length, "softmaxBackward: sizes differ")
        unsafe gradients.withUnsafeMutableBufferPointer { gradients in
            unsafe weights.withUnsafeBufferPointer { weights in
                guard let to = gradients.baseAddress, let from = weights.baseAddress else { return }
                unsafe ingot_softmax_backward(to + start, from + start, count, length, scale)
            }
        }
    }

    /// Takes gradients through silu(gate) * up: replaces gate and up by the gradients there.
    ///
    /// - Parameter gradients: those at the result. All have as many numbers.
    package static func gateBackward(
        _ gate: inout MutableSpan<Float>, _ up: inout MutableSpan<Float>, _ gradients: Span<Float>
    ) {
        let count = gate.count
        precondition(up.count == count && gradients.count == count, "gateBackward: sizes differ")
        unsafe gate.withUnsafeMutableBufferPointer { gate in
            unsafe up.withUnsafeMutableBufferPointer { up in
                unsafe gradients.withUnsafeBufferPointer { gradients in
                    guard let gates = gate.baseAddress, let ups = up.baseAddress, let from = gradients.baseAddress
                    else { return }
                    unsafe ingot_gate_backward(gates, ups, from, count)
                }
            }
        }
    }

    /// Takes gradients through an RMSNorm of rows, and adds them to `target`.
    ///
    /// - Parameters:
    ///   - gradients: those at its outputs, rows of `scale.count` numbers without gaps; x and `target` too.
    ///   - x: its inputs.
    package static func normBackward(
        _ gradients: Span<Float>, at x: Span<Float>, _ scale: Span<Float>, epsilon: Double,
        to target: inout MutableSpan<Float>
    ) {
        let width = scale.count
        precondition(
            width > 0 && x.count % width == 0 && gradients.count == x.count && target.count >= x.count,
            "normBackward: sizes differ")
        unsafe gradients.withUnsafeBufferPointer { gradients in
            unsafe x.withUnsafeBufferPointer { x in
                unsafe scale.withUnsafeBufferPointer { scale in
                    unsafe target.withUnsafeMutableBufferPointer { target in
                        guard let from = gradients.baseAddress, let at = x.baseAddress,
                            let factors = scale.baseAddress, let to = target.baseAddress
                        else { return }
                        for start in stride(from: 0, to: x.count, by: width) {
                            unsafe ingot_norm_backward(to + start, from + start, at + start, factors, epsilon, width)
                        }
                    }
                }
            }
        }
    }

    /// Replaces `count` numbers from index `start` on by e^(number - largest).
    ///
    /// - Returns: the largest number, and the sum of the powers.
    package static func powers(
        _ rows: inout MutableSpan<Float>, from start: Int, count: Int
    ) -> (maximum: Float, sum: Double) {
        precondition(start >= 0 && count >= 0 && rows.count - start >= count, "powers: sizes differ")
        return unsafe rows.withUnsafeMutableBufferPointer { rows in
            guard let base = rows.baseAddress else { return (-.infinity, 0) }
            let maximum = unsafe ingot_maximum(base + start, count)
            return (maximum, unsafe ingot_powers(base + start, maximum, count))
        }
    }

    /// Replaces `count` numbers from index `start` on by e^(number - `maximum`).
    package static func powers(
        _ rows: inout MutableSpan<Float>, from start: Int, count: Int, minus maximum: Float
    ) {
        precondition(start >= 0 && count >= 0 && rows.count - start >= count, "powers: sizes differ")
        unsafe rows.withUnsafeMutableBufferPointer { rows in
            guard let base = rows.baseAddress else { return }
            _ = unsafe ingot_powers(base + start, maximum, count)
        }
    }

    /// Adds `weight` times the squares of `count` numbers of x to sums.
    ///
    /// - Parameters:
    ///   - from: index of the first number of x.
    ///   - start: index of the first sum.
    package static func addSquares(
        _ x: Span<Float>, from: Int, count: Int, weight: Double, to sums: inout MutableSpan<Double>, at start: Int
    ) {
        precondition(
            from >= 0 && count >= 0 && x.count - from >= count && start >= 0 && sums.count - start >= count,
            "addSquares: sizes differ")
        unsafe x.withUnsafeBufferPointer { x in
            unsafe sums.withUnsafeMutableBufferPointer { sums in
                guard let source = x.baseAddress, let to = sums.baseAddress else { return }
                unsafe ingot_add_squares(to + start, source + from, weight, count)
            }
        }
    }
}
