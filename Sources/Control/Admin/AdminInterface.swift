import Engine
import HTTP
import Policy
import Wire

/// The admin interface of one shard: requests in, answers or exchanges out.
///
/// | request | answer |
/// |---|---|
/// | `GET /healthz`, `GET /readyz` | 200; readiness 503 while draining, or the JWT proxy is not ready. No token needed: they tell no more |
/// | `GET /metrics` | Prometheus text |
/// | `GET /config` | the configuration in force, secrets masked; `?format=yaml` as a file |
/// | `GET /reload` | how reloads went, with the faults of the last one refused |
/// | `GET /shards` | counters of every shard |
/// | `GET /connections` | live connections; `sort`, `limit`, `offset`, `feature`, `session` |
/// | `DELETE /connections/ID` | closes one with 1001 |
/// | `PUT /log-level` | body: a level's name; holds until the next reload |
/// | `POST /reload` | loads the configuration again: 200 with what changed, 422 with the faults |
/// | `DELETE /sessions/ID` | revokes the session of this id: 204, or 503 when the table of revoked sessions is full |
/// | `POST /drain` | what SIGTERM does |
/// | `POST /admin/revoke`, `GET /admin/jwks`, `POST /admin/jwks/purge`, `POST /admin/drain` | of the JWT proxy, see `AdminProxy` |
enum AdminInterface {
    /// What a request came to.
    enum Answer {
        case response(Response)
        case exchange(AdminExchange.Request)
    }

    static func answer(_ request: RequestView, _ shared: AdminShared) -> Answer {
        let path = request.path
        let isProbe = path == "/healthz" || path == "/readyz"
        switch shared.access.judge(
            authorization: isProbe ? [] : request.all(.authorization), origins: request.all(.origin), hosts: request.all(.host),
            fetchSites: request.all(.secFetchSite))
        {
        case .allowed: break
        case .unauthorized where isProbe: break
        case .unauthorized:
            var response = problem(401, "unauthorized", "Authorization: Bearer with the admin token is required")
            response.fields.append((name: "WWW-Authenticate", value: "Bearer"))
            return .response(response)
        case .forbidden(let reason): return .response(problem(403, "forbidden", reason))
        }
        let (allowed, answer) = route(path, request, shared)
        guard !allowed.isEmpty else { return .response(problem(404, "not_found", "No such resource; GET / lists them")) }
        let method = request.method == .head ? HTTPMethod.get : request.method
        guard allowed.contains(method) else {
            var response = problem(405, "method_not_allowed", "Method not allowed")
            response.fields.append((name: "Allow", value: allowed.map { "\($0.name)" }.joined(separator: ", ")))
            return .response(response)
        }
        return answer(method)
    }

    /// Methods of a resource, none when there is no such, and its handler.
    private static func route(_ path: String, _ request: RequestView, _ shared: AdminShared) -> ([HTTPMethod], (HTTPMethod) -> Answer) {
        let hub = shared.hub
        switch path {
        case "/": return ([.get], { _ in .response(json(index)) })
        case "/healthz":
            return ([.get], { _ in
                let isAlive = hub.metrics.proxyPlan?.common.beats.areAlive(nowMilliseconds: MonotonicClock.milliseconds) ?? true
                return .response(json(.object([("ok", .flag(isAlive))]), status: isAlive ? 200 : 503))
            })
        case "/readyz":
            return ([.get], { _ in
                let isReady = !hub.isDraining
                    && (hub.metrics.proxyPlan.map { ProxyReadiness($0, $0.common, isLeaving: false).isReady } ?? true)
                return .response(json(.object([("ok", .flag(isReady))]), status: isReady ? 200 : 503))
            })
        case "/metrics":
            return ([.get], { _ in .response(text(hub.metrics.text(), "text/plain; version=0.0.4; charset=utf-8")) })
        case "/config": return ([.get], { _ in .response(configuration(request, shared)) })
        case "/shards": return ([.get], { _ in .response(json(hub.metrics.shardsDocument())) })
        case "/connections":
            return ([.get], { _ in
                switch ConnectionQuery.parse(pairs(request)) {
                case .success(let query): .exchange(.connections(query))
                case .failure(let fault): .response(problem(400, "bad_request", fault.message))
                }
            })
        case "/log-level": return ([.put], { _ in logLevel(request) })
        case "/reload":
            return ([.get, .post], { method in
                method == .post ? .exchange(.reload) : .response(json(hub.metrics.reloads.reading.document))
            })
        case "/drain", "/admin/drain": return ([.post], { _ in .exchange(.drain) })
        case _ where path.hasPrefix("/admin/"): return AdminProxy.route(path, request, hub.metrics.proxyPlan)
        case _ where path.hasPrefix(sessionsPath) && path.utf8.count > sessionsPath.utf8.count:
            return ([.delete], { _ in
                shared.revoke(sessionID: String(path.dropFirst(sessionsPath.count)))
                    ? .response(Response(status: 204)) : .response(problem(503, "unavailable", "No more sessions can be revoked"))
            })
        default:
            guard path.hasPrefix("/connections/"), let identifier = ConnectionIdentifier(String(path.dropFirst("/connections/".count)))
            else { return ([], { _ in .response(Response(status: 404)) }) }
            return ([.delete], { _ in .exchange(.close(identifier)) })
        }
    }

    private static let sessionsPath = "/sessions/"

    private static let index = JSONDocument.object([
        ("resources", JSONDocument([
            "GET /healthz", "GET /readyz", "GET /metrics", "GET /config?format=json|yaml", "GET /reload", "GET /shards",
            "GET /connections?sort=bytes|age|quiet&limit=&offset=&feature=&session=", "DELETE /connections/ID", "PUT /log-level",
            "POST /reload", "DELETE /sessions/ID", "POST /drain", "POST /admin/revoke", "GET /admin/jwks",
            "POST /admin/jwks/purge?kid=", "GET /admin/sessions",
        ]))
    ])

    private static func configuration(_ request: RequestView, _ shared: AdminShared) -> Response {
        let pairs = pairs(request)
        guard pairs.allSatisfy({ $0.name == "format" && ["json", "yaml"].contains($0.value) }), pairs.count <= 1 else {
            return problem(400, "bad_request", "format: allowed: json, yaml")
        }
        if pairs.first?.value == "yaml" { return text(shared.configurationText, "application/yaml; charset=utf-8") }
        return text(shared.configurationDocument, "application/json; charset=utf-8")
    }

    private static func logLevel(_ request: RequestView) -> Answer {
        let name = String(decoding: request.body.prefix(64), as: UTF8.self).filter { !$0.isWhitespace && $0 != "\"" }
        guard let level = LogLevel(name: name) else {
            let levels = LogLevel.allCases.map(\.name).joined(separator: ", ")
            return .response(problem(400, "bad_request", "The body must be a level: \(levels)"))
        }
        return .exchange(.setLogLevel(level))
    }

    static func pairs(_ request: RequestView) -> [(name: String, value: String)] {
        let bytes = Span(_unsafeElements: request.bytes.assumingMemoryBound(to: UInt8.self))
        var query = FormQuery(request.query)
        var pairs: [(name: String, value: String)] = []
        while let pair = query.pair(bytes) {
            pairs.append((name: FormQuery.string(bytes, pair.name), value: FormQuery.string(bytes, pair.value)))
        }
        return pairs
    }

    // MARK: Answers

    static func json(_ document: JSONDocument, status: Int = 200) -> Response {
        var response = text(document.text, "application/json; charset=utf-8")
        response.status = status
        return response
    }

    /// Messages are made here and may quote nothing of a request.
    static func problem(_ status: Int, _ identifier: String, _ message: String) -> Response {
        json(.object([("error", .string(identifier)), ("message", .string(message))]), status: status)
    }

    private static func text(_ text: String, _ type: String) -> Response {
        Response(
            status: 200,
            fields: [
                (name: "Content-Type", value: type), (name: "Cache-Control", value: "no-store"),
                (name: "X-Content-Type-Options", value: "nosniff"),
            ], body: Array(text.utf8))
    }
}

extension ReloadRecord.State {
    /// Body of `GET /reload`.
    var document: JSONDocument {
        .object([
            ("applied", .count(applied)), ("refused", .count(refused)), ("lastSucceeded", .flag(lastSucceeded)),
            ("lastSuccessSeconds", .fraction(lastSuccessSeconds)), ("lastDurationSeconds", .fraction(lastDurationSeconds)),
            ("lastFailureSeconds", lastFailureSeconds.map { .fraction($0) } ?? .null), ("lastFaults", JSONDocument(lastFaults)),
            ("needingRestart", JSONDocument(needingRestart)),
        ])
    }
}

extension MetricsRegistry {
    /// Body of `GET /shards`.
    func shardsDocument() -> JSONDocument {
        let shards = readings.map { shard in
            JSONDocument.object(
                [("shard", .number(shard.index)), ("bufferPoolBytes", .number(shard.poolBytes))]
                    + Statistics.Counter.allCases.map { ("\($0)", .count(shard.statistics.read($0))) })
        }
        return .object([("shards", .array(shards))])
    }
}
