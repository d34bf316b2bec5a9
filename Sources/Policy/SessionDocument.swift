// JSON bodies of POST /session and POST /udp-relay/token. Key order and key set are fixed by the published schema.

/// Builder of the gateway's session documents.
public enum SessionDocument {
    /// The body of `POST /session`, status 201. Without a relay, and when its token could not be minted, the key
    /// `udpRelay` is absent.
    public static func session(
        expiryMilliseconds: Int64, settings: GatewaySettings, relay: RelayToken.Outcome?
    ) -> String {
        let tcp = settings.tcp
        var text = "{\"session\":{\"expiresAt\":\"\(Timestamp.iso8601(milliseconds: expiryMilliseconds))\"}"
        text += ",\"endpoints\":{" + endpoints(basePath: settings.http.basePath) + "}"
        text += ",\"limits\":{\"tcp\":{\"maxConnections\":\(tcp.maxConnections),\"maxMessageBytes\":\(tcp.maxMessageBytes)"
        text += ",\"connectTimeoutMs\":\(tcp.connectTimeoutMilliseconds),\"idleTimeoutMs\":\(tcp.idleTimeoutMilliseconds)}"
        text += ",\"dns\":{\"maxQueryBytes\":\(settings.dns.maxQueryBytes)}"
        text += ",\"l2\":{\"maxFramePayloadBytes\":\(settings.l2.maxFramePayloadBytes)"
        text += ",\"maxControlPayloadBytes\":\(settings.l2.maxControlPayloadBytes)}}"
        if let description = settings.relay, let relay, let object = udpRelay(description, relay) {
            text += ",\"udpRelay\":" + object
        }
        return text + "}"
    }

    /// The body of `POST /udp-relay/token`, nil when minting failed.
    public static func relayToken(_ relay: GatewaySettings.RelaySettings, _ outcome: RelayToken.Outcome) -> String? {
        guard let credential = credential(outcome) else { return nil }
        return "{\"authMode\":\"\(relay.authentication.name)\"\(credential)}"
    }

    private static func endpoints(basePath: String) -> String {
        let paths = [
            ("tcp", "/tcp"), ("tcpMux", "/tcp-mux"), ("dnsQuery", "/dns-query"), ("dnsJson", "/dns-json"), ("l2", "/l2"),
            ("udpRelayToken", "/udp-relay/token"),
        ]
        return paths.map { "\"\($0.0)\":\(TextEncoding.json(basePath + $0.1))" }.joined(separator: ",")
    }

    /// The `udpRelay` object, nil when minting failed.
    static func udpRelay(_ relay: GatewaySettings.RelaySettings, _ outcome: RelayToken.Outcome) -> String? {
        guard let credential = credential(outcome) else { return nil }
        return "{\"baseUrl\":\(TextEncoding.json(relay.baseURL)),\"authMode\":\"\(relay.authentication.name)\""
            + ",\"endpoints\":{\"webrtcSignal\":\"/webrtc/signal\",\"webrtcOffer\":\"/webrtc/offer\",\"udp\":\"/udp\""
            + ",\"webrtcIce\":\"/webrtc/ice\"}\(credential)}"
    }

    /// `,"token":…,"expiresAt":…`, empty when no credential is needed.
    private static func credential(_ outcome: RelayToken.Outcome) -> String? {
        switch outcome {
        case .notNeeded: ""
        case .failed: nil
        case .minted(let token):
            ",\"token\":\(TextEncoding.json(token.token))"
                + ",\"expiresAt\":\"\(Timestamp.iso8601(milliseconds: token.expiryMilliseconds))\""
        }
    }
}

extension GatewaySettings.RelayAuthentication {
    /// The value of `authMode`, which is also the configuration's spelling.
    public var name: String {
        switch self {
        case .none: "none"
        case .apiKey: "api_key"
        case .jwt: "jwt"
        }
    }
}
