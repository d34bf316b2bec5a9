import Engine
import HTTP
import Policy
import Wire

/// Fetches key sets: on one shard, in the background.
final class KeyKeeper {
    /// What the operator is told of a fetch.
    struct Notice {
        let provider: String
        let trigger: KeyFetch.Trigger
        let result: KeyFetchResult
        let keys: Int
    }

    /// Longest file with a key set.
    private static let fileBytes = 1 << 20

    private let client: HTTPClient
    private let common: ProxyCommon
    private let notify: (Notice) -> Void
    private var plan: ProxyPlan?
    private var underWay: [UInt32: (due: KeyBoard.Due, ticket: HTTPClient.Ticket)] = [:]
    private var nextContext: UInt32 = 0

    init(shard: Shard, owner: Owner, common: ProxyCommon, notify: @escaping (Notice) -> Void) {
        client = HTTPClient(shard: shard, owner: owner)
        self.common = common
        self.notify = notify
    }

    /// Whether anything is open.
    var isIdle: Bool { underWay.isEmpty }

    /// Takes another configuration; fetches for the former one are not waited for.
    func apply(_ plan: ProxyPlan?) {
        cancel()
        self.plan = plan
    }

    /// Ends what is under way.
    func cancel() {
        for (_, fetch) in underWay { client.cancel(fetch.ticket) }
        underWay = [:]
    }

    /// Begins what is due. True when keys or waiting clients have to be looked at again.
    func poll() -> Bool {
        guard let plan else { return false }
        let before = common.keys.epoch
        for due in common.keys.poll() { begin(due, plan) }
        take()
        return common.keys.epoch != before
    }

    /// An event of one of its streams.
    func handle(_ event: Event) -> Bool {
        client.handle(event)
        let before = common.keys.epoch
        take()
        return common.keys.epoch != before
    }

    private func begin(_ due: KeyBoard.Due, _ plan: ProxyPlan) {
        switch due.fetch.target {
        case .file(let path):
            if let bytes = try? SmallFile.read(path, limit: Self.fileBytes) {
                settle(due, .success(KeyResponse(status: 200, body: bytes)))
            } else {
                settle(due, .failure(.connection))
            }
        case .url(let location):
            let security = location.isSecure ? plan.issuers[due.provider] : nil
            var request = ClientRequest(
                ClientEndpoint(host: location.host, port: location.port, security: security), target: location.target)
            request.fields = [ClientRequest.Field("Accept", "application/json")]
            request.fields += due.fetch.fields.map { ClientRequest.Field($0.name, $0.value) }
            request.fields += plan.policy.providers[due.provider].requestFields.map { ClientRequest.Field($0.name, $0.value) }
            request.timeouts.connectMilliseconds = UInt64(due.fetch.connectMilliseconds)
            request.timeouts.totalMilliseconds = UInt64(due.fetch.totalMilliseconds)
            request.maximumBodyBytes = due.fetch.bodyBytesMaximum
            nextContext &+= 1
            underWay[nextContext] = (due, client.begin(request, context: nextContext))
        }
    }

    private func take() {
        while let finished = client.takeFinished() {
            guard let (due, _) = underWay.removeValue(forKey: finished.context) else { continue }
            switch finished.result {
            case .answered(let answer):
                let fields = answer.fields.map { KeyFetch.Field(name: $0.name, value: $0.value) }
                settle(due, .success(KeyResponse(status: answer.status, fields: fields, body: answer.body)))
            case .failed(let failure):
                settle(due, .failure(failure == .tooLarge ? .tooLarge : failure.isTimeout ? .timeout : .connection))
            case .upgraded: settle(due, .failure(.connection))
            }
        }
    }

    private func settle(_ due: KeyBoard.Due, _ outcome: Result<KeyResponse, KeyFetchFailure>) {
        let result = common.keys.settle(due, outcome)
        let readings = common.keys.readings
        guard readings.indices.contains(due.provider) else { return }
        notify(Notice(
            provider: readings[due.provider].name, trigger: due.fetch.trigger, result: result, keys: readings[due.provider].keys))
    }
}
