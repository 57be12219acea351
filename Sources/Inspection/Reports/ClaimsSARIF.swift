import Container
package import TensorModel

/// Results of claims as SARIF 2.1.0, for code scanning.
package enum ClaimsSARIF {
    /// A log of one run with every rule that was checked. Only failed claims are results, because code scanning raises an alert for each.
    package static func json(_ report: ClaimsReport) -> JSONValue {
        let kinds = Claim.Kind.allCases.filter { kind in report.results.contains { $0.kind == kind } }
        let version = ContainerFormat.writer.split(separator: " ").last.map(String.init) ?? ""
        let driver = JSONValue.object([
            .init("name", .string("ingot")), .init("semanticVersion", .string(version)),
            .init("rules", .array(kinds.map { rule($0, report.words) })),
        ])
        return .object([
            .init("$schema", .string("https://json.schemastore.org/sarif-2.1.0.json")),
            .init("version", .string("2.1.0")),
            .init(
                "runs",
                .array([
                    .object([
                        .init("tool", .object([.init("driver", driver)])),
                        .init(
                            "results",
                            .array(
                                report.results.filter { $0.status == .fail }.map { result in
                                    self.result(result, kinds.firstIndex(of: result.kind) ?? 0, report)
                                })),
                    ])
                ])),
        ])
    }

    private static func rule(_ kind: Claim.Kind, _ words: Remedy.Words) -> JSONValue {
        .object([
            .init("id", .string(kind.rawValue)),
            .init("shortDescription", .object([.init("text", .string(kind.meaning))])),
            .init(
                "help",
                .object([
                    .init("text", .string("\(kind.meaning) Where it does not hold: \(kind.remedy.text(words))."))
                ])),
        ])
    }

    private static func result(_ result: ClaimResult, _ index: Int, _ report: ClaimsReport) -> JSONValue {
        var members: [JSONValue.Member] = [
            .init("ruleId", .string(result.kind.rawValue)), .init("ruleIndex", .unsigned(UInt64(index))),
        ]
        members.append(.init("level", .string(result.level == .error ? "error" : "warning")))
        let text = IngotErrorRenderer.escaped("\(result.title): \(report.message(result))")
        members.append(.init("message", .object([.init("text", .string(text))])))
        let place = result.line == nil ? report.subject : report.file ?? report.subject
        var physical: [JSONValue.Member] = [
            .init("artifactLocation", .object([.init("uri", .string(reference(place)))]))
        ]
        if let line = result.line {
            physical.append(.init("region", .object([.init("startLine", .unsigned(UInt64(line)))])))
        }
        var location: [JSONValue.Member] = [.init("physicalLocation", .object(physical))]
        if let offender = result.offender {
            location.append(
                .init("logicalLocations", .array([.object([.init("fullyQualifiedName", .string(offender))])])))
        }
        members.append(.init("locations", .array([.object(location)])))
        members.append(
            .init(
                "partialFingerprints",
                .object([.init("claim/v1", .string("\(result.kind.rawValue)/\(result.pattern ?? "")"))])))
        return .object(members)
    }

    /// A path as a URI reference: percent-encodes every byte that is not unreserved or `/`; an absolute path becomes a `file://` URI.
    static func reference(_ path: String) -> String {
        var text = path.hasPrefix("/") ? "file://" : ""
        for byte in path.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"), UInt8(ascii: "/"):
                text.unicodeScalars.append(UnicodeScalar(byte))
            default:
                text += "%" + NumberText.padded(byte, digits: 2, radix: 16).uppercased()
            }
        }
        return text
    }
}
