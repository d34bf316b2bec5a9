import DNS
import Engine
import HTTP
import SessionGateway
import Wire

/// A request that waits for DNS.
struct PendingQuery {
    let request: PostponedRequest
    let admission: DNSAdmission
    let access: RequestAccess?
}

/// DNS over HTTPS between the HTTP server, the gateway and the DNS service.
extension ShardLoop {
    /// The shard timer of the DNS service.
    static let dnsTimer: UInt32 = 2

    /// Answers an admitted request, or puts it off. False when it waits.
    func answerDNS(_ index: UInt32, _ request: RequestView, _ admission: DNSAdmission, _ access: RequestAccess?) -> Bool {
        let client = DNSClient(address: admission.address, sessionID: admission.sessionID, isDocument: admission.isDocument)
        let outcome = admission.isDocument ? dns.answerDocument(request, from: client) : dns.answerQuery(request, from: client)
        switch outcome {
        case .answer(let answer):
            complete(admission, access, answer)
            http.respond(index, direct(admission, answer)) {
                gateway.writeFields(admission, contentType: answer.contentType, to: &$0)
            }
            return true
        case .waiting(let ticket):
            pendingQueries[ticket] = PendingQuery(request: http.postpone(index), admission: admission, access: access)
            return false
        }
    }

    /// Answers the requests whose answers have come.
    func answerFinished() {
        while let (ticket, answer) = dns.nextFinished() {
            guard let pending = pendingQueries.removeValue(forKey: ticket) else { continue }
            // Also when the client is gone: the query was made and answered.
            complete(pending.admission, pending.access, answer)
            let isThere = http.respond(to: pending.request, direct(pending.admission, answer)) {
                gateway.writeFields(pending.admission, contentType: answer.contentType, to: &$0)
            }
            if isThere { goOn(pending.request.index) }
        }
    }

    private func direct(_ admission: DNSAdmission, _ answer: DNSAnswer) -> HTTPServer.DirectResponse {
        HTTPServer.DirectResponse(status: answer.status, fieldBytes: gateway.fieldBytes(admission), body: answer.body)
    }

    private func complete(_ admission: DNSAdmission, _ access: RequestAccess?, _ answer: DNSAnswer) {
        gateway.complete(admission, status: answer.status)
        guard let access else { return }
        endAccess(access, status: answer.status, bytes: UInt64(answer.body.count))
        guard let record = answer.record, log.begin(.info, "dns", timeMilliseconds: WallClock.nowMilliseconds) else { return }
        log.field("reqId", access.requestID)
        log.field("qname", record.nameText)
        log.field("qtype", record.typeLabel)
        log.field("rcode", record.codeLabel)
        log.field("cacheHit", record.isCacheHit)
        log.commit()
    }
}
