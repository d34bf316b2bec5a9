/// What differs between two configurations, by the names of the keys. Values are not told: some are secrets.
struct ConfigurationDifference: Equatable {
    /// Keys whose value differs and that a reload puts in force.
    var changed: [String] = []
    /// Keys whose value differs and that only a restart puts in force.
    var needingRestart: [String] = []

    init(from former: LoadedConfiguration, to latter: LoadedConfiguration) {
        for key in ConfigurationSchema().keys where key.read(former.draft) != key.read(latter.draft) {
            if key.needsRestart { needingRestart.append(key.path) } else { changed.append(key.path) }
        }
        for list in ConfigurationSchema().root.lists where list.path != "listeners" && !list.isSame(former.draft, latter.draft) {
            changed.append(list.path)
        }
        // The file has the same name and says something else.
        let (before, now) = (former.configuration, latter.configuration)
        for (path, isSame) in [
            ("dns.upstream_ca", before.gateway.dns.upstreamAuthoritiesDigest == now.gateway.dns.upstreamAuthoritiesDigest),
            ("redis.authorities", before.redis?.authoritiesDigest ?? "" == now.redis?.authoritiesDigest ?? ""),
        ] where !isSame && !changed.contains(path) { changed.append(path) }
        if former.configuration.listeners != latter.configuration.listeners { changed.append("listeners") }
    }
}

extension Configuration {
    /// This configuration with what only a restart changes as it is in `running`.
    func keeping(startOf running: Configuration) -> Configuration {
        var result = self
        result.shards = running.shards
        result.limits = running.limits
        result.limits.listenBacklog = limits.listenBacklog
        return result
    }
}
