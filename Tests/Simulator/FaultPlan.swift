/// Which faults a run meets and how often, in millionths of the occasions. Every seed draws its own subset (swarm
/// testing): a run with all faults at once hides the ones that need quiet around them.
public struct FaultPlan {
    /// A read returns less than there is.
    public var shortRead = 0
    /// A send takes less than there is room for.
    public var shortWrite = 0
    /// A send without waiting is refused although there is room (memory pressure).
    public var refusedWrite = 0
    /// A send that waits for everything ends early (a signal, a memory limit).
    public var waitEndsShort = 0
    /// A completion arrives later than others that were decided after it.
    public var delayedCompletion = 0
    /// Longest such delay.
    public var delayNanosecondsMaximum = 1
    /// The kernel looks at a ready socket later, when more has come together.
    public var lateReadiness = 0
    /// A multishot request ends without an error.
    public var multishotEnds = 0
    /// A receive finds no buffer although there are some.
    public var noBuffer = 0
    /// An end or an error carries an empty buffer along.
    public var bufferWithEnd = 0
    /// A cancelled request goes on for a while before it ends.
    public var cancelRace = 0
    /// accept(2) fails: no descriptor, or the connection is gone.
    public var acceptFails = 0
    /// socket(2) finds no descriptor.
    public var socketFails = 0
    /// io_uring_enter(2) takes only some of the entries.
    public var partialSubmission = 0
    /// The wait is interrupted by a signal.
    public var interrupted = 0
    /// Time jumps forward: the machine was suspended, the thread was not scheduled.
    public var clockJump = 0
    /// The network resets a connection, or gives it up.
    public var connectionBreaks = 0

    /// The network loses a datagram.
    public var datagramLost = 0
    /// A datagram overtakes the one before it.
    public var datagramOvertakes = 0
    /// The kernel joins datagrams only where it likes.
    public var datagramUnjoined = 0
    /// A send of datagrams finds the socket full although there is room.
    public var datagramRefused = 0
    /// ICMP, or a route that is missing for a moment.
    public var datagramError = 0
    /// Segments longer than this are not cut (the path's MTU); 0: the device cuts nothing.
    public var segmentMaximum = Int.max

    /// No faults.
    public init() {}

    /// A random subset, each with a random intensity.
    public init(_ random: inout SimulatedRandom) {
        func draw(_ random: inout SimulatedRandom, _ often: Int, _ maximum: Int) -> Int {
            random.chance(often) ? max(1, random.size(upTo: maximum)) : 0
        }
        shortRead = draw(&random, 500_000, 500_000)
        shortWrite = draw(&random, 500_000, 500_000)
        refusedWrite = draw(&random, 300_000, 200_000)
        waitEndsShort = draw(&random, 200_000, 100_000)
        delayedCompletion = draw(&random, 500_000, 800_000)
        delayNanosecondsMaximum = 1 + random.size(upTo: 3_000_000)
        lateReadiness = draw(&random, 500_000, 900_000)
        multishotEnds = draw(&random, 400_000, 300_000)
        noBuffer = draw(&random, 200_000, 50_000)
        bufferWithEnd = draw(&random, 200_000, 500_000)
        cancelRace = draw(&random, 500_000, 900_000)
        acceptFails = draw(&random, 200_000, 200_000)
        socketFails = draw(&random, 100_000, 200_000)
        partialSubmission = draw(&random, 300_000, 300_000)
        interrupted = draw(&random, 300_000, 300_000)
        clockJump = draw(&random, 100_000, 3_000)
        connectionBreaks = draw(&random, 150_000, 3_000)
    }

    /// The faults of datagrams, which the other plans do without.
    public mutating func drawDatagrams(_ random: inout SimulatedRandom) {
        func draw(_ random: inout SimulatedRandom, _ often: Int, _ maximum: Int) -> Int {
            random.chance(often) ? max(1, random.size(upTo: maximum)) : 0
        }
        datagramLost = draw(&random, 300_000, 200_000)
        datagramOvertakes = draw(&random, 300_000, 300_000)
        datagramUnjoined = draw(&random, 500_000, 900_000)
        datagramRefused = draw(&random, 300_000, 200_000)
        datagramError = draw(&random, 300_000, 50_000)
        if random.chance(250_000) { segmentMaximum = random.chance(300_000) ? 0 : 1 + random.size(upTo: 2000) }
    }
}
