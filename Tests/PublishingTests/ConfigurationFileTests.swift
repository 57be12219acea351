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
}
