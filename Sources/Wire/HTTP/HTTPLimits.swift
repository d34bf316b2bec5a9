/// Limits of one HTTP/1.1 message head and body framing.
public struct HTTPLimits: Sendable {
    /// Longest request target in bytes; longer is answered 414. Browsers and proxies agree on about 8 KiB.
    public var targetBytes: Int
    /// Longest head in bytes, from the first byte to the end of the empty line; longer is answered 431.
    /// 16 KiB holds a full target and several kilobytes of cookies, and is what one idle peer may make us keep.
    public var headBytes: Int
    /// Most field lines in a head (dropped ones count); more is answered 431. Browsers send about 20, proxies add 10.
    public var fieldCount: Int
    /// Most bytes of chunk extensions in one body. Nobody uses them; the bound stops a body made of extensions.
    public var chunkExtensionBytes: Int
    /// Most bytes in the trailer section of a chunked body; more is answered 431.
    public var trailerBytes: Int

    /// The defaults suit a gateway that faces browsers.
    public init(
        targetBytes: Int = 8192, headBytes: Int = 16384, fieldCount: Int = 128,
        chunkExtensionBytes: Int = 256, trailerBytes: Int = 8192
    ) {
        self.targetBytes = targetBytes
        self.headBytes = headBytes
        self.fieldCount = fieldCount
        self.chunkExtensionBytes = chunkExtensionBytes
        self.trailerBytes = trailerBytes
    }

    /// Bytes of a request line beside the target: the longest method we know, two spaces, the version, CRLF, and
    /// room for a longer method so that it is refused for what it is.
    static let requestLineOverheadBytes = 48
    /// A method longer than this is not a method but garbage (the longest registered one has 17 letters).
    static let methodBytes = 32
    /// Offsets inside a head are kept in 16 bits.
    static let largestHeadBytes = 65535
    /// Field indices are kept in 8 bits, and one value means "none".
    static let largestFieldCount = 254
}
