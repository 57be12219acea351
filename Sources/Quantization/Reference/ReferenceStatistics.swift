package import TensorModel

/// The statistics kernel in scalar Swift: one element at a time, added in the kernel's order.
package struct ReferenceStatistics {
    /// Number of occurrences of each pattern of 16 bits.
    package var counts = [UInt32](repeating: 0, count: 1 << 16)
    /// Sums of squares of each row and of each column, in binary32.
    package var rowEnergies: [Float] = [], columnEnergies: [Float] = []
    /// Sums of the first four powers of (w - shift) over the finite weights of binary32.
    package var powers = [0.0, 0.0, 0.0, 0.0]
    /// The smallest and largest of them.
    package var smallest = Double.infinity, largest = -Double.infinity
    /// Numbers of binary32 weights that are zero, subnormal and infinite.
    package var zeros: UInt64 = 0, subnormals: UInt64 = 0, infinities: UInt64 = 0

    /// The statistics of a matrix of rows x columns elements; moments are about `shift`.
    package init(_ bytes: [UInt8], _ format: FloatFormat, rows: Int, columns: Int, shift: Double) {
        let weights = Reference.expand(bytes, format)
        let width = format.byteWidth
        rowEnergies = [Float](repeating: 0, count: rows)
        columnEnergies = [Float](repeating: 0, count: columns)
        for row in 0..<rows {
            var energy = [Float](repeating: 0, count: 16)
            var lanes = [[Double]](repeating: [0, 0, 0, 0], count: 16)
            for column in 0..<columns {
                let index = row * columns + column
                let element = Reference.integer(bytes, at: index * width, width: width)
                counts[Int(width == 2 ? element : element >> 16)] += 1
                let w = weights[index]
                energy[column % 16] += w * w
                columnEnergies[column] += w * w
                guard format == .f32 else { continue }
                if w.isInfinite { infinities += 1 }
                guard w.isFinite else { continue }
                let d = Double(w) - shift
                let terms = [d, d * d, d * d * d, (d * d) * (d * d)]
                for power in 0..<4 { lanes[column % 16][power] += terms[power] }
                smallest = min(smallest, Double(w))
                largest = max(largest, Double(w))
                if w == 0 { zeros += 1 } else if w.isSubnormal { subnormals += 1 }
            }
            for half in [8, 4, 2, 1] {
                for lane in 0..<half {
                    energy[lane] += energy[lane + half]
                    for power in 0..<4 { lanes[lane][power] += lanes[lane + half][power] }
                }
            }
            rowEnergies[row] += energy[0]
            if format == .f32 { for power in 0..<4 { powers[power] += lanes[0][power] } }
        }
    }
}

extension Reference {
    /// The sums of w w' and of w'^2, in the order of `errorSums`.
    package static func products(_ original: [Float], _ restored: [Float]) -> (product: Double, energy: Double) {
        var product = [Double](repeating: 0, count: 16)
        var energy = product
        for index in original.indices {
            product[index % 16] += Double(original[index]) * Double(restored[index])
            energy[index % 16] += Double(restored[index]) * Double(restored[index])
        }
        for half in [8, 4, 2, 1] {
            for lane in 0..<half {
                product[lane] += product[lane + half]
                energy[lane] += energy[lane + half]
            }
        }
        return (product[0], energy[0])
    }
}
