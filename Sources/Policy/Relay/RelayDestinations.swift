// Theory of operation
//
// Where the relay may send. Configuration text becomes settings, settings become tables, and a verdict on a datagram is a bit test and
// at most three binary searches in them, without touching a reference count:
//
//     port 0 ─► denied ports ─► allowed ports ─► private ─► denied blocks ─► allowed blocks ─► default
//
// First match decides. IPv4 blocks match IPv4 addresses only and IPv6 blocks IPv6 only; mapped addresses became IPv4 on reading.
//
// "Private" is the relay's own list, not the gateway's `AddressRules`: documentation and benchmarking networks are not on it.

import Wire

/// Rules for destinations, as they are configured.
public struct RelayDestinationSettings: Sendable, Equatable {
    /// What stands behind the rules: nothing (`prod`) or everything (`dev`).
    public var allowsByDefault = false
    /// Whether private networks may be reached at all.
    public var allowsPrivate = false
    /// `ALLOW_UDP_CIDRS`; nil when not set, which is not the same as a list without entries.
    public var allowedBlocks: [AddressBlock]?
    /// `DENY_UDP_CIDRS`.
    public var deniedBlocks: [AddressBlock] = []
    /// `ALLOW_UDP_PORTS`; nil when not set.
    public var allowedPorts: [ClosedRange<UInt16>]?
    /// `DENY_UDP_PORTS`.
    public var deniedPorts: [ClosedRange<UInt16>] = []

    /// The production preset: nothing is reached.
    public init() {}

    /// The preset named by `DESTINATION_POLICY_PRESET` or an alias, in any case; nil for another name.
    public init?(preset: String) {
        switch preset.trimmingBlanks().lowercased() {
        case "", "prod", "production": break
        case "dev", "development": (allowsByDefault, allowsPrivate) = (true, true)
        default: return nil
        }
    }

    /// Most entries of a list.
    public static let maximumEntries = 4096

    /// A comma list of blocks; blank items are skipped. Nil when one is malformed, or there are too many.
    public static func blocks(_ text: String) -> [AddressBlock]? { list(text) { AddressBlock($0) } }

    /// A comma list of `n` or `a-b`, 1 to 65535; blank items are skipped. Nil when one is malformed, or there are too many.
    public static func ports(_ text: String) -> [ClosedRange<UInt16>]? {
        list(text) { item in
            let ends = item.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map { String($0).trimmingBlanks() }
            let numbers = ends.compactMap { $0.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16($0) : nil }
            guard numbers.count == ends.count, let first = numbers.first, let last = numbers.last, first > 0, first <= last
            else { return nil }
            return first...last
        }
    }

    private static func list<Item>(_ text: String, _ read: (String) -> Item?) -> [Item]? {
        let items = text.split(separator: ",").map { String($0).trimmingBlanks() }.filter { !$0.isEmpty }
        let found = items.compactMap(read)
        return found.count == items.count && found.count <= maximumEntries ? found : nil
    }
}

/// A block of addresses: a prefix and its length (CIDR, RFC 4632).
public struct AddressBlock: Sendable, Equatable {
    /// Lowest address.
    public let first: IPAddress
    /// Highest address.
    public let last: IPAddress

    /// The block of all addresses that share the first `length` bits of `address`. An IPv4-mapped block becomes the IPv4 one.
    public init?(_ address: IPAddress, length: Int) {
        let bits = address.family == .v4 ? 32 : 128
        guard (0...bits).contains(length) else { return nil }
        if address.family == .v6, address.normalized.family == .v4, length >= 96 {
            self.init(address.normalized, length: length - 96)
            return
        }
        // Shifting by the whole width gives 0.
        if address.family == .v4 {
            let host = UInt32.max >> UInt32(length)
            let value = UInt32(truncatingIfNeeded: address.low)
            self.init(first: IPAddress(v4: value & ~host), last: IPAddress(v4: value | host))
        } else {
            let high = UInt64.max >> UInt64(min(length, 64))
            let low = UInt64.max >> UInt64(max(length - 64, 0))
            self.init(
                first: IPAddress(v6High: address.high & ~high, low: address.low & ~low),
                last: IPAddress(v6High: address.high | high, low: address.low | low))
        }
    }

    private init(first: IPAddress, last: IPAddress) {
        self.first = first
        self.last = last
    }

    /// Reads `address/length`.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPAddress(String(parts[0])), parts[1].utf8.count <= 3,
            parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), !(parts[1].hasPrefix("0") && parts[1] != "0"),
            let length = Int(parts[1])
        else { return nil }
        self.init(address, length: length)
    }
}

/// The rules in the form that datagrams are judged by. Immutable, 8 kB and 8 bytes for each IPv4 and 32 for each IPv6 block.
@safe public final class RelayDestinations: @unchecked Sendable {
    /// A view of the tables for the data path: plain memory, good as long as its owner lives.
    @safe public struct Rules: @unchecked Sendable {
        fileprivate let ports: UnsafeMutablePointer<UInt64>
        fileprivate let privateV4: Blocks<UInt32>
        fileprivate let privateV6: Blocks<WideAddress>
        fileprivate let deniedV4: Blocks<UInt32>
        fileprivate let deniedV6: Blocks<WideAddress>
        fileprivate let allowedV4: Blocks<UInt32>
        fileprivate let allowedV6: Blocks<WideAddress>
        fileprivate let judgesAllowed: Bool
        fileprivate let allowsByDefault: Bool

        /// Whether a datagram may go there.
        public func permits(_ remote: Endpoint) -> Bool {
            guard unsafe ports[Int(remote.port >> 6)] >> UInt64(remote.port & 63) & 1 != 0 else { return false }
            let address = remote.address.normalized
            if let value = address.v4Value {
                if privateV4.contains(value) || deniedV4.contains(value) { return false }
                return judgesAllowed ? allowedV4.contains(value) : allowsByDefault
            }
            let wide = WideAddress(high: address.high, low: address.low)
            if privateV6.contains(wide) || deniedV6.contains(wide) || carriesPrivate(wide) { return false }
            return judgesAllowed ? allowedV6.contains(wide) : allowsByDefault
        }

        /// Whether a translator on the way might deliver to a private IPv4 address (RFC 6052, RFC 8215, RFC 3056, RFC 4291).
        private func carriesPrivate(_ address: WideAddress) -> Bool {
            let tail = UInt32(truncatingIfNeeded: address.low)
            if address.low >> 32 == 0, address.high == 0 || address.high == 0x0064_FF9B_0000_0000 { return privateV4.contains(tail) }
            if address.high >> 48 == 0x2002 { return privateV4.contains(UInt32(truncatingIfNeeded: address.high >> 16)) }
            guard address.high >> 16 == 0x0064_FF9B_0001 else { return false }
            // Of the places RFC 6052 section 2.2 gives the address in a /48, the shorter two leave zeros at the end, which is a private
            // address there; the /64 form leaves 24.
            return privateV4.contains(tail)
                || (tail & 0xFF_FFFF == 0 && privateV4.contains(UInt32(truncatingIfNeeded: address.low >> 24)))
        }
    }

    /// The tables.
    public let rules: Rules

    /// Tables of settings.
    public init(_ settings: RelayDestinationSettings) {
        let ports = UnsafeMutablePointer<UInt64>.allocate(capacity: 1024)
        unsafe ports.initialize(repeating: settings.allowedPorts == nil ? UInt64.max : 0, count: 1024)
        func set(_ range: ClosedRange<UInt16>, _ permitted: Bool) {
            for port in range {
                let bit = UInt64(1) << UInt64(port & 63)
                if permitted { unsafe ports[Int(port >> 6)] |= bit } else { unsafe ports[Int(port >> 6)] &= ~bit }
            }
        }
        for range in settings.allowedPorts ?? [] { set(range, true) }
        for range in settings.deniedPorts { set(range, false) }
        set(0...0, false)
        let hidden = settings.allowsPrivate ? [] : Self.privateBlocks
        let allowed = settings.allowedBlocks ?? []
        unsafe rules = Rules(
            ports: ports, privateV4: Blocks(v4: hidden), privateV6: Blocks(v6: hidden), deniedV4: Blocks(v4: settings.deniedBlocks),
            deniedV6: Blocks(v6: settings.deniedBlocks), allowedV4: Blocks(v4: allowed), allowedV6: Blocks(v6: allowed),
            judgesAllowed: settings.allowedBlocks != nil, allowsByDefault: settings.allowsByDefault)
    }

    deinit {
        unsafe rules.ports.deallocate()
        for blocks in [rules.privateV4, rules.deniedV4, rules.allowedV4] { blocks.deallocate() }
        for blocks in [rules.privateV6, rules.deniedV6, rules.allowedV6] { blocks.deallocate() }
    }

    /// What the relay keeps its clients from unless private networks are allowed.
    private static let privateBlocks: [AddressBlock] = [
        "127.0.0.0/8", "169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "224.0.0.0/4", "0.0.0.0/8",
        "240.0.0.0/4", "255.255.255.255/32", "::1/128", "fe80::/10", "fec0::/10", "fc00::/7", "ff00::/8", "::/128",
    ].compactMap { AddressBlock($0) }
}

/// An IPv6 address that compares as a number.
private struct WideAddress: Comparable {
    var high: UInt64
    var low: UInt64

    @inline(__always)
    static func < (left: WideAddress, right: WideAddress) -> Bool {
        left.high < right.high || (left.high == right.high && left.low < right.low)
    }
}

/// Sorted, disjoint blocks in plain memory.
@safe private struct Blocks<Address: Comparable> {
    private var bounds: UnsafeMutablePointer<(first: Address, last: Address)>?
    private var count = 0

    init(_ blocks: [(first: Address, last: Address)]) {
        var merged: [(first: Address, last: Address)] = []
        for block in blocks.sorted(by: { $0.first < $1.first }) {
            if let previous = merged.last, block.first <= previous.last {
                merged[merged.count - 1].last = max(previous.last, block.last)
            } else {
                merged.append(block)
            }
        }
        guard !merged.isEmpty else { return }
        let memory = UnsafeMutablePointer<(first: Address, last: Address)>.allocate(capacity: merged.count)
        for (index, block) in merged.enumerated() { unsafe (memory + index).initialize(to: block) }
        unsafe bounds = memory
        count = merged.count
    }

    func deallocate() { unsafe bounds?.deallocate() }

    @inline(__always)
    func contains(_ address: Address) -> Bool {
        guard let bounds = unsafe bounds else { return false }
        // The last block that begins at or below the address is the only one that can hold it.
        var lower = 0
        var upper = count
        while lower < upper {
            let middle = (lower &+ upper) / 2
            if unsafe bounds[middle].first <= address { lower = middle &+ 1 } else { upper = middle }
        }
        return unsafe lower > 0 && address <= bounds[lower &- 1].last
    }
}

extension Blocks where Address == UInt32 {
    init(v4 blocks: [AddressBlock]) {
        self.init(blocks.compactMap { block in block.first.v4Value.flatMap { first in block.last.v4Value.map { (first, $0) } } })
    }
}

extension Blocks where Address == WideAddress {
    init(v6 blocks: [AddressBlock]) {
        self.init(
            blocks.filter { $0.first.family == .v6 }.map {
                (WideAddress(high: $0.first.high, low: $0.first.low), WideAddress(high: $0.last.high, low: $0.last.low))
            })
    }
}
