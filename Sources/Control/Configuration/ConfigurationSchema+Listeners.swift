extension ConfigurationSchema {
    /// `listeners`.
    static var listeners: ConfigurationList<ConfigurationDraft> {
        ConfigurationList(
            "listeners", "A list of addresses to listen on. One listener on 0.0.0.0:8080 unless set.",
            isSame: { $0.listeners == $1.listeners },
            fold: { folding, node, path, source, draft in
                if case .sequence(let items) = node.content, items.isEmpty { return folding.refuseListeners(node, path, source) }
                if !node.isNull, node.shape != "a list" { return folding.refuseListeners(node, path, source) }
                let make = { (index: Int) in
                    var listener = ListenerDraft()
                    listener.name = index == 0 ? "public" : "listener-\(index + 1)"
                    return listener
                }
                let items = folding.items(node, of: listener, at: path, make: make, check: { _ in nil }, source)
                if let items, !items.isEmpty { draft.listeners = items }
            })
    }

    /// One item of `listeners`.
    static var listener: ConfigurationMapping<ListenerDraft> {
        ConfigurationMapping(
            noun: "a listener",
            keys: [
                .text("name", at: \.name, check: checkName, "Name of the listener in logs and metrics; unique."),
                .text("address", at: \.address, check: checkAddress, "IP address and port to listen on; port 0 picks a free one."),
                .list(
                    "features", of: "features (\(Feature.allCases.map(\.rawValue).joined(separator: ", ")))", at: \.features,
                    check: checkFeature, "What is served here; empty means everything that is configured."),
            ],
            lists: [
                ConfigurationList(
                    "tls", "{ certificates: [{ cert: FILE, key: FILE }] }. The first answers unknown names.",
                    isSame: { $0.certificates == $1.certificates }
                ) { folding, node, path, source, listener in
                    listener.certificates = folding.certificates(node, path, source)
                },
            ])
    }

    fileprivate static var certificate: ConfigurationMapping<ListenerDraft.Certificate> {
        ConfigurationMapping(
            noun: "a certificate",
            keys: [
                .text("cert", at: \.certificatePath, "PEM file with the certificate chain, leaf first."),
                .text("key", at: \.keyPath, "PEM file with the private key of the leaf."),
            ])
    }
}

extension ConfigurationFolding {
    fileprivate mutating func refuseListeners(_ node: YAMLNode, _ path: String, _ source: SourceOf) {
        refuse(
            source(node.position), path,
            "a list of at least one listener belongs here, for example [{ address: \"0.0.0.0:8080\" }]")
    }

    /// The certificates of a listener for which TLS was asked: never nil, even if something is wrong, so that it is never
    /// plain text instead.
    fileprivate mutating func certificates(_ node: YAMLNode, _ path: String, _ source: SourceOf) -> [ListenerDraft.Certificate] {
        guard case .mapping(let entries) = node.content, let list = entries.first(where: { $0.key == "certificates" }),
            case .sequence(let items) = list.value.content, !items.isEmpty
        else {
            refuse(
                source(node.position), path, "certificates are missing; write tls: { certificates: [{ cert: FILE, key: FILE }] }")
            return []
        }
        for entry in entries where entry.key != "certificates" {
            refuse(source(entry.position), "\(path).\(entry.key)", "unknown key; known here: certificates")
        }
        let certificates = self.items(
            list.value, of: ConfigurationSchema.certificate, at: path + ".certificates", make: { _ in ListenerDraft.Certificate() },
            check: {
                $0.certificatePath.isEmpty ? "`cert` is missing" : $0.keyPath.isEmpty ? "`key` is missing" : nil
            }, source)
        return certificates ?? []
    }
}
