import CSocket
import Glibc
import HTTP
import Policy
import SharedState

/// The stores of what instances share, and who of them has the denied tokens.
extension ShardLoop {
    /// Puts the stores of a configuration in force. The one that denials leave goes first: they have one keeper.
    func applyStores(_ redis: RedisSettings?, _ plan: ProxyPlan?) {
        let database = plan?.postgres
        if database == nil { _ = postgres?.apply(nil) }
        store?.apply(redis, denials: plan?.denialPrefix, keepsDenials: database == nil)
        if let database, let postgres, postgres.apply(database) { start(postgres) }
        pumpPostgres()
    }

    private func start(_ postgres: PostgresStore) {
        var thread: UInt64 = 0
        let argument = Unmanaged.passRetained(postgres)
        let result = thread_start(
            {
                _ = thread_name("sluice-postgres")
                Unmanaged<PostgresStore>.fromOpaque($0!).takeRetainedValue().run()
            }, argument.toOpaque(), &thread)
        if result == 0 { return }
        argument.release()
        postgres.failed("no thread: \(String(cString: strerror(-result)))")
    }

    /// Denials may wait to be written, and something to be logged.
    func pumpPostgres() {
        guard let postgres else { return }
        postgres.pump()
        for notice in postgres.takeNotices() { note(notice) }
    }

    private func note(_ notice: PostgresStore.Notice) {
        let now = WallClock.nowMilliseconds
        switch notice {
        case .connected(let location):
            guard log.begin(.info, "revocations are shared with other instances", timeMilliseconds: now) else { return }
            log.field("postgres", location)
        case .lost(let location, let reason):
            guard log.begin(.warn, "the store of revocations cannot be asked: this instance goes on with what it knows until it is back",
                            timeMilliseconds: now)
            else { return }
            log.field("postgres", location)
            log.field("reason", reason)
        case .left(let location):
            guard log.begin(.info, "revocations are no longer shared through this store", timeMilliseconds: now) else { return }
            log.field("postgres", location)
        }
        log.commit()
    }
}
