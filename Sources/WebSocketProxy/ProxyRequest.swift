import Engine
import HTTP
import Policy
import Wire

/// An upgrade that passed the handshake's checks: what a session is made from.
///
/// The layer above parses the request, finds the route, checks origin and credentials, picks the endpoints in the order in which they
/// should be tried, and writes the fields that the upstream gets. The proxy dials, answers, and carries.
public struct ProxyRequest {
    /// The client's stream, taken from the HTTP server.
    public var client: SlotIndex
    /// The trimmed `Sec-WebSocket-Key`.
    public var webSocketKey: String
    /// Bytes that came behind the request's head: a buffer, or none.
    public var leftover: (buffer: BufferIndex, start: Int, count: Int)
    /// What log and admin interface tell of it.
    public var record: ConnectionRecord
    /// Who the client is; empty until it is known.
    public var identity = ProxyIdentity()
    /// Number of the route for counters, below 64; the layer above knows its name.
    public var route: UInt16 = 0
    public var settings = ProxySettings()
    public var admission: ProxyAdmission

    /// An upgrade with default settings.
    public init(client: SlotIndex, webSocketKey: String, leftover: (buffer: BufferIndex, start: Int, count: Int), record: ConnectionRecord,
                admission: ProxyAdmission) {
        self.client = client
        self.webSocketKey = webSocketKey
        self.leftover = leftover
        self.record = record
        self.admission = admission
    }
}

/// When the upstream is dialled.
public enum ProxyAdmission {
    /// The client is authenticated: it gets 101 when the upstream has given one, with the upstream's subprotocol and extensions, or an
    /// HTTP status.
    case dial(ProxyTarget)
    /// The client gets 101 at once, with this subprotocol. Its first data is shown to the layer above (`WebSocketProxy.onFirstData`), which
    /// admits or refuses it; not a byte leaves before.
    case firstData(subprotocol: String?)
}

/// An endpoint of a route.
public struct ProxyEndpoint: Sendable {
    public var endpoint: ClientEndpoint
    /// Path and query.
    public var target: String
    /// The layer above's number of it, for `ProxyDial`.
    public var number: UInt32
    /// What comes of it decides about its circuit: it is tried once.
    public var isOnTrial: Bool

    /// An endpoint.
    public init(_ endpoint: ClientEndpoint, target: String, number: UInt32 = 0, isOnTrial: Bool = false) {
        self.endpoint = endpoint
        self.target = target
        self.number = number
        self.isOnTrial = isOnTrial
    }
}

/// Where a session goes, and what the upstream is told.
public struct ProxyTarget: Sendable {
    /// In the order in which they are tried; tries after the last begin at the first again. Not empty.
    public var endpoints: [ProxyEndpoint]
    /// Fields of the upgrade beside those of HTTP and WebSocket themselves.
    public var lines = FieldLines()
    /// Value of `Host`; nil for the endpoint's.
    public var host: String?
    /// Subprotocols offered upstream, in order.
    public var subprotocols: [String] = []
    /// What the client is told of the upstream's choice, with `.dial`; nil: that choice as it is.
    public var agreement: SubprotocolAgreement?
    /// The client's `Sec-WebSocket-Extensions`, for permessage-deflate passed through: only with `.dial` and `.opaque`. nil: none
    /// is offered and none accepted.
    public var extensions: String?
    public var mode = ProxyMode.opaque
    /// What becomes of the client's first data, with `.dial`. Where it is shown none of `extensions` may be offered.
    public var first = ProxyFirst.leaves
    /// With `.dial`, a client whose upstream cannot be had is told by a Close behind a 101, with this subprotocol; nil: by a status.
    public var refusal: Refusal?
    /// Of a session that speaks MQTT and is `.inspected`: what is demanded of it, and how many bytes of what is sent first are its
    /// CONNECT, which was judged. Only after `.firstData`. Without, nothing is judged.
    public var inspection: (demands: MQTTInspection, connectBytes: Int)?
    public var timeouts = ClientTimeouts()
    /// When the session ends at the latest, in milliseconds from now; nil for never.
    public var endsInMilliseconds: UInt64?
    /// It ends then because of its age, not because its token does.
    public var endsByAge = false
    /// The rate of the client's messages, and the cell of whom it is counted for; nil for none.
    public var rate: (MessageRate, MessageRateCell)?

    /// A 101 in front of a Close.
    public struct Refusal: Sendable {
        /// Answered, since a browser that offered some and gets none does not see the Close.
        public var subprotocol: String?

        /// With a subprotocol.
        public init(subprotocol: String?) { self.subprotocol = subprotocol }
    }

    /// A target without anything special.
    public init(endpoints: [ProxyEndpoint]) {
        precondition(!endpoints.isEmpty)
        self.endpoints = endpoints
    }
}

/// What becomes of the first data of a client that has its upstream.
public enum ProxyFirst: UInt8, Sendable {
    /// It goes on.
    case leaves
    /// It is shown to the layer above (`WebSocketProxy.onFirstData`), which admits or refuses it; not a byte leaves before. What the
    /// upstream says meanwhile goes on.
    case shown
    /// The same, and it has to come in time (`ProxySettings.firstDataMilliseconds`).
    case awaited
}

/// How frames are carried.
public enum ProxyMode: UInt8, Sendable {
    /// As they come: only their headers are looked at.
    case opaque
    /// As a stream of bytes in binary messages (MQTT): payloads are unmasked, shown to the inspection, and framed anew.
    case inspected
}

/// Who a session belongs to: what revocation and other closing look for. Times in seconds since 1970.
public struct ProxyIdentity: Sendable, Equatable {
    public var issuer = ""
    public var subject = ""
    public var tokenID = ""
    public var sessionID = ""
    public var keyID = ""
    public var issuedAt: Int64 = 0

    /// Nobody.
    public init() {}
}

/// The first data of a client that is not authenticated yet.
public struct ProxyFirstData {
    /// Names the session in `admit` and `refuse`.
    public let ticket: ProxyTicket
    /// That of its request.
    public let record: ConnectionRecord
    /// Payload so far, unmasked, of all messages together.
    public let bytes: UnsafeRawBufferPointer
    /// Whether the first message is text.
    public let isText: Bool
    /// Whether a message ends where the bytes end.
    public let endsMessage: Bool
}

/// A session that waits for a verdict. It may be gone when the verdict comes.
public struct ProxyTicket: Sendable, Equatable {
    let index: UInt32
    let life: UInt32
}

/// What the layer above says of first data.
public enum ProxyVerdict {
    /// More is needed.
    case more
    /// `admit` or `refuse` follows; nothing is read meanwhile.
    case later
    case admit(ProxyAdmit)
    case refuse(ProxyRefusal)
}

/// An authenticated client.
public struct ProxyAdmit {
    /// Where it goes; nil for one that has its upstream.
    public var target: ProxyTarget?
    public var identity: ProxyIdentity
    /// Of one that has its upstream and speaks MQTT which is judged from here on: as `ProxyTarget.inspection`.
    public var inspection: (demands: MQTTInspection, connectBytes: Int)?
    /// Sent upstream instead of the first bytes that were shown, as one message with what was shown behind them; nil for those as they are.
    public var replacement: (of: Int, by: [UInt8])?
    /// What the client gets in front of its Close when there is no upstream for it after all: one binary message (an MQTT CONNACK).
    public var unavailable: [UInt8] = []

    /// Admits with the bytes as they came.
    public init(_ target: ProxyTarget?, identity: ProxyIdentity) {
        self.target = target
        self.identity = identity
    }
}

/// A client that is not let in: one binary message (an MQTT CONNACK), if any, then Close.
public struct ProxyRefusal {
    public var message: [UInt8]
    public var close: ProxyClose

    /// A message and a Close.
    public init(_ close: ProxyClose, message: [UInt8] = []) {
        self.close = close
        self.message = message
    }
}
