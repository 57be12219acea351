import TensorModel

/// Reads members of a `config.json` that hyperparameters need.
struct ConfigurationReader {
    private let values: JSONValue
    private let path: String

    /// Reads a document.
    ///
    /// - Throws: `headerSyntax` and the like if it is no JSON object.
    init(_ bytes: [UInt8], path: String) throws {
        values = try JSONValue.parse(bytes)
        self.path = path
        guard values.object != nil else {
            throw IngotError(.headerSyntax, file: path, found: "no JSON object", expected: "an object")
        }
    }

    /// An error about something that the forward pass does not have.
    func unsupported(_ found: String, _ expected: String) -> IngotError {
        IngotError(
            .unsupportedSource, file: path, found: found, expected: expected,
            remedy: "evaluate it with the program that it was made for")
    }

    private func invalid(_ key: String, _ value: JSONValue, _ expected: String) -> IngotError {
        var text = String(value.text().prefix(80))
        if case .number(let number) = value, !number.isFinite { text = "a number beyond binary64" }
        return IngotError(
            .valueOutOfRange, file: path, found: "`\(key)`: \(text)", expected: expected, remedy: "correct the file")
    }

    /// The member with a key; nil if it is missing or null.
    private func value(_ key: String) -> JSONValue? {
        let value = values[key]
        return value == .null ? nil : value
    }

    /// A text; nil if it is missing.
    func text(_ key: String) throws -> String? {
        guard let value = value(key) else { return nil }
        guard let text = value.string else { throw invalid(key, value, "a text") }
        return text
    }

    /// A truth value.
    func flag(_ key: String, default usual: Bool) throws -> Bool {
        guard let value = value(key) else { return usual }
        guard let flag = value.bool else { throw invalid(key, value, "true or false") }
        return flag
    }

    /// A whole number from 1 to `maximum`.
    ///
    /// - Parameter usual: the number if the member is missing; nil if it must be there.
    func count(_ key: String, default usual: Int? = nil, maximum: Int) throws -> Int {
        guard let value = value(key) else {
            guard let usual else {
                throw IngotError(
                    .missingField, file: path, found: "no `\(key)`", expected: "a whole number from 1 on")
            }
            return usual
        }
        guard let number = value.unsigned.flatMap({ Int(exactly: $0) }), (1...maximum).contains(number) else {
            throw invalid(key, value, "a whole number from 1 to \(maximum)")
        }
        return number
    }

    /// A finite number.
    func number(_ key: String, default usual: Double, in object: JSONValue? = nil) throws -> Double {
        guard let value = object.map({ $0[key] }) ?? value(key), value != .null else { return usual }
        guard let number = ConfigurationReader.double(value), number.isFinite else {
            throw invalid(key, value, "a finite number")
        }
        return number
    }

    private static func double(_ value: JSONValue) -> Double? {
        if case .number(let number) = value { return number }
        return value.unsigned.map { Double($0) }
    }

    /// Requires the activation SiLU, the only one of these families.
    func requireActivation() throws {
        let name = try text("hidden_act") ?? "silu"
        guard ["silu", "swish"].contains(name) else {
            throw unsupported("the activation `\(name.prefix(80))`", "silu")
        }
    }

    /// Base and scaling of the rotary frequencies: `rope_theta` and `rope_scaling`, or both in `rope_parameters` (transformers 5).
    func rotary() throws -> (base: Double, scaling: ModelHyperparameters.RotaryScaling) {
        let object = value("rope_parameters") ?? value("rope_scaling")
        let base = try number(
            "rope_theta", default: number("rope_theta", default: 10_000), in: value("rope_parameters"))
        guard let object else { return (base, .none) }
        guard object.object != nil else { throw invalid("rope_scaling", object, "an object") }
        let kind = (object["rope_type"] ?? object["type"])?.string ?? "default"
        func factor(_ key: String) throws -> Double {
            let factor = try number(key, default: 0, in: object)
            guard factor > 0, factor <= 1e9 else {
                throw invalid("rope_scaling", object, "`\(key)`, a number above 0")
            }
            return factor
        }
        switch kind {
        case "default": return (base, .none)
        case "linear": return (base, .linear(factor: try factor("factor")))
        case "llama3":
            return (
                base,
                .llama3(
                    factor: try factor("factor"), lowFactor: try factor("low_freq_factor"),
                    highFactor: try factor("high_freq_factor"),
                    originalContext: try factor("original_max_position_embeddings"))
            )
        default: throw unsupported("rotary positions of type `\(kind.prefix(80))`", "default, linear or llama3")
        }
    }

    /// Refuses attention in a window shorter than the context.
    func refuseWindow(context: Int, family: ModelHyperparameters.Family) throws {
        if family == .qwen2, try !flag("use_sliding_window", default: false) { return }
        guard let value = value("sliding_window") else { return }
        guard let window = value.unsigned else { throw invalid("sliding_window", value, "a whole number or null") }
        guard window >= UInt64(context) else {
            throw unsupported(
                "attention in a window of \(window) tokens", "no `sliding_window`, or one of all \(context)")
        }
    }
}
