import CRing
import CResolve
import Glibc
import Ring

/// Name resolution on the shard's own ring.
///
/// Theory of operation
/// - c-ares makes the sockets and the queries (the system's configuration: resolv.conf, nsswitch, hosts); it says which
///   descriptors it waits for, and each becomes a one-shot poll on the ring.
/// - Each watch has a number of its own in its token: a descriptor that is closed and reused is not mistaken for the old one.
/// - A look-up has a number; its result is kept until the layer above took it, on the `resolved` event.
/// - Off the data path: one look-up per dialled name.
final class ResolverState {
    var handle: OpaquePointer?
    var watches: [Watch] = []
    var nextWatch: UInt16 = 1
    var lookups: [UInt32: Lookup] = [:]
    var finished: [UInt32] = []
    var nextLookup: UInt32 = 1
    var shard: Shard

    init(shard: Shard) { self.shard = shard }

    struct Watch {
        let descriptor: Int32
        let number: UInt16
        var events: UInt32
    }

    struct Lookup {
        let owner: Owner
        let context: UInt32
        var status: Int32
        var addresses: [SocketAddress]
        var seconds = 0
    }
}

/// A finished look-up as the loop hands it out.
struct FinishedLookup {
    let identifier: UInt32
    let owner: Owner
    let context: UInt32
    let status: Int32
}

/// The shard's resolver; opened with the first look-up, so that shards which dial addresses only never read the
/// system's configuration.
struct Resolver {
    private var opened: ResolverState?

    var hasFinished: Bool { opened.map { !$0.finished.isEmpty } ?? false }

    mutating func close() {
        if let handle = opened?.handle { resolver_close(handle) }
        opened = nil
    }

    private mutating func open(_ shard: Shard) -> ResolverState? {
        if let opened { return opened }
        let created = ResolverState(shard: shard)
        let context = Unmanaged.passUnretained(created).toOpaque()
        var handle: OpaquePointer?
        // Two attempts within the whole time.
        let status = resolver_open(
            &handle, { context, descriptor, readable, writable in
                Unmanaged<ResolverState>.fromOpaque(context!).takeUnretainedValue().watch(descriptor, readable, writable)
            },
            { context, identifier, status, addresses, count, seconds in
                Unmanaged<ResolverState>.fromOpaque(context!).takeUnretainedValue()
                    .done(UInt32(identifier), status, UnsafeBufferPointer(start: addresses, count: Int(count)), Int(seconds))
            }, context, EngineLimits.lookupTimeoutMilliseconds / 3, 2)
        guard status == 0 else { return nil }
        created.handle = handle
        opened = created
        return created
    }

    mutating func lookUp(_ name: String, owner: Owner, context: UInt32, shard: Shard) -> UInt32? {
        guard let resolver = open(shard), resolver.lookups.count < EngineLimits.lookupsMaximum else { return nil }
        let identifier = resolver.nextLookup
        resolver.nextLookup &+= 1
        resolver.lookups[identifier] = ResolverState.Lookup(owner: owner, context: context, status: 0, addresses: [])
        resolver_lookup(resolver.handle, name, UInt64(identifier))
        setTimer(shard)
        return identifier
    }

    func polled(_ shard: Shard, _ token: Token, _ result: Int32) {
        opened?.polled(Int32(token.slot), token.detail, result)
        setTimer(shard)
    }

    func timePassed(_ shard: Shard) {
        guard let resolver = opened else { return }
        resolver_process(resolver.handle, -1, -1)
        setTimer(shard)
    }

    private func setTimer(_ shard: Shard) {
        guard let resolver = opened else { return }
        let milliseconds = resolver_timeout(resolver.handle)
        if milliseconds >= 0 { shard.setShardTimer(.resolver, afterMilliseconds: UInt64(milliseconds)) }
    }

    mutating func takeFinished() -> FinishedLookup? {
        guard let resolver = opened, !resolver.finished.isEmpty else { return nil }
        let identifier = resolver.finished.removeFirst()
        guard let lookup = resolver.lookups[identifier] else { return nil }
        return FinishedLookup(identifier: identifier, owner: lookup.owner, context: lookup.context, status: lookup.status)
    }

    func seconds(_ identifier: UInt32) -> Int { opened?.lookups[identifier]?.seconds ?? 0 }

    func takeAddresses(_ identifier: UInt32) -> [SocketAddress] {
        opened?.lookups.removeValue(forKey: identifier)?.addresses ?? []
    }
}

extension ResolverState {
    func watch(_ descriptor: Int32, _ readable: Bool, _ writable: Bool) {
        let events = (readable ? UInt32(POLLIN) : 0) | (writable ? UInt32(POLLOUT) : 0)
        if let index = watches.firstIndex(where: { $0.descriptor == descriptor }) {
            let old = watches.remove(at: index)
            if old.events == events {
                watches.append(old)
                return
            }
            // Without the cancel the poll would hold the closed socket for ever.
            ring_prepare_cancel(ring.entry(), token(old).packed, Token(.ignored, slot: 0).packed)
        }
        guard events != 0 else { return }
        let watch = Watch(descriptor: descriptor, number: nextWatch, events: events)
        nextWatch = nextWatch == .max ? 1 : nextWatch + 1
        watches.append(watch)
        arm(watch)
    }

    private var ring: Ring { shard.state.pointee.ring }

    private func token(_ watch: Watch) -> Token { Token(.poll, slot: UInt32(watch.descriptor), detail: watch.number) }

    private func arm(_ watch: Watch) {
        ring_prepare_poll(ring.entry(), watch.descriptor, watch.events, false, token(watch).packed)
    }

    func polled(_ descriptor: Int32, _ number: UInt16, _ result: Int32) {
        guard watches.contains(where: { $0.number == number && $0.descriptor == descriptor }), result != -ECANCELED else { return }
        let ready = UInt32(bitPattern: max(result, 0))
        let readable = result < 0 || ready & UInt32(POLLIN | POLLERR | POLLHUP) != 0
        let writable = ready & UInt32(POLLOUT) != 0
        resolver_process(handle, readable ? descriptor : -1, writable ? descriptor : -1)
        if let watch = watches.first(where: { $0.number == number }) { arm(watch) }
    }

    func done(_ identifier: UInt32, _ status: Int32, _ addresses: UnsafeBufferPointer<sockaddr_in6>, _ seconds: Int) {
        guard lookups[identifier] != nil else { return }
        lookups[identifier]?.status = status
        lookups[identifier]?.seconds = max(0, seconds)
        lookups[identifier]?.addresses = addresses.prefix(EngineLimits.addressesPerName).map { SocketAddress(storage: $0) }
        finished.append(identifier)
        if status != 0 { shard.statistics.add(.lookupsFailed) }
    }
}

extension Shard {
    /// Looks a name up: a `resolved` event with the returned number follows. Nil when too many are under way.
    public func lookUp(_ name: String, owner: Owner, context: UInt32) -> UInt32? {
        let identifier = state.pointee.resolver.pointee.lookUp(name, owner: owner, context: context, shard: self)
        statistics.add(identifier == nil ? .lookupsRefused : .lookups)
        return identifier
    }

    // The turn's own functions stay free of reference counting, so what touches the resolver's class is out of line.

    /// A descriptor of the resolver is ready.
    @inline(never)
    func resolverPolled(_ token: Token, _ result: Int32) { state.pointee.resolver.pointee.polled(self, token, result) }

    /// The resolver's timer fired.
    @inline(never)
    func resolverTimePassed() { state.pointee.resolver.pointee.timePassed(self) }

    /// Fills `event` with a finished look-up; false when there is none.
    @inline(never)
    func nextLookup(_ event: inout Event) -> Bool {
        guard let lookup = state.pointee.resolver.pointee.takeFinished() else { return false }
        event.kind = .resolved
        event.owner = lookup.owner
        event.context = lookup.context
        event.detail = lookup.identifier
        event.result = lookup.status
        event.slot = .none
        return true
    }

    /// How long the addresses of a finished look-up are good for, in seconds; 0 of names from the system's own files. Before
    /// `takeAddresses`.
    public func addressLifetime(_ lookup: UInt32) -> Int { state.pointee.resolver.pointee.seconds(lookup) }

    /// The addresses of a finished look-up (port 0), in the system's order; they can be taken once.
    public func takeAddresses(_ lookup: UInt32) -> [SocketAddress] {
        state.pointee.resolver.pointee.takeAddresses(lookup)
    }
}
