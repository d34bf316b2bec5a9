// The target's loop: level-triggered epoll, one thread.

import Glibc

/// Serves every listening port until the process is ended.
final class Server {
    private let poller = Poller()
    private let options: Options
    private let raw: Scratch
    private let framed: Scratch
    private var listeners: [Int32: Service] = [:]
    private var datagramSockets: [Int32: DatagramSocket] = [:]
    /// Listeners that tell a sink's count, and the socket they tell it of.
    private var counted: [Int32: Int32] = [:]

    /// Ports that many others have in use are met again and again; this many in a row are not.
    private static let portTries = 64

    /// Opens the listeners and prints their ports. Ends the process when one cannot be opened.
    init(options: Options) {
        self.options = options
        raw = Scratch(messageBytes: options.messageBytes, framed: false)
        framed = Scratch(messageBytes: options.messageBytes, framed: true)
        for listening in options.listening {
            if listening.service.isDatagram { openDatagrams(listening) } else { open(listening) }
        }
        print("ready")
        fflush(nil)
    }

    /// The port of a sink's count is that of its datagrams: where any port will do and TCP has that one in use, another pair is tried.
    private func openDatagrams(_ listening: Listening) {
        for triesLeft in (0..<(listening.port == 0 ? Self.portTries : 1)).reversed() {
            guard let opened = DatagramSocket(listening.service, port: listening.port) else {
                print("sluice-target: no UDP socket on port \(listening.port): \(String(cString: strerror(errno)))")
                exit(1)
            }
            if listening.service == .datagramSink {
                let counting = Listening(service: .datagramSink, port: opened.port)
                guard let descriptor = listen(counting) else {
                    if triesLeft == 0 { fail(counting) }
                    close(opened.descriptor)
                    continue
                }
                serve(descriptor, counting)
                counted[descriptor] = opened.descriptor
            } else {
                print("\(listening.service.rawValue) \(opened.port)")
            }
            datagramSockets[opened.descriptor] = opened
            poller.add(opened.descriptor, .readable, data: UInt64(opened.descriptor) << 1 | 1)
            return
        }
    }

    /// Listens, prints the port and serves it.
    private func open(_ listening: Listening) {
        guard let descriptor = listen(listening) else { fail(listening) }
        serve(descriptor, listening)
    }

    private func fail(_ listening: Listening) -> Never {
        print("sluice-target: cannot listen on port \(listening.port): \(String(cString: strerror(errno)))")
        exit(1)
    }

    /// A listening socket; nil, with errno, when there is none.
    private func listen(_ listening: Listening) -> Int32? {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = listening.port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                bind(descriptor, generic, length) == 0 && Glibc.listen(descriptor, 4096) == 0
            }
        }
        if bound { return descriptor }
        let reason = errno
        close(descriptor)
        errno = reason
        return nil
    }

    private func serve(_ descriptor: Int32, _ listening: Listening) {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            _ = pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        listeners[descriptor] = listening.service
        // Connections are named by their address, which is even; listeners by an odd number.
        poller.add(descriptor, .readable, data: UInt64(descriptor) << 1 | 1)
        print("\(listening.service.rawValue) \(UInt16(bigEndian: address.sin_port))")
    }

    /// Runs without end.
    func run() -> Never {
        while true {
            for index in 0..<poller.wait() {
                let (happened, data) = poller.event(index)
                if data & 1 == 1 {
                    let descriptor = Int32(data >> 1)
                    if datagramSockets[descriptor] != nil {
                        datagramSockets[descriptor]?.serve(raw)
                    } else if let socket = counted[descriptor] {
                        tellCount(descriptor, of: socket)
                    } else {
                        accept(descriptor)
                    }
                } else if let connection = UnsafeMutablePointer<Connection>(bitPattern: UInt(data)) {
                    serve(connection, happened)
                }
            }
        }
    }

    /// Tells one connection how many datagrams a sink has got.
    private func tellCount(_ listener: Int32, of socket: Int32) {
        let descriptor = Glibc.accept(listener, nil, nil)
        guard descriptor >= 0 else { return }
        datagramSockets[socket]?.serve(raw)
        let text = "\(datagramSockets[socket]?.arrived ?? 0)\n"
        _ = text.withCString { send(descriptor, $0, strlen($0), Int32(MSG_NOSIGNAL)) }
        close(descriptor)
    }

    private func accept(_ listener: Int32) {
        guard let service = listeners[listener] else { return }
        // A batch per event: a storm of new connections must not starve the others.
        for _ in 0..<64 {
            let descriptor = Glibc.accept(listener, nil, nil)
            guard descriptor >= 0 else { return }
            _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
            let connection = UnsafeMutablePointer<Connection>.allocate(capacity: 1)
            connection.initialize(to: Connection(descriptor: descriptor, service: service))
            if options.totalBytes > 0 { connection.pointee.allowance = options.totalBytes }
            let interest: Poller.Interest = connection.pointee.isSending ? [.readable, .writable] : .readable
            connection.pointee.interest = interest
            poller.add(descriptor, interest, data: UInt64(UInt(bitPattern: connection)))
        }
    }

    private func serve(_ connection: UnsafeMutablePointer<Connection>, _ happened: Poller.Interest) {
        let scratch = connection.pointee.service.isWebSocket ? framed : raw
        var alive = true
        if happened.contains(.writable) {
            if !connection.pointee.pending.isEmpty { alive = connection.pointee.sendPending() }
            if alive && connection.pointee.pending.isEmpty {
                alive = !connection.pointee.closing && connection.pointee.sendPattern(scratch)
            }
        }
        if alive && !happened.isDisjoint(with: [.readable, .error, .hangup]) {
            alive = connection.pointee.receive(scratch)
        }
        guard alive else {
            close(connection.pointee.descriptor)
            connection.deinitialize(count: 1)
            connection.deallocate()
            return
        }
        // Output that waits stops input: the target holds one buffer of input at most.
        let waiting = !connection.pointee.pending.isEmpty
        var interest: Poller.Interest = waiting ? [] : .readable
        if waiting || connection.pointee.isSending { interest.insert(.writable) }
        if interest != connection.pointee.interest {
            connection.pointee.interest = interest
            poller.change(connection.pointee.descriptor, interest, data: UInt64(UInt(bitPattern: connection)))
        }
    }
}
