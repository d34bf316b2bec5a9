/// Whether clients of the JWT proxy should come to this instance, and what stands in the way (specification, section 21.1).
struct ProxyReadiness {
    let hasKeys: Bool
    let hasRoutes: Bool
    let isLeaving: Bool
    /// At least one endpoint's circuit is not open.
    let hasUpstream: Bool
    /// Without one the instance is not ready.
    let requiresUpstream: Bool

    init(_ plan: ProxyPlan?, _ common: ProxyCommon, isLeaving: Bool) {
        hasKeys = common.keys.isReady
        hasRoutes = plan != nil
        self.isLeaving = isLeaving
        hasUpstream = plan?.endpoints.contains { $0.state.circuit != .open } ?? false
        requiresUpstream = plan?.policy.draft.readyRequiresUpstream ?? false
    }

    var isReady: Bool { hasKeys && hasRoutes && !isLeaving && (hasUpstream || !requiresUpstream) }

    /// Body of `/readyz?verbose`.
    var document: JSONDocument {
        .object([
            ("ready", .flag(isReady)), ("keys", .flag(hasKeys)), ("routes", .flag(hasRoutes)), ("draining", .flag(isLeaving)),
            ("upstreams", .flag(hasUpstream)),
        ])
    }
}
