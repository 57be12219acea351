internal import Quantization
package import SystemPackage
package import TensorModel

/// Converts the elements of kept tensors from one float format to another.
package enum FloatRecoding {
    /// Converts elements of `format` to `target`, rounding to nearest, ties to even. Returns their bytes.
    ///
    /// - Throws: `valueOutOfRange` if a finite value would become infinite.
    package static func recode(
        _ source: Span<UInt8>, _ format: FloatFormat, to target: FloatFormat, _ tensor: TensorName,
        _ file: FilePath
    ) throws -> [UInt8] {
        let count = source.count / format.byteWidth
        var values = [Float](repeating: 0, count: count)
        FloatConversion.expand(source, format, into: &values)
        var bytes = [UInt8](repeating: 0, count: count * target.byteWidth)
        let overflows = FloatConversion.narrow(values, count: count, target, into: &bytes)
        guard overflows == 0 else { throw failure(overflows, target, tensor, file) }
        return bytes
    }

    /// The error for `overflows` finite values that `target` cannot hold.
    package static func failure(
        _ overflows: Int, _ target: FloatFormat, _ tensor: TensorName, _ file: FilePath
    ) -> IngotError {
        IngotError(
            .valueOutOfRange, file: file.string, tensor: tensor,
            found: "\(overflows) values too large for \(target.elementType.rawValue)",
            expected: "values the element type can hold",
            remedy: .option(.exportAsFloat32))
    }
}
