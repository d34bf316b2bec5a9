import HTTP

extension ProxyPlan {
    /// What is shared with other instances, for a scrape.
    ///
    /// - Parameter isConnected: whether Redis answers.
    func writeStore(to page: inout MetricsPage, isConnected: Bool) {
        let limits = common.limits
        let isUp = storeKind == "memory" || limits.denials.sharing == .current && (isConnected || storeKind != "redis")
        page.family("ws_store_up", "gauge", "Whether what other instances deny is known")
        page.sample("ws_store_up", "store=\"\(storeKind)\"", UInt64(isUp ? 1 : 0))
        page.gauge("sluice_proxy_denials", "Denied tokens, subjects and sessions that are known", UInt64(limits.denials.count))
        page.counter("sluice_proxy_denials_dropped_total", "Denials that found the list full", limits.denials.droppedCount)
        page.gauge("sluice_proxy_budgets", "Keys with a budget of messages", UInt64(limits.budgets.count))
        let instances = UInt64(limits.budgets.knownInstances)
        page.gauge("sluice_proxy_instances", "Instances that share denials and budgets, as last known", instances)
    }
}
