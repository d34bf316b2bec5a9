// Sec-WebSocket-Protocol: what a client offers, the token it may hide there, and which one is agreed.

import Wire

/// A client's offer, without entries that carry a token: those are taken out before anything else.
public struct SubprotocolOffer: Sendable, Equatable {
    /// Offered subprotocols in the client's order.
    public private(set) var names: [String] = []
    /// A token the list carried.
    public private(set) var token: String?
    /// The word in front of a token; it is chosen when nothing else was offered.
    public private(set) var keyword: String?

    /// Most entries, without those that carry a token.
    public static let maximumEntries = 32
    /// Longest list of them, all fields together.
    public static let maximumBytes = 4096
    /// Longest list with a token in it, which base64 makes a third longer, and most entries: the word and the token come on top.
    static let longestBytes = maximumBytes + 2 * TokenSources.maximumTokenBytes
    static let mostEntries = maximumEntries + 2
    /// Subprotocols of MQTT: the registered one, and the older name some clients offer.
    public static let mqttNames = ["mqtt", "mqttv3.1"]
    /// What stands in front of an encoded token in the form of Kubernetes.
    static let encodedPrefix = "base64url.bearer.authorization.k8s.io."
    /// Words that a token may directly follow.
    static let keywords = ["bearer", "access_token", "authorization"]

    /// Why an offer is refused, with 400.
    public enum Fault: Error, Sendable, Hashable, CaseIterable {
        case tooLong
        case tooManyEntries
        case notAToken
        case repeated
        case twoTokens
        case tokenEncoding
        /// An encoded token stands alone: there is nothing to choose.
        case tokenAlone
    }

    /// Nothing is offered.
    public init() {}

    /// Reads the fields of a request in wire order.
    public init(lines: [String]) throws(Fault) {
        let bytes = lines.reduce(0) { $0 + $1.utf8.count }
        guard bytes <= Self.longestBytes else { throw .tooLong }
        var entries: [String] = []
        for line in lines {
            for item in line.utf8.split(separator: UInt8(ascii: ",")) {
                let entry = String(decoding: item, as: UTF8.self).trimmingBlanks()
                guard !entry.isEmpty else { continue }
                guard entries.count < Self.mostEntries else { throw .tooManyEntries }
                guard entry.utf8.allSatisfy(HeaderText.isToken) else { throw .notAToken }
                guard !entries.contains(entry) else { throw .repeated }
                entries.append(entry)
            }
        }
        try takeOutTokens(entries)
        guard names.count <= Self.maximumEntries else { throw .tooManyEntries }
        let taken = entries.reduce(0) { $0 + $1.utf8.count } - names.reduce(0) { $0 + $1.utf8.count }
        guard bytes - taken <= Self.maximumBytes else { throw .tooLong }
    }

    private mutating func takeOutTokens(_ entries: [String]) throws(Fault) {
        var isEncoded = false
        var index = 0
        while index < entries.count {
            let entry = entries[index]
            index += 1
            if entry.hasPrefix(Self.encodedPrefix) {
                let text = Array(entry.utf8.dropFirst(Self.encodedPrefix.utf8.count))
                guard let bytes = Base64.decodeURL(text.span), let decoded = String(validating: bytes, as: UTF8.self) else {
                    throw .tokenEncoding
                }
                guard token == nil else { throw .twoTokens }
                token = decoded
                isEncoded = true
            } else if Self.keywords.contains(entry), index < entries.count, TokenForm.isCredential(entries[index]) {
                guard token == nil else { throw .twoTokens }
                token = entries[index]
                keyword = entry
                index += 1
            } else if TokenForm.isCredential(entry) {
                // A token without its word is still a token: it is neither sent on nor echoed.
                continue
            } else {
                names.append(entry)
            }
        }
        if isEncoded, names.isEmpty { throw .tokenAlone }
    }
}

/// How a route agrees on a subprotocol.
public struct SubprotocolRule: Sendable, Equatable {
    /// Whether the client's offers are passed on, for the upstream to choose (`copySubProtocol`).
    public var copies: Bool
    /// What the gateway chooses from otherwise; nil: whatever the client offers first.
    public var list: [String]?
    /// Whether a client that offers nothing that fits is refused with 400.
    public var rejectsMismatch: Bool

    /// A rule.
    public init(copies: Bool, list: [String]?, rejectsMismatch: Bool) {
        self.copies = copies
        self.list = list
        self.rejectsMismatch = rejectsMismatch
    }

    /// The defaults: MQTT names on MQTT routes, whose other clients are refused; all offers passed on elsewhere; the compat profile
    /// chooses among MQTT names and refuses nobody.
    public init(defaultsFor sessionProtocol: ProxyProtocol, profile: ProxyProfile) {
        if profile == .compat || sessionProtocol == .mqtt {
            self.init(copies: false, list: SubprotocolOffer.mqttNames, rejectsMismatch: sessionProtocol == .mqtt)
        } else {
            self.init(copies: true, list: nil, rejectsMismatch: false)
        }
    }

    /// What is offered upstream, and how the client is answered.
    public enum Choice: Sendable, Equatable {
        /// These go upstream; the answer to the client is `answer(upstream:to:)`.
        case relay([String])
        /// The gateway chose: `answer` for the client, `upstream` as the only offer there; nil: no field.
        case chosen(answer: String?, upstream: String?)
        /// 400.
        case mismatch
    }

    /// Chooses for an offer. `dialsFirst`: the upstream answers before the client does.
    public func choose(_ offer: SubprotocolOffer, _ sessionProtocol: ProxyProtocol, dialsFirst: Bool) -> Choice {
        let isMQTT = sessionProtocol == .mqtt
        if copies, dialsFirst {
            let hasName = offer.names.contains { SubprotocolOffer.mqttNames.contains($0) }
            return .relay(isMQTT && !hasName ? offer.names + [SubprotocolOffer.mqttNames[0]] : offer.names)
        }
        let fallback = isMQTT ? SubprotocolOffer.mqttNames[0] : nil
        guard !offer.names.isEmpty else { return .chosen(answer: offer.keyword, upstream: fallback) }
        // Copying without the upstream's word for it: the client's first choice is offered, and must be taken.
        let fitting = offer.names.first { name in copies ? true : list?.contains(name) ?? true }
        if let fitting {
            let isBrokers = !isMQTT || SubprotocolOffer.mqttNames.contains(fitting)
            return .chosen(answer: fitting, upstream: isBrokers ? fitting : fallback)
        }
        return rejectsMismatch ? .mismatch : .chosen(answer: nil, upstream: fallback)
    }

    /// What an upstream's choice means.
    public enum Answer: Sendable, Equatable {
        /// The field of the answer to the client; nil: none.
        case subprotocol(String?)
        /// The upstream chose what it was not offered: 502.
        case badGateway
    }

    /// The answer to a client whose offer was relayed or chosen for, once the upstream has chosen (nil: it named none).
    public func answer(upstream: String?, to offer: SubprotocolOffer, _ choice: Choice) -> Answer {
        switch choice {
        case .mismatch: return .badGateway
        case .chosen(let answer, let offered):
            guard upstream == nil || upstream == offered else { return .badGateway }
            return .subprotocol(answer)
        case .relay(let offered):
            guard let upstream else { return .subprotocol(offer.names.isEmpty ? offer.keyword : nil) }
            guard offered.contains(upstream) else { return .badGateway }
            if offer.names.contains(upstream) { return .subprotocol(upstream) }
            return .subprotocol(offer.names.isEmpty ? offer.keyword : nil)
        }
    }
}

/// What was chosen for an offer, kept until the upstream has named what it takes.
public struct SubprotocolAgreement: Sendable, Equatable {
    let rule: SubprotocolRule
    let offer: SubprotocolOffer
    let choice: SubprotocolRule.Choice

    /// A choice for an offer.
    public init(_ rule: SubprotocolRule, _ offer: SubprotocolOffer, _ choice: SubprotocolRule.Choice) {
        self.rule = rule
        self.offer = offer
        self.choice = choice
    }

    /// The answer to the client, who must not be answered what it did not offer (RFC 6455 section 4.2.2).
    public func answer(upstream: String?) -> SubprotocolRule.Answer { rule.answer(upstream: upstream, to: offer, choice) }
}

/// The outer form of a compact token.
public enum TokenForm {
    /// Shortest text that is taken for a token: a header alone needs more.
    static let minimumBytes = 20

    /// Whether a text looks like a signed token: three parts of base64url characters between two dots, none empty, the first
    /// beginning like a JSON object. Says nothing about its validity.
    public static func hasForm(_ text: String) -> Bool { hasForm(Array(text.utf8).span) }

    /// Whether a text is a signed token by its form, or an encrypted one: five parts, of which some may be empty. That no route accepts
    /// the latter does not make it fit for others to see.
    static func isCredential(_ text: String) -> Bool {
        if hasForm(text) { return true }
        let bytes = text.utf8
        return bytes.count >= minimumBytes && bytes.first == UInt8(ascii: "e") && bytes.count { $0 == UInt8(ascii: ".") } == 4
            && bytes.allSatisfy { $0 == UInt8(ascii: ".") || HeaderText.isBase64URL($0) }
    }

    /// The same for bytes.
    public static func hasForm(_ text: Span<UInt8>) -> Bool {
        guard text.count >= minimumBytes, text[0] == UInt8(ascii: "e") else { return false }
        var dots = 0
        var partBytes = 0
        for index in 0..<text.count {
            let byte = text[index]
            if byte == UInt8(ascii: ".") {
                guard partBytes > 0 else { return false }
                dots += 1
                partBytes = 0
            } else {
                guard HeaderText.isBase64URL(byte) else { return false }
                partBytes += 1
            }
        }
        return dots == 2 && partBytes > 0
    }
}

/// Character classes of field values.
enum HeaderText {
    /// `tchar` of RFC 9110 section 5.6.2.
    static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }

    static func isBase64URL(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x5F: true
        default: false
        }
    }
}
