// The JWT proxy's configuration while its layers are being folded: every value in the form it is written in.
//
// What a profile decides when nobody wrote it begins unset: an empty text, or `unset` for amounts. `finishProxy` settles it, so that
// the effective configuration shows what is in force.

/// Stands for an amount nobody wrote.
enum ProxyAmount {
    static let unset = -1
}

/// Section `jwt`.
struct ProxyDraft: Equatable {
    var profile = ""
    var address = ""
    var trustedProxies: [String] = []
    var origins: [String] = []
    var allowsMissingOrigin = true
    var cookieName = "session"
    var realm = "sluice"
    var publicHost = ""
    var routeFile = ""
    var onRouteRemoved = "keep"
    var onKeyPurge = "close"
    var stateDirectory = ""

    var limits = ProxyLimitsDraft()
    var rate = ProxyRateDraft()
    var timeouts = ProxyTimeoutsDraft()
    var dial = ProxyDialDraft()
    var breaker = ProxyBreakerDraft()
    var store = ProxyStoreDraft()
    var drain = ProxyDrainDraft()
    var readyRequiresUpstream = false
    var closeCodes = ""
    var publicMetrics = ""
    var subjectLabels = false
    var hashesSubject = false
    var adminAddress = ""
    var adminToken = ""

    var providers: [ProxyProviderDraft] = []
    var routes: [ProxyRouteDraft] = []

    // What the reference's variables say of the first provider and of implicit routes.
    var keySetURL = ""
    var keySetMinutes = ProxyAmount.unset
    var expectedIssuer = ""
    var expectedAudiences: [String] = []
    var algorithms: [String] = []
    var upstreamURL = ""
    var rawUpstreamURL = ""
}

/// `jwt.limits`, and `limits` of a route as far as it has them.
struct ProxyLimitsDraft: Equatable {
    var sessions = 200_000
    var connectionsPerAddress = 256
    var handshakes = 10_000
    var handshakesPerAddress = 64
    var handshakesPerSecond = 20
    var handshakeBurst = 50
    var failuresPerMinute = 10
    var sessionsPerSubject = 32
    var evict = "reject"
    var sessionsPerAddress = 0
    var firstMessageBytes = 65_536
    var packetBytes = 262_144
    var subscriptions = 1000
    var tokenBytes = 16_384
    var verificationsPerSecond = 10_000
    var bufferBytes = 65_536
}

/// `jwt.rate` and `rate` of a route.
struct ProxyRateDraft: Equatable {
    var messagesPerSecond = ProxyAmount.unset
    var burst = ProxyAmount.unset
    var bytesPerSecond = ProxyAmount.unset
    var action = ""
    var scope = ""
}

/// `jwt.timeouts` and, as far as they are a route's, its `timeouts`.
struct ProxyTimeoutsDraft: Equatable {
    var headMilliseconds = 5000
    var firstMessageMilliseconds = 10_000
    var deadPeerSeconds = 60
    var writeSeconds = 10
    var controlSeconds = 1
    var appIdleMilliseconds = 0
}

/// `jwt.dial`.
struct ProxyDialDraft: Equatable {
    var connectMilliseconds = 3000
    var tlsMilliseconds = 5000
    var handshakeMilliseconds = 5000
    var totalMilliseconds = 10_000
    var attempts = 3
    var retryDelayMilliseconds = ProxyAmount.unset
    var retryDelaySeconds = ProxyAmount.unset
    var deadlineMilliseconds = 10_000
}

/// `jwt.breaker`.
struct ProxyBreakerDraft: Equatable {
    var failures = 5
    var openSeconds = 60
    var probeIntervalSeconds = 30
}

/// `jwt.store`.
struct ProxyStoreDraft: Equatable {
    var kind = "memory"
    var url = ""
    var postgresURL = ""
    var prefix = "jwt_cached_token_"
    var failure = "open"
    var revocationSeconds = 86_400
}

/// `jwt.drain`.
struct ProxyDrainDraft: Equatable {
    var delayMilliseconds = 5000
    var timeoutSeconds = 30
    var hardLimitSeconds = 5
    var spreadPercent = 80
    var code = 1001
    var isStrict = false
}

/// One condition on the claims of a token.
struct ProxyClaimRuleDraft: Equatable {
    var claim = ""
    var equals = ""
    var contains = ""
    var matches = ""
}

/// One item of `jwt.providers`.
struct ProxyProviderDraft: Equatable {
    var name = ""
    var issuer = ""
    var allowsAnyIssuer = false
    var keySetURL = ""
    var discovers = false
    var keySetPath = ""
    var publicKeys: [String] = []
    var secret = ""
    var audiences: [String] = []
    var allowsAnyAudience = false
    var algorithms: [String] = []
    var leewaySeconds = 30
    var refreshSeconds = 600
    var maximumStale = "24h"
    var keyGraceSeconds = 0
    var minimumRefetchSeconds = 10
    var missingKey = "reject"
    var requiresType = false
    var requiresExpiry = true
    var requiresSubject = true
    var maximumAgeSeconds = 0
    var scopes: [String] = []
    var clients: [String] = []
    var allowsPlainHTTP = false
    var authoritiesPath = ""
    var requestHeaders: [ConfigurationPair] = []
    var rules: [ProxyClaimRuleDraft] = []
}

/// One item of a route's `upstreams`.
struct ProxyUpstreamDraft: Equatable {
    var url = ""
    var weight = 1
    /// Which sessions it takes: of both protocols, or of one.
    var carries = "auto"
}

/// One item of `authz.rules`.
struct ProxyTopicRuleDraft: Equatable {
    var claim = ""
    var equals = ""
    var contains = ""
    var publish: [String] = []
    var subscribe: [String] = []
}

/// One item of `jwt.routes`.
struct ProxyRouteDraft: Equatable {
    var name = ""
    var hosts: [String] = []
    var prefix = ""
    var path = ""
    var match = ""
    var carries = "auto"
    var upstreams: [ProxyUpstreamDraft] = []
    var balance = "least_sessions"
    var appendsPath = false
    var rewritePrefix = ""
    var subprotocols: [String] = []
    var subprotocolChoice = ""
    var subprotocolMismatch = ""
    var query = ["drop"]
    var dial = "auto"
    var compression = "off"
    var inspect = "auto"
    var expiry = "close"
    var graceSeconds = 0
    var maximumSessionSeconds = 0
    var maximumMessageBytes = ProxyAmount.unset
    var mask = "preserve"
    var ping = "hop"
    var health = "tcp"
    var healthTokenPath = ""
    var relaysStatus = false

    var authentication = ProxyRouteAuthenticationDraft()
    var identity = ProxyRouteIdentityDraft()
    var mqtt = ProxyRouteMQTTDraft()
    var authorization = ProxyRouteAuthorizationDraft()
    var tls = ProxyRouteTLSDraft()
    var rate = ProxyRateDraft()
    /// Overrides of `jwt.limits` and `jwt.timeouts`.
    var sessions = 0
    var sessionsPerAddress = ProxyAmount.unset
    var packetBytes = ProxyAmount.unset
    var subscriptions = ProxyAmount.unset
    var firstMessageMilliseconds = ProxyAmount.unset
    var deadPeerSeconds = ProxyAmount.unset
    var writeSeconds = ProxyAmount.unset
    var appIdleMilliseconds = ProxyAmount.unset

    /// The name in logs and metrics.
    var label: String { name.isEmpty ? (path.isEmpty ? prefix : path) : name }
}

/// `auth` of a route.
struct ProxyRouteAuthenticationDraft: Equatable {
    var providers: [String] = []
    var sources: [String] = []
    var isRequired = true
    var reject = ""
    var scopes: [String] = []
    var keepsCredentialQuery = ""
    var rules: [ProxyClaimRuleDraft] = []
}

/// `upstream` of a route: what it is told of the client.
struct ProxyRouteIdentityDraft: Equatable {
    var token = ""
    var rolesHeader = ""
    var claims: [ConfigurationPair] = []
    var headers = ["User-Agent"]
    var host = "upstream"
}

/// `mqtt` of a route.
struct ProxyRouteMQTTDraft: Equatable {
    var password = "keep"
    var username = "keep"
    var clientIdentifier = "any"
    var roles = ""
    var lenientPassword = ""
    var answersRefusal = true
}

/// `authz` of a route.
struct ProxyRouteAuthorizationDraft: Equatable {
    var modes: [String] = ["off"]
    var combine = "all"
    var claim = ""
    var resourceServer = ""
    var scopePrefix = ""
    var vhost = "/"
    var exchange = "amq.topic"
    var aliases: [ConfigurationPair] = []
    var deny = "drop"
    var allowsSlash = false
    var rules: [ProxyTopicRuleDraft] = []
}

/// `tls` of a route: how `wss` upstreams are dialled.
struct ProxyRouteTLSDraft: Equatable {
    var authoritiesPath = ""
    var certificatePath = ""
    var keyPath = ""
    var serverName = ""
    var minimumVersion = "1.2"
}
