package import TensorModel

/// Writes headers of safetensors files.
package enum SafetensorsWriter {
    /// A tensor to write. Entries are in the order of the data.
    package struct Entry: Sendable, Hashable {
        /// The name.
        package let name: TensorName
        /// The type of the elements.
        package let elementType: ElementType
        /// The dimensions.
        package let shape: Shape
        /// Bytes in the file. They must match type and shape.
        package let byteCount: UInt64

        /// Makes an entry.
        package init(name: TensorName, elementType: ElementType, shape: Shape, byteCount: UInt64) {
            self.name = name
            self.elementType = elementType
            self.shape = shape
            self.byteCount = byteCount
        }
    }

    /// The first bytes of a file: length, header, and spaces up to a multiple of 8 bytes. The data of the tensors follow in the given
    /// order, without gaps.
    ///
    /// - Throws: an error for anything that `SafetensorsHeader.parse` would refuse: the name `__metadata__`, a name that occurs twice, NUL,
    ///   a byte count that does not match type and shape, a limit that is exceeded.
    package static func header(
        tensors: [Entry], metadata: [SafetensorsHeader.MetadataEntry] = [], limits: Limits = .standard
    ) throws -> [UInt8] {
        guard tensors.count <= min(limits.tensorsPerFile, NameTable.capacity) else {
            throw IngotError(
                .tooManyTensors, found: "\(tensors.count) tensors", expected: "at most \(limits.tensorsPerFile)",
                remedy: "write more shards")
        }
        var text = "{"
        if !metadata.isEmpty { try append(metadata, to: &text) }
        var names = NameTable()
        var offset: UInt64 = 0
        for (index, tensor) in tensors.enumerated() {
            do {
                try check(tensor, limits: limits)
                guard names.insert(tensor.name, at: index, stored: { tensors[$0].name }) == nil else {
                    throw refusal(.duplicateKey, "a tensor's name a second time")
                }
                guard let end = Checked.add(offset, tensor.byteCount) else {
                    throw refusal(.invalidOffsets, "more than 2^64 bytes of data")
                }
                if text.utf8.count > 1 { text += "," }
                append(tensor, from: offset, to: end, to: &text)
                offset = end
            } catch var error as IngotError {
                error.tensor = tensor.name
                throw error
            }
        }
        text += "}"
        return try framed(text, limits: limits)
    }

    private static func refusal(_ code: IngotError.Code, _ found: String, expected: String? = nil) -> IngotError {
        IngotError(code, found: found, expected: expected, remedy: "rename the tensor, or leave it out")
    }

    private static func check(_ tensor: Entry, limits: Limits) throws {
        let name = tensor.name
        guard name != SafetensorsFormat.metadataKey else {
            throw refusal(.reservedName, "a tensor named `__metadata__`, which the format reserves")
        }
        guard name.text.utf8.count <= limits.nameBytes else {
            throw refusal(
                .nameTooLong, "a name of \(name.text.utf8.count) bytes", expected: "\(limits.nameBytes) at most")
        }
        guard !name.text.utf8.contains(0) else { throw refusal(.invalidText, "NUL in a name") }
        guard tensor.shape.dimensions.count <= limits.rank else {
            throw refusal(
                .invalidShape, "\(tensor.shape.dimensions.count) dimensions", expected: "at most \(limits.rank)")
        }
        guard let size = tensor.elementType.byteCount(of: tensor.shape) else {
            throw refusal(.invalidShape, "\(tensor.elementType.rawValue) \(tensor.shape), no whole number of bytes")
        }
        guard size == tensor.byteCount else {
            throw refusal(
                .invalidOffsets, "\(tensor.byteCount) bytes for \(tensor.elementType.rawValue) \(tensor.shape)",
                expected: "\(size) bytes")
        }
    }

    private static func append(_ tensor: Entry, from begin: UInt64, to end: UInt64, to text: inout String) {
        JSONValue.writeString(tensor.name.text, to: &text)
        text += ":{\"dtype\":\"\(tensor.elementType.rawValue)\",\"shape\":["
        text += tensor.shape.dimensions.map(String.init).joined(separator: ",")
        text += "],\"data_offsets\":[\(begin),\(end)]}"
    }

    private static func append(_ metadata: [SafetensorsHeader.MetadataEntry], to text: inout String) throws {
        JSONValue.writeString(SafetensorsFormat.metadataKey.text, to: &text)
        text += ":{"
        var keys = NameTable()
        for (index, entry) in metadata.enumerated() {
            let twin = keys.insert(TensorName(entry.key), at: index) { TensorName(metadata[$0].key) }
            guard twin == nil else {
                throw IngotError(.duplicateKey, found: "the metadata key `\(entry.key)` a second time")
            }
            guard !entry.key.utf8.contains(0), !entry.value.utf8.contains(0) else {
                throw IngotError(.invalidText, found: "NUL in the metadata entry `\(entry.key)`")
            }
            if index > 0 { text += "," }
            JSONValue.writeString(entry.key, to: &text)
            text += ":"
            JSONValue.writeString(entry.value, to: &text)
        }
        text += "}"
    }

    /// Frames the text with its length and its padding.
    private static func framed(_ text: String, limits: Limits) throws -> [UInt8] {
        let count = text.utf8.count
        let padding =
            (SafetensorsFormat.dataAlignment - count % SafetensorsFormat.dataAlignment)
            % SafetensorsFormat.dataAlignment
        let length = UInt64(count + padding)
        guard length <= limits.headerBytes else {
            throw IngotError(
                .headerTooLarge, found: "a header of \(length) bytes", expected: "at most \(limits.headerBytes) bytes",
                remedy: "write more shards")
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + padding + Int(SafetensorsFormat.lengthBytes))
        for byte in 0..<SafetensorsFormat.lengthBytes { bytes.append(UInt8(truncatingIfNeeded: length >> (8 * byte))) }
        bytes.append(contentsOf: text.utf8)
        bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: padding))
        return bytes
    }
}
