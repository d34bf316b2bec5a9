import CTLS
import Engine
import Glibc

/// TLS of a remote peer: between what its script writes and reads, and the bytes on its connection.
///
/// The script stays as it is: `remoteWrite`, `remoteRead` and the ends go through the layer of a socket that has one. What was
/// encrypted and found no room waits here; while it does, nothing more is taken.
public final class SecureLayer {
    private let session: OpaquePointer
    private let context: AnyObject
    private var isOpen = false
    /// Whether the session failed, by an alert for example.
    public private(set) var isBroken = false
    private var closeReceived = false
    private var outgoing: [UInt8] = []
    private var plain: [UInt8] = []
    private var cipher: [UInt8] = []
    private var ending = Ending.none

    /// What the script's own writes may add, far below what the engine allows.
    private var keyUpdatesLeft = 8

    private enum Ending { case none, finish, close, done }

    /// Handshakes complete so far.
    public private(set) var isComplete = false

    /// The client of an accepted stream, which verifies the engine's certificate, or the server of a dialled one.
    public init?(client context: SecureContexts.Client) {
        guard let session = tls_session_create_client(context.raw, SecureContexts.name) else { return nil }
        self.session = session
        self.context = context
    }

    /// See `init(client:)`.
    public init?(server context: SecureContexts.Server) {
        guard let session = tls_session_create_server(context.raw) else { return nil }
        self.session = session
        self.context = context
    }

    deinit { tls_session_free(session) }

    func write(_ socket: SimulatedSocket, _ kernel: SimulatedKernel, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
        if ending != .none || isBroken { return -1 }
        pump(socket, kernel)
        guard isOpen, outgoing.isEmpty, count > 0 else { return socket.broken || socket.released ? -1 : 0 }
        let part = min(count, 1 + kernel.random.below(16384))
        tls_session_output(session, nil, 0)
        if keyUpdatesLeft > 0, kernel.random.chance(20_000) {
            keyUpdatesLeft -= 1
            guard tls_session_update_keys(session) == 1 else { return -1 }
        }
        guard tls_session_encrypt(session, bytes, part) == TLS_DONE.rawValue else { return -1 }
        collect()
        pump(socket, kernel)
        return part
    }

    func read(_ socket: SimulatedSocket, _ kernel: SimulatedKernel, _ into: UnsafeMutableRawPointer, _ capacity: Int)
        -> SimulatedKernel.RemoteRead
    {
        let end = pump(socket, kernel)
        if !plain.isEmpty {
            let part = min(plain.count, capacity)
            plain.withUnsafeBytes { into.copyMemory(from: $0.baseAddress!, byteCount: part) }
            plain.removeFirst(part)
            return .bytes(part)
        }
        if closeReceived { return .end }
        if isBroken { return .lost }
        // A FIN without close_notify cuts the stream short.
        return end == .nothing ? .nothing : .lost
    }

    /// Writes a key update that asks for the engine's own; false while earlier output waits.
    public func updateKeys(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> Bool {
        guard ending == .none, isOpen, !isBroken, outgoing.isEmpty else { return false }
        tls_session_output(session, nil, 0)
        guard tls_session_update_keys(session) == 1 else { return false }
        collect()
        flush(socket, kernel)
        return true
    }

    func finish(_ socket: SimulatedSocket, _ kernel: SimulatedKernel, closes: Bool) {
        guard ending == .none else { return }
        // Some do not say that they close.
        if isOpen, !closes || kernel.random.chance(500_000) {
            tls_session_output(session, nil, 0)
            tls_session_close_notify(session)
            collect()
        }
        ending = closes ? .close : .finish
        pump(socket, kernel)
    }

    /// Moves what can be moved.
    @discardableResult
    func pump(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) -> SimulatedKernel.RemoteRead {
        if !isOpen, !isBroken { step() }
        var end = SimulatedKernel.RemoteRead.nothing
        var part = [UInt8](repeating: 0, count: 20000)
        while plain.count < 65536, !socket.readsNothing {
            let wanted = 1 + kernel.random.size(upTo: part.count - 1)
            end = part.withUnsafeMutableBytes { kernel.rawRead(socket, $0.baseAddress!, wanted) }
            guard case .bytes(let count) = end else { break }
            cipher += part[..<count]
            step()
        }
        flush(socket, kernel)
        return end
    }

    private func flush(_ socket: SimulatedSocket, _ kernel: SimulatedKernel) {
        if !outgoing.isEmpty {
            let written = outgoing.withUnsafeBytes { kernel.rawWrite(socket, $0.baseAddress!, $0.count) }
            if written < 0 { outgoing = [] } else { outgoing.removeFirst(written) }
        }
        guard outgoing.isEmpty else { return }
        switch ending {
        case .finish: kernel.rawFinish(socket)
        case .close: kernel.rawClose(socket)
        case .none, .done: return
        }
        ending = .done
    }

    /// Handshake or decryption of what came.
    private func step() {
        guard !isBroken, !closeReceived else { return cipher.removeAll() }
        tls_session_output(session, nil, 0)
        cipher.withUnsafeMutableBytes { raw in
            var input = tls_input(
                base: raw.baseAddress?.assumingMemoryBound(to: UInt8.self), count: UInt32(raw.count), read: 0, written: 0)
            if !isOpen {
                let result = tls_session_handshake(session, &input)
                isOpen = result == TLS_DONE.rawValue
                isComplete = isOpen
                isBroken = result == TLS_FAILED.rawValue
            }
            if isOpen, input.read < input.count { decrypt(&input, raw) }
        }
        cipher.removeAll(keepingCapacity: true)
        collect()
    }

    private func decrypt(_ input: inout tls_input, _ raw: UnsafeMutableRawBufferPointer) {
        while true {
            let result = tls_session_decrypt(session, &input)
            if result == TLS_ROOM.rawValue {
                var place = [UInt8](repeating: 0, count: 16384)
                let count = place.withUnsafeMutableBytes { tls_session_take(session, $0.baseAddress!, $0.count) }
                plain += place[..<count]
                continue
            }
            plain += raw[..<Int(input.written)]
            closeReceived = result == TLS_CLOSED.rawValue
            isBroken = result == TLS_FAILED.rawValue
            return
        }
    }

    private func collect() {
        var part = [UInt8](repeating: 0, count: 4096)
        while tls_session_has_spill(session) != 0 {
            let count = part.withUnsafeMutableBytes { tls_session_spill(session, $0.baseAddress!, $0.count) }
            outgoing += part[..<count]
        }
    }
}

/// Both sides' contexts for simulated streams. The certificate is its own authority, and its Ed25519 signatures are all of one length, so a
/// seed replays exactly.
public enum SecureContexts {
    /// Whom the certificate is for.
    public static let name = "simulation.test"

    /// A context for peers that are clients.
    public final class Client: @unchecked Sendable {
        let raw: OpaquePointer
        init(_ raw: OpaquePointer) { self.raw = raw }
    }

    /// A context for peers that are servers.
    public final class Server: @unchecked Sendable {
        let raw: OpaquePointer
        init(_ raw: OpaquePointer) { self.raw = raw }
    }

    /// The file with the authority.
    public static let authoritiesPath: String = {
        let path = "/tmp/sluice-simulation-\(getpid()).pem"
        let file = fopen(path, "w")
        fputs(certificate, file)
        fclose(file)
        return path
    }()

    /// For the engine's listeners.
    public static let pair = TLSServerContext.Pair(chain: Array(certificate.utf8), key: Array(key.utf8))

    /// Peers that verify the engine's certificate.
    public static let client = Client(tls_client_context_create(authoritiesPath, nil, 0)!)

    /// Peers the engine dials.
    public static let server: Server = {
        let raw = tls_server_context_create(nil, 0)!
        precondition(tls_server_context_add(raw, certificate, certificate.utf8.count, key, key.utf8.count, nil, 0) == 1)
        return Server(raw)
    }()

    private static let certificate = """
        -----BEGIN CERTIFICATE-----
        MIIBXTCCAQ+gAwIBAgIUJJe4VVzKCuzn4jCt18WqJ1qx0yAwBQYDK2VwMBUxEzAR
        BgNVBAMMCnNpbXVsYXRpb24wIBcNMjYxMTIxMDcyMTIzWhgPMjEyNjEwMjgwNzIx
        MjNaMBUxEzARBgNVBAMMCnNpbXVsYXRpb24wKjAFBgMrZXADIQAjZ1q/rfnepRYo
        E3bBaGa2y5Cg+t0WTWd3ZKlTIjuI5qNvMG0wHQYDVR0OBBYEFKN4ZHbBWZcfvcFM
        Pr6K+1NtEQEtMB8GA1UdIwQYMBaAFKN4ZHbBWZcfvcFMPr6K+1NtEQEtMA8GA1Ud
        EwEB/wQFMAMBAf8wGgYDVR0RBBMwEYIPc2ltdWxhdGlvbi50ZXN0MAUGAytlcANB
        AIGXSOUAR0+B2C3PgNlmbGPARh451iHTwDMxIwMqUIvKwtS8tFSyZ0Lpqji6VmmT
        8Gdv1fvCXZVHqevLWqY7Vwo=
        -----END CERTIFICATE-----

        """

    private static let key = """
        -----BEGIN PRIVATE KEY-----
        MC4CAQAwBQYDK2VwBCIEIFQR6uTB0cyY4H1BkezJ2VSyoC2k2CBG0dgb2WIeK1kO
        -----END PRIVATE KEY-----

        """
}
