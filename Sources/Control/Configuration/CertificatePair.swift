// Whether a certificate and its key can be used.

import CCrypto
import Glibc

/// Checks of PEM files.
enum CertificatePair {
    /// A chain of intermediate certificates with comments stays far below this.
    private static let limitBytes = 1 << 20

    /// One line for everything that is wrong with the pair.
    static func problems(certificatePath: String, keyPath: String) -> [String] {
        var problems: [String] = []
        for path in [certificatePath, keyPath] {
            do { _ = try SmallFile.read(path, limit: limitBytes) } catch { problems.append(error.message) }
        }
        guard problems.isEmpty else { return problems }
        var text = [CChar](repeating: 0, count: 512)
        guard crypto_check_pair(certificatePath, keyPath, Int64(time(nil)), &text, text.count) != 1 else { return [] }
        let words = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return ["certificate \(certificatePath) with key \(keyPath): \(words)"]
    }
}
