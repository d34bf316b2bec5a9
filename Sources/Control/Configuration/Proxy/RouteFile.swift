// `routes.yaml` of go-ws-gateway-proxy: a list of prefixes and upstreams (specification, section 4.1).

/// Reads a route file.
struct RouteFile {
    /// What one entry says.
    struct Entry: Equatable {
        var prefix = ""
        var upstream = ""
        var copiesSubprotocol = false
        var preservesQuery = false
    }

    /// Where the path is when nobody says so.
    static let defaultPath = "/etc/ws-gw/routes.yaml"

    var entries: [Entry] = []
    /// Every fault: where, the key with the entry's number, and the words.
    var faults: [(position: TextPosition, key: String, message: String)] = []

    init(_ bytes: [UInt8]) {
        do throws(YAMLError) {
            guard let root = try YAMLDocument.parse(bytes), !root.isNull else { return }
            guard case .sequence(let nodes) = root.content else {
                faults.append((root.position, "", "\(root.shape) where a list of routes belongs"))
                return
            }
            for (index, node) in nodes.enumerated() { read(node, index) }
        } catch {
            faults.append((error.position, "", error.message))
        }
    }

    private mutating func read(_ node: YAMLNode, _ index: Int) {
        let place = "[\(index)]"
        guard case .mapping(let fields) = node.content else {
            faults.append((node.position, place, "\(node.shape) where the keys of a route belong: prefix and upstream"))
            return
        }
        var entry = Entry()
        for field in fields where !field.value.isNull {
            switch field.key {
            case "prefix": text(field, place, &entry.prefix) { ConfigurationSchema.checkRoutePath($0) }
            case "upstream": text(field, place, &entry.upstream) { ConfigurationSchema.checkProxyUpstream($0) }
            case "copySubProtocol": flag(field, place, &entry.copiesSubprotocol)
            case "preserveQuery": flag(field, place, &entry.preservesQuery)
            default: break  // ignored, as that program does
            }
        }
        if entry.upstream.isEmpty, !faults.contains(where: { $0.key == place + ".upstream" }) {
            faults.append((node.position, place, "`upstream` is missing"))
        }
        entries.append(entry)
    }

    private mutating func text(_ field: YAMLEntry, _ place: String, _ value: inout String, _ check: (String) -> String?) {
        guard case .scalar(let text, _) = field.value.content else {
            faults.append((field.value.position, "\(place).\(field.key)", "\(field.value.shape) where a text belongs"))
            return
        }
        value = text
        if let problem = check(text) { faults.append((field.value.position, "\(place).\(field.key)", problem)) }
    }

    /// Switches have the spellings of YAML 1.1, as that program's parser does.
    private mutating func flag(_ field: YAMLEntry, _ place: String, _ value: inout Bool) {
        if case .scalar(let text, quoted: false) = field.value.content {
            if ["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"].contains(text) { return value = true }
            if ["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"].contains(text) { return value = false }
        }
        faults.append((field.value.position, "\(place).\(field.key)", "allowed: true or false"))
    }
}
