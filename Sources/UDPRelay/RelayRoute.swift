/// The closed set of paths of the relay. Exact, case-sensitive.
enum RelayRoute: String, CaseIterable {
    case healthz = "/healthz"
    case readyz = "/readyz"
    case version = "/version"
    case metrics = "/metrics"
    case session = "/session"
    case ice = "/webrtc/ice"
    case webrtcOffer = "/webrtc/offer"
    case signal = "/webrtc/signal"
    case offer = "/offer"
    case udp = "/udp"

    /// The methods it is for, as `Allow` has them.
    var allowed: String {
        switch self {
        case .session, .webrtcOffer, .offer: "POST"
        default: "GET, HEAD"
        }
    }

    /// Whether it is an endpoint of WebSockets.
    var isWebSocket: Bool { self == .signal || self == .udp }
}
