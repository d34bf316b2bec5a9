import HTTP
import Policy
import Wire

/// What the admin interface has of the JWT proxy.
///
/// | request | answer |
/// |---|---|
/// | `POST /admin/revoke` | body `{sub, jti}`, `{jti}`, `{sub, before?}` or `{sid}`, each with `iss?` and `exp?`: `{"closed": n}` |
/// | `GET /admin/jwks` | providers with their keys' ids, ages and states |
/// | `POST /admin/jwks/purge` | forgets fetched keys, or the one of `?kid=`, and fetches again |
/// | `GET /admin/sessions` | its live connections, as `/connections` |
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
            return .exchange(.deny(try Revocation(json: body, nowSeconds: now, lifetimeSeconds: plan.policy.draft.store.revocationSeconds)))
        } catch {
            return .response(Response(
                status: 400, fields: [(name: "Content-Type", value: "text/plain; charset=utf-8")], body: Array((error.text + "\n").utf8)))
        }
    }

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
