// Field names that somebody above asks for, or that every browser sends.
//
// A name is compared by words: folded to lower case, its first and last eight bytes and, for longer names, the words
// between. Names have at most 32 bytes, so four words (which may overlap) cover any of them. Folding by `| 0x20` is
// exact here: of the characters a field name may have, only letters change into letters, and '-' and digits stay.

/// Field names known by number. Matched in any case (RFC 9110 section 5.1).
public enum KnownField: UInt8, Sendable, CaseIterable {
    /// Any name not listed.
    case other = 0
    case host, connection, contentLength, transferEncoding, contentType, upgrade, cookie, origin, expect
    case authorization, secWebSocketKey, secWebSocketVersion, secWebSocketProtocol, secWebSocketExtensions
    case secWebSocketAccept, xForwardedFor, xForwardedProto, xForwardedHost, xRequestID, xRealIP, forwarded
    case accessControlRequestMethod, accessControlRequestHeaders, accept, acceptEncoding, acceptLanguage, userAgent
    case referer, cacheControl, pragma, traceparent, tracestate, keepAlive, proxyConnection, proxyAuthenticate
    case proxyAuthorization, te, trailer, http2Settings, contentEncoding, setCookie, location, date, server
    case retryAfter, ifNoneMatch, ifModifiedSince, range, secFetchSite, secFetchMode, secFetchDest, xAPIKey

    /// Upper bound of the raw values, the size of tables indexed by them.
    static let tableSize = 64

    /// The name in lower case; empty for `other`.
    public var name: StaticString {
        switch self {
        case .other: ""
        case .host: "host"
        case .connection: "connection"
        case .contentLength: "content-length"
        case .transferEncoding: "transfer-encoding"
        case .contentType: "content-type"
        case .upgrade: "upgrade"
        case .cookie: "cookie"
        case .origin: "origin"
        case .expect: "expect"
        case .authorization: "authorization"
        case .secWebSocketKey: "sec-websocket-key"
        case .secWebSocketVersion: "sec-websocket-version"
        case .secWebSocketProtocol: "sec-websocket-protocol"
        case .secWebSocketExtensions: "sec-websocket-extensions"
        case .secWebSocketAccept: "sec-websocket-accept"
        case .xForwardedFor: "x-forwarded-for"
        case .xForwardedProto: "x-forwarded-proto"
        case .xForwardedHost: "x-forwarded-host"
        case .xRequestID: "x-request-id"
        case .xRealIP: "x-real-ip"
        case .forwarded: "forwarded"
        case .accessControlRequestMethod: "access-control-request-method"
        case .accessControlRequestHeaders: "access-control-request-headers"
        case .accept: "accept"
        case .acceptEncoding: "accept-encoding"
        case .acceptLanguage: "accept-language"
        case .userAgent: "user-agent"
        case .referer: "referer"
        case .cacheControl: "cache-control"
        case .pragma: "pragma"
        case .traceparent: "traceparent"
        case .tracestate: "tracestate"
        case .keepAlive: "keep-alive"
        case .proxyConnection: "proxy-connection"
        case .proxyAuthenticate: "proxy-authenticate"
        case .proxyAuthorization: "proxy-authorization"
        case .te: "te"
        case .trailer: "trailer"
        case .http2Settings: "http2-settings"
        case .contentEncoding: "content-encoding"
        case .setCookie: "set-cookie"
        case .location: "location"
        case .date: "date"
        case .server: "server"
        case .retryAfter: "retry-after"
        case .ifNoneMatch: "if-none-match"
        case .ifModifiedSince: "if-modified-since"
        case .range: "range"
        case .secFetchSite: "sec-fetch-site"
        case .secFetchMode: "sec-fetch-mode"
        case .secFetchDest: "sec-fetch-dest"
        case .xAPIKey: "x-api-key"
        }
    }

    /// Recognises the name `bytes[start..<start + count]`.
    static func match(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) -> KnownField {
        guard count >= 2, count <= 32 else { return .other }
        let name = NameWords(bytes, start, count)
        switch count {
        case 2:
            if name.equals("te") { return .te }
        case 4:
            if name.equals("host") { return .host }
            if name.equals("date") { return .date }
        case 5:
            if name.equals("range") { return .range }
        case 6:
            if name.equals("cookie") { return .cookie }
            if name.equals("origin") { return .origin }
            if name.equals("expect") { return .expect }
            if name.equals("accept") { return .accept }
            if name.equals("pragma") { return .pragma }
            if name.equals("server") { return .server }
        case 7:
            if name.equals("upgrade") { return .upgrade }
            if name.equals("referer") { return .referer }
            if name.equals("trailer") { return .trailer }
        case 8:
            if name.equals("location") { return .location }
        case 9:
            if name.equals("x-real-ip") { return .xRealIP }
            if name.equals("x-api-key") { return .xAPIKey }
            if name.equals("forwarded") { return .forwarded }
        case 10:
            if name.equals("connection") { return .connection }
            if name.equals("user-agent") { return .userAgent }
            if name.equals("tracestate") { return .tracestate }
            if name.equals("keep-alive") { return .keepAlive }
            if name.equals("set-cookie") { return .setCookie }
        case 11:
            if name.equals("traceparent") { return .traceparent }
            if name.equals("retry-after") { return .retryAfter }
        case 12:
            if name.equals("content-type") { return .contentType }
            if name.equals("x-request-id") { return .xRequestID }
        case 13:
            if name.equals("authorization") { return .authorization }
            if name.equals("cache-control") { return .cacheControl }
            if name.equals("if-none-match") { return .ifNoneMatch }
        case 14:
            if name.equals("content-length") { return .contentLength }
            if name.equals("http2-settings") { return .http2Settings }
            if name.equals("sec-fetch-site") { return .secFetchSite }
            if name.equals("sec-fetch-mode") { return .secFetchMode }
            if name.equals("sec-fetch-dest") { return .secFetchDest }
        case 15:
            if name.equals("x-forwarded-for") { return .xForwardedFor }
            if name.equals("accept-encoding") { return .acceptEncoding }
            if name.equals("accept-language") { return .acceptLanguage }
        case 16:
            if name.equals("x-forwarded-host") { return .xForwardedHost }
            if name.equals("proxy-connection") { return .proxyConnection }
            if name.equals("content-encoding") { return .contentEncoding }
        case 17:
            if name.equals("transfer-encoding") { return .transferEncoding }
            if name.equals("sec-websocket-key") { return .secWebSocketKey }
            if name.equals("x-forwarded-proto") { return .xForwardedProto }
            if name.equals("if-modified-since") { return .ifModifiedSince }
        case 18:
            if name.equals("proxy-authenticate") { return .proxyAuthenticate }
        case 19:
            if name.equals("proxy-authorization") { return .proxyAuthorization }
        case 20:
            if name.equals("sec-websocket-accept") { return .secWebSocketAccept }
        case 21:
            if name.equals("sec-websocket-version") { return .secWebSocketVersion }
        case 22:
            if name.equals("sec-websocket-protocol") { return .secWebSocketProtocol }
        case 24:
            if name.equals("sec-websocket-extensions") { return .secWebSocketExtensions }
        case 29:
            if name.equals("access-control-request-method") { return .accessControlRequestMethod }
        case 30:
            if name.equals("access-control-request-headers") { return .accessControlRequestHeaders }
        default: break
        }
        return .other
    }
}

/// A field name of 2 to 32 bytes, folded to lower case, as four words that together cover it.
private struct NameWords {
    private let count: Int
    private let first: UInt64
    private let second: UInt64
    private let third: UInt64
    private let last: UInt64
    private static let fold: UInt64 = 0x2020_2020_2020_2020

    @inline(__always)
    init(_ bytes: Span<UInt8>, _ start: Int, _ count: Int) {
        precondition(start >= 0 && count >= 2 && start &+ count <= bytes.count)
        let raw = unsafe bytes.bytes
        self.count = count
        guard count >= 8 else {
            var word: UInt64 = 0
            if start &+ 8 <= bytes.count {
                word = unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: start, as: UInt64.self) | Self.fold
                word &= (1 &<< UInt64(count &* 8)) &- 1
            } else {
                for offset in 0..<count { word |= UInt64(bytes[start &+ offset] | 0x20) &<< UInt64(offset &* 8) }
            }
            first = word
            second = 0
            third = 0
            last = word
            return
        }
        first = unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: start, as: UInt64.self) | Self.fold
        last = unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: start &+ count &- 8, as: UInt64.self) | Self.fold
        second =
            count > 16
            ? unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: start &+ 8, as: UInt64.self) | Self.fold : 0
        third =
            count > 24
            ? unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: start &+ 16, as: UInt64.self) | Self.fold : 0
    }

    /// Compares with a lower-case literal of the same length; the words of the literal are constants after inlining.
    @inline(__always)
    func equals(_ literal: StaticString) -> Bool {
        let length = literal.utf8CodeUnitCount
        if length < 8 { return first == Self.word(literal, 0, length) }
        guard first == Self.word(literal, 0, 8), last == Self.word(literal, length &- 8, 8) else { return false }
        if length > 16, second != Self.word(literal, 8, 8) { return false }
        if length > 24, third != Self.word(literal, 16, 8) { return false }
        return true
    }

    @inline(__always)
    private static func word(_ literal: StaticString, _ offset: Int, _ bytes: Int) -> UInt64 {
        let start = unsafe literal.utf8Start + offset
        if bytes == 8 { return unsafe UnsafeRawPointer(start).loadUnaligned(as: UInt64.self) }
        var word: UInt64 = 0
        for index in 0..<bytes { word |= unsafe UInt64(start[index]) &<< UInt64(index &* 8) }
        return word
    }
}
