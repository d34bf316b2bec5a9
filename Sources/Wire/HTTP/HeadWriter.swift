/// Writes a message head into a buffer of fixed size. After `endHead`, `count` bytes are ready to be sent, unless
/// `failed`. Values that come from outside are checked: a control character in one fails the head instead of
/// splitting it in two (RFC 9110 section 5.5).
public struct HeadWriter {
    private var writer: ByteWriter

    /// Writes into `buffer`, which must outlive the writer.
    public init(_ buffer: UnsafeMutableRawBufferPointer) { writer = unsafe ByteWriter(buffer) }

    /// Bytes written so far.
    public var count: Int { writer.count }
    /// Whether something did not fit or was not allowed in a head.
    public var failed: Bool { writer.failed }

    /// `HTTP/1.1 <status> <reason> CRLF`, with the registered reason phrase.
    @discardableResult
    public mutating func status(_ code: Int) -> Bool { status(code, HTTPStatus.reason(code)) }

    /// `HTTP/1.1 <status> <reason> CRLF`.
    @discardableResult
    public mutating func status(_ code: Int, _ reason: StaticString) -> Bool {
        precondition(code >= 100 && code <= 599)
        writer.text("HTTP/1.1 ")
        writer.decimal(UInt64(code))
        writer.byte(0x20)
        writer.text(reason)
        return writer.text("\r\n")
    }

    /// `<method> <target> HTTP/1.1 CRLF`. The target must not be empty, nor hold a space, a control or a non-ASCII byte.
    @discardableResult
    public mutating func request(_ method: HTTPMethod, target: Span<UInt8>) -> Bool {
        if target.isEmpty { writer.fail() }
        for index in 0..<target.count where target[index] <= 0x20 || target[index] >= 0x7F { writer.fail() }
        writer.text(method.name)
        writer.byte(0x20)
        writer.bytes(target)
        return writer.text(" HTTP/1.1\r\n")
    }

    /// A field whose name and value are literals.
    @discardableResult
    public mutating func field(_ name: StaticString, _ value: StaticString) -> Bool {
        writer.text(name)
        writer.text(": ")
        writer.text(value)
        return writer.text("\r\n")
    }

    /// A field with a number.
    @discardableResult
    public mutating func field(_ name: StaticString, _ value: UInt64) -> Bool {
        writer.text(name)
        writer.text(": ")
        writer.decimal(value)
        return writer.text("\r\n")
    }

    /// A field with a value from outside. Fails when it holds a control character other than tab.
    @discardableResult
    public mutating func field(_ name: StaticString, _ value: Span<UInt8>) -> Bool {
        writer.text(name)
        return finish(value)
    }

    /// A field whose name comes from outside too. Fails unless the name is a token.
    @discardableResult
    public mutating func field(_ name: Span<UInt8>, _ value: Span<UInt8>) -> Bool {
        if !FieldRule.isName(name) { writer.fail() }
        writer.bytes(name)
        return finish(value)
    }

    /// Fields that were put together before. Fails when they are unsound.
    @discardableResult
    public mutating func lines(_ lines: FieldLines) -> Bool {
        if !lines.isSound { writer.fail() }
        return writer.bytes(lines.bytes.span)
    }

    /// A field with a value from a string. Fails when it holds a control character other than tab.
    @discardableResult
    public mutating func field(_ name: StaticString, string value: String) -> Bool {
        field(name, value.utf8.span)
    }

    private mutating func finish(_ value: Span<UInt8>) -> Bool {
        if !FieldRule.isValue(value) { writer.fail() }
        writer.text(": ")
        writer.bytes(value)
        return writer.text("\r\n")
    }

    /// The empty line that ends a head.
    @discardableResult
    public mutating func endHead() -> Bool { writer.text("\r\n") }

    /// Literal text of the body, after `endHead`.
    @discardableResult
    public mutating func body(_ text: StaticString) -> Bool { writer.text(text) }

    /// Bytes of the body, after `endHead`.
    @discardableResult
    public mutating func body(_ bytes: Span<UInt8>) -> Bool { writer.bytes(bytes) }
}
