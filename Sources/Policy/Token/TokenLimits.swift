/// Bounds on what a stranger may make the verification of tokens read, keep or compute.
public enum TokenLimits {
    /// Longest compact token when a provider says nothing: a session cookie cannot be larger, and brokers take no longer password.
    public static let tokenBytes = 16_384
    /// Longest token that may be configured.
    public static let tokenBytesMaximum = 65_536
    /// Longest decoded header: `alg`, `kid`, `typ` and, from issuers that embed them, certificates.
    public static let headerBytes = 4096
    /// A header holds texts and, unused here, a key.
    public static let headerDepth = 4
    /// Longest decoded payload.
    public static let payloadBytes = 16_384
    /// Deepest payload: role lists by client by realm need four.
    public static let payloadDepth = 16
    /// Longest `kid`; thumbprints and certificate names are far shorter.
    public static let keyIDBytes = 256
    /// Longest `sub` (OpenID Connect Core section 8).
    public static let subjectBytes = 255
    /// Longest `jti`, `sid` and `iss`.
    public static let claimTextBytes = 1024
    /// Times are whole seconds that a double holds exactly.
    public static let timeMaximum = 9_007_199_254_740_992.0

    /// Bytes of all role names of a token together; they become one header field.
    public static let roleBytes = 8192
    /// Keys with the `kid` of the token that are tried, for sets that repeat it.
    public static let candidateKeys = 4

    /// Verified tokens a shard remembers.
    public static let cacheEntries = 16_384
    /// Memory that the remembered tokens of all shards together may take.
    public static let cacheProcessBytes = 33_554_432
    /// Longest time a verified token is remembered.
    public static let cacheMilliseconds: Int64 = 300_000
    /// How long a token whose signature failed is remembered.
    public static let failureMilliseconds: Int64 = 30_000
    /// Failed tokens a shard remembers, 64 bytes each.
    public static let failureEntries = 16_384
    /// Signatures a shard verifies in a second, in units of RSA with 2048 bits: about a quarter of a core.
    public static let verificationsPerSecond = 10_000

    /// Largest body of a key set or discovery document.
    public static let fetchBodyBytes = 1_048_576
    /// Most keys in a set.
    public static let keysPerSet = 1000
    /// A key set nests four deep; what else stands in it is skipped.
    public static let keySetDepth = 16
    /// Key ids that were unknown after a fetch and are refused without another.
    public static let unknownKeyIDs = 10_000
    /// How long they are.
    public static let unknownKeyIDMilliseconds: Int64 = 60_000
    /// Handshakes of a provider that wait for a fetch.
    public static let waitingForKey = 1000
    /// How long one waits.
    public static let waitForKeyMilliseconds: Int64 = 2000
    /// Fetches for unknown key ids that may follow each other at once.
    public static let refetchBurst = 5

    /// Denials that are kept, about 100 bytes each.
    public static let denials = 65_536
    /// Longest body of a revocation.
    public static let revocationBytes = 4096
}
