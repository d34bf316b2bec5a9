// From settings and claims to entries.

import Wire

/// Collects the entries of one session.
struct TopicCompiler {
    private(set) var entries: [TopicEntry] = []
    private(set) var text: [UInt8] = []
    private(set) var ignored = 0
    private let settings: TopicSettings
    private let identity: TopicIdentity

    init(_ settings: TopicSettings, _ identity: TopicIdentity) {
        self.settings = settings
        self.identity = identity
    }

    mutating func compile(_ mode: TopicSettings.Modes) {
        switch mode {
        case .scopes: compileScopes()
        case .acl: compileList()
        default: compileRules()
        }
    }

    /// Appends an entry. Too many: it is left out, and so is all that follows, so that a denial is never passed over.
    private mutating func append(_ entry: TopicEntry, _ pattern: [UInt8]) {
        guard entries.count < TopicRights.maximumEntries, text.count + pattern.count <= TopicRights.maximumPatternBytes else {
            ignored += 1
            isFull = true
            return
        }
        guard !isFull else { ignored += 1; return }
        var entry = entry
        entry.start = UInt32(text.count)
        entry.count = UInt32(pattern.count)
        text += pattern
        entries.append(entry)
    }

    private var isFull = false

    // MARK: Scopes

    private mutating func compileScopes() {
        var words: [String] = []
        for claim in settings.scopes.claim.map({ [$0] }) ?? Self.scopeClaims {
            words += claim.value(in: identity.claims)?.words ?? []
        }
        for word in words {
            if let list = settings.scopes.aliases[word] {
                for scope in list { compileScope(scope) }
            } else {
                compileScope(word)
            }
        }
    }

    private static let scopeClaims = [TopicSettings.pointer("/scope"), TopicSettings.pointer("/scp")]

    /// `<prefix><permission>:<vhost>/<resource>[/<routing key>]`. Others are not about topics and are passed over.
    private mutating func compileScope(_ scope: String) {
        let bytes = Array(scope.utf8)
        let prefix = Array(settings.scopes.prefix.utf8)
        guard bytes.starts(with: prefix) else { return }
        let rest = bytes.dropFirst(prefix.count)
        guard let colon = rest.firstIndex(of: UInt8(ascii: ":")) else { return }
        let actions: TopicEntry.Actions
        switch String(decoding: rest[..<colon], as: UTF8.self) {
        case "write": actions = .publish
        case "read": actions = .subscribe
        default: return
        }
        let parts = rest[(colon + 1)...].split(separator: UInt8(ascii: "/"), maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2, let vhost = Self.pattern(parts[0]), let resource = Self.pattern(parts[1]),
            let key = parts.count > 2 ? Self.pattern(parts[2]) : [WildcardPattern.anyRun]
        else { ignored += 1; return }
        guard Self.matches(vhost, settings.scopes.vhost), Self.matches(resource, settings.scopes.exchange) else { return }
        append(TopicEntry(form: .routingKey, actions: actions, allows: true), key)
    }

    private static func matches(_ pattern: [UInt8], _ text: String) -> Bool {
        WildcardPattern.matches(pattern.span, Array(text.utf8).span, translates: .nothing)
    }

    /// A part with its `*` marked and its escapes resolved, so that an escaped `*` is a character; nil when it is malformed.
    private static func pattern(_ part: ArraySlice<UInt8>) -> [UInt8]? {
        var pattern: [UInt8] = []
        var isFirst = true
        for run in part.split(separator: UInt8(ascii: "*"), omittingEmptySubsequences: false) {
            if !isFirst { pattern.append(WildcardPattern.anyRun) }
            isFirst = false
            let bytes = Array(run)
            guard let decoded = PercentCoding.decodeStrictly(bytes.span, 0..<bytes.count) else { return nil }
            pattern += decoded
        }
        return pattern
    }

    // MARK: The claim `acl`

    private mutating func compileList() {
        switch settings.aclClaim.value(in: identity.claims) {
        case .object(let members)?:
            for member in members {
                let actions: TopicEntry.Actions
                switch member.name {
                case "pub": actions = .publish
                case "sub": actions = .subscribe
                case "all": actions = .both
                default: continue
                }
                guard case .array(let topics) = member.value else { ignored += 1; continue }
                for topic in topics { appendTemplate(TopicEntry(form: .filter, actions: actions, allows: true), topic.string) }
            }
        case .array(let elements)?:
            for element in elements { compileElement(element) }
        default: break
        }
    }

    /// `{permission, action, topic, qos?, retain?}`.
    private mutating func compileElement(_ element: JSONValue) {
        // An entry that cannot be read may have been meant to deny: then it denies everything.
        var entry = TopicEntry(form: .everything, actions: .both, allows: false)
        switch element["permission"]?.string {
        case "allow": entry.allows = true
        case "deny": entry.allows = false
        default: return deny(entry)
        }
        switch element["action"]?.string {
        case "publish", "pub": entry.actions = .publish
        case "subscribe", "sub": entry.actions = .subscribe
        case "all", nil: entry.actions = .both
        default: return entry.allows ? ignored += 1 : deny(entry)
        }
        guard let qosMask = Self.qosMask(element["qos"]), let retainMask = Self.retainMask(element["retain"]) else {
            return entry.allows ? ignored += 1 : deny(entry)
        }
        entry.qosMask = qosMask
        entry.retainMask = retainMask
        entry.form = .filter
        appendTemplate(entry, element["topic"]?.string)
    }

    /// Appends an entry for a template that a token brought; a denial whose topic cannot be told denies everything.
    private mutating func appendTemplate(_ entry: TopicEntry, _ text: String?) {
        guard let text, let template = try? TopicTemplate(text, allowsLiteral: true),
            let filter = template.filled(identity, allowsSlash: settings.allowsSlash)
        else { return entry.allows ? ignored += 1 : deny(entry) }
        var entry = entry
        if template.isLiteral { entry.form = .literal }
        append(entry, filter)
    }

    private mutating func deny(_ entry: TopicEntry) {
        ignored += 1
        append(TopicEntry(form: .everything, actions: entry.actions, allows: false), [])
    }

    private static func qosMask(_ value: JSONValue?) -> UInt8? {
        switch value {
        case nil: return 7
        case .array(let elements)?:
            var mask: UInt8 = 0
            for element in elements {
                guard let bit = qosMask(element) else { return nil }
                mask |= bit
            }
            return mask
        case .number(let number)?:
            guard number == 0 || number == 1 || number == 2 else { return nil }
            return 1 << UInt8(number)
        default: return nil
        }
    }

    private static func retainMask(_ value: JSONValue?) -> UInt8? {
        switch value {
        case nil, .string("all")?: 3
        case .boolean(let isRetained)?: isRetained ? 2 : 1
        case .number(0)?: 1
        case .number(1)?: 2
        default: nil
        }
    }

    // MARK: Rules

    private mutating func compileRules() {
        for rule in settings.rules where rule.conditions.allSatisfy({ $0.holds(in: identity.claims) }) {
            for template in rule.publish { appendRule(template, .publish) }
            for template in rule.subscribe { appendRule(template, .subscribe) }
        }
    }

    private mutating func appendRule(_ template: TopicTemplate, _ actions: TopicEntry.Actions) {
        guard let filter = template.filled(identity, allowsSlash: settings.allowsSlash) else { ignored += 1; return }
        append(TopicEntry(form: template.isLiteral ? .literal : .filter, actions: actions, allows: true), filter)
    }
}
