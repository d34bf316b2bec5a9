import Engine
import Wire

/// Where a client connects to: a scheme, a host and a port, with what is needed to trust it. An object, since every session has it in
/// several places.
public final class ClientEndpoint: Sendable {
    /// DNS name, or a numeric address without brackets.
    public let host: String
    /// Port.
    public let port: UInt16
    /// Whom to believe over TLS; nil for plain TCP.
    public let security: ClientSecurity?
    /// The address, with port 0, where the host is one.
    let address: SocketAddress?
    /// Value of `Host`: without a port that the scheme has anyway.
    public let authority: String

    /// An endpoint.
    public init(host: String, port: UInt16, security: ClientSecurity? = nil) {
        self.host = host
        self.port = port
        self.security = security
        address = SocketAddress(host, port: 0)
        let bracketed = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
        authority = port == (security == nil ? 80 : 443) ? bracketed : "\(bracketed):\(port)"
    }
}

/// One request and what may come back.
public struct ClientRequest: Sendable {
    /// A field of the head. The name must be a token, the value free of control characters, or the request fails.
    public struct Field: Sendable, Equatable {
        public var name: String
        public var value: String

        /// A field.
        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// What an upgrade to WebSocket asks for.
    public struct Upgrade: Sendable, Equatable {
        /// Offered in this order. The server may choose one of them or none; anything else fails.
        public var subprotocols: [String]
        /// The value of `Sec-WebSocket-Extensions`, or nil: then the server may choose none.
        public var extensions: String?

        /// What is offered.
        public init(subprotocols: [String] = [], extensions: String? = nil) {
            self.subprotocols = subprotocols
            self.extensions = extensions
        }
    }

    public var endpoint: ClientEndpoint
    public var method = HTTPMethod.get
    /// Path and query, as they stand in the request line.
    public var target: String
    /// Value of `Host`; nil for the endpoint's own.
    public var host: String?
    /// Fields beside those the client writes itself: `Host`, `Content-Length`, `Connection` and those of an upgrade.
    public var fields: [Field] = []
    /// More of them, behind those, as they stand in the head.
    public var lines = FieldLines()
    public var body: [UInt8] = []
    /// An upgrade to WebSocket instead of an exchange.
    public var upgrade: Upgrade?
    public var timeouts = ClientTimeouts()
    /// Nothing is sent: being connected, with TLS where the endpoint has it, is the answer, whose status is 0.
    public var connectsOnly = false
    /// Largest body of an answer.
    public var maximumBodyBytes = 1 << 20

    /// A GET.
    public init(_ endpoint: ClientEndpoint, target: String) {
        self.endpoint = endpoint
        self.target = target
    }
}

/// A stream that became a WebSocket. Whoever takes it gives it another owner at once: it is being read.
public struct ClientUpgraded {
    public let slot: SlotIndex
    /// What the server chose of those offered, or nil.
    public let subprotocol: String?
    /// The server's `Sec-WebSocket-Extensions` as it came, or nil.
    public let extensions: String?
    /// Bytes that came behind the head, or `.none`.
    public let leftover: (buffer: BufferIndex, start: Int, count: Int)
}

/// The answer to a plain request.
public struct ClientAnswer: Sendable {
    public let status: Int
    public let fields: [ClientRequest.Field]
    public let body: [UInt8]

    /// Value of the first field with this name, in any case.
    public func first(_ name: String) -> String? { fields.first { $0.name.lowercased() == name.lowercased() }?.value }
}

/// Why an exchange failed.
public enum ClientFailure: Error, Sendable, Equatable {
    /// The name has no address, or the resolver did not answer.
    case lookUp
    /// No slot, descriptor, buffer or memory is left here.
    case exhausted
    /// No address could be reached: the last errno.
    case refused(Int32)
    case connectTimeout
    /// TLS failed: why, when that is known.
    case tls(String)
    case tlsTimeout
    case answerTimeout
    /// The connection ended before the answer did.
    case ended
    /// The answer breaks HTTP, or its head is too long.
    case malformed
    /// The body is larger than it may be.
    case tooLarge
    /// An upgrade was answered with this status.
    case status(Int)
    /// 101 without the fields it must have, or with a wrong `Sec-WebSocket-Accept`.
    case handshake
    /// A subprotocol that was not offered.
    case subprotocol
    /// An extension that was not offered.
    case extensions
    /// The request cannot be written: a name or value that may not stand in a head.
    case request

    /// Whether time ran out: 504 instead of 502.
    public var isTimeout: Bool {
        switch self {
        case .connectTimeout, .tlsTimeout, .answerTimeout: true
        default: false
        }
    }

    /// Whether the endpoint is to blame: what a circuit breaker counts. Answers of 4xx are the request's fault.
    public var isEndpointFault: Bool {
        switch self {
        case .status(let status): status >= 500
        case .exhausted, .request: false
        default: true
        }
    }

    /// Whether another try may help.
    public var mayRetry: Bool {
        switch self {
        case .status(let status): ![401, 403, 404].contains(status)
        case .request, .tooLarge: false
        default: true
        }
    }

    /// One word for logs and metrics, of a closed set.
    public var label: StaticString {
        switch self {
        case .lookUp: "lookup"
        case .exhausted: "exhausted"
        case .refused: "refused"
        case .connectTimeout: "connect_timeout"
        case .tls: "tls"
        case .tlsTimeout: "tls_timeout"
        case .answerTimeout: "answer_timeout"
        case .ended: "ended"
        case .malformed: "malformed"
        case .tooLarge: "too_large"
        case .status: "status"
        case .handshake: "handshake"
        case .subprotocol: "subprotocol"
        case .extensions: "extensions"
        case .request: "request"
        }
    }
}

/// How an exchange ended.
public enum ClientResult {
    case upgraded(ClientUpgraded)
    case answered(ClientAnswer)
    case failed(ClientFailure)
}
