import Policy
import UDPRelay

/// The UDP relay of a configuration.
public struct RelayConfiguration: Sendable {
    /// Somebody configured it. Otherwise it is there, and admits nobody.
    public var isConfigured = false
    /// The process is a UDP relay and nothing else: only the relay's own address was given.
    public var isAlone = false
    /// Where clients reach it, for the log; empty when that was not given, or is no URL that may be logged.
    public var publicBaseURL = ""
    /// What sessions are bound by.
    public var settings = RelaySettings()
    /// Who may use it.
    public var access = RelayAccess.jwt(secret: [])
    /// Where datagrams may go.
    public var destinations = RelayDestinationSettings()
    /// Which pages may use it; an empty list admits those of the host that was asked.
    public var origins = OriginAllowlist(anyOrigin: false, origins: [])
    /// What clients are told of STUN and TURN servers, or why that cannot be told.
    public var iceServers: Result<ICEServers, ICEServers.Fault> = Result { () throws(ICEServers.Fault) in
        try ICEServers(ICEServers.Input(), withREST: false)
    }
    /// What makes credentials for TURN servers; nil: nothing.
    public var turn: TURNCredential.Settings?
    /// Datagrams may go to the demonstration service and nowhere else, because nobody wrote rules.
    var confinesDemonstration = false

    /// Nothing configured.
    public init() {}
}

/// Something of the relay's configuration that is valid and probably not meant.
public struct RelayWarning: Sendable, Equatable {
    /// The value of the field `warning_code`.
    public var code: String
    /// One line.
    public var text: String
}

extension Logger {
    /// Writes a warning of the relay.
    func log(_ warning: RelayWarning) { log(.warn, warning.text, ["warning_code": .text(warning.code)]) }
}

/// Every value of the relay's configuration in the form it is written in.
struct RelayDraft {
    var address = ""
    var publicBaseURL = ""
    var origins: [String] = []
    var mode = "dev"
    var logFormat = ""
    var logLevel = ""
    var shutdownMilliseconds = 15_000
    var gatheringMilliseconds = 2000

    var authentication = ""
    var key = ""
    var secret = ""
    var authenticationMilliseconds = 2000
    var signalingIdleMilliseconds = 60_000
    var signalingPingMilliseconds = 20_000
    var signalingMessageBytes = 65_536
    var signalingMessagesPerSecond = 50
    var idleMilliseconds = 60_000
    var pingMilliseconds = 20_000

    var bindings = 128
    var bindingIdleMilliseconds = 60_000
    var filter = RelayFilterMode.addressAndPort.rawValue
    var remoteIdleMilliseconds = 0
    var remotes = 1024
    var readBufferBytes = 0
    var sendQueueBytes = 1_048_576
    var payloadBytes = 1200
    var prefersV2 = false
    var sessions = 0
    var reservationMilliseconds = 60_000
    var framesPerSecond = 0
    var bytesPerSecond = 0
    var framesPerSecondPerDestination = 0
    var destinations = 0
    var destinationBuckets = 0
    var bytesPerSecondToClient = 0
    var violations = 0
    var violationWindowMilliseconds = 10_000
    var violationWindowSeconds = 0

    var preset = ""
    var privateNetworks = ""
    var allowedBlocks: [String] = []
    var deniedBlocks: [String] = []
    var allowedPorts: [String] = []
    var deniedPorts: [String] = []

    var iceServers = ""
    var stunURLs = ""
    var turnURLs = ""
    var turnUsername = ""
    var turnCredential = ""
    var turnSecret = ""
    var turnLifetimeSeconds = 3600
    var turnPrefix = "aero"
    var turnRealm = ""

    var portMinimum = 0
    var portMaximum = 0
    var listenAddress = "0.0.0.0"
    var outerAddresses: [String] = []
    var candidateType = "host"
    var connectMilliseconds = 30_000
    var channelMessageBytes = 0
    var receiveBufferBytes = 0

    var backendURL = ""
    var backendForwardsOrigin = false
    var backendOrigin = ""
    var backendSocketOrigin = ""
    var backendToken = ""
    var backendAuthentication = "query"
    var backendForwardsSession = false
    var backendMessageBytes = 4096
}
