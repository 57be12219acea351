import Architectures
import Checkpoints
import FileAccess
import Moments
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// Gradients in a file of moments: written, read, continued, refused.
@Suite struct GradientsFileTests {
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

    private func matrix(_ text: String) throws -> LinearMatrix { try #require(LinearMatrix(text: text)) }

    @Test func roundTrip() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m")
        let description = MomentsSample.descriptionWithGradients()
        try MomentsSample.write(path, description)
        let file = try MomentsFile(path)
        try file.check()
        #expect(file.description == description)
        let layout = try MomentsSample.layout(hasGradients: true)
        #expect(try MomentsWriter.byteCount(layout, description) == UInt64(try Files.read(path).count))
        let gradients = try MomentsSample.gradients()
        #expect(file.gradientMatrices == layout.gradients?.matrices.map(\.matrix))
        for entry in try MomentsSample.gradientsLayout().matrices {
            #expect(try file.gradients(of: entry.matrix) == gradients.squares[entry.matrix])
            #expect(file.gradientRows(of: entry.matrix) == entry.rows)
            #expect(try file.sensitivity(of: entry.matrix) == gradients.sensitivities[entry.matrix])
        }
        #expect(try file.tokenWeights() == gradients.tokenWeights)
        // A fused projection has the rows of its parts; what no part is there of has none.
        let parts = try ["attn_q", "attn_k", "attn_v"].flatMap { gradients.squares[try matrix("layers.1.\($0)")] ?? [] }
        #expect(try file.gradients(of: matrix("layers.1.attn_qkv")) == parts && parts.count == 8)
        let sensitivities = try ["attn_q", "attn_k", "attn_v"].map {
            try #require(gradients.sensitivities[try matrix("layers.1.\($0)")])
        }
        #expect(
            try file.sensitivity(of: matrix("layers.1.attn_qkv"))
                == (4 * sensitivities[0] + 2 * sensitivities[1] + 2 * sensitivities[2]) / 8)
        #expect(Set(sensitivities).count == 3)
        #expect(try file.sensitivity(of: matrix("layers.1.ffn_gate_up")) == nil)
        #expect(try file.gradients(of: matrix("layers.1.experts.0.ffn_gate_up"))?.count == 10)
        #expect(try file.gradients(of: matrix("layers.1.ffn_gate_up")) == nil)
        #expect(try file.gradients(of: matrix("layers.2.attn_q")) == nil)
        // A file without gradients has no tensor and no metadata entry of gradients.
        try MomentsSample.write(directory.at("plain"))
        let plain = try MomentsFile(directory.at("plain"))
        #expect(plain.gradientMatrices.isEmpty && plain.description.gradients == nil)
        #expect(try plain.sensitivity(of: .head) == nil)
        #expect(try plain.tokenWeights() == nil && plain.gradients(of: .head) == nil)
        let text = String(decoding: try Files.read(directory.at("plain")).prefix(4096), as: UTF8.self)
        #expect(!text.contains("gradient") && !text.contains("sensitivity") && !text.contains("embedding"))
    }

    /// A run that stops in the backward pass keeps all inputs; one that stops behind it keeps the gradients, too.
    @Test func resumed() throws {
        let directory = try TemporaryDirectory()
        let (whole, path) = (directory.at("whole"), directory.at("m"))
        let description = MomentsSample.descriptionWithGradients()
        let layout = try MomentsSample.layout(hasGradients: true)
        try MomentsSample.write(whole, description)
        try MomentsSample.write(path, description, stoppingAfter: 12)
        do {
            var writer = try MomentsWriter.open(path, layout, description)
            #expect(writer.resumedInputs == 12 && writer.next == nil && writer.needsGradients)
            // The inputs can be read, the gradients not yet.
            let (unfinished, finished) = (try writer.inputs(), try MomentsFile(whole))
            for (a, b) in zip(unfinished.entries, finished.entries) {
                #expect(try a.input == b.input && unfinished.diagonal(of: a) == finished.diagonal(of: b))
                #expect(a.shrinkage == b.shrinkage)
            }
            #expect(unfinished.entries.count == 12)
            #expect(throws: IngotError.self) { try unfinished.gradients(of: .head) }
            try writer.append(MomentsSample.gradients())
        }
        do {
            let writer = try MomentsWriter.open(path, layout, description)
            #expect(writer.resumedInputs == 12 && writer.next == nil && !writer.needsGradients)
        }
        // The gradients were damaged.
        let temporary = directory.at(".m.ingot-tmp")
        var bytes = try Files.read(temporary)
        bytes[bytes.count - 1] ^= 1
        try Files.write(bytes, to: temporary)
        do {
            let writer = try MomentsWriter.open(path, layout, description)
            #expect(writer.resumedInputs == 12 && writer.needsGradients)
        }
        // A run without gradients is another one.
        expect(.cannotCreate) { try MomentsSample.write(path) }
        try MomentsSample.write(path, description)
        #expect(try Files.read(path) == Files.read(whole))
        #expect(Set(Files.names(directory.path)) == ["m", "whole"])
    }

    /// Numbers and layouts that no file can have are refused before they are written.
    @Test func wrongGradients() throws {
        let directory = try TemporaryDirectory()
        let description = MomentsSample.descriptionWithGradients()
        try MomentsSample.write(directory.at("m"), description, stoppingAfter: 12)
        for (row, token) in [(Float.nan, 0.0), (-1, 0), (.infinity, 0), (0, -1), (0, .nan)] {
            var writer = try MomentsWriter.open(
                directory.at("m"), MomentsSample.layout(hasGradients: true), description)
            var gradients = try MomentsSample.gradients()
            gradients.squares[.head]?[3] = row
            gradients.tokenWeights[2] = token
            expect(.momentsInvalid) { try writer.append(gradients) }
        }
        for number in [Double.nan, .infinity, -1, nil] {
            var writer = try MomentsWriter.open(
                directory.at("m"), MomentsSample.layout(hasGradients: true), description)
            var gradients = try MomentsSample.gradients()
            gradients.sensitivities[.head] = number
            expect(.momentsInvalid) { try writer.append(gradients) }
        }
        expect(.momentsInvalid) { _ = try GradientsLayout([], vocabulary: 3) }
        expect(.momentsInvalid) { _ = try GradientsLayout([.init(.head, rows: 0)], vocabulary: 3) }
        expect(.momentsInvalid) { _ = try GradientsLayout([.init(.head, rows: 1)], vocabulary: 0) }
        expect(.momentsInvalid) {
            _ = try GradientsLayout([.init(.head, rows: 1), .init(.head, rows: 1)], vocabulary: 3)
        }
    }

    /// M01: gradients of other names, types, shapes and numbers, and metadata that contradict them.
    @Test func refusedFiles() throws {
        let directory = try TemporaryDirectory()
        let path = directory.at("m")
        try MomentsSample.write(path, MomentsSample.descriptionWithGradients())
        let bytes = try Files.read(path)
        let header = try SafetensorsHeader.read(MappedFile.open(path))
        func refused(
            _ metadata: [SafetensorsHeader.MetadataEntry]? = nil, _ location: SourceLocation = #_sourceLocation,
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
        for (key, value) in [
            ("gradients", "none"), ("gradients", ""), ("gradient_tokens", "0"), ("gradient_tokens", "x"),
            ("gradient_rows", "odd"),
        ] { try refused(header.metadata.map { $0.key == key ? .init(key, value) : $0 }) }
        for key in ["gradients", "gradient_tokens", "gradient_rows"] {
            try refused(header.metadata.filter { $0.key != key })
        }
        let first = try #require(header.tensors.firstIndex { $0.name.text == "layers.0.attn_q.gradients" })
        let last = header.tensors.count - 1
        func changed(
            _ place: Int, _ name: String? = nil, _ type: ElementType? = nil, _ shape: [Int]? = nil,
            _ location: SourceLocation = #_sourceLocation
        ) throws {
            try refused(nil, location) { entries, _ in
                let old = entries[place]
                entries[place] = .init(
                    name: name.map { TensorName($0) } ?? old.name, elementType: type ?? old.elementType,
                    shape: shape.flatMap { Shape($0) } ?? old.shape, byteCount: old.byteCount)
            }
        }
        try changed(first, "layers.0.attn_x.gradients")
        try changed(first, "layers.0.experts.0.attn_q.gradients")
        try changed(first, "layers.00.attn_q.gradients")
        try changed(first, ".gradients")
        try changed(first, nil, .i32)
        try changed(first, nil, nil, [2, 2])
        let sensitivity = first + 1
        #expect(header.tensors[sensitivity].name.text == "layers.0.attn_q.sensitivity")
        try changed(sensitivity, "layers.0.attn_qkv.sensitivity")
        try changed(sensitivity, "layers.0.attn_x.sensitivity")
        try changed(sensitivity, ".sensitivity")
        try changed(sensitivity, nil, .i64)
        try changed(sensitivity, nil, .f32, [2])
        try changed(sensitivity, nil, nil, [1, 1])
        // A sensitivity is missing; gradients are.
        for place in [sensitivity, first] {
            try refused { entries, data in
                let start = Int(header.tensors[place].range.start - header.dataStart)
                data.removeSubrange(start..<start + Int(entries.remove(at: place).byteCount))
            }
        }
        for number in [Double.nan, .infinity, -1] {
            try refused { _, data in
                let start = Int(header.tensors[sensitivity].range.start - header.dataStart)
                for byte in 0..<8 {
                    data[start + byte] = UInt8(truncatingIfNeeded: number.bitPattern >> UInt64(8 * byte))
                }
            }
        }
        try changed(last, "embedding.gradients")
        try changed(last, nil, .i64)
        try changed(last, nil, nil, [4, 5])
        // The weights of the tokens are missing; only they are there.
        try refused { entries, data in data.removeLast(Int(entries.removeLast().byteCount)) }
        try refused { entries, data in
            let start = Int(header.tensors[first].range.start - header.dataStart)
            data.removeSubrange(start..<Int(header.tensors[last].range.start - header.dataStart))
            entries.removeSubrange(first..<last)
        }
        for (tensor, pattern) in [
            (first, [0, 0, 0xC0, 0x7F]), (first, [0, 0, 0x80, 0xBF]), (first, [0, 0, 0x80, 0x7F]),
        ] {
            try refused { _, data in
                let start = Int(header.tensors[tensor].range.start - header.dataStart)
                for byte in 0..<4 { data[start + byte] = UInt8(pattern[byte]) }
            }
        }
        try refused { _, data in data[data.count - 1] = 0xFF }
    }

    /// M02: gradients of another model.
    @Test func otherModels() throws {
        let directory = try TemporaryDirectory()
        try MomentsSample.write(directory.at("m"), MomentsSample.descriptionWithGradients())
        let file = try MomentsFile(directory.at("m"))
        #expect(try file.requireFits(MomentsSample.tensors, modelHash: "abc").isEmpty)
        #expect(try file.requireFits(MomentsSample.gguf, modelHash: "abc").isEmpty)
        for (name, shape, place) in [
            ("model.layers.0.self_attn.q_proj.weight", [5, 6], 1), ("lm_head.weight", [21, 6], 14),
            ("model.layers.0.self_attn.qkv_proj.weight", [9, 6], 1),
            ("model.layers.1.block_sparse_moe.experts.0.w1.weight", [6, 6], 10),
        ] {
            var tensors = MomentsSample.tensors
            tensors[place] = MomentsSample.list([(name, shape)])[0]
            expect(.momentsInvalid) { _ = try file.requireFits(tensors, modelHash: "abc") }
        }
        var gguf = MomentsSample.gguf
        gguf[8] = MomentsSample.list([("blk.1.ffn_gate_exps.weight", [2, 4, 6])])[0]
        expect(.momentsInvalid) { _ = try file.requireFits(gguf, modelHash: "abc") }
    }
}
