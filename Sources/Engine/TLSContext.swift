import CTLS

/// Why a certificate, a key or a list of authorities cannot be used: one line.
public struct TLSError: Error, CustomStringConvertible, Sendable {
    /// The line.
    public let description: String
}

/// The library as a whole.
public enum TLSLibrary {
    /// Has every thread keep the library's memory for its next handshake, 5 MiB at most. First thing in a process, or without effect.
    public static func keepMemory() { _ = tls_keep_memory() }
}

/// The keys with which session tickets are made, shared by every context of a process and replaced in time: whoever learns one
/// can read what was said under tickets of its time only.
public final class TLSTicketKeys: @unchecked Sendable {
    let raw: OpaquePointer

    /// One fresh key.
    public init() throws(TLSError) {
        guard let raw = tls_ticket_keys_create(EngineLimits.ticketKeysAccepted) else {
            throw TLSError(description: "no entropy for ticket keys")
        }
        self.raw = raw
    }

    deinit { tls_ticket_keys_release(raw) }

    /// Makes a fresh key the one in use; to be called every `EngineLimits.ticketKeySeconds`, by any thread.
    public func rotate() { _ = tls_ticket_keys_rotate(raw) }
}

/// The certificates of a TLS listener. One for each shard: the library takes locks in a context.
public final class TLSServerContext: @unchecked Sendable {
    /// A certificate chain, leaf first, and the leaf's key, both as the PEM bytes of their files.
    public struct Pair: Sendable {
        /// Bytes of the chain.
        public var chain: [UInt8]
        /// Bytes of the key.
        public var key: [UInt8]

        /// The two.
        public init(chain: [UInt8], key: [UInt8]) {
            self.chain = chain
            self.key = key
        }
    }

    let raw: OpaquePointer

    /// Builds a context. The first pair answers when no name is asked for, or one that is in none; the others by the names in
    /// their leaves (RFC 6066 section 3).
    public init(_ pairs: [Pair], tickets: TLSTicketKeys?) throws(TLSError) {
        precondition(!pairs.isEmpty)
        guard let raw = tls_server_context_create(tickets?.raw, EngineLimits.ticketSeconds) else {
            throw TLSError(description: "no memory for a TLS context")
        }
        self.raw = raw
        for pair in pairs {
            var line = [CChar](repeating: 0, count: 256)
            if tls_server_context_add(raw, pair.chain, pair.chain.count, pair.key, pair.key.count, &line, line.count) != 1 {
                throw TLSError(description: text(line))
            }
        }
    }

    deinit { tls_context_release(raw) }
}

/// Whom a TLS client believes. One for each shard.
public final class TLSClientContext: @unchecked Sendable {
    let raw: OpaquePointer

    /// Verifies against the authorities in a PEM file, or the system's when there is none.
    ///
    /// - Parameters:
    ///   - certificate: shown to servers that ask for one.
    ///   - requires13: refuse TLS 1.2.
    public init(authoritiesPath: String? = nil, certificate: TLSServerContext.Pair? = nil, requires13: Bool = false) throws(TLSError) {
        var line = [CChar](repeating: 0, count: 256)
        guard let raw = tls_client_context_create(authoritiesPath, &line, line.count) else { throw TLSError(description: text(line)) }
        self.raw = raw
        if requires13 { tls_client_context_require_13(raw) }
        guard let certificate else { return }
        let (chain, key) = (certificate.chain, certificate.key)
        if tls_client_context_add(raw, chain, chain.count, key, key.count, &line, line.count) != 1 {
            throw TLSError(description: text(line))
        }
    }

    deinit { tls_context_release(raw) }
}

private func text(_ line: [CChar]) -> String {
    String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}
