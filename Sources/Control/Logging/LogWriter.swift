// Records encoded in place, without allocation, by the shard that has something to say.
//
// Theory of operation. A record is begun, given fields, and committed:
//
//     writer.begin(.info, "connection closed", timeMilliseconds: now)
//     writer.field("bytesIn", count)
//     writer.commit()
//
// The bytes are assembled in a line buffer of fixed size that belongs to the writer and copied into the ring as a whole. A field that does
// not fit is left out and the record says `"truncated":true`; the line is well-formed in every case. When the
// level is below the threshold `begin` returns false and the other calls do nothing.

/// What every record of a process carries.
public struct LogIdentity: Sendable {
    /// `pid` of every record.
    public var processIdentifier: Int32
    /// `hostname` of every record.
    public var hostName: String

    /// An identity; characters that would need escaping are left out of the name.
    public init(processIdentifier: Int32, hostName: String) {
        self.processIdentifier = processIdentifier
        self.hostName = hostName
    }
}

/// The shape of a record.
public enum LogFormat: String, Sendable, CaseIterable {
    /// One JSON object per line.
    case json
    /// `time LEVEL message key=value …`, for people.
    case text
}

/// Writes records of one thread into its ring.
public struct LogWriter: ~Copyable {
    /// Longest line, newline included. A request target may have 8 KiB, but its start tells enough.
    public static let maximumLineBytes = 4096
    /// Room kept for the end of a truncated record: the quote of the message, `,"truncated":true}` and a newline.
    private static let reserveBytes = 24

    /// Records below this level are not written. May change on a reload.
    public var threshold: LogLevel
    /// Shape of the records that begin from now on.
    public var format: LogFormat
    private let ring: LogRing
    private let line: UnsafeMutableRawBufferPointer
    private let tail: [UInt8]  // `,"pid":1,"hostname":"h","msg":"`
    private var count = 0
    private var active = false
    private var truncated = false

    /// A writer for the one thread that is the ring's producer.
    public init(ring: LogRing, identity: LogIdentity, threshold: LogLevel, format: LogFormat) {
        self.ring = ring
        self.threshold = threshold
        self.format = format
        line = .allocate(byteCount: Self.maximumLineBytes, alignment: 16)
        var host: [UInt8] = []
        for byte in identity.hostName.utf8 where byte > 0x20 && byte < 0x7F && byte != 0x22 && byte != 0x5C { host.append(byte) }
        tail = Array(",\"pid\":\(identity.processIdentifier),\"hostname\":\"".utf8) + host + Array("\",\"msg\":\"".utf8)
    }

    deinit { line.deallocate() }

    /// Whether a record of this level would be written: ask before preparing costly fields.
    public func isEnabled(_ level: LogLevel) -> Bool { level >= threshold && level != .silent }

    /// Starts a record.
    /// - Parameter timeMilliseconds: since 1970, UTC.
    /// - Returns: whether the level is enabled; when not, `field` and `commit` do nothing.
    @discardableResult
    public mutating func begin(_ level: LogLevel, _ message: StaticString, timeMilliseconds: Int64) -> Bool {
        message.withUTF8Buffer { begin(level, UnsafeRawBufferPointer($0), timeMilliseconds: timeMilliseconds) }
    }

    /// The same with a message made at run time.
    @discardableResult
    public mutating func begin(_ level: LogLevel, _ message: UnsafeRawBufferPointer, timeMilliseconds: Int64) -> Bool {
        active = isEnabled(level)
        guard active else { return false }
        count = 0
        truncated = false
        switch format {
        case .json:
            put("{\"level\":")
            put(decimal: Int64(level.rawValue))
            put(",\"time\":")
            put(decimal: timeMilliseconds)
            _ = tail.withUnsafeBytes { put(bytes: $0) }
            _ = put(escaped: message)
            finish("\"")  // may use the reserve, which has room for it
        case .text:
            put(timestamp: timeMilliseconds)
            put(Self.label(level))
            _ = put(escaped: message)
        }
        return true
    }

    /// Adds a number.
    public mutating func field(_ name: StaticString, _ value: Int) {
        guard active else { return }
        let mark = count
        if !(put(fieldName: name) && put(decimal: Int64(value))) { truncate(to: mark) }
    }

    /// Adds a truth value.
    public mutating func field(_ name: StaticString, _ value: Bool) {
        guard active else { return }
        let mark = count
        if !(put(fieldName: name) && put(value ? "true" : "false")) { truncate(to: mark) }
    }

    /// Adds text given as bytes; what is not UTF-8 becomes U+FFFD, control characters are escaped.
    public mutating func field(_ name: StaticString, _ value: UnsafeRawBufferPointer) {
        guard active else { return }
        let mark = count
        if !(put(fieldName: name) && put("\"") && put(escaped: value) && put("\"")) { truncate(to: mark) }
    }

    /// Adds fixed text.
    public mutating func field(_ name: StaticString, _ value: StaticString) {
        value.withUTF8Buffer { field(name, UnsafeRawBufferPointer($0)) }
    }

    /// Adds text. Not for hot paths: a string that is not contiguous is copied first.
    public mutating func field(_ name: StaticString, _ value: String) {
        var value = value
        value.withUTF8 { field(name, UnsafeRawBufferPointer($0)) }
    }

    /// Adds the fact that there is a secret, not the secret.
    public mutating func field(_ name: StaticString, _ value: Masked) { field(name, value.description) }

    /// Adds bytes that are already a JSON value, for instance one encoded at start-up.
    public mutating func field(_ name: StaticString, encoded value: UnsafeRawBufferPointer) {
        guard active else { return }
        let mark = count
        if !(put(fieldName: name) && put(bytes: value)) { truncate(to: mark) }
    }

    /// Ends the record and gives it to the ring.
    public mutating func commit() {
        guard active else { return }
        active = false
        // The reserve was never given away, so what follows always fits.
        if truncated { finish(format == .json ? ",\"truncated\":true" : " truncated=true") }
        finish(format == .json ? "}\n" : "\n")
        ring.append(UnsafeRawBufferPointer(rebasing: line[0..<count]))
    }

    // MARK: Bytes

    private static func label(_ level: LogLevel) -> StaticString {
        switch level {
        case .trace: " TRACE "
        case .debug: " DEBUG "
        case .info: " INFO  "
        case .warn: " WARN  "
        case .error: " ERROR "
        case .fatal: " FATAL "
        case .silent: " "
        }
    }

    private mutating func truncate(to mark: Int) {
        count = mark
        truncated = true
    }

    private mutating func finish(_ text: StaticString) {
        text.withUTF8Buffer { source in
            precondition(count + source.count <= line.count, "the reserve is too small")
            UnsafeMutableRawBufferPointer(rebasing: line[count...]).copyMemory(from: UnsafeRawBufferPointer(source))
            count += source.count
        }
    }

    @discardableResult
    private mutating func put(bytes source: UnsafeRawBufferPointer) -> Bool {
        guard count + source.count <= line.count - Self.reserveBytes else { return false }
        UnsafeMutableRawBufferPointer(rebasing: line[count...]).copyMemory(from: source)
        count += source.count
        return true
    }

    @discardableResult
    private mutating func put(_ text: StaticString) -> Bool {
        text.withUTF8Buffer { put(bytes: UnsafeRawBufferPointer($0)) }
    }

    private mutating func put(fieldName name: StaticString) -> Bool {
        put(format == .json ? ",\"" : " ") && put(name) && put(format == .json ? "\":" : "=")
    }

    @discardableResult
    private mutating func put(decimal value: Int64) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 20, alignment: 1) { digits in
            var rest = value.magnitude
            var start = digits.count
            repeat {
                start -= 1
                digits[start] = 0x30 + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            if value < 0 {
                start -= 1
                digits[start] = 0x2D
            }
            return put(bytes: UnsafeRawBufferPointer(rebasing: digits[start...]))
        }
    }

    /// Appends as many whole characters as fit, escaped for JSON.
    /// - Returns: false when some did not fit; a message is then cut, a field is withdrawn by the caller.
    private mutating func put(escaped source: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        while index < source.count {
            let byte = source[index]
            if byte >= 0x80 {
                let length = UTF8Check.sequenceLength(source, at: index)
                guard length > 0 ? put(bytes: UnsafeRawBufferPointer(rebasing: source[index..<index + length])) : put("\\ufffd")
                else { return cut() }
                index += max(length, 1)
                continue
            }
            guard put(ascii: byte) else { return cut() }
            index += 1
        }
        return true
    }

    private mutating func cut() -> Bool {
        truncated = true
        return false
    }

    private mutating func put(ascii byte: UInt8) -> Bool {
        switch byte {
        case 0x22: return put("\\\"")
        case 0x5C: return put("\\\\")
        case 0x0A: return put("\\n")
        case 0x0D: return put("\\r")
        case 0x09: return put("\\t")
        case 0..<0x20, 0x7F:
            let digits: StaticString = "0123456789abcdef"
            guard count + 6 <= line.count - Self.reserveBytes else { return false }  // all of it or nothing
            put("\\u00")
            line[count] = digits.utf8Start[Int(byte >> 4)]
            line[count + 1] = digits.utf8Start[Int(byte & 15)]
            count += 2
            return true
        default:
            guard count < line.count - Self.reserveBytes else { return false }
            line[count] = byte
            count += 1
            return true
        }
    }

    private mutating func put(timestamp milliseconds: Int64) {
        let time = CivilTime(millisecondsSince1970: milliseconds)
        put(padded: time.year, digits: 4)
        put("-")
        put(padded: time.month, digits: 2)
        put("-")
        put(padded: time.day, digits: 2)
        put("T")
        put(padded: time.hour, digits: 2)
        put(":")
        put(padded: time.minute, digits: 2)
        put(":")
        put(padded: time.second, digits: 2)
        put(".")
        put(padded: time.millisecond, digits: 3)
        put("Z")
    }

    private mutating func put(padded value: Int, digits: Int) {
        var limit = 10
        for _ in 1..<digits {
            if value < limit { put("0") }  // one zero for every power of ten the value stays below
            limit *= 10
        }
        put(decimal: Int64(value))
    }
}
