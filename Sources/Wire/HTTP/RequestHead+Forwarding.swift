extension RequestHead {
    /// Whether field `index` concerns this hop only and must not be passed on (RFC 9110 section 7.6.1): the fixed set,
    /// and what `Connection` names. A `Connection` that names a field the next hop relies on is ignored for that
    /// field, because otherwise a client could make us strip what protects the service behind us.
    public func isHopByHop(_ index: Int, in bytes: Span<UInt8>) -> Bool {
        let field = field(index)
        if field.isAlwaysHopByHop { return true }
        if field.isProtected || isProtectedName(name(index), bytes) { return false }
        var next = first(.connection)
        while let connection = next {
            var options = FieldList(value(connection))
            while let option = options.element(bytes) {
                if bytes.equalsIgnoringCase(option, name(index)) { return true }
            }
            next = self.next(.connection, after: connection)
        }
        return false
    }

    /// `Content-*`, `X-Forwarded-*` and `X-Edge-*`, whatever follows.
    private func isProtectedName(_ name: Range<Int>, _ bytes: Span<UInt8>) -> Bool {
        func begins(_ prefix: StaticString) -> Bool {
            let length = prefix.utf8CodeUnitCount
            return name.count >= length && bytes.equalsIgnoringCase(prefix, in: name.lowerBound..<name.lowerBound + length)
        }
        return begins("content-") || begins("x-forwarded-") || begins("x-edge-")
    }
}

extension KnownField {
    /// Fields that never pass a proxy. `HTTP2-Settings` and `Upgrade` are among them: an upgrade is made anew, and
    /// never to `h2c`.
    var isAlwaysHopByHop: Bool {
        switch self {
        case .connection, .keepAlive, .proxyConnection, .proxyAuthenticate, .proxyAuthorization, .te, .trailer,
            .transferEncoding, .upgrade, .http2Settings:
            true
        default: false
        }
    }

    /// Fields that `Connection` cannot remove.
    var isProtected: Bool {
        switch self {
        case .host, .authorization, .cookie, .contentLength, .contentType, .contentEncoding, .xForwardedFor,
            .xForwardedProto, .xForwardedHost, .xRequestID, .xRealIP, .forwarded, .origin:
            true
        default: false
        }
    }
}
