// The configuration while its layers are being folded: values that pass their own check, but are not yet known to go
// together. `ConfigurationDraft.finish` makes the whole of it.

import Policy

/// One listener in the making.
struct ListenerDraft: Equatable {
    struct Certificate: Equatable {
        var certificatePath = ""
        var keyPath = ""
    }

    var name = "public"
    var address = "0.0.0.0:8080"
    var features: [String] = []
    /// nil: plain text.
    var certificates: [Certificate]?
}

/// Every value of the configuration in the form it is written in.
struct ConfigurationDraft {
    var configuration = Configuration()
    var shards = 0
    var listeners = [ListenerDraft()]

    // The first listener, as the reference's variables address it.
    var host = ""
    var port = -1
    var tlsEnabled = false
    var tlsCertificatePath = ""
    var tlsKeyPath = ""

    var publicBaseURL = ""
    var allowedOrigins: [String] = []
    var sessionSecret = ""
    var sameSite = "Lax"
    var allowedHosts: [String] = []
    var blockedHosts: [String] = []
    var allowedPorts: [String] = []
    var blockedClients: [String] = []

    var dnsUpstreams = ["1.1.1.1:53", "8.8.8.8:53"]
    var relayBaseURL = ""
    var relayAuthentication = "none"
    var relayKey = ""
    var relaySecret = ""
    var relayLifetimeSeconds = 300
    var relayAudience = ""
    var relayIssuer = ""
    var l2FramePayloadBytes = 0
    var l2LegacyFramePayloadBytes = 0
    var l2ControlPayloadBytes = 0
    var gitRevision = ""

    var udp = RelayDraft()
    var proxy = ProxyDraft()
    var redisURL = ""
    var redisAuthorities = ""
    var redisPrefix = RedisSettings.defaultPrefix
    var demoAddress = "127.0.0.1:0"
    var adminAddress = ""
    var adminToken = ""
    var logLevel = "info"
    var logFormat = "json"

    /// Which keys were set, and by what.
    var sources: [String: ConfigurationSource] = [:]
}
