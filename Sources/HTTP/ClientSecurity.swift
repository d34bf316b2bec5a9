import Engine

/// How upstreams prove who they are, and we to them. Paths are read when a `ClientSecurity` is made.
public struct ClientSecuritySettings: Sendable, Hashable {
    /// PEM file of authorities; nil for the system's.
    public var authoritiesPath: String?
    /// Chain (PEM, leaf first) and key (PEM) shown to servers that ask for a certificate; both or neither.
    public var certificate: [UInt8] = []
    public var key: [UInt8] = []
    /// What the certificate must be for, and is asked for (SNI); nil for the endpoint's host.
    public var serverName: String?
    /// Refuse TLS 1.2.
    public var requires13 = false

    /// The system's authorities, the endpoint's own name.
    public init() {}
}

/// TLS towards upstreams: one context for each shard, because the library takes locks in a context. Made anew when files change.
public final class ClientSecurity: Sendable {
    public let settings: ClientSecuritySettings
    private let contexts: [TLSClientContext]

    /// Loads the files.
    public init(_ settings: ClientSecuritySettings, shards: Int) throws(TLSError) {
        self.settings = settings
        let pair = settings.certificate.isEmpty ? nil : TLSServerContext.Pair(chain: settings.certificate, key: settings.key)
        var contexts: [TLSClientContext] = []
        for _ in 0..<max(shards, 1) {
            contexts.append(
                try TLSClientContext(authoritiesPath: settings.authoritiesPath, certificate: pair, requires13: settings.requires13))
        }
        self.contexts = contexts
    }

    /// The context of a shard.
    public func context(_ shard: Shard) -> TLSClientContext { contexts[min(shard.index, contexts.count - 1)] }
}
