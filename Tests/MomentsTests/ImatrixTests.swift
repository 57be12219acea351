import Architectures
import FileAccess
import Moments
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Importance matrices of llama.cpp, in both forms.
@Suite struct ImatrixTests {
    private typealias G = GGUFSample

    private static func floats(_ numbers: [Float]) -> [UInt8] { numbers.flatMap { G.word(UInt64($0.bitPattern), 4) } }

    private static let metadata: [(String, UInt32, [UInt8])] = [
        ("general.type", 8, G.text("imatrix")),
        ("imatrix.datasets", 9, G.word(8, 4) + G.word(1, 8) + G.text("calibration.txt")),
        ("imatrix.chunk_count", 4, G.word(3, 4)), ("imatrix.chunk_size", 4, G.word(8, 4)),
    ]

    /// The entries of a matrix in GGUF: sums and counts, shapes slowest dimension first.
    private static func gguf(_ name: String, _ sums: [Float], _ counts: [Float]) -> [G.Tensor] {
        let isSingle = counts.count == 1
        let columns = sums.count / max(1, counts.count)
        return [
            G.Tensor("\(name).in_sum2", type: 0, isSingle ? [columns] : [counts.count, columns], bytes: floats(sums)),
            G.Tensor("\(name).counts", type: 0, isSingle ? [1] : [counts.count, 1], bytes: floats(counts)),
        ]
    }

    /// An entry of the older form.
    private static func older(_ name: String, _ calls: Int, _ values: [Float]) -> [UInt8] {
        G.word(UInt64(name.utf8.count), 4) + Array(name.utf8) + G.word(UInt64(calls), 4)
            + G.word(UInt64(values.count), 4) + floats(values)
    }

    private static let end = G.word(3, 4) + G.word(4, 4) + Array("text".utf8)

    private func expectRefusal(
        _ bytes: [UInt8], _ location: SourceLocation = #_sourceLocation
    ) throws {
        let directory = try TemporaryDirectory()
        try Files.write(bytes, to: directory.at("x"))
        do {
            try Imatrix.open(directory.at("x")).forEachDiagonal { _ in }
            Issue.record("no error", sourceLocation: location)
        } catch let error as IngotError {
            #expect(error.code == .momentsInvalid && error.file != nil, "\(error)", sourceLocation: location)
        }
    }

    private func diagonals(_ path: FilePath) throws -> [String: Imatrix.Diagonal] {
        var found: [String: Imatrix.Diagonal] = [:]
        try Imatrix.open(path).forEachDiagonal { found[$0.input.text] = $0 }
        return found
    }

    /// In GGUF a value is a sum over tokens, per expert with a count of its own.
    @Test func readsGGUF() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("imatrix.gguf")
        let tensors =
            ImatrixTests.gguf("blk.0.attn_k.weight", [8, 16, 24], [8])
            + ImatrixTests.gguf("blk.0.attn_q.weight", [8, 16, 24], [8])
            + ImatrixTests.gguf("blk.0.ffn_down_exps.weight", [4, 6, 0, 0, 5, 10], [2, 0, 5])
            + ImatrixTests.gguf("blk.0.strange.weight", [1], [1])
            + [G.Tensor("blk.0.attn_q.weight.in_sum", type: 0, [3], bytes: ImatrixTests.floats([1, -2, 3]))]
        try G.write(tensors, metadata: ImatrixTests.metadata, to: path)
        let imatrix = try Imatrix.open(path)
        #expect(imatrix.form == .gguf && imatrix.chunkCount == 3 && imatrix.chunkSize == 8)
        #expect(imatrix.datasets == "calibration.txt" && imatrix.unknownNames.map(\.text) == ["blk.0.strange.weight"])
        let found = try diagonals(path)
        #expect(
            found.keys.sorted() == [
                "layers.0.attention_in", "layers.0.experts.0.down_in", "layers.0.experts.1.down_in",
                "layers.0.experts.2.down_in",
            ])
        #expect(found["layers.0.attention_in"]?.means == [1, 2, 3] && found["layers.0.attention_in"]?.tokens == 8)
        #expect(found["layers.0.experts.0.down_in"]?.means == [2, 3])
        #expect(
            found["layers.0.experts.1.down_in"]?.means == [0, 0] && found["layers.0.experts.1.down_in"]?.tokens == 0)
        #expect(
            found["layers.0.experts.2.down_in"]?.means == [1, 2] && found["layers.0.experts.2.down_in"]?.weight == 5)
    }

    /// In the older form a value is the mean times the calls, and nothing but the other entries tells how many experts there are.
    @Test func readsOlderForm() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("imatrix.dat")
        let entries =
            ImatrixTests.older("blk.1.attn_q.weight", 4, [4, 8])
            + ImatrixTests.older("blk.1.ffn_up_exps.weight", 4, [4, 4, 8, 8, 12, 12])
            + ImatrixTests.older("blk.1.ffn_down_exps.weight", 4, (1...9).map { Float(4 * $0) })
        for tail in [[], ImatrixTests.end] {
            try? Directory.removeFile(path)
            try Files.write(G.word(3, 4) + entries + tail, to: path)
            let imatrix = try Imatrix.open(path)
            #expect(imatrix.form == .older && imatrix.datasets == (tail.isEmpty ? "" : "text"))
            let found = try diagonals(path)
            #expect(found.count == 7 && found["layers.1.attention_in"]?.means == [1, 2])
            #expect(found["layers.1.experts.1.feed_forward_in"]?.means == [2, 2])
            #expect(found["layers.1.experts.2.down_in"]?.means == [7, 8, 9])
            #expect(found.values.allSatisfy { $0.tokens == nil && $0.weight == 4 })
        }
    }

    /// From an importance matrix to a file of moments, and back.
    @Test(arguments: [Imatrix.Form.gguf, .older]) func converted(form: Imatrix.Form) throws {
        let directory = try TemporaryDirectory()
        let (moments, matrix, again) = (directory.at("m"), directory.at("i"), directory.at("a"))
        var description = MomentsSample.description()
        description.context = 16
        try MomentsSample.write(moments, description)
        let file = try MomentsFile(moments)
        try ImatrixWriter.write(file, as: form, to: matrix)
        let imatrix = try Imatrix.open(matrix)
        #expect(imatrix.form == form && imatrix.unknownNames.isEmpty)
        #expect(imatrix.datasets == (form == .gguf ? "code.txt, pro\"se.txt" : "pro\"se.txt"))
        let names = imatrix.entries.map(\.name.text)
        #expect(names == names.sorted() && names.contains("blk.0.attn_v.weight") && names.contains("output.weight"))
        #expect(names.contains("blk.1.ffn_gate_inp.weight") && !names.contains("blk.1.ffn_gate.weight"))
        for (input, diagonal) in try diagonals(matrix) {
            let entry = try #require(LinearInput(text: input).flatMap { file[$0] })
            // The older form has 1 for what nothing reached.
            let expected: [Float] =
                form == .older && entry.tokenCount == 0
                ? Array(repeating: 1, count: entry.blocks.columns) : try file.diagonal(of: entry)
            #expect(diagonal.means.count == expected.count)
            for (a, b) in zip(diagonal.means, expected) { #expect(abs(a - b) <= 1e-5 * b) }
            if form == .gguf { #expect(diagonal.tokens == entry.tokenCount) }
        }
        try imatrix.writeMoments(to: again, family: "mixtral", modelHash: "abc")
        let second = try MomentsFile(again)
        try second.check()
        #expect(second.entries.map(\.input) == file.entries.map(\.input))
        #expect(second.description.origin == .imatrix && second.description.halves == 1)
        #expect(second.entries.allSatisfy { $0.hasUnknownTokens == (form == .older) || $0.tokenCount == 0 })
        #expect(try second.requireFits(MomentsSample.tensors, modelHash: "abc").isEmpty)
    }

    /// M03: GGUF files that are no importance matrix, or whose parts contradict each other.
    @Test func refusedGGUF() throws {
        func refused(
            _ tensors: [G.Tensor], _ metadata: [(String, UInt32, [UInt8])] = ImatrixTests.metadata,
            _ location: SourceLocation = #_sourceLocation
        ) throws {
            let directory = try TemporaryDirectory()
            try G.write(tensors, metadata: metadata, to: directory.at("x"))
            try expectRefusal(try Files.read(directory.at("x")), location)
        }
        let good = ImatrixTests.gguf("blk.0.attn_q.weight", [8, 16, 24], [8])
        try refused(good, [])
        try refused(good, [("general.type", 8, G.text("model"))])
        try refused([])
        try refused([good[0]])
        try refused([good[1]])
        try refused(ImatrixTests.gguf("blk.0.strange.weight", [8], [8]))
        for wrong in [Float.nan, -1, 0.5, .infinity] {
            try refused(ImatrixTests.gguf("blk.0.attn_q.weight", [8, 16], [wrong]))
        }
        for wrong in [Float.nan, -1, .infinity] {
            try refused(ImatrixTests.gguf("blk.0.attn_q.weight", [8, wrong], [8]))
        }
        try refused(ImatrixTests.gguf("blk.0.attn_q.weight", [8, 16], [1, 1]))
        try refused(good + ImatrixTests.gguf("blk.0.attn_v.weight", [8, 16], [8]))
        try refused([
            good[0], G.Tensor("blk.0.attn_q.weight.counts", type: 0, [2, 1], bytes: ImatrixTests.floats([8, 8])),
        ])
        try refused([good[0], G.Tensor("blk.0.attn_q.weight.counts", type: 26, [1], bytes: G.word(8, 4))])
        try refused(ImatrixTests.gguf("blk.0.ffn_down_exps.weight", [8, 16, 24, 32], [8]))
    }

    /// M04: files of the older form that are cut, or have lengths and numbers that no writer makes.
    @Test func refusedOlderForm() throws {
        let entry = ImatrixTests.older("blk.1.attn_q.weight", 4, [4, 8])
        let good = G.word(1, 4) + entry + ImatrixTests.end
        let directory = try TemporaryDirectory()
        try Files.write(good, to: directory.at("good"))
        #expect(try diagonals(directory.at("good")).count == 1)
        // Without its last part the file is whole, too.
        for count in good.indices where count != 4 + entry.count { try expectRefusal(Array(good.prefix(count))) }
        try expectRefusal(good + [0])
        let minus = G.word(0xFFFF_FFFF, 4)
        for (place, word) in [
            (0, minus), (0, G.word(0, 4)), (0, G.word(2, 4)), (0, G.word(0x7FFF_FFFF, 4)), (4, minus),
            (4, G.word(0, 4)),
            (4, G.word(20, 4)), (27, minus), (27, G.word(0, 4)), (31, minus), (31, G.word(0, 4)),
            (31, G.word(0x7FFF_FFFF, 4)), (35, [0, 0, 0xC0, 0x7F]), (35, [0, 0, 0x80, 0xBF]), (43, minus), (47, minus),
            (47, G.word(5, 4)),
        ] {
            var bytes = good
            bytes.replaceSubrange(place..<place + 4, with: word)
            try expectRefusal(bytes)
        }
        try expectRefusal(G.word(2, 4) + entry + entry)
        try expectRefusal(G.word(1, 4) + ImatrixTests.older("blk.1.ffn_up_exps.weight", 4, [4, 8]))
        try expectRefusal(G.word(1, 4) + ImatrixTests.older("blk.1.strange.weight", 4, [4, 8]))
        try expectRefusal(
            G.word(2, 4) + ImatrixTests.older("blk.1.attn_q.weight", 4, [4, 8])
                + ImatrixTests.older("blk.1.ffn_up_exps.weight", 4, [4, 8, 4]))
    }
}
