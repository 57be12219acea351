import Kernels
import Quantization
import TensorModel
import Testing

extension InstructionSetTests {
    // MARK: - rANS

    /// Bytes that depend on no instruction set and lead back; and of damaged ones, in memory that ends with them, all sets make the
    /// same, be it weights or a refusal.
    @Test(arguments: TrellisParameters.stateCounts, [0, 2, 6])
    func ransIsTheSameEverywhere(states: Int, low: Int) throws {
        let parameters = try #require(TrellisParameters(states: states, alphabet: 256, lowBits: low))
        for (number, (rows, columns)) in [(1, 1), (1, 64), (3, 65), (17, 127), (40, 64), (100, 200)].enumerated() {
            for part in [0.02, 0.3, 4] {
                let seed = UInt64(100 * number + low)
                let sample = Sample(.normal, .f32, rows, columns, part: part, seed: seed)
                let expected = Expected(sample, parameters, .f32)
                let streams = Reference.trellisRoute(
                    expected.symbols, rowClasses: [], rows: rows, columns: columns, parameters)
                let restored = expected.levels.map { Float($0) * sample.rule.step }
                var coded: [UInt8]?
                try onEveryInstructionSet { set in
                    var chunk = TrellisChunk()
                    chunk.quantize(sample.weights, rows: rows, columns: columns, parameters, sample.rule, .f32)
                    var bytes: [UInt8] = []
                    let count = chunk.encodeRans(rows: rows, columns: columns, parameters, into: &bytes)
                    bytes.removeLast(bytes.count - count)
                    coded = coded ?? bytes
                    #expect(bytes == coded, "\(set), \(sample.what)")
                    let decoded = try ransAtTheEdge(bytes, streams.lowBits, rows, columns, parameters, sample.rule.step)
                    #expect(decoded.map { same($0, restored) } == true, "\(set), \(sample.what)")
                }
                guard let whole = coded else { continue }
                var generator = SeededGenerator(seed: seed)
                for trial in 0..<60 {
                    var bytes = whole
                    switch trial % 3 {
                    case 0: bytes[Int(generator.next() % UInt64(bytes.count))] ^= 1 << UInt8(generator.next() % 8)
                    case 1: bytes.removeLast(Int(generator.next() % UInt64(bytes.count + 1)))
                    default:
                        for index in bytes.indices.suffix(trial) {
                            bytes[index] = UInt8(truncatingIfNeeded: generator.next())
                        }
                    }
                    var first: [Float]??
                    try onEveryInstructionSet { set in
                        let found = try ransAtTheEdge(
                            bytes, streams.lowBits, rows, columns, parameters, sample.rule.step)
                        guard let reference = first else {
                            first = .some(found)
                            return
                        }
                        let agrees =
                            (found == nil) == (reference == nil) && (found.map { same($0, reference ?? []) } ?? true)
                        #expect(agrees, "\(set), \(sample.what), trial \(trial)")
                    }
                }
            }
        }
    }

    /// Decodes from memory that ends with the bytes; nil where they are refused.
    func ransAtTheEdge(
        _ bytes: [UInt8], _ lowBits: [UInt8], _ rows: Int, _ columns: Int, _ parameters: TrellisParameters,
        _ step: Float
    ) throws -> [Float]? {
        let input = try EdgeOfMemory(bytes)
        let low = try EdgeOfMemory(lowBits + [UInt8](repeating: 0xa5, count: Kernels.symbolSlack))
        let output = try EdgeOfMemory([UInt8](repeating: 0, count: 4 * rows * columns))
        let scratch = Kernels.RansScratch()
        return unsafe output.bytes.withMemoryRebound(to: Float.self) { output in
            var target = unsafe MutableSpan(_unsafeElements: output)
            do throws(Kernels.RansFault) {
                try unsafe Kernels.ransDecode(
                    Span(_unsafeElements: UnsafeBufferPointer(input.bytes)),
                    Kernels.ChunkShape(rows: rows, columns: columns),
                    rule: Kernels.RansRule(states: parameters.states, lowBits: parameters.lowBits),
                    low: Span(_unsafeElements: UnsafeBufferPointer(low.bytes)), step: step, into: &target, scratch)
            } catch { return nil }
            return unsafe Array(output)
        }
    }
}
