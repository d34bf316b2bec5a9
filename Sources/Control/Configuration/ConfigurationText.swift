// Mappings as text: what is in force, as a file would have it, and what could be.

/// Printing of mappings and of the lists in them.
enum ConfigurationText {
    /// The keys and lists of a mapping under `prefix`, sections nested. `line` prints a key, or nothing.
    static func tree<Root>(
        _ mapping: ConfigurationMapping<Root>, of root: Root, prefix: String, indent: String,
        line: (ConfigurationKey<Root>, _ name: String, _ indent: String) -> String?
    ) -> [String] {
        var lines: [String] = []
        var written: Set<String> = []
        for path in mapping.keys.filter(\.inFile).map(\.path) + mapping.lists.map(\.path) where path.hasPrefix(prefix) {
            let rest = path.dropFirst(prefix.count)
            let name = String(rest.prefix { $0 != "." })
            guard written.insert(name).inserted else { continue }
            if name != rest {
                let inner = tree(mapping, of: root, prefix: prefix + name + ".", indent: indent + "  ", line: line)
                if !inner.isEmpty { lines += ["\(indent)\(name):"] + inner }
            } else if let key = mapping.keys.first(where: { $0.inFile && $0.path == path }) {
                if let text = line(key, name, indent) { lines.append(text) }
            } else if let items = mapping.lists.first(where: { $0.path == path })?.lines?(root, indent + "  "), !items.isEmpty {
                lines += ["\(indent)\(name):"] + items
            }
        }
        return lines
    }

    /// One item of a list: what of it differs from a new one.
    static func item<Item>(_ item: Item, unlike new: Item, of mapping: ConfigurationMapping<Item>, indent: String) -> [String] {
        var lines = tree(mapping, of: item, prefix: "", indent: indent + "  ") { key, name, indent in
            let value = key.read(item)
            if value == key.read(new) { return nil }
            return "\(indent)\(key.isSecret ? "# " : "")\(name): \(key.type.fileText(value))"
        }
        if lines.isEmpty { return ["\(indent)- {}"] }
        lines[0] = "\(indent)- " + lines[0].dropFirst(indent.utf8.count + 2)
        return lines
    }

    /// Every key of a list's items with what it accepts.
    static func reference<Item>(of mapping: ConfigurationMapping<Item>, root: Item, indent: String) -> [String] {
        var lines = mapping.keys.filter(\.inFile).map { key in
            "\(indent)- \(key.path): \(key.type.allowed). \(key.documentation) Default: \(defaultText(key, of: root))"
        }
        for list in mapping.lists {
            lines.append("\(indent)- \(list.path): \(list.documentation)")
            lines += list.reference(indent + "    ")
        }
        return lines
    }

    /// A key's default, for the reference.
    static func defaultText<Root>(_ key: ConfigurationKey<Root>, of root: Root) -> String {
        if let text = key.defaultText { return text }
        let value = key.type.fileText(key.read(root))
        return value == "\"\"" ? "empty" : value
    }
}
