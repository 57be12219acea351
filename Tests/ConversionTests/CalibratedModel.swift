import Architectures
import Container
import Conversion
import ConversionSupport
import FileAccess
import Moments
import SystemPackage
import TensorModel
import TestSupport

/// A source of two layers, files of moments of its inputs, and conversions with them.
struct CalibratedModel: Sendable {
    let directory: TemporaryDirectory
    let source: FilePath, target: FilePath, moments: FilePath
    var options: ConversionOptions

    static let hidden = 128, heads = 96, feedForward = 192, vocabulary = 200

    /// - Parameter shards: files of the source: 1 or 2.
    init(_ goal: RateGoal = .bits(4), shards: Int = 1, scale: Float = 1, format: FloatFormat = .f16) throws {
        directory = try TemporaryDirectory()
        let tensors = CalibratedModel.tensors(scale, format)
        let split = shards == 1 ? [tensors] : [Array(tensors[..<8]), Array(tensors[8...])]
        source = try SampleSource.write(split, to: directory.at("source"), companions: ["config.json": "{}\n"])
        target = directory.at("sealed")
        moments = directory.at("moments.safetensors")
        options = Verbs.options(.trellis, codec: .rans)
        options.encoding.goal = goal
        try CalibratedModel.writeMoments(to: moments)
    }

    static func tensors(_ scale: Float = 1, _ format: FloatFormat = .f16) -> [SampleTensor] {
        func matrix(_ name: String, _ rows: Int, _ columns: Int) -> SampleTensor {
            var generator = SeededGenerator(name.utf8.reduce(1) { $0 &* 31 &+ UInt64($1) })
            let values = (0..<rows * columns).map { _ in generator.weight() * scale }
            return SampleTensor(name + ".weight", format, [rows, columns], values: values)
        }
        var tensors = [matrix("model.embed_tokens", vocabulary, hidden)]
        for layer in 0..<2 {
            let start = "model.layers.\(layer)."
            tensors += [
                matrix(start + "self_attn.q_proj", heads, hidden), matrix(start + "self_attn.k_proj", 64, hidden),
                matrix(start + "self_attn.v_proj", 64, hidden), matrix(start + "self_attn.o_proj", hidden, heads),
                matrix(start + "mlp.gate_proj", feedForward, hidden),
                matrix(start + "mlp.up_proj", feedForward, hidden),
                matrix(start + "mlp.down_proj", hidden, feedForward),
                SampleTensor(start + "input_layernorm.weight", .f16, [hidden]),
            ]
        }
        return tensors + [matrix("lm_head", vocabulary, hidden), SampleTensor("model.norm.weight", .f16, [hidden])]
    }

    /// Inputs with their columns.
    static func inputs(hidden: Int = hidden) -> [(input: LinearInput?, columns: Int)] {
        (0..<2).flatMap { layer -> [(LinearInput?, Int)] in
            [
                (LinearInput(layer: layer, .attentionIn), hidden), (LinearInput(layer: layer, .outputIn), heads),
                (LinearInput(layer: layer, .feedForwardIn), hidden), (LinearInput(layer: layer, .downIn), feedForward),
            ]
        } + [(.head, hidden)]
    }

    /// Moments of random activations whose columns have unlike scales and correlate.
    ///
    /// - Parameters:
    ///   - unseen: an input that no token reached.
    ///   - offDiagonal: a factor of what is not on the diagonal; negative for every other pair.
    static func writeMoments(
        to path: FilePath, _ inputs: [(input: LinearInput?, columns: Int)] = inputs(), blocks: MomentBlocks = .usual,
        unseen: LinearInput? = nil, offDiagonal: Float = 1
    ) throws {
        var description = MomentsDescription()
        description.blocks = blocks
        let layout = try MomentsLayout(
            inputs.compactMap { entry in entry.input.map { .init($0, columns: entry.columns) } })
        var writer = try MomentsWriter.open(path, layout, description)
        var number: UInt64 = 0
        while let next = writer.next {
            number += 1
            var generator = SeededGenerator(number)
            let tokens = next.input == unseen ? 0 : 100
            let halves = (0..<description.halves).map { _ in
                var sums = [Float](repeating: 0, count: next.blocks.squareCount)
                for _ in 0..<tokens {
                    let common = generator.weight()
                    let x = (0..<next.blocks.columns).map { column -> Float in
                        let size = column % 13 == 0 ? 100 : Float(1 + column % 7) * 10
                        return (generator.weight() + common) * size
                    }
                    for block in 0..<next.blocks.count {
                        let range = next.blocks.columns(of: block)
                        for a in range {
                            for b in a..<range.upperBound {
                                let place = (a - range.lowerBound) * range.count + b - range.lowerBound
                                let weight =
                                    a == b ? 1 : (a + b) % 2 == 1 && offDiagonal != 1 ? -offDiagonal : offDiagonal
                                sums[next.blocks.squareStart(of: block) + place] += x[a] * x[b] * weight
                            }
                        }
                    }
                }
                return HalfMoments(tokens: UInt64(tokens), weight: Double(tokens), sums: sums)
            }
            try writer.append(halves)
        }
        try writer.publish()
    }

    var leftovers: [String] { Files.names(directory.path).filter { $0.hasPrefix(".") } }
    var journal: FilePath { directory.at(".sealed.ingot-journal") }

    @discardableResult
    func convert(
        to place: FilePath? = nil, with moments: FilePath? = nil, _ change: (inout ConversionOptions) -> Void = { _ in }
    ) async throws -> ConversionReport {
        var options = options
        change(&options)
        let opened = try CalibrationMoments(opening: moments ?? self.moments, scratch: directory.path)
        let converter = try Converter(source, to: place ?? target, options, opened)
        return try await Verbs.whenUnlocked { try await converter.run() }
    }

    /// The files of a conversion in one go.
    func expected(_ change: (inout ConversionOptions) -> Void = { _ in }) async throws -> [String: [UInt8]] {
        let place = directory.at("reference")
        try await convert(to: place, change)
        defer { try? Directory.removeTree(place) }
        return try Files.snapshot(place)
    }
}
