// The cryptographic functions of the C shim on Swift values. Only this file of the module calls the shim.

import CCrypto
import Wire

/// Digests, message authentication and randomness.
public enum Digest {
    /// Bytes of an HMAC-SHA-256.
    public static let macBytes = 32

    /// HMAC-SHA-256 (RFC 2104) of `data`. A failing library is a broken installation, so that ends the process.
    public static func hmacSHA256(key: [UInt8], _ data: [UInt8]) -> [UInt8] {
        var mac = [UInt8](repeating: 0, count: macBytes)
        let done = unsafe mac.withUnsafeMutableBufferPointer { output in
            unsafe crypto_hmac_sha256(key, key.count, data, data.count, output.baseAddress)
        }
        precondition(done == 1, "HMAC-SHA-256 is not available")
        return mac
    }

    /// HMAC-SHA-1 of `data`, 20 bytes: what TURN servers expect of time-limited credentials.
    public static func hmacSHA1(key: [UInt8], _ data: [UInt8]) -> [UInt8] {
        var mac = [UInt8](repeating: 0, count: 20)
        let done = unsafe mac.withUnsafeMutableBufferPointer { output in
            unsafe crypto_hmac_sha1(key, key.count, data, data.count, output.baseAddress)
        }
        precondition(done == 1, "HMAC-SHA-1 is not available")
        return mac
    }

    /// SHA-256 of `data`.
    public static func sha256(_ data: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        let done = unsafe digest.withUnsafeMutableBufferPointer { output in
            unsafe crypto_sha256(data, data.count, output.baseAddress)
        }
        precondition(done == 1, "SHA-256 is not available")
        return digest
    }

    /// SHA-256 of a text's UTF-8 bytes, as 64 lower-case hexadecimal digits.
    public static func hexSHA256(_ text: String) -> String { hexadecimal(sha256(Array(text.utf8))) }

    /// Two lower-case digits a byte.
    public static func hexadecimal(_ bytes: [UInt8]) -> String {
        unsafe String(unsafeUninitializedCapacity: 2 * bytes.count) { text in
            for index in 0..<2 * bytes.count {
                let value = index & 1 == 0 ? bytes[index >> 1] >> 4 : bytes[index >> 1] & 15
                unsafe text[index] = value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") - 10 + value
            }
            return 2 * bytes.count
        }
    }

    /// SHA-1 of `data`; used for the WebSocket handshake and to name scripts, where it protects nothing.
    public static func sha1(_ data: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: 20)
        let done = unsafe digest.withUnsafeMutableBufferPointer { output in
            unsafe crypto_sha1(data, data.count, output.baseAddress)
        }
        precondition(done == 1, "SHA-1 is not available")
        return digest
    }

    /// Whether two byte strings are equal, in time that depends on their lengths only.
    public static func constantTimeEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        guard left.count == right.count else { return false }
        return unsafe crypto_equal(left, right, left.count) == 1
    }

    /// `count` bytes from the library's generator. Without entropy no secret can be made, so that ends the process.
    public static func random(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let done = unsafe bytes.withUnsafeMutableBytes { unsafe crypto_random($0.baseAddress, $0.count) }
        precondition(done == 1, "no entropy")
        return bytes
    }

    /// Fills an area from the library's generator, without an array in between.
    public static func randomize(_ area: UnsafeMutableRawBufferPointer) {
        let done = unsafe crypto_random(area.baseAddress, area.count)
        precondition(done == 1, "no entropy")
    }

    /// A fresh `Sec-WebSocket-Key`: sixteen random bytes (RFC 6455 section 4.1), given as two words.
    public static func webSocketKey(_ first: UInt64, _ second: UInt64) -> String {
        let words = [first, second]
        return unsafe words.withUnsafeBytes { bytes in
            unsafe TextEncoding.base64(Span(_unsafeStart: bytes.baseAddress!.assumingMemoryBound(to: UInt8.self), count: 16))
        }
    }

    /// A random UUID, version 4 (RFC 9562 section 5.4), lower-case.
    public static func uuid() -> String {
        var bytes = random(16)
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            if [4, 6, 8, 10].contains(index) { text.append(UInt8(ascii: "-")) }
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// `Sec-WebSocket-Accept` for a key already trimmed (RFC 6455 section 4.2.2).
    public static func webSocketAccept(key: String) -> String {
        let guid = WebSocketHandshake.guid
        let inputBytes = key.utf8.count + guid.utf8CodeUnitCount
        return unsafe withUnsafeTemporaryAllocation(byteCount: inputBytes + sha1Bytes, alignment: 1) { area in
            var writer = unsafe ByteWriter(area)
            writer.string(key)
            writer.text(guid)
            let digest = unsafe area.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self) + inputBytes
            let done = unsafe crypto_sha1(area.baseAddress, inputBytes, digest)
            precondition(done == 1 && !writer.failed, "SHA-1 is not available")
            return unsafe TextEncoding.base64(Span(_unsafeStart: digest, count: sha1Bytes))
        }
    }

    private static let sha1Bytes = 20
}

/// Base64 text of byte strings, for values that are built once per session or upgrade.
enum TextEncoding {
    /// RFC 4648 section 5 without padding.
    static func base64URL(_ bytes: [UInt8]) -> String {
        write(capacity: Base64.encodedURLBytes(bytes.count)) { Base64.encodeURL(bytes.span, to: &$0) }
    }

    /// RFC 4648 section 4 with padding.
    static func base64(_ bytes: [UInt8]) -> String { base64(bytes.span) }

    /// The same.
    static func base64(_ bytes: Span<UInt8>) -> String {
        write(capacity: Base64.encodedBytes(bytes.count)) { Base64.encode(bytes, to: &$0) }
    }

    /// A JSON string literal.
    static func json(_ string: String) -> String {
        // The worst byte becomes six characters, and there are two quotes.
        write(capacity: string.utf8.count * 6 + 2) { $0.jsonString(string) }
    }

    private static func write(capacity: Int, _ fill: (inout ByteWriter) -> Bool) -> String {
        // A writer needs an address even when nothing will be written.
        unsafe String(unsafeUninitializedCapacity: max(capacity, 1)) { buffer in
            var writer = unsafe ByteWriter(UnsafeMutableRawBufferPointer(buffer))
            let fits = fill(&writer)
            precondition(fits, "the capacity covers the longest encoding")
            return writer.count
        }
    }
}
