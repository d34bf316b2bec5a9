/// The running data plane.
public enum Server {
    /// Serves until a signal ends it, and returns the exit status.
    public static func run(configuration: Configuration) -> Int32 {
        fatalError("the data plane is not linked")
    }
}
