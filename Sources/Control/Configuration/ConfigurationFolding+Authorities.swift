import Engine
import Policy

/// Files of certificate authorities, by which upstreams and stores are verified.
extension ConfigurationFolding {
    /// A bundle of all public authorities is a quarter of this.
    private static let authoritiesBytes = 1 << 20

    /// Checks a file of authorities and has it watched: an exchanged one is a changed configuration. Connections that are opened
    /// afterwards are verified by it.
    ///
    /// - Returns: a digest of what the file says, empty for no file.
    mutating func authorities(_ path: String, key: String) -> String {
        guard !path.isEmpty else { return "" }
        willRead(path)
        do {
            let bytes = try SmallFile.read(path, limit: Self.authoritiesBytes)
            do { _ = try TLSClientContext(authoritiesPath: path) } catch {
                fault(key, "\(path): \(error); a PEM file with at least one certificate is expected")
            }
            return Digest.hexadecimal(Digest.sha256(bytes))
        } catch {
            fault(key, error.message)
            return ""
        }
    }
}
