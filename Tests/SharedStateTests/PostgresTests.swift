import HTTP
import Policy
import Testing

@testable import SharedState

/// What is said to PostgreSQL and believed of it; Tests/Clients has the server.
@Suite("Postgres")
struct PostgresTests {
    @Test("where a database is, is told without how to get in", arguments: [
        ("postgres://u:secret@db.test:5433/gw?sslmode=verify-full", "db.test:5433/gw"), ("postgresql://db.test", "db.test"),
        ("postgres://u:s%40c%2Fret@[::1]:5432/gw", "::1:5432/gw"), ("postgres://u:secret@a.test:1,b.test:2/gw", "a.test,b.test:1,2/gw"),
        ("host=db.test password='se cret' user=u", "db.test"), ("host=/run/postgresql dbname=gw", "/run/postgresql/gw"),
        ("host=@abstract dbname=gw", "@abstract/gw"), ("dbname=gw password=secret", "its default host/gw"), ("service=gw", "service gw"),
        ("postgres://", "its default host"),
    ])
    func locations(_ text: String, _ place: String) {
        #expect(PostgresSettings(text)?.description == place)
    }

    @Test("a text that is none, or has its password in the place of something else, is refused", arguments: [
        "", "gw", "secret word", "host", "redis://h", "http://h/gw", "host=h secret=x", "host=h port", "postgres://u:secret/x@h/gw",
        "postgres://u:12/x@h/gw", "postgres://u:se@cret@h/gw", "postgres://u:secret@h:port/gw", "postgres://u@h/a/b", "host=h\0 dbname=x",
        "postgres://h/gw?password", "host='h", "dbname=postgres://h/x@y", "host=" + String(repeating: "h", count: 3000),
    ])
    func refusedTexts(_ text: String) {
        #expect(PostgresSettings(text) == nil)
    }

    @Test("a denial has one row whatever its times, and others have others")
    func identifiers() {
        let denials: [Revocation] = [
            Revocation(target: .token(subject: "a", tokenID: "b"), expirySeconds: 5), Revocation(target: .tokenID("b"), expirySeconds: 5),
            Revocation(target: .tokenID("b"), issuer: "i", expirySeconds: 5), Revocation(target: .session("b"), expirySeconds: 5),
            Revocation(target: .subject("b", beforeSeconds: 1), expirySeconds: 5),
            Revocation(target: .token(subject: "", tokenID: "b"), expirySeconds: 5),
            Revocation(target: .token(subject: "a\",\"jti\":\"b", tokenID: "c"), expirySeconds: 5),
        ]
        let ids = denials.map(PostgresStatement.id)
        #expect(Set(ids).count == denials.count && ids.allSatisfy(StoreAnswer.isDigest))
        #expect(PostgresStatement.id(Revocation(target: .subject("b", beforeSeconds: 9), expirySeconds: 7)) == ids[4])
        #expect(Set(denials.map(\.digest)).count == denials.count)
    }

    @Test("what is written is JSON with the id first; rows that are no denials are left out")
    func documents() throws {
        let denial = Revocation(target: .token(subject: "a\"\0ü", tokenID: "{}"), issuer: "i", expirySeconds: 2_000_000_000)
        let text = PostgresStatement.parameter([denial, denial])
        #expect(text.hasPrefix("[{\"id\":\"\(PostgresStatement.id(denial))\",\"sub\":") && text.hasSuffix("}]") && !text.utf8.contains(0))
        let rows: [[String?]] = [["x", denial.json], ["x", nil], ["x"], [], ["x", "{}"], ["x", "{\"jti\":\"\",\"exp\":1}"],
                                 ["x", "[1]", "y"], ["x", "{\"jti\":\"j\",\"exp\":\"Infinity\"}"],
                                 ["x", "{\"jti\":\"j\",\"exp\":9.007199254740992e+15}"]]
        let read = PostgresStatement.denials(rows, nowSeconds: 1)
        #expect(read == [denial, Revocation(target: .tokenID("j"), expirySeconds: 9_007_199_254_740_992)])
    }

    @Test("only what a store lacks is written again")
    func lacking() {
        let table = DenialTable()
        func subject(_ name: String, _ before: Double, _ expiry: Double) -> Revocation {
            Revocation(target: .subject(name, beforeSeconds: before), expirySeconds: expiry)
        }
        let held = [subject("known", 5, 100), subject("later", 5, 100), subject("missing", 5, 100), subject("ended", 5, 2)]
        _ = table.merge(held, nowSeconds: 1)
        let stored = [subject("known", 6, 100), subject("later", 4, 100), subject("foreign", 5, 100)]
        let known = Dictionary(uniqueKeysWithValues: stored.map { ($0.digest, $0) })
        table.sendAll(nowSeconds: 50, except: known)
        let unsent = table.takeUnsent(maximum: 10).map(\.denial)
        #expect(Set(unsent) == [subject("later", 5, 100), subject("missing", 5, 100)])
    }

    @Test("a store that is left while nothing was shared says nothing; nothing runs without settings")
    func withoutSettings() throws {
        let store = PostgresStore(limits: SharedLimits())
        #expect(!store.apply(nil) && store.takeNotices().isEmpty)
        let settings = try #require(PostgresSettings("postgres://127.0.0.1:1/x"))
        #expect(store.apply(settings) && !store.apply(settings))
        store.failed("no thread: for a test")
        let places = store.takeNotices().map { if case .lost(let place, _) = $0 { place } else { "" } }
        #expect(places == ["127.0.0.1:1/x"])
        store.finish()
    }
}
