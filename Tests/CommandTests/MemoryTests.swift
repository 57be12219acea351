import ConversionSupport
import SystemPackage
import TensorModel
import TestSupport
import Testing

/// The memory contract: at most `--max-memory`, 48 MiB for the program, and 8 bytes for each byte of the source's headers are
/// resident, mapped pages counted, whatever the model.
@Suite(.serialized) struct MemoryTests {
    private static let own: UInt64 = 48 << 20

    /// A source of one element type; its matrices' weights are zeros of a sparse file, which are read all the same.
    struct Model: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let elementType: ElementType
        let shapes: [[Int]]
    }

    static let models = [
        Model(
            testDescription: "384 MiB in six matrices", elementType: .bf16,
            shapes: .init(repeating: [4096, 8192], count: 6)),
        Model(testDescription: "one matrix of 600 MB", elementType: .f16, shapes: [[20_000, 15_000]]),
        Model(testDescription: "binary32, bands of 32 MiB", elementType: .f32, shapes: [[2048, 65_536]]),
        Model(testDescription: "rows of 2 MB", elementType: .f16, shapes: [[300, 1_000_000]]),
        Model(testDescription: "rows of 16 MB", elementType: .f32, shapes: [[40, 4_000_000]]),
        Model(testDescription: "three columns", elementType: .f16, shapes: [[20_000_000, 3]]),
        Model(testDescription: "a vector of 100 MB", elementType: .f32, shapes: [[25_000_000], [64, 64]]),
    ]

    /// Writes a model; the bytes of its header.
    private static func write(_ model: Model, to path: FilePath) throws -> UInt64 {
        var start = 0
        let entries = model.shapes.enumerated().map { index, shape in
            let end = start + shape.reduce(model.elementType.bitWidth / 8, *)
            defer { start = end }
            return "\"layers.\(index).weight\":{\"dtype\":\"\(model.elementType.rawValue)\",\"shape\":\(shape),"
                + "\"data_offsets\":[\(start),\(end)]}"
        }
        let header = Array("{\(entries.joined(separator: ","))}".utf8)
        let length = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
        try Files.write(length + header, to: path)
        try Files.patch([0], at: 8 + header.count + start - 1, in: path)
        return UInt64(header.count)
    }

    private func peak(_ arguments: [String], _ budget: Int) throws -> UInt64 {
        let result = try IngotProcess.run(arguments + ["--max-memory", "\(budget)MiB", "--format", "json"])
        #expect(result.status == 0, "\(result.errors)")
        let report = try JSONValue.parse(Array(result.output.utf8))
        return try #require(report["peak_resident_bytes"]?.unsigned)
    }

    @Test(arguments: models) func staysWithinTheBudget(model: Model) throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("large.safetensors")
        let header = try MemoryTests.write(model, to: source)
        let sealed = directory.at("sealed")
        for (scheme, budget) in [("trellis", 64), ("uniform", 64), ("lossless", 64), ("trellis", 128)] {
            let bound = UInt64(budget) << 20 + MemoryTests.own + 8 * header
            let jobs = budget == 64 ? "2" : "8"
            let arguments = ["convert", source.string, sealed.string, "--force", "--scheme", scheme, "--jobs", jobs]
            let found = try peak(arguments, budget)
            #expect(found <= bound, "\(scheme): \(found >> 20) MiB of \(bound >> 20)")
        }
        let bound = UInt64(64) << 20 + MemoryTests.own + 8 * header
        #expect(try peak(["verify", sealed.string, "--against", source.string], 64) <= bound)
    }

    /// A matrix that lies transposed in a PyTorch file is gathered from pages all over it.
    @Test(arguments: ["1", "2", "8"]) func transposedStaysWithinTheBudget(jobs: String) throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("transposed.pt")
        let (rows, columns) = (8192 as Int64, 8192 as Int64)
        let storage = PickleBytes.storage("0", type: "HalfStorage", count: rows * columns)
        let tensor = PickleBytes.tensor(storage, [rows, columns], strides: [1, rows])
        let pickle = PickleBytes.pickle(PickleBytes.dictionary([("layers.0.weight", tensor)]))
        let bytes = [UInt8](repeating: 0, count: Int(2 * rows * columns))
        try Files.write(PyTorchImage.archive(pickle, storages: [("0", bytes)]).bytes, to: source)
        let bound = UInt64(64) << 20 + MemoryTests.own
        for scheme in ["uniform", "trellis"] {
            let arguments = ["convert", source.string, directory.at("sealed").string, "--force", "--jobs", jobs]
            let found = try peak(arguments + ["--scheme", scheme], 64)
            #expect(found <= bound, "\(scheme): \(found >> 20) MiB of \(bound >> 20)")
        }
    }

    /// Exporting puts the tiles of a band together; of wide ones it must not.
    @Test(arguments: [0, 3, 4]) func exportStaysWithinTheBudget(index: Int) throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("large.safetensors")
        _ = try MemoryTests.write(MemoryTests.models[index], to: source)
        let sealed = directory.at("sealed")
        #expect(try IngotProcess.run(["convert", source.string, sealed.string]).status == 0)
        let limited = try IngotProcess.shell(
            "ulimit -d $(((64 + 48) * 1024)); exec \"$INGOT\" export \"$1\" \"$2\" --dtype f32 --max-memory 64MiB",
            [sealed.string, directory.at("out").string])
        #expect(limited.status == 0, "\(limited.errors)")
    }

    /// Comparing two conversions of different grids puts chunks together to pieces: those are shared out too.
    @Test(arguments: [1, 2, 3, 4, 5]) func diffStaysWithinTheBudget(index: Int) throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("large.safetensors")
        let header = try MemoryTests.write(MemoryTests.models[index], to: source)
        let (tiles, bands) = (directory.at("tiles").string, directory.at("bands").string)
        #expect(try IngotProcess.run(["convert", source.string, tiles]).status == 0)
        #expect(try IngotProcess.run(["convert", source.string, bands, "--scheme", "uniform"]).status == 0)
        let limit = (64 + 48) * 1024 + Int(8 * header / 1024)
        for (old, new, jobs) in [(source.string, tiles, 2), (source.string, bands, 8), (bands, tiles, 8)] {
            let script = """
                ulimit -d \(limit); "$INGOT" diff "$1" "$2" --max-memory 64MiB --jobs \(jobs) --format csv > "$3" &&
                    grep -c same "$3"
                """
            let limited = try IngotProcess.shell(script, [old, new, directory.at("out").string])
            #expect(limited.status <= 1 && limited.errors.isEmpty, "\(limited.errors)")
        }
    }

    /// Many small tensors: what is kept of a header is bounded by its size.
    @Test func manyTensors() throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("many.safetensors")
        let shapes = (0..<30_000).map { $0 % 2 == 0 ? [16] : [4, 4] }
        let model = Model(testDescription: "", elementType: .f16, shapes: shapes)
        let header = try MemoryTests.write(model, to: source)
        let bound = UInt64(64) << 20 + MemoryTests.own + 8 * header
        let found = try peak(["convert", source.string, directory.at("sealed").string], 64)
        #expect(found <= bound, "\(found >> 20) MiB of \(bound >> 20), header \(header)")
    }

    /// The same of an inspection: of sources, whose pages are read and not mapped, and of what was made of them.
    @Test(arguments: models) func inspectionStaysWithinTheBudget(model: Model) throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("large.safetensors")
        let bound = UInt64(64) << 20 + MemoryTests.own + 8 * (try MemoryTests.write(model, to: source))
        let sealed = directory.at("sealed")
        let made = try IngotProcess.run(["convert", "-q", source.string, sealed.string, "--scheme", "uniform"])
        #expect(made.status == 0, "\(made.errors)")
        for (path, jobs) in [(source, "1"), (source, "8"), (sealed, "2")] {
            let result = try IngotProcess.run(
                ["inspect", path.string, "--verbose", "--max-memory", "64MiB", "--jobs", jobs])
            #expect(result.status == 0, "\(result.errors)")
            let words = result.errors.split(separator: " ")
            let peak = try #require(words.dropLast().last.flatMap { UInt64($0) })
            #expect(peak <= bound, "\(path), \(jobs) jobs: \(peak >> 20) MiB of \(bound >> 20)")
        }
    }

    /// Inputs that describe as much as is taken, and what reading one ends with.
    enum Description: String, CaseIterable {
        /// A header of a million scalars.
        case tensors
        /// A pickle whose stack grows to the budget of values, and a list of so many empty dicts.
        case stack, dicts

        var status: Int32 { self == .tensors ? 0 : 65 }

        func write(to path: FilePath) throws {
            switch self {
            case .tensors:
                let shapes = [[Int]](repeating: [], count: Limits.standard.tensorsPerFile)
                _ = try MemoryTests.write(
                    Model(testDescription: "", elementType: .f32, shapes: shapes), to: path)
            case .stack, .dicts:
                let values = [UInt8](repeating: UInt8(ascii: self == .stack ? "N" : "}"), count: 16_000_000)
                let pickle = PickleBytes.pickle(
                    PickleBytes.op("]") + PickleBytes.op("(") + values + PickleBytes.op("e"))
                try Files.write(PyTorchImage.archive(pickle, storages: []).bytes, to: path)
            }
        }
    }

    /// Descriptions are held whole, and have limits: those are what bounds the memory here.
    @Test(arguments: Description.allCases) func largestDescriptions(_ description: Description) throws {
        let directory = try TemporaryDirectory()
        let source = directory.at(description == .tensors ? "source.safetensors" : "source.pt")
        try description.write(to: source)
        let script = "ulimit -d $((1024 * 1024)); exec \"$INGOT\" inspect --headers-only --top 1 \"$1\""
        let result = try IngotProcess.shell(script, [source.string])
        #expect(result.status == description.status, "\(result.errors.prefix(1000))")
    }

    /// C08: Chunk tables stay in the file: a checkpoint of little else takes no more memory than another. What decodes ends with the damage
    /// of the first chunk, once the whole table was checked. The limit is on what a process allocates, as `ulimit -d` counts it.
    @Test(
        arguments: [
            (["inspect", "--headers-only"], 0), (["inspect"], 65), (["verify"], 65), (["diff"], 1),
        ] as [([String], Int32)])
    func chunkTablesAreNotHeld(verb: [String], status: Int32) throws {
        let directory = try TemporaryDirectory()
        let (path, other) = (directory.at("tiles"), directory.at("other"))
        try HollowCheckpoint.write(tiles: 1 << 20, to: path)
        if verb == ["diff"] {
            let tensor = SampleTensor(HollowCheckpoint.tensor, .f16, [64, 64])
            try SampleSource.write([[tensor]], to: other)
        }
        let paths = verb.count == 2 ? [] : verb == ["inspect"] || verb == ["verify"] ? [] : [other.string]
        let memory = verb.contains("--headers-only") ? [] : ["--max-memory", "64MiB"]
        let result = try IngotProcess.shell(
            "ulimit -d $(((64 + 48) * 1024)); exec \"$INGOT\" \"$@\"", verb + [path.string] + paths + memory)
        #expect(result.status == status, "\(result.errors.prefix(1000))")
        #expect(status != 65 || result.errors.contains("checksum"), "\(result.errors.prefix(1000))")
    }

    /// A limit that the system enforces on the memory of a process and its cached files together: more would be killed.
    @Test(arguments: ["trellis", "uniform"]) func staysWithinAControlGroup(scheme: String) throws {
        let directory = try TemporaryDirectory()
        let source = directory.at("large.safetensors")
        _ = try MemoryTests.write(MemoryTests.models[0], to: source)
        let script = """
            for root in /sys/fs/cgroup/memory /sys/fs/cgroup; do
                group=$root/ingot-test-$$
                mkdir "$group" 2>/dev/null || continue
                trap 'rmdir "$group"' EXIT
                limit=$((\(64 + 48) << 20))
                if [ -e "$group/memory.limit_in_bytes" ]; then
                    echo $limit > "$group/memory.limit_in_bytes" || exit 99
                    echo $limit > "$group/memory.memsw.limit_in_bytes" 2>/dev/null
                elif [ -e "$group/memory.max" ]; then
                    echo $limit > "$group/memory.max" && echo 0 > "$group/memory.swap.max" || exit 99
                else
                    exit 99
                fi
                (echo $BASHPID > "$group/cgroup.procs" || exit 99
                 exec "$INGOT" convert "$1" "$2" --scheme \(scheme) --max-memory 64MiB)
                exit $?
            done
            exit 99
            """
        let target = directory.at("sealed")
        let result = try IngotProcess.shell(script, [source.string, target.string])
        guard result.status != 99 else {
            print("no control group of memory can be made here: the limit is tested by what the process reports only")
            return
        }
        #expect(result.status == 0, "\(result.errors)")
        #expect(Files.names(target).contains("ingot-manifest.json"))
    }

    /// A table of 38 GB, by the description: refused in a process that may have 4 GiB.
    @Test func hugeTableIsNotAllocated() async throws {
        let directory = try TemporaryDirectory()
        try HollowCheckpoint.write(
            shape: [600_000_000, 262_144], frontBytes: 64, payloadBytes: 1 << 20, to: directory.at("hollow"))
        for verb in ["verify", "inspect"] {
            let line = "ulimit -v 4194304; exec \"$INGOT\" \"$1\" \"$2\""
            let result = try IngotProcess.shell(line, [verb, directory.at("hollow").string])
            #expect(result.status == 65 && result.errors.hasPrefix("error: payloadInvalid: "), "\(result.errors)")
        }
    }
}
