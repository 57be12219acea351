import ConversionSupport
import Export
import FileAccess
import Quantization
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Formats of MLX and compressed-tensors beside groups of whole numbers: a scale for each row, and MXFP4.
extension RuntimeExportTests {
    @Test("A scale for each row: no row has a larger error than the library's", arguments: [4, 8])
    func channels(bits: Int) async throws {
        let directory = try TemporaryDirectory()
        try RuntimeExportTests.write(to: directory.at("m"))
        var found: [ExportRounding: [TensorName: [Float]]] = [:]
        for rounding in ExportRounding.allCases {
            let path = directory.at(rounding.rawValue), other = directory.at("\(rounding.rawValue)-again")
            _ = try await RuntimeExportTests.groups(
                directory.at("m"), to: path, .compressedTensors, bits: bits, size: nil, rounding: rounding)
            _ = try await RuntimeExportTests.groups(
                directory.at("m"), to: other, .compressedTensors, bits: bits, size: nil, rounding: rounding,
                memory: 512 << 20, jobs: 4)
            #expect(try RuntimeExportTests.hashes(path) == RuntimeExportTests.hashes(other))
            found[rounding] = try RuntimeExportTests.weights(path)
        }
        var (rows, better) = (0, 0)
        for (name, weights) in try RuntimeExportTests.weights(directory.at("m")) where name.text.contains("proj") {
            let columns = name.text.contains("down") ? 512 : 256
            let own = try #require(found[.searched]?[name]), other = try #require(found[.reference]?[name])
            for start in stride(from: 0, to: weights.count, by: columns) {
                let range = start..<start + columns
                let errors = [own, other].map { RuntimeExportTests.error(Array(weights[range]), Array($0[range])) }
                // Restored weights are rounded to F16 once more: beside codes of 8 bits, that is up to .4 % of the error of either.
                #expect(errors[0] <= errors[1] * (bits == 8 ? 1.01 : 1.001), "\(name), row \(start / columns)")
                rows += 1
                better += errors[0] < errors[1] ? 1 : 0
            }
        }
        #expect(rows == 4096 && better * 10 > rows * 9, "\(better) of \(rows)")
        let refused = try await Verbs.failure {
            _ = try await RuntimeExportTests.groups(directory.at("m"), to: directory.at("x"), .mlx, size: nil)
        }
        #expect(refused?.code == .usage)
    }

    @Test("MXFP4 is searched, and copied between MLX and GGUF with the same weights") func microscaling() async throws {
        let directory = try TemporaryDirectory()
        try RuntimeExportTests.write(to: directory.at("m"))
        var errors: [Double] = []
        let original = try RuntimeExportTests.weights(directory.at("m"))
        for rounding in [ExportRounding.searched, .reference] {
            let path = directory.at(rounding.rawValue)
            _ = try await RuntimeExportTests.groups(directory.at("m"), to: path, .mlx, mode: .mxfp4, rounding: rounding)
            let own = try RuntimeExportTests.weights(path)
            errors.append(original.reduce(0) { $0 + RuntimeExportTests.error($1.value, own[$1.key] ?? []) })
            let file = directory.at("\(rounding.rawValue).gguf"), back = directory.at("\(rounding.rawValue)-back")
            _ = try await RuntimeExportTests.gguf(path, to: file, [.mxfp4], rounding: rounding)
            _ = try await RuntimeExportTests.groups(file, to: back, .mlx, mode: .mxfp4, rounding: rounding)
            #expect(try RuntimeExportTests.weights(back) == own)
            let again = directory.at("\(rounding.rawValue)-again")
            _ = try await RuntimeExportTests.groups(path, to: again, .mlx, mode: .mxfp4, rounding: rounding)
            let name = "model.safetensors"
            #expect(try Files.read(again.appending(name)) == Files.read(path.appending(name)))
        }
        #expect(errors[0] < errors[1])
    }
}
