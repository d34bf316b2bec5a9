import Glibc
import HTTP

/// Commands of the admin interface, which the control thread carries out.
extension ServerProcess {
    /// Answers the commands that wait. True when one of them asks to drain.
    func answerCommands() -> Bool {
        var drains = false
        for command in admin.takeCommands() {
            switch command.request {
            case .reload: command.add(admin.isDraining ? Self.isDraining : answer(reload(.admin)))
            case .drain:
                drains = true
                admin.isDraining = true
                command.add(AdminInterface.json(.object([("draining", true)]), status: 202))
            case .setLogLevel(let level): command.add(setLogLevel(level))
            case .connections: command.sort()
            case .close, .deny, .closeSigned: break  // the shards'
            }
        }
        return drains
    }

    private static let isDraining = AdminInterface.problem(409, "draining", "The process drains; it takes no configuration")

    private func answer(_ outcome: ReloadOutcome) -> Response {
        switch outcome {
        case .applied(let changed, let needingRestart):
            AdminInterface.json(.object([
                ("reloaded", true), ("generation", .count(snapshot.generation)), ("changed", JSONDocument(changed)),
                ("needingRestart", JSONDocument(needingRestart)),
            ]))
        case .refused(let faults):
            AdminInterface.json(.object([
                ("reloaded", false), ("generation", .count(snapshot.generation)), ("faults", JSONDocument(faults)),
            ]), status: 422)
        }
    }

    private func setLogLevel(_ level: LogLevel) -> Response {
        let former = logger.level
        // Said before a higher threshold hides it.
        logger.log(.info, "log level set", ["level": .text(level.name), "former": .text(former.name)])
        logger.level = level
        for thread in threads { thread.post(.logLevel, UInt64(level.rawValue)) }
        return AdminInterface.json(.object([("level", .string(level.name)), ("former", .string(former.name))]))
    }
}
