// A CONNECT as the broker is to see it.

/// What becomes of one field of a CONNECT.
public enum MQTTFieldChange: Sendable, Equatable {
    /// As the client sent it, or left it out.
    case keep
    /// Left out.
    case remove
    /// These bytes, whatever the client sent.
    case replace([UInt8])
    /// What the client sent, or nothing, behind these bytes.
    case prepend([UInt8])
    /// What the client sent, or nothing, in front of these bytes.
    case append([UInt8])
}

/// Changes to a CONNECT. All that is not named here stays bit for bit: flags, keep-alive, will, properties, and their order.
public struct MQTTConnectRewrite: Sendable, Equatable {
    /// Why a changed CONNECT cannot be written.
    public enum Fault: Error, Sendable, Equatable {
        /// A field would be longer than 65,535 bytes, or the packet longer than its length can say.
        case tooLong
        /// MQTT 3.x has no password without user name, and the client sent none.
        case passwordWithoutUsername
        /// A client id cannot be left out.
        case noClientID
    }

    /// The client id.
    public var clientID: MQTTFieldChange
    /// The user name.
    public var username: MQTTFieldChange
    /// The password.
    public var password: MQTTFieldChange
    /// MQTT 5: user properties of this name (ASCII, any case) are taken out; empty: none are. What carries identity is written by
    /// the gateway alone.
    public var userPropertyName: String
    /// MQTT 5: the value of one user property of that name to add behind the others; nil: none. 3.x has no place for it.
    public var userPropertyValue: String?

    /// Changes; nothing is changed unless named.
    public init(
        clientID: MQTTFieldChange = .keep, username: MQTTFieldChange = .keep, password: MQTTFieldChange = .keep,
        userPropertyName: String = "", userPropertyValue: String? = nil
    ) {
        self.clientID = clientID
        self.username = username
        self.password = password
        self.userPropertyName = userPropertyName
        self.userPropertyValue = userPropertyValue
    }

    /// Whether nothing is to be changed: the bytes may go as they came.
    public var isEmpty: Bool {
        clientID == .keep && username == .keep && password == .keep && userPropertyName.isEmpty
    }
}

extension MQTTConnect {
    /// The packet with changes, from the bytes it was read from. It may be longer than what came.
    public func rewritten(_ rewrite: MQTTConnectRewrite, from bytes: Span<UInt8>) throws(MQTTConnectRewrite.Fault) -> [UInt8] {
        if rewrite.isEmpty { return Self.array(bytes.extracting(packet)) }
        guard let clientID = Self.changed(clientID, rewrite.clientID, bytes) else { throw .noClientID }
        let username = Self.changed(self.username, rewrite.username, bytes)
        let password = Self.changed(self.password, rewrite.password, bytes)
        let brokeTheRuleItself = self.username == nil && self.password != nil
        guard password == nil || username != nil || version == .v5 || brokeTheRuleItself else { throw .passwordWithoutUsername }
        for field in [clientID, username ?? [], password ?? []] where field.count > MQTTLimits.maximumFieldBytes { throw .tooLong }
        guard let properties = version == .v5 ? changedProperties(rewrite, bytes) : [] else { throw .tooLong }

        var remaining = variableHeader.count + 2 + clientID.count + willFields.count
        if version == .v5 { remaining += MQTTSize.length(properties.count) + properties.count }
        if let username { remaining += 2 + username.count }
        if let password { remaining += 2 + password.count }
        guard remaining <= MQTTLimits.maximumRemainingBytes else { throw .tooLong }

        let written = [UInt8](capacity: MQTTLimits.fixedHeaderBytes + remaining) { writer in
            writer.byte(0x10)
            writer.mqttLength(remaining)
            // Protocol name, level; flags; keep-alive.
            let flagsPlace = variableHeader.upperBound - 3
            writer.bytes(bytes.extracting(variableHeader.lowerBound..<flagsPlace))
            writer.byte(flags & 0x3F | (username == nil ? 0 : 0x80) | (password == nil ? 0 : 0x40))
            writer.bytes(bytes.extracting(flagsPlace + 1..<variableHeader.upperBound))
            if version == .v5 {
                writer.mqttLength(properties.count)
                writer.bytes(properties.span)
            }
            writer.mqttField(clientID.span)
            writer.bytes(bytes.extracting(willFields))
            if let username { writer.mqttField(username.span) }
            if let password { writer.mqttField(password.span) }
            return !writer.failed
        }
        guard let written else { throw .tooLong }
        return written
    }

    /// The properties without those that are taken out, and with the one that is added; nil when that is too long.
    private func changedProperties(_ rewrite: MQTTConnectRewrite, _ bytes: Span<UInt8>) -> [UInt8]? {
        guard !rewrite.userPropertyName.isEmpty else { return Self.array(bytes.extracting(properties)) }
        let name = Array(rewrite.userPropertyName.utf8)
        let value = rewrite.userPropertyValue.map { Array($0.utf8) }
        return [UInt8](capacity: properties.count + 5 + name.count + (value?.count ?? 0)) { writer in
            var reader = MQTTPropertyReader(properties, allowed: .connect)
            while case .property(let property, let place, let whole) = reader.next(bytes) {
                if property == .userProperty, Self.isNamed(place, name, bytes) { continue }
                writer.bytes(bytes.extracting(whole))
            }
            if let value {
                writer.byte(MQTTProperty.userProperty.rawValue)
                writer.mqttField(name.span)
                writer.mqttField(value.span)
            }
            return !writer.failed
        }
    }

    private static func isNamed(_ pair: Range<Int>, _ name: [UInt8], _ bytes: Span<UInt8>) -> Bool {
        var fields = MQTTFields(pair)
        guard let range = fields.binary(bytes), range.count == name.count else { return false }
        return range.indices.allSatisfy { Character7.lowercase(bytes[$0]) == Character7.lowercase(name[$0 - range.lowerBound]) }
    }

    private static func changed(_ range: Range<Int>?, _ change: MQTTFieldChange, _ bytes: Span<UInt8>) -> [UInt8]? {
        var sent: [UInt8]?
        if let range { sent = array(bytes.extracting(range)) }
        return switch change {
        case .keep: sent
        case .remove: nil
        case .replace(let field): field
        case .prepend(let head): head + (sent ?? [])
        case .append(let tail): (sent ?? []) + tail
        }
    }

    private static func array(_ span: Span<UInt8>) -> [UInt8] {
        [UInt8](capacity: span.count) { $0.bytes(span) } ?? []
    }
}
