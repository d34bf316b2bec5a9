/// Sizes and times of the conversation with PostgreSQL, each with its reason.
enum PostgresLimits {
    /// A commit waits for a disk, and for a standby where there is one. A server that needs longer is taken to be away: whoever
    /// revokes waits for it.
    static let statementMilliseconds: UInt64 = 1000
    /// Look-up, connect, TLS, password and the first statements, over all hosts that are named.
    static let greetingMilliseconds: UInt64 = 5000
    /// Pause before the first new attempt, doubled up to the longest: a server that takes over is up within seconds, and each
    /// attempt costs it a process.
    static let backoffMilliseconds: UInt64 = 100
    static let backoffLongestMilliseconds: UInt64 = 5000
    /// How often the server is asked whether it is there, and whether the table still has its rows.
    static let pulseMilliseconds: UInt64 = 1000
    /// Ended rows are deleted hourly. A quarter of it is chance, so that instances do not all do it at once.
    static let cleanupMilliseconds: UInt64 = 3_600_000
    /// Rows one deletion takes; more wait for the next pulse, so that no statement is long.
    static let rowsPerCleanup = 5000
    /// Rows stay so long after their end: clocks differ, and an instance forgets by its own.
    static let keptSeconds = 600
    /// Rows of a page: with the longest document of each the answer stays below 2 MiB.
    static let rowsPerPage = 500
    /// Denials of one statement, at most 4 KiB each.
    static let denialsPerStatement = 64
    /// Notifications that are looked up together.
    static let notificationsPerStatement = rowsPerPage
    /// Longest text of a database that is read: hosts, port and names.
    static let locationBytes = 2048
    /// Longest message of a failed connection that is logged.
    static let reasonCharacters = 200
    /// At the end of the process, time for a goodbye.
    static let goodbyeMilliseconds = 500
}
