// What one mapping of a configuration may hold: keys under dotted paths, and lists of further mappings. The file as a whole is
// one, and so is an item of `listeners`; both are folded, refused and printed by the same code.

/// The keys and lists of a mapping that is kept as `Root`.
struct ConfigurationMapping<Root> {
    /// What it is, for messages: `a listener`.
    var noun: String
    var keys: [ConfigurationKey<Root>]
    var lists: [ConfigurationList<Root>] = []

    /// Every name a file may have, by path.
    var knownPaths: [String] {
        keys.filter(\.inFile).flatMap { $0.isSecret ? [$0.path, $0.path + "_file"] : [$0.path] } + lists.map(\.path)
    }
}

/// A list of mappings, stored somewhere in `Root`.
struct ConfigurationList<Root> {
    /// Takes the node behind the list's name; the text is its full path.
    typealias Fold = (inout ConfigurationFolding, YAMLNode, String, ConfigurationFolding.SourceOf, inout Root) -> Void

    /// Dotted path from the top of the mapping.
    var path: String
    var documentation: String
    var fold: Fold
    /// Whether two roots hold the same items.
    var isSame: (Root, Root) -> Bool
    /// The items as a file would have them, at an indentation; nil when they are printed elsewhere.
    var lines: ((Root, String) -> [String])?
    /// The lines of the reference, at an indentation.
    var reference: (String) -> [String]

    /// - Parameters:
    ///   - make: a new item, by its place in the list.
    ///   - check: what is wrong with an item as a whole, after the path of the key it is said of.
    init<Item: Equatable>(
        _ path: String, of mapping: ConfigurationMapping<Item>, at place: WritableKeyPath<Root, [Item]>, make: @escaping (Int) -> Item,
        check: @escaping (Item) -> String? = { _ in nil }, _ documentation: String
    ) {
        self.path = path
        self.documentation = documentation
        fold = { folding, node, path, source, root in
            guard let items = folding.items(node, of: mapping, at: path, make: make, check: check, source) else { return }
            root[keyPath: place] = items
        }
        isSame = { $0[keyPath: place] == $1[keyPath: place] }
        lines = { root, indent in
            root[keyPath: place].enumerated().flatMap { index, item in
                ConfigurationText.item(item, unlike: make(index), of: mapping, indent: indent)
            }
        }
        reference = { ConfigurationText.reference(of: mapping, root: make(0), indent: $0) }
    }

    /// One that is read, compared and printed by code of its own.
    init(_ path: String, _ documentation: String, isSame: @escaping (Root, Root) -> Bool, fold: @escaping Fold) {
        self.path = path
        self.documentation = documentation
        self.fold = fold
        self.isSame = isSame
        reference = { _ in [] }
    }
}

extension ConfigurationFolding {
    /// Folds the entries of a mapping, or of a section of it, into `root`.
    /// - Parameters:
    ///   - prefix: the section's path in the mapping, empty or ending in a point.
    ///   - place: the mapping's own path, empty or ending in a point.
    mutating func fold<Root>(
        _ entries: [YAMLEntry], into root: inout Root, of mapping: ConfigurationMapping<Root>, prefix: String = "", at place: String,
        _ source: SourceOf
    ) {
        for entry in entries {
            let path = prefix + entry.key
            let full = place + path
            if full == entry.key, ConfigurationSchema.unavailableSections.contains(full) {
                refuse(source(entry.position), full, "section `\(full)` is not available in this version")
            } else if let list = mapping.lists.first(where: { $0.path == path }) {
                list.fold(&self, entry.value, full, source, &root)
            } else if let key = mapping.keys.first(where: { $0.inFile && $0.path == path }) {
                if entry.value.isNull { continue }
                if set(key, of: entry.value, in: &root, path: full, source) { draft.sources[full] = source(entry.value.position) }
            } else if let key = mapping.keys.first(where: { $0.inFile && $0.isSecret && $0.path + "_file" == path }) {
                foldSecretFile(key, entry.value, into: &root, at: place, path: full, source(entry.value.position))
            } else if mapping.knownPaths.contains(where: { $0.hasPrefix(path + ".") }) {
                if entry.value.isNull { continue }
                guard case .mapping(let inner) = entry.value.content else {
                    refuse(source(entry.value.position), full, "\(entry.value.shape) where the keys of section `\(full)` belong")
                    continue
                }
                fold(inner, into: &root, of: mapping, prefix: path + ".", at: place, source)
            } else {
                refuse(source(entry.position), full, unknown(entry.key, prefix: prefix, in: mapping.knownPaths))
            }
        }
    }

    /// The items of a list of mappings, those that are none left out; nil when the list itself is wrong or absent.
    mutating func items<Item>(
        _ node: YAMLNode, of mapping: ConfigurationMapping<Item>, at path: String, make: (Int) -> Item,
        check: (Item) -> String?, _ source: SourceOf
    ) -> [Item]? {
        if node.isNull { return nil }
        guard case .sequence(let nodes) = node.content else {
            refuse(source(node.position), path, "\(node.shape) where a list belongs; each item is \(mapping.noun)")
            return nil
        }
        guard nodes.count <= ConfigurationType.maximumListItems else {
            refuse(source(node.position), path, "more than \(ConfigurationType.maximumListItems) items")
            return nil
        }
        // What an earlier layer wrote here is gone, and with it where that came from.
        draft.sources = draft.sources.filter { !$0.key.hasPrefix(path + "[") }
        var items: [Item] = []
        for (index, item) in nodes.enumerated() {
            let itemPath = "\(path)[\(index)]"
            guard case .mapping(let entries) = item.content else {
                refuse(source(item.position), itemPath, "\(item.shape) where the keys of \(mapping.noun) belong")
                continue
            }
            var value = make(index)
            let faultsBefore = faults.count
            fold(entries, into: &value, of: mapping, at: itemPath + ".", source)
            if faults.count == faultsBefore, let problem = check(value) { refuse(source(item.position), itemPath, problem) }
            items.append(value)
        }
        draft.sources[path] = source(node.position)
        return items
    }

    private mutating func foldSecretFile<Root>(
        _ key: ConfigurationKey<Root>, _ node: YAMLNode, into root: inout Root, at place: String, path: String,
        _ source: ConfigurationSource
    ) {
        if node.isNull { return }
        guard case .scalar(let filePath, _) = node.content else {
            refuse(source, path, "\(node.shape) where the path of a file belongs")
            return
        }
        do {
            try key.store(&root, .text(Quantity.trimmed(try secret(at: filePath))))
            draft.sources[place + key.path] = source
        } catch {
            refuse(source, path, Self.words(error))
        }
    }

    private func unknown(_ name: String, prefix: String, in known: [String]) -> String {
        let siblings = known.filter { $0.hasPrefix(prefix) }.map { path in
            String(path.dropFirst(prefix.count).prefix { $0 != "." })
        }
        if let near = NearestName.find(name, among: siblings) { return "unknown key; did you mean `\(prefix)\(near)`?" }
        if let elsewhere = known.first(where: { $0.split(separator: ".").last.map(String.init) == name }) {
            return "unknown key; did you mean `\(elsewhere)`?"
        }
        if let near = NearestName.find(prefix + name, among: known) { return "unknown key; did you mean `\(near)`?" }
        return "unknown key; known here: \(Set(siblings).sorted().joined(separator: ", "))"
    }
}
