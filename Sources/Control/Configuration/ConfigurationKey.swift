// One key of the configuration, declared once: what it is called in a file and in the environment, what it accepts, where
// it is stored, and what it means. Loading, messages, the effective configuration and the reference all read this.

/// A key whose value is stored somewhere in `Root`.
struct ConfigurationKey<Root> {
    /// Dotted path from the top of the file (or of a list item).
    var path: String
    var type: ConfigurationType
    /// Environment variables; the first that is not blank counts.
    var variables: [String]
    /// False when only the environment sets it.
    var inFile: Bool
    var documentation: String
    /// Lists: what is wrong with one item, as it follows the variable's name: `` entry `x`: …``.
    var checkItem: ((String) -> String?)?
    /// A set but empty variable is a value (an empty list) rather than absent.
    var blankIsValue = false
    /// The variables, and the flags of the same names, are written as the UDP relay's are.
    var isRelayed = false
    /// Flags without dashes that set it.
    var flags: [String] = []
    /// They were given by name, not made from the variables.
    var hasOwnFlags = false
    /// A reload does not change it: shards and their memory are made at the start.
    var needsRestart = false
    /// What the reference says of the default, where that is no value of its own.
    var defaultText: String?
    /// How an item of a list is printed, where a part of it may be secret.
    var maskItem: ((String) -> String)?
    var read: (Root) -> ConfigurationValue
    var store: (inout Root, ConfigurationValue) throws(ValueRefusal) -> Void

    private init(
        _ path: String, _ type: ConfigurationType, _ variables: [String], _ documentation: String,
        read: @escaping (Root) -> ConfigurationValue,
        store: @escaping (inout Root, ConfigurationValue) throws(ValueRefusal) -> Void
    ) {
        self.path = path
        self.type = type
        self.variables = variables
        self.documentation = documentation
        self.read = read
        self.store = store
        inFile = true
    }

    /// A key kept as an integer: integers, durations, sizes.
    static func amount(
        _ path: String, _ type: ConfigurationType, _ variables: String..., at place: WritableKeyPath<Root, Int>,
        check: ((Int) -> String?)? = nil, _ documentation: String
    ) -> Self {
        Self(
            path, type, variables, documentation, read: { .integer($0[keyPath: place]) },
            store: { (root, value) throws(ValueRefusal) in
                guard case .integer(let amount) = value else { throw ValueRefusal(": not an amount") }
                if let problem = check?(amount) { throw ValueRefusal(": \(problem)") }
                root[keyPath: place] = amount
            })
    }

    static func number(
        _ path: String, _ range: ClosedRange<Double>, _ variables: String...,
        at place: WritableKeyPath<Root, Double>, _ documentation: String
    ) -> Self {
        Self(
            path, .number(range), variables, documentation, read: { .number($0[keyPath: place]) },
            store: { (root, value) throws(ValueRefusal) in
                guard case .number(let number) = value else { throw ValueRefusal(": not a number") }
                root[keyPath: place] = number
            })
    }

    static func flag(
        _ path: String, _ style: ConfigurationType.FlagStyle, _ variables: String...,
        at place: WritableKeyPath<Root, Bool>, _ documentation: String
    ) -> Self {
        Self(
            path, .flag(style), variables, documentation, read: { .flag($0[keyPath: place]) },
            store: { (root, value) throws(ValueRefusal) in
                guard case .flag(let flag) = value else { throw ValueRefusal(": neither true nor false") }
                root[keyPath: place] = flag
            })
    }

    /// A key kept as text: text, secrets, choices. `check` returns a refusal's words.
    static func text(
        _ path: String, _ type: ConfigurationType = .text, _ variables: String..., at place: WritableKeyPath<Root, String>,
        check: ((String) -> String?)? = nil, _ documentation: String
    ) -> Self {
        Self(
            path, type, variables, documentation, read: { .text($0[keyPath: place]) },
            store: { (root, value) throws(ValueRefusal) in
                guard case .text(let text) = value else { throw ValueRefusal(": not a text") }
                if let problem = check?(text) { throw ValueRefusal(": \(problem)") }
                root[keyPath: place] = text
            })
    }

    /// A key kept as texts. `check` sees each item, see `checkItem`.
    static func list(
        _ path: String, of item: String, _ variables: String..., at place: WritableKeyPath<Root, [String]>,
        check: @escaping (String) -> String?, _ documentation: String
    ) -> Self {
        var key = Self(
            path, .list(item), variables, documentation, read: { .list($0[keyPath: place]) },
            store: { (root, value) throws(ValueRefusal) in
                guard case .list(let items) = value else { throw ValueRefusal(": not a list") }
                for text in items {
                    if let problem = check(text) { throw ValueRefusal(problem) }
                }
                root[keyPath: place] = items
            })
        key.checkItem = check
        return key
    }

    /// A single text, or a list of texts. `check` sees each.
    static func oneOrList(
        _ path: String, of item: String, at place: WritableKeyPath<Root, [String]>, check: @escaping (String) -> String?,
        _ documentation: String
    ) -> Self {
        var key = Self.list(path, of: item, at: place, check: check, documentation)
        key.type = .oneOrList(item)
        return key
    }

    /// A mapping from the user's own names. `check` sees each pair and returns the words behind the key's name.
    static func pairs(
        _ path: String, of pair: String, at place: WritableKeyPath<Root, [ConfigurationPair]>,
        check: @escaping (ConfigurationPair) -> String?, _ documentation: String
    ) -> Self {
        Self(
            path, .pairs(pair), [], documentation, read: { .pairs($0[keyPath: place]) },
            store: { (root, value) throws(ValueRefusal) in
                guard case .pairs(let pairs) = value else { throw ValueRefusal(": not a mapping") }
                for pair in pairs {
                    if let problem = check(pair) { throw ValueRefusal(" entry `\(Quantity.excerpt(pair.name))`: \(problem)") }
                }
                root[keyPath: place] = pairs
            })
    }

    /// Unset, it is what the words say.
    func otherwise(_ words: String) -> Self {
        var key = self
        key.defaultText = words
        return key
    }

    /// Only the environment sets it.
    func environmentOnly() -> Self {
        var key = self
        key.inFile = false
        return key
    }

    /// Only a start changes it.
    func atStartOnly() -> Self {
        var key = self
        key.needsRestart = true
        return key
    }

    /// An empty variable means an empty list.
    func acceptingBlank() -> Self {
        var key = self
        key.blankIsValue = true
        return key
    }

    /// Items are printed as `mask` leaves them.
    func masking(_ mask: @escaping (String) -> String) -> Self {
        var key = self
        key.maskItem = mask
        return key
    }

    /// The value as it may be printed.
    func printed(_ root: Root) -> ConfigurationValue {
        let value = read(root)
        guard let maskItem, case .list(let items) = value else { return value }
        return .list(items.map(maskItem))
    }

    /// Every item of a list that is refused: its index and the words.
    func refusedItems(_ value: ConfigurationValue) -> [(index: Int, message: String)] {
        guard let checkItem, case .list(let items) = value else { return [] }
        return items.enumerated().compactMap { index, item in checkItem(item).map { (index, $0) } }
    }

    var isSwitch: Bool {
        if case .flag = type { return true }
        return false
    }

    var isSecret: Bool {
        if case .secret = type { return true }
        return false
    }
}
