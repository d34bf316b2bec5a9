import Glibc
import HTTP
import Synchronization
import Wire

/// `sluice top`: looks at a running instance every second and draws what it sees.
///
/// On a terminal it has the alternate screen and takes single keys; otherwise, or with `--once`, it prints one snapshot as
/// plain text.
struct TopCommand {
    /// Between two looks.
    static let intervalMilliseconds: Int32 = 1000
    /// Connections that are shown.
    static let connectionsMaximum = 100

    let client: AdminClient

    /// Asks the instance.
    private func look(connections: Int) throws(AdminClient.Failure) -> TopReading {
        let metrics = ScrapeReading(try client.get("/metrics"))
        let bytes = Array(try client.get("/connections?sort=bytes&limit=\(min(max(connections, 1), Self.connectionsMaximum))").utf8)
        guard let document = JSONReader.read(bytes.span), let found = TopConnection.read(document) else {
            throw AdminClient.Failure(message: "\(client.text) answers /connections with something else")
        }
        return TopReading(seconds: MonotonicClock.seconds, metrics: metrics, connections: found.connections, connectionCount: found.total)
    }

    private func frame(_ latest: TopReading, _ earlier: TopReading?) -> TopFrame {
        TopFrame(address: client.text, latest: latest, earlier: earlier, wallSeconds: Double(Logger.nowMilliseconds()) / 1000)
    }

    /// One snapshot as text.
    func snapshot(columns: Int) throws(AdminClient.Failure) -> String {
        let screen = TopScreen(columns: columns, rows: .max, hasColors: false)
        return screen.lines(frame(try look(connections: 20), nil)).joined(separator: "\n") + "\n"
    }

    /// The live view, until somebody quits it.
    func run() throws(AdminClient.Failure) {
        var earlier: TopReading?
        var latest = try look(connections: Self.connectionsMaximum)
        let terminal = Terminal()
        defer { terminal.leave() }
        var trouble: String?
        while true {
            let size = terminal.size
            let screen = TopScreen(columns: max(size.columns, TopScreen.columnsMinimum), rows: size.rows - 1, hasColors: true)
            terminal.draw(screen.lines(frame(latest, earlier)), footer: trouble ?? "q quit", size)
            switch terminal.awaitKey(milliseconds: Self.intervalMilliseconds) {
            case .quit: return
            case .resized: continue
            case .none: break
            }
            do throws(AdminClient.Failure) {
                let next = try look(connections: Self.connectionsMaximum)
                (earlier, latest, trouble) = (latest, next, nil)
            } catch {
                // It may be restarting: what was seen last stays on the screen.
                trouble = "\(error.message)   (q quit)"
            }
        }
    }
}

/// The terminal in the state the view needs, and back.
private final class Terminal {
    enum Key {
        case quit, resized, none
    }

    private var former = termios()
    private static let interrupted = Atomic<Bool>(false)

    init() {
        tcgetattr(STDIN_FILENO, &former)
        var raw = former
        raw.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG)
        tcsetattr(STDIN_FILENO, TCSANOW, &raw)
        // A handler that does nothing but interrupt the wait; a signal that ends the program must first restore the terminal.
        signal(SIGWINCH) { _ in }
        for number in [SIGTERM, SIGHUP] { signal(number) { _ in Terminal.interrupted.store(true, ordering: .relaxed) } }
        put("\u{1B}[?1049h\u{1B}[?25l")
    }

    func leave() {
        put("\u{1B}[?25h\u{1B}[?1049l")
        tcsetattr(STDIN_FILENO, TCSANOW, &former)
    }

    var size: (columns: Int, rows: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 1 else { return (100, 30) }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    func draw(_ lines: [String], footer: String, _ size: (columns: Int, rows: Int)) {
        var text = "\u{1B}[H"
        for line in lines { text += line + "\u{1B}[K\r\n" }
        text += "\u{1B}[J\u{1B}[\(size.rows);1H\u{1B}[2m\(footer.prefix(size.columns))\u{1B}[0m\u{1B}[K"
        put(text)
    }

    func awaitKey(milliseconds: Int32) -> Key {
        var poll = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        let ready = Glibc.poll(&poll, 1, milliseconds)
        if Self.interrupted.load(ordering: .relaxed) { return .quit }
        if ready < 0 { return .resized }
        guard ready > 0 else { return .none }
        var byte: UInt8 = 0
        guard read(STDIN_FILENO, &byte, 1) == 1 else { return .quit }
        // 3 is Ctrl-C, which is a byte like others now.
        return [UInt8(ascii: "q"), UInt8(ascii: "Q"), 3].contains(byte) ? .quit : .resized
    }

    private func put(_ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }
}
