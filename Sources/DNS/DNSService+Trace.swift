import HTTP
import Wire

/// The trace a query belongs to, passed on to upstreams that speak HTTP (W3C Trace Context, level 1).
extension DNSService {
    /// The request's `traceparent` as it is, and the lines of its `tracestate` as one. Both are empty when the first is not valid, the
    /// second alone when it is longer than anybody has to pass on (section 3.3.1.5). Queries that join one under way share its trace.
    static func trace(_ request: RequestView) -> (parent: String, state: String) {
        guard request.count(.traceparent) == 1, let parent = request.first(.traceparent), TraceContext(parent.utf8.span) != nil,
            parent.utf8.count == TraceContext.fieldBytes
        else { return ("", "") }
        if request.count(.tracestate) == 0 { return (parent, "") }
        let state = request.all(.tracestate).joined(separator: ",")
        let isSound = state.utf8.count <= DNSLimits.traceStateBytes && state.utf8.allSatisfy { $0 == 9 || ($0 >= 0x20 && $0 < 0x7F) }
        return (parent, isSound ? state : "")
    }
}
