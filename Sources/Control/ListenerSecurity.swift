import Engine

/// The certificates of a TLS listener, ready for the shards.
///
/// Theory of operation. The files are read once, and every shard gets a context of its own made from the same bytes. A reload reads them
/// again; when they say the same, the contexts stay. Connections keep the context they were accepted with, so an exchanged certificate
/// concerns new ones only. What cannot be used refuses the reload, and the former certificates go on.
final class ListenerSecurity: Sendable {
    /// A chain of certificates with comments stays far below this.
    private static let fileBytes = 1 << 20

    /// One for each shard.
    let contexts: [TLSServerContext]
    private let files: [[UInt8]]

    private init(contexts: [TLSServerContext], files: [[UInt8]]) {
        self.contexts = contexts
        self.files = files
    }

    /// Reads the files of a listener; nil when it is not to be encrypted.
    ///
    /// - Parameter former: what it encrypts with at present.
    static func make(_ tls: ListenerTLS?, _ name: String, _ tickets: TLSTicketKeys?, shards: Int, former: ListenerSecurity?)
        throws(StartError) -> ListenerSecurity?
    {
        guard let tls else { return nil }
        var pairs: [TLSServerContext.Pair] = []
        for certificate in tls.certificates {
            do {
                pairs.append(
                    TLSServerContext.Pair(
                        chain: Array(try SmallFile.read(certificate.certificatePath, limit: fileBytes)),
                        key: Array(try SmallFile.read(certificate.keyPath, limit: fileBytes))))
            } catch {
                throw StartError(description: "listener `\(name)`: \(error.message)")
            }
        }
        let files = pairs.flatMap { [$0.chain, $0.key] }
        if let former, former.files == files { return former }
        var contexts: [TLSServerContext] = []
        for _ in 0..<shards {
            do { contexts.append(try TLSServerContext(pairs, tickets: tickets)) } catch {
                let paths = tls.certificates.map { "\($0.certificatePath) with \($0.keyPath)" }.joined(separator: ", ")
                throw StartError(description: "listener `\(name)`: certificate \(paths): \(error)")
            }
        }
        return ListenerSecurity(contexts: contexts, files: files)
    }
}
