import Architectures
import Checkpoints
import FileAccess
import Foundation
import Moments
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// The file of moments: written, read, continued, refused.
@Suite struct MomentsFileTests {
    @Test func rules() {
        func layout(_ text: String, _ columns: Int) -> [Int]? {
            MomentBlocks(text: text).map { rule in
                let layout = rule.layout(columns: columns)
                return (0..<layout.count).map { layout.columns(of: $0).count }
            }
        }
        #expect(layout("usual", 4096) == [4096] && layout("usual", 4097) == [2048, 2048, 1])
        #expect(layout("usual", 11008) == [2048, 2048, 2048, 2048, 2048, 768])
        #expect(layout("full", 5000) == [5000] && layout("diagonal", 3) == [1, 1, 1])
        #expect(layout("blocks:256", 600) == [256, 256, 88] && layout("blocks:256", 100) == [100])
        for text in ["", "blocks:0", "blocks:-1", "blocks:01", "blocks:", "Full", "blocks:99999999999999999999"] {
            #expect(MomentBlocks(text: text) == nil, "\(text)")
        }
        for rule in [MomentBlocks.usual, .full, .diagonal, .width(7)] { #expect(MomentBlocks(text: rule.text) == rule) }
        let blocks = MomentBlocks.width(4).layout(columns: 9)
        #expect(blocks.squareCount == 33 && blocks.triangleCount == 21 && blocks.triangleStart(of: 2) == 20)
        #expect(MomentBlocks.width(.max).layout(columns: 3).triangleCount == 6)
    }

    /// What was handed over is read again: means of all tokens, block by block, and the diagonals of the halves.
    @Test(arguments: [MomentBlocks.usual, .diagonal, .width(4)]) func roundTrip(rule: MomentBlocks) throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m.safetensors")
        try MomentsSample.write(path, MomentsSample.description(rule))
        #expect(Files.names(directory.path) == ["m.safetensors"])
        let file = try MomentsFile(path)
        #expect(file.description == MomentsSample.description(rule))
        #expect(file.entries.map(\.input) == (try MomentsSample.layout().inputs.map(\.input)))
        #expect(
            try MomentsWriter.byteCount(MomentsSample.layout(), file.description) == UInt64(try Files.read(path).count))
        try file.check()
        for entry in file.entries {
            let (halves, means) = MomentsSample.halves(entry.input, entry.blocks)
            #expect(entry.tokens == halves.map(\.tokens) && entry.weights == halves.map(\.weight))
            #expect(file[entry.input]?.blocks == entry.blocks)
            #expect(rule == .diagonal ? entry.shrinkage == 0 : (0...1).contains(entry.shrinkage))
            let columns = entry.blocks.columns
            for block in 0..<entry.blocks.count {
                let triangle = try file.triangle(block, of: entry)
                var expected: [Float] = []
                for a in entry.blocks.columns(of: block) {
                    for b in entry.blocks.columns(of: block) where b >= a {
                        expected.append(Float(means[a * columns + b]))
                    }
                }
                #expect(triangle == expected)
            }
            #expect(try file.diagonal(of: entry) == (0..<columns).map { Float(means[$0 * (columns + 1)]) })
            let diagonals = try file.diagonals(of: entry)
            #expect(diagonals == halves.map { MomentsFileTests.diagonal($0, entry.blocks) })
        }
    }

    private static func diagonal(_ half: HalfMoments, _ blocks: BlockLayout) -> [Float] {
        (0..<blocks.count).flatMap { block in
            let width = blocks.columns(of: block).count
            return (0..<width).map { row in
                let sum = half.sums[blocks.squareStart(of: block) + row * (width + 1)]
                return half.weight > 0 ? Float(Double(sum) / half.weight) : 0
            }
        }
    }

    /// A run that stops anywhere goes on behind the last finished layer, to the same bytes.
    @Test(arguments: 0...11) func resumed(stop: Int) throws {
        let directory = try TemporaryDirectory()
        let (whole, path) = (directory.at("whole"), directory.at("m.safetensors"))
        try MomentsSample.write(whole)
        try MomentsSample.write(path, stoppingAfter: stop)
        let names = Set(Files.names(directory.path))
        let unfinished: Set = [".m.safetensors.ingot-tmp", ".m.safetensors.ingot-journal"]
        // Layer 0 has four inputs, layer 1 seven.
        #expect(names == (stop < 4 ? ["whole"] : unfinished.union(["whole"])))
        do {
            let writer = try MomentsWriter.open(path, MomentsSample.layout(), MomentsSample.description())
            #expect(writer.resumedInputs == (stop < 4 ? 0 : stop < 11 ? 4 : 11))
        }
        try MomentsSample.write(path)
        #expect(try Files.read(path) == Files.read(whole))
        #expect(Set(Files.names(directory.path)) == ["m.safetensors", "whole"])
    }

    /// M05: a damaged layer of an unfinished file, and all behind it, are gathered again.
    @Test func damagedWhileUnfinished() throws {
        let directory = try TemporaryDirectory()
        let (whole, path) = (directory.at("whole"), directory.at("m"))
        try MomentsSample.write(whole)
        for cut in [false, true] {
            try MomentsSample.write(path, stoppingAfter: 11)
            let temporary = directory.at(".m.ingot-tmp")
            var bytes = try Files.read(temporary)
            if cut { bytes.removeLast() } else { bytes[bytes.count - 1] ^= 1 }
            try Files.write(bytes, to: temporary)
            do {
                let writer = try MomentsWriter.open(path, MomentsSample.layout(), MomentsSample.description())
                #expect(writer.resumedInputs == 4)
            }
            try MomentsSample.write(path)
            #expect(try Files.read(path) == Files.read(whole))
        }
    }

    /// M05: an unfinished file with a damaged or shortened header is begun anew, not published.
    @Test func damagedHeader() throws {
        let directory = try TemporaryDirectory()
        let (whole, path) = (directory.at("whole"), directory.at("m"))
        try MomentsSample.write(whole)
        for cut in [false, true] {
            try MomentsSample.write(path, stoppingAfter: 11)
            let temporary = directory.at(".m.ingot-tmp")
            var bytes = try Files.read(temporary)
            if cut { bytes = Array(bytes.prefix(100)) } else { bytes[50] ^= 1 }
            try Files.write(bytes, to: temporary)
            try MomentsSample.write(path)
            #expect(try Files.read(path) == Files.read(whole))
            try Directory.removeFile(path)
        }
    }

    /// M05: the work of other options is not continued, and stays.
    @Test func otherOptions() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m")
        try MomentsSample.write(path, stoppingAfter: 5)
        let before = try Directory.entries(directory.path).map(\.name).sorted()
        expect(.cannotCreate) {
            _ = try MomentsWriter.open(path, MomentsSample.layout(), MomentsSample.description(.full))
        }
        #expect(try Directory.entries(directory.path).map(\.name).sorted() == before)
        try MomentsSample.write(path)
        _ = try MomentsFile(path)
        // Foreign files under the names of ours.
        let other = directory.at("other")
        try Files.write("not a journal of ours\n", to: directory.at(".other.ingot-journal"))
        expect(.cannotCreate) { try MomentsSample.write(other) }
        #expect(try Files.read(directory.at(".other.ingot-journal")) == Array("not a journal of ours\n".utf8))
    }

    private func expect(
        _ code: IngotError.Code, _ location: SourceLocation = #_sourceLocation, _ body: () throws -> Void
    ) {
        do {
            try body()
            Issue.record("no error", sourceLocation: location)
        } catch let error as IngotError {
            #expect(error.code == code, "\(error)", sourceLocation: location)
        } catch {
            Issue.record("\(error)", sourceLocation: location)
        }
    }

    /// Sums that no text gives are refused before they are written.
    @Test func wrongSums() throws {
        let directory = try TemporaryDirectory()
        let layout = try MomentsLayout([.init(.head, columns: 2)])
        let good = HalfMoments(tokens: 3, weight: 3, sums: [1, 0.5, .nan, 2])
        for (sums, weight) in [
            ([Float.nan, 0, 0, 1], 3.0), ([1, .infinity, 0, 1], 3), ([-1, 0, 0, 1], 3), ([1, 0, 0, 1], 0),
            ([1, 0, 0, 1], -1), ([1, 0, 0, 1], .nan), ([1, 0, 0, 1], 1e-300),
        ] {
            var writer = try MomentsWriter.open(directory.at("m"), layout, MomentsDescription())
            expect(.momentsInvalid) { try writer.append([good, HalfMoments(tokens: 3, weight: weight, sums: sums)]) }
        }
        expect(.momentsInvalid) { _ = try MomentsLayout([]) }
        expect(.momentsInvalid) { _ = try MomentsLayout([.init(.head, columns: 0)]) }
        expect(.momentsInvalid) { _ = try MomentsLayout([.init(.head, columns: 1), .init(.head, columns: 1)]) }
        #expect(Files.names(directory.path).isEmpty)
    }

    // MARK: - Files that no writer makes

    /// M01: a file with other metadata, tensors, types, shapes or numbers.
    @Test func refusedFiles() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m")
        try MomentsSample.write(path)
        let bytes = try Files.read(path)
        let header = try SafetensorsHeader.read(MappedFile.open(path))
        func refused(
            _ metadata: [SafetensorsHeader.MetadataEntry]? = nil,
            _ location: SourceLocation = #_sourceLocation,
            change: (inout [SafetensorsWriter.Entry], inout [UInt8]) -> Void = { _, _ in }
        ) throws {
            var entries = header.tensors.map {
                SafetensorsWriter.Entry(
                    name: $0.name, elementType: $0.elementType, shape: $0.shape, byteCount: $0.range.count)
            }
            var data = Array(bytes[Int(header.dataStart)...])
            change(&entries, &data)
            let head = try SafetensorsWriter.header(tensors: entries, metadata: metadata ?? header.metadata)
            let other = directory.at("other")
            try? Directory.removeFile(other)
            try Files.write(head + data, to: other)
            expect(.momentsInvalid, location) { try MomentsFile(other).check() }
        }
        for index in header.metadata.indices {
            var metadata = header.metadata
            metadata.remove(at: index)
            try refused(metadata)
        }
        for (key, value) in [
            ("format", "pt"), ("format_version", "2"), ("origin", "x"), ("blocks", "full "), ("halves", "3"),
            ("halves", "1"), ("context", "-1"), ("sequences", ""), ("texts", "[1]"), ("texts", "{}"), ("texts", "["),
            ("texts", #"[{"name":"a","hash":"","weight":0,"tokens":1}]"#), ("blocks", "diagonal"),
        ] {
            try refused(header.metadata.map { $0.key == key ? .init(key, value) : $0 })
        }
        func entry(
            _ old: SafetensorsWriter.Entry, _ name: String? = nil, _ type: ElementType? = nil, _ shape: [Int]? = nil
        )
            -> SafetensorsWriter.Entry
        {
            .init(
                name: name.map { TensorName($0) } ?? old.name, elementType: type ?? old.elementType,
                shape: shape.flatMap { Shape($0) } ?? old.shape, byteCount: old.byteCount)
        }
        // The tensors of the first input: tokens, weights, shrinkage, diagonals, moments.
        try refused { entries, _ in entries[0] = entry(entries[0], "layers.0.attention_in.token") }
        try refused { entries, _ in entries[0] = entry(entries[0], "layers.9.attention_in.tokens") }
        try refused { entries, _ in entries[0] = entry(entries[0], nil, .i64) }
        try refused { entries, _ in entries[1] = entry(entries[1], nil, .u64) }
        try refused { entries, _ in entries[3] = entry(entries[3], nil, nil, [12]) }
        try refused { entries, _ in entries[3] = entry(entries[3], nil, nil, [4, 3]) }
        try refused { entries, _ in entries[4] = entry(entries[4], nil, nil, [3, 7]) }
        try refused { entries, data in
            data.removeFirst(Int(entries[0].byteCount))
            entries.removeFirst()
        }
        let starts = header.tensors.map { Int($0.range.start - header.dataStart) }
        func number(_ value: Float, _ tensor: Int, _ place: Int = 0) throws {
            try refused { _, data in
                for byte in 0..<4 {
                    data[starts[tensor] + 4 * place + byte] = UInt8(truncatingIfNeeded: value.bitPattern >> (8 * byte))
                }
            }
        }
        for wrong in [-0.5, .nan, 1.5] {
            try refused { _, data in
                for byte in 0..<8 { data[starts[2] + byte] = UInt8(truncatingIfNeeded: wrong.bitPattern >> (8 * byte)) }
            }
        }
        try number(-1, 3)
        try number(.infinity, 3, 11)
        try number(7777, 3)
        try number(.nan, 4, 1)
        try number(-1, 4)
        try number(7777, 4)
        // Weights: of an infinite half, and of none beside tokens.
        try refused { _, data in for byte in 0..<8 { data[starts[1] + byte] = [0, 0, 0, 0, 0, 0, 0xF0, 0x7F][byte] } }
        try refused { _, data in for byte in 0..<8 { data[starts[1] + byte] = 0 } }
        try refused { _, data in data[starts[0] + 7] = 0xFF }
    }

    /// M02: moments of another model.
    @Test func otherModels() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m")
        try MomentsSample.write(path)
        let file = try MomentsFile(path)
        #expect(try file.requireFits(MomentsSample.tensors, modelHash: "abc").isEmpty)
        #expect(try file.requireFits(MomentsSample.gguf, modelHash: "").isEmpty)
        #expect(try file.requireFits(MomentsSample.tensors, modelHash: "other").count == 1)
        func refused(
            _ change: (inout [(name: TensorName, shape: Shape)]) -> Void, _ location: SourceLocation = #_sourceLocation
        ) {
            var tensors = MomentsSample.tensors
            change(&tensors)
            expect(.momentsInvalid, location) { _ = try file.requireFits(tensors, modelHash: "abc") }
        }
        refused { $0 += MomentsSample.list([("model.layers.0.self_attn.v_proj.weight", [2, 5])]) }
        refused { $0 += MomentsSample.list([("model.layers.2.self_attn.v_proj.weight", [2, 6])]) }
        refused { $0 += MomentsSample.list([("model.layers.1.block_sparse_moe.experts.2.w1.weight", [5, 6])]) }
        refused { $0.removeAll { $0.name.text.hasPrefix("model.layers.0.") } }
        refused { $0.removeAll { $0.name.text.contains(".experts.1.w2.") } }
        // Routers may go without moments.
        var tensors = MomentsSample.tensors
        tensors += MomentsSample.list([("model.layers.3.mlp.gate.weight", [2, 6])])
        #expect(try file.requireFits(tensors, modelHash: "abc").isEmpty)
    }
}

/// Files that the Python tests and the command's tests read. `INGOT_UPDATE_GOLDENS=1` writes them anew.
@Suite struct MomentsFixtureTests {
    private static let folder = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .appending("PythonDecoder/fixtures")

    @Test func fixtures() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("moments.safetensors")
        try MomentsSample.write(path, MomentsSample.description(.width(4)))
        let file = try MomentsFile(path)
        try ImatrixWriter.write(file, as: .gguf, to: directory.at("imatrix.gguf"))
        try ImatrixWriter.write(file, as: .older, to: directory.at("imatrix.dat"))
        try MomentsSample.write(
            directory.at("gradients.safetensors"), MomentsSample.descriptionWithGradients(.width(4)))
        for name in ["moments.safetensors", "gradients.safetensors", "imatrix.gguf", "imatrix.dat"] {
            let (made, kept) = (try Files.read(directory.at(name)), MomentsFixtureTests.folder.appending(name))
            if ProcessInfo.processInfo.environment["INGOT_UPDATE_GOLDENS"] == "1" { try Files.write(made, to: kept) }
            #expect(try Files.read(kept) == made, "INGOT_UPDATE_GOLDENS=1 writes \(name) anew")
        }
    }
}
