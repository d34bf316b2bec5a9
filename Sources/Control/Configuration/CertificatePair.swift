// Whether a certificate and its key can be used.

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
        return problems
    }
}
