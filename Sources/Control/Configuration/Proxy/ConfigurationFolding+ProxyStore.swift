// Where the JWT proxy shares what it knows with other instances. A store that is not there or cannot be understood stops the start, but for
// whoever takes over from go-ws-gateway-proxy, which goes on with its memory then.

import Policy
import SharedState

extension ConfigurationFolding {
    /// Checks `redis.url`, when what it is for is known.
    mutating func checkRedisURL(isTakenAsUnset: Bool, _ warnings: inout [String]) {
        guard draft.sources["redis.url"] != nil, let problem = ConfigurationSchema.checkRedisURL(draft.redisURL) else { return }
        guard isTakenAsUnset else { return fault("redis.url", ofVariable("REDIS_URL", "redis.url", problem)) }
        warnings.append("REDIS_URL is taken as if it were not set: \(problem)")
        draft.redisURL = ""
    }

    /// Settles which store it is.
    mutating func finishStore(_ warnings: inout [String]) {
        let store = draft.proxy.store
        let isCompat = draft.proxy.profile == "compat"
        let isWritten = draft.sources["jwt.store.kind"] != nil
        let hasRedis = !Quantity.trimmed(draft.redisURL).isEmpty
        if store.kind != "postgres", let problem = ConfigurationSchema.checkRedisURL(store.url) { fault("jwt.store.url", problem) }
        switch store.kind {
        case "redis" where !hasRedis:
            if isCompat {
                warnings.append("JWT_CACHE_STORE is redis and REDIS_URL is not set: revocations hold for this instance alone")
                draft.proxy.store.kind = "memory"
            } else {
                fault("jwt.store.kind", "redis needs jwt.store.url_file, redis.url or REDIS_URL")
            }
        case "postgres": finishPostgres(hasRedis: hasRedis, isCompat: isCompat, &warnings)
        // That program publishes revocations and counts messages in Redis wherever it caches tokens.
        case "memory" where hasRedis && (isCompat || !isWritten): draft.proxy.store.kind = "redis"
        default: break
        }
    }

    private mutating func finishPostgres(hasRedis: Bool, isCompat: Bool, _ warnings: inout [String]) {
        let store = draft.proxy.store
        let key = store.url.isEmpty ? "jwt.store.postgres_url" : "jwt.store.url"
        let problem = store.postgresSource.isEmpty ? "not set" : ConfigurationSchema.checkPostgresSource(store.postgresSource)
        guard let problem else {
            if !hasRedis {
                warnings.append("revocations are shared through Postgres; rates of messages and counts of sessions hold for each instance "
                    + "alone, unless redis.url is set, too")
            }
            return
        }
        if isCompat {
            warnings.append("JWT_CACHE_STORE is postgres and POSTGRES_DSN is \(problem): revocations "
                + (hasRedis ? "are shared through REDIS_URL" : "hold for this instance alone"))
            draft.proxy.store.kind = hasRedis ? "redis" : "memory"
        } else if store.postgresSource.isEmpty {
            fault("jwt.store.kind", "postgres needs jwt.store.url_file or POSTGRES_DSN")
        } else {
            fault(key, ofVariable("POSTGRES_DSN", key, problem))
        }
    }

    /// The words of a fault in the form variables have it, when the value comes from one.
    private func ofVariable(_ name: String, _ key: String, _ words: String) -> String {
        switch draft.sources[key] {
        case .environment?, .environmentFile?: "Invalid \(name): \(words)"
        default: words
        }
    }
}

extension ConfigurationSchema {
    /// Says nothing of the text itself, which holds a password.
    static func checkPostgresSource(_ text: String) -> String? {
        PostgresSettings(text) == nil
            ? "not a PostgreSQL URL or list of key=value; allowed: postgres://user:password@host:port/database?sslmode=verify-full with "
                + "special characters percent-encoded, or host=… dbname=… user=… password=…" : nil
    }
}

extension ProxyStoreDraft {
    /// What names the database, with its password.
    var postgresSource: String { Quantity.trimmed(url.isEmpty ? postgresURL : url) }
}
