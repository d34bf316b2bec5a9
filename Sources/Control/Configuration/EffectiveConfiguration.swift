// The configuration as text: what is in force and why (`sluice check`), and what could be (`sluice help configuration`).

/// The effective configuration as YAML that can be loaded again, secrets masked.
struct EffectiveConfiguration {
    let schema: ConfigurationSchema
    let draft: ConfigurationDraft
    let configuration: Configuration

    var text: String {
        var lines = ConfigurationText.tree(
            schema.root, of: draft, prefix: "", indent: "",
            line: { key, name, indent in line(key, name: name, indent: indent) })
        lines.insert(contentsOf: listenerLines, at: 1)  // behind `shards`
        lines.append("# Set by the environment only:")
        for key in schema.keys where !key.inFile && !Self.listenerVariables.contains(key.path) {
            let value = key.type.variableText(key.read(draft))
            lines.append("#   \(key.variables[0])=\(value)\(comment(key.path))")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// These are part of the listeners that are printed.
    private static let listenerVariables: Set<String> = ["host", "port", "tls_enabled", "tls_cert_path", "tls_key_path"]

    private func line(_ key: ConfigurationSchema.Key, name: String, indent: String) -> String? {
        var value = key.type.fileText(key.printed(draft))
        // What is derived is shown as it came out.
        if key.path == "gateway.public_base_url", draft.publicBaseURL.isEmpty {
            value = "~  # derived: \(configuration.gateway.http.publicBaseURL)"
        }
        if key.path == "gateway.allowed_origins", draft.allowedOrigins.isEmpty {
            value = "~  # derived: \(configuration.gateway.origins.origins.sorted().joined(separator: ", "))"
        }
        if configuration.confinesDemonstration, ConfigurationFolding.demonstrationEgress.contains(key.path) {
            let isAnyPort = key.path == "tcp.allowed_ports" && configuration.demo.serviceAddress.port == 0
            return "\(indent)\(name): ~  # derived: \(isAnyPort ? "the port of the demonstration service" : value)"
        }
        // Written, they would make a relay that somebody configured.
        if key.path.hasPrefix("udp."), !configuration.udp.isConfigured { return "\(indent)# \(name): \(value)" }
        if key.path.hasPrefix("jwt."), !configuration.proxy.isConfigured { return nil }
        // Not written, and not the same as writing nothing.
        if key.path.hasPrefix("udp."), draft.sources[key.path] == nil,
            ["\"\"", "0s", "0B", "[]"].contains(value) || key.path == "udp.max_destination_buckets"
        {
            return "\(indent)\(name): ~"
        }
        if key.isSecret, value == "\"\"" {
            return "\(indent)\(name): ~" + (key.path == "sessions.secret" ? "  # random at every start" : "")
        }
        if key.isSecret || key.printed(draft) != key.read(draft) { return "\(indent)# \(name): \(value)\(comment(key.path))" }
        return "\(indent)\(name): \(value)\(comment(key.path))"
    }

    private func comment(_ path: String) -> String {
        draft.sources[path].map { "  # \($0.summary)" } ?? ""
    }

    private var listenerLines: [String] {
        var lines = ["listeners:\(comment("listeners"))"]
        for listener in configuration.listeners {
            lines.append("  - name: \(Quantity.quoted(listener.name))")
            lines.append("    address: \(Quantity.quoted("\(listener.address)"))")
            if !listener.features.isEmpty {
                lines.append("    features: [\(listener.features.map(\.rawValue).joined(separator: ", "))]")
            }
            // Left out, the printed file would serve plain text.
            if let tls = listener.tls {
                lines += ["    tls:", "      certificates:"]
                lines += tls.certificates.map {
                    "        - { cert: \(Quantity.quoted($0.certificatePath)), key: \(Quantity.quoted($0.keyPath)) }"
                }
            }
        }
        return lines
    }
}

/// Every key with what it accepts.
public enum ConfigurationReference {
    /// The reference as plain text.
    public static var text: String {
        let schema = ConfigurationSchema()
        let draft = ConfigurationDraft()
        var lines = [
            "Configuration of sluice",
            "",
            "One YAML file, given by --config FILE. Every value has a default; an empty file is valid.",
            "Later layers win: default, flag, file, environment. Every variable X may instead be given as X_FILE,",
            "the path of a file that holds the value (a mounted secret).",
            "",
            "listeners",
            "    A list of addresses to listen on. One listener on 0.0.0.0:8080 unless set.",
        ]
        lines += ConfigurationText.reference(of: ConfigurationSchema.listener, root: ListenerDraft(), indent: "    ")
        for key in schema.keys where key.inFile {
            lines += ["", key.path]
            lines.append("    \(key.documentation)")
            lines.append("    Accepts: \(key.type.allowed)")
            if key.needsRestart { lines.append("    Takes effect at a restart only") }
            lines.append("    Default: \(ConfigurationText.defaultText(key, of: draft))")
            if !key.variables.isEmpty {
                let allowed = key.isRelayed ? key.type.allowedInRelayVariables : key.type.allowedInEnvironment
                lines.append("    Environment: \(key.variables.joined(separator: ", ")) (\(allowed))")
            }
            if !key.flags.isEmpty { lines.append("    Flag: \(key.flags.map { "--\($0)" }.joined(separator: ", "))") }
        }
        for list in schema.root.lists where list.path != "listeners" {
            lines += ["", list.path, "    \(list.documentation)"] + list.reference("    ")
        }
        lines += ["", "Environment only"]
        for key in schema.keys where !key.inFile {
            lines.append(
                "    \(key.variables.joined(separator: ", ")): \(key.documentation) Accepts "
                    + "\(key.isRelayed ? key.type.allowedInRelayVariables : key.type.allowedInEnvironment).")
        }
        lines += [
            "",
            "Not available in this version: " + ConfigurationSchema.unavailableSections.map { "`\($0)`" }.joined(separator: ", "),
        ]
        return lines.joined(separator: "\n") + "\n"
    }
}
