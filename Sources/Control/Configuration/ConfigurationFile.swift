// Reading of small files: the configuration, mounted secrets, certificates.

import Glibc

/// A file's bytes, or one line that says why not.
enum SmallFile {
    struct Refusal: Error {
        var message: String
    }

    /// Reads a regular file (or a symbolic link to one) of at most `limit` bytes.
    static func read(_ path: String, limit: Int) throws(Refusal) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw Refusal(message: "cannot read \(path): \(describe(errno))") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Refusal(message: "cannot read \(path): \(describe(errno))") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw Refusal(message: "\(path) is not a regular file") }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw Refusal(message: "cannot read \(path): \(describe(errno))") }
            if count == 0 { return bytes }
            bytes += chunk[0..<count]
            guard bytes.count <= limit else { throw Refusal(message: "\(path) is larger than \(limit) bytes") }
        }
    }

    /// A mounted secret: UTF-8 text without its trailing line end.
    static func text(_ path: String) throws(Refusal) -> String {
        var bytes = try read(path, limit: 128 << 10)
        if bytes.last == 0x0A { bytes.removeLast() }
        if bytes.last == 0x0D { bytes.removeLast() }
        guard let text = String(validatingUTF8Bytes: bytes) else { throw Refusal(message: "\(path) is not UTF-8 text") }
        return text
    }

    /// The system's words for an error number.
    static func describe(_ number: Int32) -> String { String(cString: strerror(number)) }
}

extension String {
    /// Text from bytes without a zero byte, when they are valid UTF-8.
    init?(validatingUTF8Bytes bytes: [UInt8]) {
        guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else { return nil }
        self = text
    }
}
