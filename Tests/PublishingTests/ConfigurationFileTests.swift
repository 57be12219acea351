import Publishing
import TensorModel
import TestSupport
import Testing

/// A model's `config.json`: what a conversion adds to it, and takes away again.
@Suite struct ConfigurationFileTests {
    @Test(arguments: ["{}", "{ }", "{\n}", "{\"a\":1}", "{\"quantization_config\":null,\"a\":1}", "{\"a\":{}\n}\n"])
    func configurationIsEditedAsText(text: String) throws {
        let directory = try TemporaryDirectory()
        try Files.write(text, to: directory.at("config.json"))
        var file = try ConfigurationFile(reading: directory.at("config.json"))
        try file.addQuantization([.init("bits", .unsigned(4))])
        let value = try JSONValue.parse(file.bytes)
        #expect(value.object?.last?.key == "quantization_config")
        #expect(value["a"] == (try JSONValue.parse(Array(text.utf8)))["a"])
        try file.removeQuantization()
        #expect(try JSONValue.parse(file.bytes)["quantization_config"] == nil)
        if !text.contains("quantization") { #expect(String(decoding: file.bytes, as: UTF8.self) == text) }
    }

    /// The member of a quantized source stays, wherever it stands, and comes back byte for byte.
    @Test(arguments: [
        "{\"quantization_config\":{\"quant_method\":\"fp8\"}}", "{\n \"quantization_config\": {} , \"a\": 1\n}\n",
        "{\"a\":1,\"quantization_config\":{\"bits\":4}}\n",
    ])
    func memberOfQuantizedSourceStays(text: String) throws {
        let directory = try TemporaryDirectory()
        try Files.write(text, to: directory.at("config.json"))
        var file = try ConfigurationFile(reading: directory.at("config.json"))
        try file.addQuantization([.init("bits", .unsigned(4))], keepsSource: true)
        let (value, before) = (try JSONValue.parse(file.bytes), try JSONValue.parse(Array(text.utf8)))
        #expect(value.object?.last?.key == "ingot_quantization_config")
        #expect(value["quantization_config"] == before["quantization_config"])
        try file.removeOwnQuantization()
        #expect(String(decoding: file.bytes, as: UTF8.self) == text)
    }

    /// Without a method there is nothing to keep: the member is Ingot's, as before.
    @Test(arguments: ["{}", "{\"quantization_config\":null,\"a\":1}"]) func nothingToKeep(text: String) throws {
        let directory = try TemporaryDirectory()
        try Files.write(text, to: directory.at("config.json"))
        var file = try ConfigurationFile(reading: directory.at("config.json"))
        try file.addQuantization([], keepsSource: true)
        let value = try JSONValue.parse(file.bytes)
        #expect(value.object?.last?.key == "quantization_config" && value["ingot_quantization_config"] == nil)
        try file.removeOwnQuantization()
        #expect(try JSONValue.parse(file.bytes)["quantization_config"] == nil)
    }

    @Test func nameThatIngotUses() throws {
        let directory = try TemporaryDirectory()
        try Files.write(
            "{\"quantization_config\":{},\"ingot_quantization_config\":1}", to: directory.at("config.json"))
        var file = try ConfigurationFile(reading: directory.at("config.json"))
        let error = #expect(throws: IngotError.self) { try file.addQuantization([], keepsSource: true) }
        #expect(error?.code == .unsupportedSource && error?.file?.hasSuffix("config.json") == true)
    }
}
