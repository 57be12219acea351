import Kernels
import Quantization
import TensorModel
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

extension TrellisParameters {
    /// Every alphabet and number of low bits there is.
    static func all(states: Int) -> [TrellisParameters] {
        alphabets.flatMap { alphabet in
            (alphabet == 256 ? lowBitCounts : [0]).compactMap {
                TrellisParameters(states: states, alphabet: alphabet, lowBits: $0)
            }
        }
    }

    func with(rowClasses: Int) -> TrellisParameters {
        TrellisParameters(states: states, alphabet: alphabet, lowBits: lowBits, rowClasses: rowClasses) ?? self
    }
}

/// Weights of a chunk, and a rule to encode them by.
struct Sample {
    var what: String
    var weights: [Float]
    var rows: Int
    var columns: Int
    var rule: TrellisRule

    /// Weights of a pattern; the step is that part of their root mean square.
    init(
        _ pattern: Pattern, _ format: FloatFormat, _ rows: Int, _ columns: Int, part: Double, deadZone: Float = 0,
        shrink: Float = 1, seed: UInt64
    ) {
        what = "\(pattern), \(format), seed \(seed), \(rows) x \(columns), step \(part) rms, \(deadZone), \(shrink)"
        weights = pattern.weights(rows * columns, format, seed: seed)
        (self.rows, self.columns) = (rows, columns)
        let square = weights.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(weights.count)
        let step = TrellisRule.representable(square == 0 ? 1 : square.squareRoot() * part)
        rule = TrellisRule(step: step, deadZone: deadZone, shrink: shrink)
    }

    /// Weights a test makes, with steps as they come.
    init(_ what: String, _ weights: [Float], _ rows: Int, _ columns: Int, _ rule: TrellisRule) {
        self.what = what
        self.weights = weights
        (self.rows, self.columns, self.rule) = (rows, columns, rule)
    }
}

/// What the reference makes of a sample.
struct Expected {
    let symbols: [Int]
    let levels: [Int]
    let patches: [TrellisChunk.Patch]
    let restored: [Float]

    init(_ sample: Sample, _ parameters: TrellisParameters, _ format: FloatFormat) {
        let (rows, columns) = (sample.rows, sample.columns)
        symbols = Reference.trellisQuantize(
            sample.weights, rows: rows, columns: columns, parameters, sample.rule, format)
        levels = Reference.trellisLevels(symbols, rows: rows, columns: columns, states: parameters.states)
        patches = Reference.trellisPatches(sample.weights, levels: levels, parameters, sample.rule, format)
        var restored = levels.map { Float($0) * sample.rule.step }
        for patch in patches { restored[patch.index] = Reference.expanded(patch.bits, format) }
        self.restored = restored
    }
}

/// A chunk ready to decode the given streams.
func decoder(
    _ streams: Reference.TrellisStreams, classes: [UInt8], rows: Int, columns: Int, _ parameters: TrellisParameters
) -> TrellisChunk {
    var chunk = TrellisChunk()
    chunk.prepareStreams(rows: rows, columns: columns, parameters, counts: streams.codes.map(\.count))
    for (index, codes) in streams.codes.enumerated() {
        chunk.streams.replaceSubrange(chunk.starts[index]..<chunk.starts[index] + codes.count, with: codes)
    }
    let slack = [UInt8](repeating: 0xee, count: Kernels.symbolSlack)
    chunk.escapes = streams.escapes + slack
    chunk.setEscapeCount(streams.escapes.count)
    chunk.lowBits = streams.lowBits + slack
    chunk.rowClasses = classes
    return chunk
}

func failure(_ body: () throws(DecodingFailure) -> Void) -> DecodingFailure? {
    do throws(DecodingFailure) { try body() } catch { return error }
    return nil
}

/// Equal bit for bit; in a message, this is shorter than the weights.
func same(_ a: [Float], _ b: [Float]) -> Bool { a.map(\.bitPattern) == b.map(\.bitPattern) }

/// Bytes at the end of a page behind which there is nothing.
@safe final class EdgeOfMemory {
    private let mapping: UnsafeMutableRawPointer
    private let length: Int
    let bytes: UnsafeMutableBufferPointer<UInt8>

    init(_ content: [UInt8]) throws {
        let page = 65536
        let room = (content.count + page - 1) / page * page
        length = room + page
        let mapping = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0)
        unsafe self.mapping = try unsafe #require(mapping == MAP_FAILED ? nil : mapping)
        try #require(unsafe mprotect(self.mapping + room, page, PROT_NONE) == 0)
        let start = unsafe (self.mapping + room - content.count).assumingMemoryBound(to: UInt8.self)
        unsafe bytes = UnsafeMutableBufferPointer(start: start, count: content.count)
        for index in content.indices { unsafe bytes[index] = content[index] }
    }

    deinit { unsafe munmap(mapping, length) }
}
