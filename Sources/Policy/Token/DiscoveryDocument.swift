import Wire

/// What an issuer publishes about itself, as far as it matters: OpenID Connect Discovery 1.0 section 3.
public enum DiscoveryDocument {
    /// Why a document is of no use.
    public enum Failure: Error, Sendable, Hashable {
        /// Not a JSON object, or without a usable `jwks_uri`.
        case malformed
        /// It speaks of another issuer than the one that was asked.
        case issuerMismatch
    }

    /// Where the document of an issuer is; nil when the issuer is no URL, or one with a query.
    public static func location(issuer: String) -> KeyLocation? {
        guard !issuer.contains("?") else { return nil }
        return KeyLocation((issuer.hasSuffix("/") ? String(issuer.dropLast()) : issuer) + "/.well-known/openid-configuration")
    }

    /// The location of the keys. The document's `issuer` must be the configured one, byte for byte (section 4.3): else one issuer could
    /// lend its keys to another.
    public static func keyLocation(json: [UInt8], issuer: String, allowsPlain: Bool) throws(Failure) -> KeyLocation {
        guard json.count <= TokenLimits.fetchBodyBytes,
            let document = JSONReader.read(json.span, depth: TokenLimits.keySetDepth, uniqueNames: true), case .object = document
        else { throw .malformed }
        guard let named = document["issuer"]?.string, named.utf8.elementsEqual(issuer.utf8) else { throw .issuerMismatch }
        guard let text = document["jwks_uri"]?.string, let location = KeyLocation(text), location.isSecure || allowsPlain else {
            throw .malformed
        }
        return location
    }
}
