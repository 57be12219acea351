/// Reports about several checkpoints as one JSON document, schema `ingot.inspect_list` version 1 (Specs/json.md).
enum InspectionList {
    /// The document in parts.
    ///
    /// - Parameter reports: the parts of each report; the last part of a report ends with a newline.
    static func parts(_ reports: [some Sequence<String>]) -> [String] {
        let opening = "{\n\"schema\": \"ingot.inspect_list\",\n\"schema_version\": 1,\n\"checkpoints\": [\n"
        var parts = [opening]
        for (index, report) in reports.enumerated() {
            if index > 0 { parts.append(",\n") }
            parts += report
        }
        return parts + ["]\n}\n"]
    }
}
