import Glibc
import HTTP

/// What asked for a reload.
enum ReloadTrigger: String {
    case signal = "SIGHUP"
    case file
    case admin
    /// The former reload was refused.
    case retry
}

/// What a reload came to.
enum ReloadOutcome: Sendable {
    /// In force on every shard.
    case applied(changed: [String], needingRestart: [String])
    /// The former configuration stays in force.
    case refused([String])
}

/// Reloading.
///
/// Theory of operation
/// - The whole configuration is loaded again, every layer of it. When anything in it is wrong, or a new listener cannot be
///   opened, nothing at all changes: the faults are logged one a line, as `sluice check` prints them.
/// - Otherwise a snapshot is made and put into each shard's inbox. A shard applies it between two events, and acknowledges when
///   the listeners it closes are closed. Before, the next reload is refused: a storm of them piles nothing up.
/// - What was refused is tried again (`ReloadRetry`), whatever asked for it: the files say what is wanted, and nobody may be there to
///   touch them again once the reason is gone.
/// - Limiters, quotas, and sockets of listeners that stay are carried over; live connections keep what they started with.
extension ServerProcess {
    /// How long the shards may take to acknowledge. They do between two turns, a few milliseconds.
    private static let acknowledgementMilliseconds = 2000

    /// Loads the configuration again and puts it in force, if it is sound.
    @discardableResult
    func reload(_ trigger: ReloadTrigger) -> ReloadOutcome {
        let began = MonotonicClock.seconds
        watch.mark()
        var loader = loader
        if loaded.configuration.generatesSessionSecret { loader.fallbackSecret = loaded.configuration.gateway.session.secret }
        let outcome: ReloadOutcome
        do {
            outcome = try replace(try loader.load(), trigger, began)
        } catch let faults as ConfigurationFaults {
            outcome = .refused(faults.faults.map(\.description))
        } catch {
            outcome = .refused(["\(error)"])
        }
        return record(outcome, trigger, seconds: MonotonicClock.seconds - began)
    }

    /// Tells an outcome, unless it is the refusal that was told before.
    private func record(_ outcome: ReloadOutcome, _ trigger: ReloadTrigger, seconds: Double) -> ReloadOutcome {
        switch outcome {
        case .applied: retry.succeeded()
        case .refused(let faults):
            let areOthers = retry.refused(faults, isRetry: trigger == .retry, nowMilliseconds: Int64(MonotonicClock.seconds * 1000))
            if trigger == .retry, !areOthers { return outcome }
            logRefusal(faults, trigger)
        }
        reloads.record(outcome, seconds: seconds)
        return outcome
    }

    private func logRefusal(_ faults: [String], _ trigger: ReloadTrigger) {
        for fault in faults { logger.log(.error, "Invalid configuration: \(fault)", ["trigger": .text(trigger.rawValue)]) }
        logger.log(.error, "configuration not reloaded: the former one stays in force", [
            "trigger": .text(trigger.rawValue), "faults": .number(faults.count), "generation": .number(Int(snapshot.generation)),
        ])
    }

    private func replace(_ next: LoadedConfiguration, _ trigger: ReloadTrigger, _ began: Double) throws(StartError) -> ReloadOutcome {
        let difference = ConfigurationDifference(from: loaded, to: next)
        let waiting = ConfigurationDifference(from: started, to: next).needingRestart
        let configuration = next.configuration.keeping(startOf: started.configuration)
        guard awaitAcknowledgements() else {
            throw StartError(description: "a shard has not taken the former configuration yet; try again")
        }
        let change = try listeners.opening(configuration, shards: threads.count)
        listeners = change.set
        listeners.apply(backlog: configuration.limits.listenBacklog)
        let changed = difference.changed + change.resecured.map { "certificates of listener `\($0)`" }
        for warning in next.warnings where !loaded.warnings.contains(warning) { logger.log(.warn, warning) }
        for warning in next.relayWarnings where !loaded.relayWarnings.contains(warning) { logger.log(warning) }
        let formerURL = loaded.configuration.udp.publicBaseURL
        loaded = next
        watch.watch(next.files)
        snapshot = try ServerSnapshot(
            next, configuration: listeners.bound(configuration), listeners: listeners.plans, hub: admin, shards: threads.count,
            former: snapshot)
        restoreKeys()
        snapshot.gateway.limiters.apply(configuration.gateway)
        (logger.level, logger.format) = (configuration.log.level, configuration.log.format)
        for thread in threads { thread.post(.apply, object: snapshot) }
        if !awaitAcknowledgements() { warnOfLateShards() }
        for plan in change.added { logListening(plan) }
        logRelayURL(former: formerURL)
        for plan in change.removed {
            logger.log(.info, "listener closed", ["name": .text(plan.name), "address": .text("\(plan.address)")])
        }
        if !waiting.isEmpty {
            logger.log(.warn, "a restart is needed to change \(waiting.joined(separator: ", ")); the former values stay in force")
        }
        logger.log(.info, changed.isEmpty ? "configuration reloaded: nothing changed" : "configuration reloaded", [
            "trigger": .text(trigger.rawValue), "changed": .text(changed.joined(separator: ", ")),
            "generation": .number(Int(snapshot.generation)), "durationMs": .number(Int((MonotonicClock.seconds - began) * 1000)),
        ])
        return .applied(changed: changed, needingRestart: waiting)
    }

    /// Whether every shard has taken the configuration in force, within a while.
    private func awaitAcknowledgements() -> Bool {
        for _ in 0..<Self.acknowledgementMilliseconds {
            if threads.allSatisfy({ $0.generation == snapshot.generation }) { return true }
            usleep(1000)
            logger.flush()
        }
        return false
    }

    private func warnOfLateShards() {
        for (index, thread) in threads.enumerated() where thread.generation != snapshot.generation {
            logger.log(.warn, "a shard has not taken the configuration yet", ["shard": .number(index)])
        }
    }
}
