// The control thread's end of logging: its own records, and the writing out of everybody's.
//
// Theory of operation. Every shard has a `LogRing`; the control thread has one too. `flush` empties them in turn into
// the output descriptor, straight from the ring's memory. Rings hold whole lines, but their memory wraps inside a
// line, so the output lock matters: only the control thread writes. A reader that has gone away (EPIPE) or a full
// disk must not stop the gateway: what cannot be written is discarded and counted. The process must ignore SIGPIPE.

#if canImport(Glibc)
    import Glibc
#endif

/// Writes records of the control thread, and those the shards left in their rings.
public final class Logger {
    /// A value of a field.
    public enum Value {
        case text(String)
        case number(Int)
        case flag(Bool)
        case secret(Masked)
    }

    private struct Source {
        var ring: LogRing
        var name: String
        var reportedDrops = 0
    }

    private let descriptor: Int32
    /// Where its lines go when that is a file; it may be moved away and opened anew.
    private let path: String?
    private let own: LogRing
    private var writer: LogWriter
    private var sources: [Source] = []
    /// Bytes that could not be written out.
    public private(set) var lostBytes = 0
    /// The output took nothing within the patience: the rest of this flush does not wait again.
    private var outputIsStuck = false

    /// - Parameter descriptor: where lines go; standard output unless told otherwise.
    public init(level: LogLevel, format: LogFormat, identity: LogIdentity = .current, descriptor: Int32 = STDOUT_FILENO) {
        self.descriptor = descriptor
        path = LogFile.path(of: descriptor)
        own = LogRing(capacityBytes: 64 << 10)
        writer = LogWriter(ring: own, identity: identity, threshold: level, format: format)
    }

    /// The threshold of the control thread's records.
    public var level: LogLevel {
        get { writer.threshold }
        set { writer.threshold = newValue }
    }

    /// The shape of the control thread's records.
    public var format: LogFormat {
        get { writer.format }
        set { writer.format = newValue }
    }

    /// Adds a ring that `flush` empties.
    /// - Parameter name: appears in the record that reports drops, for instance `shard 0`.
    public func add(_ ring: LogRing, name: String) { sources.append(Source(ring: ring, name: name)) }

    /// Opens the file anew under the name it had at the start: whoever rotates logs has moved it away. What was written before
    /// is in the former file. Without a file nothing happens.
    public func reopen() {
        guard let path else { return }
        flush()
        if let problem = LogFile.reopen(path, as: descriptor) {
            log(.error, "log file not opened anew", ["path": .text(path), "reason": .text(problem)])
        } else {
            log(.info, "log file opened anew", ["path": .text(path)])
        }
    }

    /// Writes one record now.
    public func log(_ level: LogLevel, _ message: String, _ fields: KeyValuePairs<StaticString, Value> = [:]) {
        outputIsStuck = false
        record(level, message, fields)
        empty(own)
    }

    /// Writes out what the shards have left, and says how many records they had to drop.
    public func flush() {
        outputIsStuck = false
        for index in sources.indices {
            empty(sources[index].ring)
            let drops = sources[index].ring.dropped
            if drops > sources[index].reportedDrops {
                record(
                    .warn, "log records dropped: the output is slower than the records come",
                    ["source": .text(sources[index].name), "records": .number(drops - sources[index].reportedDrops)])
                sources[index].reportedDrops = drops
            }
        }
        empty(own)
    }

    private func record(_ level: LogLevel, _ message: String, _ fields: KeyValuePairs<StaticString, Value>) {
        guard writer.isEnabled(level) else { return }
        var message = message
        _ = message.withUTF8 { writer.begin(level, UnsafeRawBufferPointer($0), timeMilliseconds: Self.nowMilliseconds()) }
        for (name, value) in fields {
            switch value {
            case .text(let text): writer.field(name, text)
            case .number(let number): writer.field(name, number)
            case .flag(let flag): writer.field(name, flag)
            case .secret(let secret): writer.field(name, secret)
            }
        }
        writer.commit()
    }

    private func empty(_ ring: LogRing) {
        ring.drain { bytes in
            var written = 0
            while written < bytes.count {
                // A blocking pipe that says it is writable takes this much without blocking (pipe(7)); a reader that has
                // stopped must not stop the control thread, which also hears the signals.
                let count = min(bytes.count - written, Int(PIPE_BUF))
                guard !outputIsStuck, isWritable() else {
                    outputIsStuck = true
                    lostBytes += bytes.count - written
                    break
                }
                let result = write(descriptor, bytes.baseAddress! + written, count)
                if result > 0 {
                    written += result
                } else if result < 0 && (errno == EINTR || errno == EAGAIN) {
                    continue
                } else {
                    lostBytes += bytes.count - written
                    break
                }
            }
            return bytes.count
        }
    }

    private func isWritable() -> Bool {
        var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return Glibc.poll(&poll, 1, Self.patienceMilliseconds) > 0
    }

    /// How long the control thread waits for an output that takes nothing. Signals and metrics wait with it.
    private static let patienceMilliseconds: Int32 = 200

    /// The time of day in milliseconds since 1970.
    public static func nowMilliseconds() -> Int64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
    }
}

extension LogIdentity {
    /// This process on this host.
    public static var current: LogIdentity {
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, name.count - 1)
        let bytes = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return LogIdentity(processIdentifier: getpid(), hostName: String(decoding: bytes, as: UTF8.self))
    }
}
