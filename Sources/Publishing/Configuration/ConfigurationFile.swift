import Checkpoints
import FileAccess
package import SystemPackage
package import TensorModel

/// A model's `config.json`, edited as text: every member that Ingot does not change keeps its bytes.
package struct ConfigurationFile: Sendable {
    /// The text, UTF-8.
    package private(set) var bytes: [UInt8]
    private let path: String
    private static let key = "quantization_config"
    /// The key of Ingot's member beside the `quantization_config` of a quantized source.
    private static let keyBesideSource = "ingot_quantization_config"
    /// Maximum size of a configuration in bytes.
    package static let maximumBytes: UInt64 = 16 << 20

    /// Reads a configuration.
    ///
    /// - Throws: `headerSyntax` or a similar code if it is not a JSON object.
    package init(reading path: FilePath) throws {
        self.path = path.string
        bytes = try WholeFile.read(path, limit: ConfigurationFile.maximumBytes)
        _ = try members()
    }

    /// A member of the outer object: its key, the range of its value, and the end of the text before the member.
    private struct Place {
        let key: String
        let value: Range<Int>
        let previousEnd: Int
    }

    private func members() throws -> [Place] {
        var reader = JSONReader(bytes, maximumDepth: Limits.standard.documentDepth)
        // Python writes NaN and Infinity, and some models' configurations have them.
        reader.acceptsNonFiniteNumbers = true
        var places: [Place] = []
        var seen: Set<TensorName> = []
        do {
            _ = reader.peek()
            var previous = reader.position + 1
            try reader.readObject { reader, key in
                _ = reader.peek()
                let start = reader.position
                try reader.skipValue()
                guard seen.insert(TensorName(key)).inserted else {
                    throw reader.failure("the key `\(key)` a second time", as: .duplicateKey)
                }
                places.append(Place(key: key, value: start..<reader.position, previousEnd: previous))
                previous = reader.position
            }
            try reader.requireEnd()
        } catch let error as IngotError {
            throw error.inFile(path)
        }
        return places
    }

    /// The name of the method in `quantization_config`; nil if there is no `quantization_config`.
    package var quantizationMethod: String? {
        guard let place = try? members().first(where: { $0.key == ConfigurationFile.key }),
            let value = try? JSONValue.parse(Array(bytes[place.value]))
        else { return nil }
        if case .null = value { return nil }
        return QuantizationMethod.name(in: value) ?? "unnamed method"
    }

    /// Adds Ingot's description of the quantization as the last member.
    ///
    /// Its key is `quantization_config`, which replaces any other; or `ingot_quantization_config`, if the `quantization_config` of a quantized
    /// source stays.
    ///
    /// - Parameter keepsSource: whether the `quantization_config` of a quantized source stays as it is.
    /// - Throws: `unsupportedSource` if the source has a member `ingot_quantization_config`.
    package mutating func addQuantization(_ options: [JSONValue.Member], keepsSource: Bool = false) throws {
        let staysBeside = keepsSource && quantizationMethod != nil
        if staysBeside {
            guard try !members().contains(where: { $0.key == ConfigurationFile.keyBesideSource }) else {
                throw IngotError(
                    .unsupportedSource, file: path,
                    found: "a member `\(ConfigurationFile.keyBesideSource)`, a name Ingot uses itself",
                    expected: "a configuration without it", remedy: "rename the member in the source")
            }
        } else if keepsSource {
            try remove(ConfigurationFile.key)
        } else {
            try removeQuantization()
        }
        try add(
            staysBeside ? ConfigurationFile.keyBesideSource : ConfigurationFile.key, ConfigurationFile.value(options))
    }

    /// Adds a member at the end.
    private mutating func add(_ key: String, _ value: JSONValue) throws {
        let places = try members()
        let end = places.last?.value.upperBound ?? (bytes.firstIndex(of: UInt8(ascii: "{")) ?? 0) + 1
        let text = (places.isEmpty ? "" : ",") + "\n  \"\(key)\": " + value.text()
        bytes.insert(contentsOf: Array(text.utf8), at: end)
    }

    /// Replaces every statement of a quantization by these members, at the end.
    package mutating func setQuantization(_ members: [JSONValue.Member]) throws {
        try removeQuantization()
        for member in members { try add(member.key, member.value) }
    }

    /// Takes the bytes of a configuration that would stand at `path`.
    ///
    /// - Throws: `headerSyntax` or a similar code if they are not a JSON object.
    package init(_ bytes: [UInt8], of path: FilePath) throws {
        self.path = path.string
        self.bytes = bytes
        _ = try members()
    }

    /// A configuration without members.
    package init(emptyAt path: FilePath) {
        self.path = path.string
        bytes = Array("{\n}\n".utf8)
    }

    private static func value(_ options: [JSONValue.Member]) -> JSONValue {
        .object([.init("quant_method", .string("ingot")), .init("format_version", .unsigned(1))] + options)
    }

    /// Whether the last member is the one that `addQuantization` adds.
    func isQuantized(by options: [JSONValue.Member]) throws -> Bool {
        guard let last = try members().last,
            last.key == (try hasMemberBesideSource() ? ConfigurationFile.keyBesideSource : ConfigurationFile.key)
        else { return false }
        return (try? JSONValue.parse(Array(bytes[last.value]))) == ConfigurationFile.value(options)
    }

    /// Whether Ingot's member stands beside the `quantization_config` of a quantized source.
    private func hasMemberBesideSource() throws -> Bool {
        try members().last?.key == ConfigurationFile.keyBesideSource && quantizationMethod != nil
    }

    /// Removes the member that `addQuantization` added. The `quantization_config` of a quantized source stays.
    package mutating func removeOwnQuantization() throws {
        try remove(hasMemberBesideSource() ? ConfigurationFile.keyBesideSource : ConfigurationFile.key)
    }

    /// Members that state a quantization: `quantization_config`, older ones of compressed-tensors, and MLX's.
    private static let keys = [key, "compression_config", "quantization"]

    /// Removes `quantization_config` and the like, no matter which program wrote it.
    package mutating func removeQuantization() throws {
        for key in ConfigurationFile.keys {
            guard let place = try members().first(where: { $0.key == key }) else { continue }
            if key == "quantization", bytes[place.value].first != UInt8(ascii: "{") { continue }
            try remove(key)
        }
    }

    private mutating func remove(_ key: String) throws {
        guard let place = try members().first(where: { $0.key == key }) else { return }
        var end = place.value.upperBound
        if bytes[..<place.previousEnd].last == UInt8(ascii: "{"),
            let next = bytes[end...].firstIndex(where: { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }),
            bytes[next] == UInt8(ascii: ",")
        {
            end = next + 1
        }
        bytes.removeSubrange(place.previousEnd..<end)
    }

    /// Sets the element type in which transformers loads the weights, if the configuration names one.
    package mutating func setElementType(_ format: FloatFormat) throws {
        let name =
            switch format {
            case .f16: "float16"
            case .bf16: "bfloat16"
            case .f32: "float32"
            }
        for key in ["torch_dtype", "dtype"] {
            guard let place = try members().first(where: { $0.key == key }) else { continue }
            bytes.replaceSubrange(place.value, with: Array("\"\(name)\"".utf8))
        }
    }
}
