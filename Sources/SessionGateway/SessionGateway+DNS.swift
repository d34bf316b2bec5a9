import HTTP
import Policy
import Wire

/// A request of DNS over HTTPS that has passed everything but DNS itself.
public struct DNSAdmission {
    /// `/dns-json` rather than `/dns-query`.
    public let isDocument: Bool
    /// Effective client address.
    public let address: IPAddress
    /// The session it showed.
    public let sessionID: String
    /// Echoed in the answer, and named by the log.
    public let requestID: String
    let admitted: AdmittedRequest
    let method: HTTPMethod
    /// Lines for an allowed Origin; empty for none.
    let originLines: [UInt8]
}

/// What becomes of a plain request.
public enum PlainVerdict {
    /// Answer with this.
    case answer(Response)
    /// DNS answers; `writeFields` and `complete` are for its answer.
    case dns(DNSAdmission)
}

extension SessionGateway {
    /// Judges a plain request: its answer, or its admission to DNS, which may take its time.
    public func judge(_ request: RequestView, features: FeatureSet, requestID: String) -> PlainVerdict {
        let admitted: AdmittedRequest
        switch admit(request, requestID) {
        case .answered(let response): return .answer(response)
        case .admitted(let passed): admitted = passed
        }
        guard features.contains(.dns), isServed(admitted.route, request.method) else {
            return .answer(finish(request, admitted, 0, requestID, answer(admitted.route, request, features, admitted.origin)))
        }
        guard let session = presentedSession(request, WallClock.nowMilliseconds) else {
            return .answer(finish(request, admitted, 0, requestID, Problem(401, "unauthorized", "Missing or invalid session").response))
        }
        return .dns(
            DNSAdmission(
                isDocument: admitted.route == .dnsJSON, address: clientAddress(request), sessionID: session.sessionID, requestID: requestID,
                admitted: admitted, method: request.method, originLines: admitted.origin.map(originLines) ?? []))
    }

    private func isServed(_ route: Route, _ method: HTTPMethod) -> Bool {
        switch route {
        case .dnsQuery: method == .get || method == .head || method == .post
        case .dnsJSON: method == .get || method == .head
        default: false
        }
    }

    private func originLines(_ origin: Origin) -> [UInt8] {
        crossOriginFields(origin).flatMap { Array("\($0.name): \($0.value)\r\n".utf8) }
    }

    /// Bytes `writeFields` writes at most, without Content-Type.
    public func fieldBytes(_ admission: DNSAdmission) -> Int {
        commonLines.count + admission.requestID.utf8.count + admission.originLines.count + 256
    }

    /// Writes the fields of an answer from DNS.
    public func writeFields(_ admission: DNSAdmission, contentType: StaticString, to writer: inout ByteWriter) {
        writer.text("Content-Type: ")
        writer.text(contentType)
        writer.text("\r\nCache-Control: no-store\r\n")
        let lines = commonLines
        writer.bytes(lines.span)
        writer.text("X-Request-Id: ")
        writer.string(admission.requestID)
        writer.text("\r\n")
        let originLines = admission.originLines
        if !originLines.isEmpty { writer.bytes(originLines.span) }
    }

    /// Counts a request that DNS answered.
    public func complete(_ admission: DNSAdmission, status: Int) {
        count(admission.admitted, admission.method, status: status, secondsSinceArrival: 0)
    }
}
