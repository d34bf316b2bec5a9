import HTTP
import Policy

/// What is asked of PostgreSQL. Parameters and answers are JSON where they are structured: a denial has one form everywhere, and texts a
/// database cannot hold (U+0000, what its encoding lacks) are refused by it, not cut.
///
/// ```
///  jwt_revocations: id (what tells denials apart) | sub | jti | sid | iss | before | expires (seconds since 1970)
/// ```
/// Whoever writes a row tells its id on the channel of the same name, in the same transaction. A message that is no id means: look at all.
enum PostgresStatement {
    static let channel = "jwt_revocations"

    /// First of all. Notifications are heard before the table is read, so that no row falls between.
    static let greeting = """
        SET statement_timeout = \(PostgresLimits.statementMilliseconds); SET lock_timeout = \(PostgresLimits.statementMilliseconds); \
        LISTEN \(channel)
        """

    /// Whether the table is there: one who may not create tables may still use it.
    static let exists = "SELECT to_regclass('jwt_revocations') IS NOT NULL"

    /// One instance at a time: two that create at once hurt each other even so.
    static let create = """
        SELECT pg_advisory_xact_lock(hashtext('jwt_revocations')); \
        CREATE TABLE IF NOT EXISTS jwt_revocations (id text PRIMARY KEY, sub text, jti text, sid text, iss text, \
        before double precision, expires double precision NOT NULL)
        """

    private static let document = """
        left(json_strip_nulls(json_build_object('sub', sub, 'jti', jti, 'sid', sid, 'iss', iss, 'before', before, 'exp', expires))::text, \
        \(TokenLimits.revocationBytes + 1))
        """

    /// A page of the rows that hold: behind an id, at a second.
    static let page = """
        SELECT id, \(document) FROM jwt_revocations WHERE id > $1 AND expires > $2::float8 ORDER BY id LIMIT \(PostgresLimits.rowsPerPage)
        """

    /// The rows of some ids.
    static let rows = "SELECT id, \(document) FROM jwt_revocations WHERE id IN (SELECT json_array_elements_text($1::json))"

    /// Writes denials, as many as there is room for, and tells those that are news. A row only ever denies more. Answers how many found no
    /// room.
    static let keep = """
        WITH given AS MATERIALIZED (
          SELECT id, max(sub) AS sub, max(jti) AS jti, max(sid) AS sid, max(iss) AS iss, max(before) AS before, max(exp) AS expires
          FROM json_to_recordset($1::json)
            AS item(id text, sub text, jti text, sid text, iss text, before float8, exp float8)
          GROUP BY id),
        fits AS MATERIALIZED (
          SELECT * FROM given WHERE (SELECT count(*) FROM jwt_revocations) < $2::bigint
            OR EXISTS (SELECT 1 FROM jwt_revocations AS former WHERE former.id = given.id)),
        kept AS (
          INSERT INTO jwt_revocations AS former (id, sub, jti, sid, iss, before, expires)
          SELECT id, sub, jti, sid, iss, before, expires FROM fits
          ON CONFLICT (id) DO UPDATE SET before = greatest(former.before, excluded.before),
            expires = greatest(former.expires, excluded.expires)
          WHERE excluded.before > former.before OR excluded.expires > former.expires
          RETURNING id),
        told AS MATERIALIZED (SELECT pg_notify('\(channel)', id) FROM kept)
        SELECT (SELECT count(*) FROM given) - (SELECT count(*) FROM fits), (SELECT count(*) FROM told)
        """

    /// Whether there is a row at all.
    static let pulse = "SELECT EXISTS (SELECT 1 FROM jwt_revocations)"

    /// Deletes rows that ended; answers how many.
    static let cleanup = """
        WITH gone AS (
          DELETE FROM jwt_revocations WHERE id IN (
            SELECT id FROM jwt_revocations WHERE expires < $1::float8 LIMIT \(PostgresLimits.rowsPerCleanup)
            FOR UPDATE SKIP LOCKED)
          RETURNING 1)
        SELECT count(*) FROM gone
        """

    /// What tells a denial apart in the table: a digest of what is denied, without its times.
    static func id(_ denial: Revocation) -> String {
        var target = denial.target
        if case .subject(let subject, _) = target { target = .subject(subject, beforeSeconds: 0) }
        return Digest.hexSHA256(Revocation(target: target, issuer: denial.issuer, expirySeconds: 0).json)
    }

    /// Denials as the parameter of `keep`.
    static func parameter(_ denials: [Revocation]) -> String {
        "[" + denials.map { "{\"id\":\"\(id($0))\"," + $0.json.dropFirst() }.joined(separator: ",") + "]"
    }

    /// Ids as the parameter of `rows`; only such as `StoreAnswer.isDigest` lets through.
    static func parameter(ids: [String]) -> String { "[" + ids.map { "\"\($0)\"" }.joined(separator: ",") + "]" }

    /// The denials of a page's rows; a row that is none, as one that was written by hand may be, is left out.
    static func denials(_ rows: [[String?]], nowSeconds: Double) -> [Revocation] {
        rows.compactMap { row in
            guard row.count == 2, let document = row[1] else { return nil }
            return try? Revocation(json: Array(document.utf8).span, nowSeconds: nowSeconds)
        }
    }
}
