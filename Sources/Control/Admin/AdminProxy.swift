import HTTP
import Policy
import Wire

/// What the admin interface has of the JWT proxy.
///
/// | request | answer |
/// |---|---|
/// | `POST /admin/revoke` | `{sub, jti}`, `{jti}`, `{sub, before?}` or `{sid}`, with `iss?`, `exp?`: `{"closed": n, "entries": 1}` |
/// | `GET /admin/jwks` | providers with their keys' ids, ages and states |
/// | `POST /admin/jwks/purge` | forgets fetched keys, or the one of `?kid=`, and fetches again |
/// | `GET /admin/sessions` | its live connections, as `/connections` |
///
/// A revocation that nobody shares says `"scope": "local"`. One that other instances could not be told of is answered with 500; it holds
/// here, and they are told when the store is back.
enum AdminProxy {
    typealias Handler = (HTTPMethod) -> AdminInterface.Answer

    /// Methods of a resource, none when there is no such, and its handler.
    static func route(_ path: String, _ request: RequestView, _ plan: ProxyPlan?) -> ([HTTPMethod], Handler) {
        guard let plan else { return none }
        switch path {
        case "/admin/revoke": return ([.post], { _ in revoke(request, plan) })
        case "/admin/jwks": return ([.get], { _ in .response(AdminInterface.json(keys(plan))) })
        case "/admin/jwks/purge": return ([.post], { _ in purge(request, plan) })
        case "/admin/sessions":
            return ([.get], { _ in
                var query = ConnectionQuery()
                query.feature = "proxy"
                query.limit = ConnectionQuery.limitMaximum
                return .exchange(.connections(query))
            })
        default: return none
        }
    }

    private static var none: ([HTTPMethod], Handler) { ([], { _ in .response(Response(status: 404)) }) }

    private static func revoke(_ request: RequestView, _ plan: ProxyPlan) -> AdminInterface.Answer {
        guard request.body.count <= TokenLimits.revocationBytes else {
            return .response(AdminInterface.problem(413, "too_large", "The body may have \(TokenLimits.revocationBytes) bytes"))
        }
        let body = Span(_unsafeElements: request.body.assumingMemoryBound(to: UInt8.self))
        let now = Double(WallClock.nowMilliseconds) / 1000
        do throws(Revocation.Failure) {
            let leeway = plan.policy.providers.map(\.provider.leewaySeconds).max() ?? 0
            return .exchange(.deny(try Revocation(
                json: body, nowSeconds: now, lifetimeSeconds: plan.policy.draft.store.revocationSeconds, leewaySeconds: leeway)))
        } catch {
            return .response(line(400, error.text))
        }
    }

    /// Answers in the words of go-ws-gateway-proxy.
    private static func line(_ status: Int, _ text: String) -> Response {
        Response(status: status, fields: [(name: "Content-Type", value: "text/plain; charset=utf-8")], body: Array((text + "\n").utf8))
    }

    /// What a denial came to.
    static func denied(_ closed: Int, _ reach: DenialTable.Reach) -> Response {
        let members: [(String, JSONDocument)] = [("closed", .number(closed)), ("entries", 1)]
        switch reach {
        case .shared: return AdminInterface.json(.object(members))
        case .local: return AdminInterface.json(.object(members + [("scope", "local")]))
        case .refused: return line(500, "cache eviction failed")
        case .unreachable: return line(500, "failed to publish revocation")
        }
    }

    /// No more tokens can be denied.
    static var isFull: Response { AdminInterface.problem(503, "unavailable", "No more tokens can be denied; those that are stay so") }

    private static func keys(_ plan: ProxyPlan) -> JSONDocument {
        .object([("providers", .array(plan.common.keys.readings.map { reading in
            .object([
                ("name", .string(reading.name)), ("ready", .flag(reading.isReady)), ("keys", .number(reading.keys)),
                ("kids", JSONDocument(reading.keyIDs)), ("states", JSONDocument(reading.states.map(\.rawValue))),
                ("ageSeconds", reading.ageMilliseconds.map { .fraction(Double($0) / 1000) } ?? .null),
            ])
        }))])
    }

    private static func purge(_ request: RequestView, _ plan: ProxyPlan) -> AdminInterface.Answer {
        let pairs = AdminInterface.pairs(request)
        guard pairs.count <= 1, pairs.allSatisfy({ $0.name == "kid" }) else {
            return .response(AdminInterface.problem(400, "bad_request", "unknown parameter; known: kid"))
        }
        let gone = plan.common.keys.purge(keyID: pairs.first?.value)
        return .exchange(.closeSigned(plan.policy.draft.onKeyPurge == "close" ? gone : []))
    }
}
