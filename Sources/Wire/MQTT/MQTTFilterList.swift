// The filters of a SUBSCRIBE or UNSUBSCRIBE, and a SUBSCRIBE without those that were refused.

/// One filter of a SUBSCRIBE or UNSUBSCRIBE; places in the packet.
public struct MQTTFilterEntry: Sendable, Equatable {
    /// The filter's text.
    public var filter: Range<Int>
    /// SUBSCRIBE: the options byte. QoS is its two lowest bits.
    public var options: UInt8
    /// The entry with length and options.
    var whole: Range<Int>
}

/// The list of filters in a whole SUBSCRIBE or UNSUBSCRIBE packet, checked before it is handed out.
public struct MQTTFilterList: Sendable, Equatable {
    /// The packet id, not 0.
    public let packetID: UInt16
    /// Number of filters, at least 1.
    public let count: Int
    /// Whether it is a SUBSCRIBE.
    public let isSubscribe: Bool
    private let version: MQTTVersion
    /// Packet id and, in MQTT 5, properties with their length.
    private let variableHeader: Range<Int>
    private var fields: MQTTFields { MQTTFields(variableHeader.upperBound..<end) }
    private let end: Int

    /// Reads a packet that a scanner handed out whole. Nil when it is malformed: no filter, a filter that is no UTF-8 text,
    /// options that mean nothing (MQTT 5 section 3.8.3.1), wrong properties. Whether a filter is well formed is not judged here.
    public init?(_ packet: Span<UInt8>, _ version: MQTTVersion) {
        guard packet.count >= 2 else { return nil }
        var fields = MQTTFields(1..<packet.count)
        guard let length = fields.length(packet), fields.index + length == packet.count else { return nil }
        let start = fields.index
        isSubscribe = packet[0] >> 4 == MQTTType.subscribe.rawValue
        guard isSubscribe || packet[0] >> 4 == MQTTType.unsubscribe.rawValue, let id = fields.short(packet), id != 0 else { return nil }
        if version == .v5 {
            guard let bytes = fields.length(packet), let range = fields.take(bytes),
                Self.areValid(packet, range, isSubscribe ? .subscribe : .unsubscribe)
            else { return nil }
        }
        packetID = id
        self.version = version
        variableHeader = start..<fields.index
        end = packet.count
        var count = 0
        while !fields.isAtEnd {
            guard let entry = Self.entry(&fields, packet, isSubscribe), MQTTText.isValid(packet.extracting(entry.filter)),
                !entry.filter.isEmpty, !isSubscribe || Self.areValid(entry.options, version)
            else { return nil }
            count += 1
        }
        guard count > 0 else { return nil }
        self.count = count
    }

    private static func areValid(_ packet: Span<UInt8>, _ range: Range<Int>, _ allowed: MQTTPropertySet) -> Bool {
        var properties = MQTTPropertyReader(range, allowed: allowed)
        while true {
            switch properties.next(packet) {
            case .end: return true
            case .malformed: return false
            case .property: break
            }
        }
    }

    private static func areValid(_ options: UInt8, _ version: MQTTVersion) -> Bool {
        guard options & 3 != 3 else { return false }
        return version == .v5 ? options & 0xC0 == 0 && options & 0x30 != 0x30 : options & 0xFC == 0
    }

    private static func entry(_ fields: inout MQTTFields, _ packet: Span<UInt8>, _ hasOptions: Bool) -> MQTTFilterEntry? {
        let start = fields.index
        guard let filter = fields.binary(packet) else { return nil }
        var options: UInt8 = 0
        if hasOptions {
            guard let byte = fields.byte(packet) else { return nil }
            options = byte
        }
        return MQTTFilterEntry(filter: filter, options: options, whole: start..<fields.index)
    }

    /// Calls `body` for every filter in order. `packet` is what the list was read from.
    public func forEach(_ packet: Span<UInt8>, _ body: (Int, MQTTFilterEntry) -> Void) {
        var fields = fields
        var number = 0
        while !fields.isAtEnd, let entry = Self.entry(&fields, packet, isSubscribe) {
            body(number, entry)
            number += 1
        }
    }

    /// The SUBSCRIBE with the filters left out that have a code in `refusals` (one value for each filter; 0: it stays); nil when none
    /// is left.
    public func packet(without refusals: [UInt8], from packet: Span<UInt8>) -> [UInt8]? {
        precondition(refusals.count == count && isSubscribe)
        var remaining = variableHeader.count
        forEach(packet) { number, entry in remaining += refusals[number] != 0 ? 0 : entry.whole.count }
        guard remaining > variableHeader.count else { return nil }
        return [UInt8](capacity: MQTTLimits.fixedHeaderBytes + remaining) { writer in
            writer.byte(packet[0])
            writer.mqttLength(remaining)
            writer.bytes(packet.extracting(variableHeader))
            var fields = fields
            var number = 0
            while !fields.isAtEnd, let entry = Self.entry(&fields, packet, isSubscribe) {
                if refusals[number] == 0 { writer.bytes(packet.extracting(entry.whole)) }
                number += 1
            }
            return !writer.failed
        }
    }
}

/// What a broker answers to a SUBSCRIBE (MQTT 3.1.1 section 3.9).
public struct MQTTSuback {
    /// The packet id.
    public let packetID: UInt16
    /// Where one code for each filter lies in the packet, in their order.
    public let codes: Range<Int>
    /// Packet id and, in MQTT 5, properties with their length.
    let variableHeader: Range<Int>

    /// Codes from here on are failures (MQTT 3.1.1 section 3.9.3, MQTT 5 table 3-8).
    public static let firstFailure: UInt8 = 0x80

    /// Reads a whole SUBACK; nil when it is malformed.
    public init?(_ packet: Span<UInt8>, _ version: MQTTVersion) {
        guard packet.count >= 4 else { return nil }
        var fields = MQTTFields(1..<packet.count)
        guard fields.length(packet) != nil else { return nil }
        let start = fields.index
        guard let id = fields.short(packet) else { return nil }
        if version == .v5 {
            guard let count = fields.length(packet), fields.take(count) != nil else { return nil }
        }
        packetID = id
        codes = fields.index..<packet.count
        variableHeader = start..<fields.index
    }
}

/// SUBACKs that are owed a failure code for each filter that did not reach the broker.
public struct MQTTSubscribeRepairs: Sendable {
    /// Most SUBSCRIBEs with refused filters that may be unanswered at a time. A client waits for answers; one that does not is
    /// refused whole packets instead.
    public static let maximumPending = 32

    private var pending: [(packetID: UInt16, refusals: [UInt8])] = []

    /// No SUBACK is owed anything.
    public init() {}

    /// Whether `note` would have room for this id.
    public func hasRoom(_ packetID: UInt16) -> Bool {
        pending.count < Self.maximumPending && !pending.contains { $0.packetID == packetID }
    }

    /// Remembers which filters of a SUBSCRIBE were taken out, and the codes their places get. False when there is no room, or the id
    /// is in use already.
    public mutating func note(_ packetID: UInt16, refusals: [UInt8]) -> Bool {
        guard hasRoom(packetID) else { return false }
        pending.append((packetID, refusals))
        return true
    }

    /// Whether any SUBACK is to be repaired: otherwise they pass as they are.
    public var isEmpty: Bool { pending.isEmpty }

    /// What becomes of a SUBACK.
    public enum Outcome: Sendable, Equatable {
        /// Nothing was taken out of its SUBSCRIBE.
        case unchanged
        /// The packet to send instead.
        case repaired([UInt8])
        /// It does not have one code for each filter that was forwarded.
        case malformed
    }

    /// Puts the failure codes of refused filters into a whole SUBACK at their places; properties stay as they are.
    public mutating func repair(_ suback: Span<UInt8>, _ version: MQTTVersion) -> Outcome {
        guard let answer = MQTTSuback(suback, version) else { return .malformed }
        guard let index = pending.firstIndex(where: { $0.packetID == answer.packetID }) else { return .unchanged }
        let refusals = pending.remove(at: index).refusals
        guard answer.codes.count == refusals.count(where: { $0 == 0 }) else { return .malformed }
        let remaining = answer.variableHeader.count + refusals.count
        let packet = [UInt8](capacity: MQTTLimits.fixedHeaderBytes + remaining) { writer in
            writer.byte(suback[0])
            writer.mqttLength(remaining)
            writer.bytes(suback.extracting(answer.variableHeader))
            var code = answer.codes.lowerBound
            for refusal in refusals {
                if refusal != 0 {
                    writer.byte(refusal)
                } else {
                    writer.byte(suback[code])
                    code += 1
                }
            }
            return !writer.failed
        }
        return packet.map { .repaired($0) } ?? .malformed
    }
}
