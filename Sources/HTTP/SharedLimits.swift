/// What limits a process as a whole, whatever configuration it runs with: counts that a reload must not lose, and that
/// several instances may share.
public final class SharedLimits: Sendable {
    /// How to wake the shards.
    public let directory: ShardDirectory
    /// Connections of sessions and of client addresses.
    public let places: PlaceKeeper
    /// Look-ups of each session under way over all shards: one session must not take the resolver from the others.
    public let lookups = ConnectionQuota()

    /// Nothing is held.
    public init() {
        directory = ShardDirectory()
        places = PlaceKeeper(directory: directory)
    }
}
