// Theory of operation
//
// A binding gives one guest port its own local ports. The table knows which guest ports are bound, when each was last used, and whom
// each may hear from; the sockets belong to the engine and are only numbers here, one for each family, opened on first use.
//
//     frame of the guest ─► bind(port) ─► existing | opened | opened in the place of the one used longest ago: close its sockets
//                       └─► sent(to:)  whom it may hear from now
//     datagram           ─► admits(from:) ─► use       only what passes keeps a binding alive
//     timer              ─► expired()  until nil: close its sockets
//
// A socket outlives its binding until the kernel has let go of it, so whoever hears from one shows the handle it was opened for: the
// generation tells whether the binding is still that one.

import Wire

/// Names a binding. The index is below the table's capacity; a binding opened in the place of another has another generation.
public struct RelayBinding: Sendable, Equatable {
    /// Place in the table.
    public var index: UInt32
    /// Number of the binding among all of the table.
    public var generation: UInt32

    /// A handle of these parts, which an owner has kept apart.
    public init(index: UInt32, generation: UInt32) {
        self.index = index
        self.generation = generation
    }
}

/// A binding that is no more.
public struct RelayClosedBinding: Sendable, Equatable {
    /// Its handle, stale now.
    public var binding: RelayBinding
    /// Its guest port.
    public var guestPort: UInt16
    /// The number of its IPv4 socket, if one was opened.
    public var socketV4: UInt32?
    /// The number of its IPv6 socket, if one was opened.
    public var socketV6: UInt32?

    /// Sockets that were opened for it.
    public var socketCount: Int { (socketV4 == nil ? 0 : 1) + (socketV6 == nil ? 0 : 1) }
}

/// The rules all bindings of a session share.
public struct RelayBindingSettings: Sendable, Equatable {
    /// `MAX_UDP_BINDINGS_PER_SESSION`.
    public var maximumBindings = 128
    /// `UDP_BINDING_IDLE_TIMEOUT`.
    public var idleMilliseconds: UInt64 = 60_000
    /// `UDP_INBOUND_FILTER_MODE`.
    public var filterMode = RelayFilterMode.addressAndPort
    /// `MAX_ALLOWED_REMOTES_PER_BINDING`.
    public var maximumRemotes = 1024
    /// `UDP_REMOTE_ALLOWLIST_IDLE_TIMEOUT`.
    public var remoteIdleMilliseconds: UInt64 = 60_000

    /// The defaults.
    public init() {}

    /// How often to look for idle bindings: every half time-out, at least every 100 ms apart.
    public var sweepMilliseconds: UInt64 { max(idleMilliseconds / 2, 100) }
}

/// The bindings of one session. A binding is 188 bytes and 45 for each remote it may hear from, in memory that doubles as it fills:
/// 24 kB and at most 5.9 MB at the defaults. Constant time; no allocation but the doubling.
public struct RelayBindings: ~Copyable {
    // Not private: whoever destroys the table in another module refers to it.
    struct Binding: ~Copyable {
        var filter: RelayInboundFilter
        let generation: UInt32
        var socketV4: UInt32?
        var socketV6: UInt32?
    }

    /// What binding a guest port led to.
    public enum Bound: Sendable, Equatable {
        /// It was bound already.
        case existing(RelayBinding)
        /// It is bound now. `closed`: the one that had to go for it, whose sockets are to be closed.
        case opened(RelayBinding, closed: RelayClosedBinding?)
    }

    private let settings: RelayBindingSettings
    private var table: RecentTable<Binding>
    private var generation: UInt32 = 0

    /// No bindings.
    public init(_ settings: RelayBindingSettings) {
        self.settings = settings
        // There are no more guest ports than this.
        table = RecentTable(capacity: min(max(settings.maximumBindings, 1), 65_536))
    }

    /// Bindings open.
    public var count: Int { table.count }
    /// Bytes of memory besides the value itself and the filters.
    public var tableBytes: Int { table.bytes }

    /// The binding of a guest port, which counts as used now.
    public mutating func bind(_ guestPort: UInt16, nowMilliseconds: UInt64) -> Bound {
        let key = RecentTable<Binding>.Key(port: guestPort)
        let known = table.find(key)
        if known != RecentTable<Binding>.none {
            table.use(known, nowMilliseconds: nowMilliseconds)
            return .existing(handle(known))
        }
        let closed = table.count == table.capacity ? close(table.oldest, keepsMemory: true) : nil
        generation &+= 1
        let filter = RelayInboundFilter(
            mode: settings.filterMode, maximumRemotes: settings.maximumRemotes, idleMilliseconds: settings.remoteIdleMilliseconds)
        let index = table.insert(key, Binding(filter: filter, generation: generation), nowMilliseconds: nowMilliseconds)
        return .opened(handle(index), closed: closed)
    }

    private func handle(_ index: UInt32) -> RelayBinding {
        RelayBinding(index: index, generation: unsafe table.value(index).pointee.generation)
    }

    /// Whether a handle still names an open binding.
    public func isOpen(_ binding: RelayBinding) -> Bool { table.isLive(binding.index) && handle(binding.index) == binding }

    /// The guest port of an open binding.
    public func guestPort(_ binding: RelayBinding) -> UInt16 {
        precondition(isOpen(binding))
        return table.port(binding.index)
    }

    /// The number of an open binding's socket, nil before it is opened.
    public func socket(_ binding: RelayBinding, _ family: IPAddress.Family) -> UInt32? {
        precondition(isOpen(binding))
        return family == .v4 ? unsafe table.value(binding.index).pointee.socketV4 : unsafe table.value(binding.index).pointee.socketV6
    }

    /// Notes the number of an open binding's socket; nil when it is gone.
    public mutating func setSocket(_ binding: RelayBinding, _ family: IPAddress.Family, _ socket: UInt32?) {
        precondition(isOpen(binding))
        switch family {
        case .v4: unsafe table.value(binding.index).pointee.socketV4 = socket
        case .v6: unsafe table.value(binding.index).pointee.socketV6 = socket
        }
    }

    /// Notes a frame from an open binding to a remote; true when another remote had to go for it.
    public mutating func sent(_ binding: RelayBinding, to remote: Endpoint, nowMilliseconds: UInt64) -> Bool {
        precondition(isOpen(binding))
        return unsafe table.value(binding.index).pointee.filter.sent(to: remote, nowMilliseconds: nowMilliseconds)
    }

    /// Whether an open binding takes a datagram from a remote. If so it counts as used now; judge the size before.
    public mutating func admits(_ binding: RelayBinding, from remote: Endpoint, nowMilliseconds: UInt64) -> Bool {
        precondition(isOpen(binding))
        guard unsafe table.value(binding.index).pointee.filter.admits(from: remote, nowMilliseconds: nowMilliseconds) else { return false }
        table.use(binding.index, nowMilliseconds: nowMilliseconds)
        return true
    }

    /// Closes the binding that has been idle longest, if that is more than the time-out; nil when there is none. Ask until nil.
    public mutating func expired(nowMilliseconds: UInt64) -> RelayClosedBinding? {
        guard table.count > 0 else { return nil }
        let used = table.used(table.oldest)
        guard nowMilliseconds > used, nowMilliseconds - used > settings.idleMilliseconds else { return nil }
        return close(table.oldest, keepsMemory: false)
    }

    /// Closes the binding that has been idle longest to make room for one of another session; nil when all were used just now.
    public mutating func displace(nowMilliseconds: UInt64) -> RelayClosedBinding? {
        guard table.count > 0, table.used(table.oldest) < nowMilliseconds else { return nil }
        return close(table.oldest, keepsMemory: false)
    }

    /// Closes any binding; nil when there is none. Ask until nil at the end of a session.
    public mutating func closeOne() -> RelayClosedBinding? {
        table.count > 0 ? close(table.oldest, keepsMemory: false) : nil
    }

    private mutating func close(_ index: UInt32, keepsMemory: Bool) -> RelayClosedBinding {
        let binding = handle(index)
        let port = table.port(index)
        let closed = table.remove(index, keepsMemory: keepsMemory)
        return RelayClosedBinding(binding: binding, guestPort: port, socketV4: closed.socketV4, socketV6: closed.socketV6)
    }
}
