import Foundation
import Testing

/// What may not happen for a message: counting references, allocating, checking exclusivity, casting.
enum DataPath {
    static let forbiddenPrefixes = [
        "swift_retain", "swift_release", "swift_alloc", "swift_slowAlloc", "swift_beginAccess", "swift_isUniquelyReferenced",
        "swift_dynamicCast", "swift_bridgeObject", "swift_unknownObject", "swift_initStackObject", "swift_weak", "swift_unowned",
        "swift_task", "malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "mmap",
        // The standard library's collections and text.
        "$sSa", "$ss15ContiguousArrayV", "$sSD", "$sSh", "$sSS",
    ]

    static func isForbidden(_ symbol: String) -> Bool { forbiddenPrefixes.contains { symbol.hasPrefix($0) } }

    /// From here every message is reached.
    static let root = "Control.ShardLoop.run() -> ()"

    /// Functions the data path can call and a forwarded message does not, by the beginning of their name, and why.
    static let cold: [(name: String, reason: String)] = [
        ("Control.ShardLoop.(serve in ", "HTTP: requests and upgrades, before a connection is a bridge"),
        ("Control.ShardLoop.serveRelay(", "HTTP: requests and upgrades of the relay"),
        ("Control.ShardLoop.(serveDemo in ", "HTTP: the demonstration's own service"),
        ("Control.ShardLoop.(finished in ", "only once the shard is stopping"),
        ("Control.ShardLoop.(dispatchRare in ", "events that are no client's or target's: inbox, resolver, shared state, shard timers"),
        ("TCPBridge.TCPBridge.(handleRare in ", "a stream connected, ended, failed, drained, or its time passed"),
        ("TCPBridge.TCPBridge.keepEarly(", "bytes that came before there was a target"),
        ("TCPBridge.TCPBridge.finish(", "the end of a bridge"),
        ("function signature specialization <Arg[1] = Dead> of TCPBridge.TCPBridge.(newPayload in ", "a control frame in pieces"),
        ("TCPMux.TCPMux.(handleRare in ", "a stream connected, ended, failed, drained, or its time passed"),
        ("TCPMux.TCPMux.begin(", "a frame that is not DATA"),
        ("TCPMux.TCPMux.collect(", "payload of a frame that is not DATA"),
        ("TCPMux.TCPMux.control(", "a control frame of the WebSocket"),
        ("TCPMux.TCPMux.reply(", "an ERROR frame"),
        ("TCPMux.TCPMux.overflows(", "a stream that seems to exceed its cap"),
        ("TCPMux.TCPMux.keepEarly(", "bytes that came before there was a target"),
        ("TCPMux.TCPMux.finish(", "the end of a WebSocket"),
        ("TCPMux.TCPMux.pauseForPool(", "the shard's buffers run low"),
        ("UDPRelay.UDPRelay.(handleRare in ", "a client's stream ended, failed, drained, or its time passed; a socket failed"),
        ("UDPRelay.UDPRelay.finishTurn(", "sockets were opened, sockets of bindings that are gone close, clients waited for a turn"),
        ("UDPRelay.UDPRelay.park(", "the turn's new sockets were used up by guest ports that are new"),
        ("UDPRelay.UDPRelay.control(", "a control frame of the WebSocket"),
        ("UDPRelay.UDPRelay.text(", "a text message: the credential, later none that is heard"),
        ("UDPRelay.UDPRelay.finish(", "the end of a WebSocket"),
        ("UDPRelay.UDPRelay.reportSocketsUsedUp(", "the shard has no socket left; told at most once a minute"),
        ("WebSocketProxy.WebSocketProxy.(handleRare in ", "a stream ended, failed, drained, was dialled, or its time passed"),
        ("WebSocketProxy.WebSocketProxy.readOtherwise(", "before both ends are there, or behind a Close"),
        ("WebSocketProxy.WebSocketProxy.control(", "a control frame of the WebSocket"),
        ("WebSocketProxy.WebSocketProxy.sendWaiting(", "control frames of our own"),
        ("WebSocketProxy.WebSocketProxy.sinkBehind(", "a receiver does not take what is for it"),
        ("WebSocketProxy.WebSocketProxy.hold(", "the rest of a read waits for its client's budget"),
        ("WebSocketProxy.WebSocketProxy.(shut in ", "a client sends more messages than it may"),
        ("WebSocketProxy.WebSocketProxy.(shutBytes in ", "a client sends more bytes than it may"),
        ("WebSocketProxy.WebSocketProxy.finish(", "the end of a session"),
        ("WebSocketProxy.WebSocketProxy.tellDenials(", "an MQTT packet was refused"),
        ("WebSocketProxy.WebSocketProxy.sendAnswers(", "an MQTT packet was refused, or a SUBACK lacks codes"),
        ("WebSocketProxy.WebSocketProxy.giveAnswers(", "an MQTT packet was refused, or a SUBACK lacks codes"),
        ("Policy.MQTTInspector.refuse(", "a PUBLISH that is refused"),
        ("Policy.MQTTInspector.(complete in ", "the PUBREL of a PUBLISH that was refused"),
        ("Policy.MQTTInspector.(subscribe in ", "SUBSCRIBE"),
        ("Policy.MQTTInspector.(unsubscribe in ", "UNSUBSCRIBE"),
        ("Policy.MQTTInspector.(answer in ", "a packet of ours among the broker's"),
        ("Policy.MQTTInspector.read(", "before CONNACK, or while a SUBACK is to be repaired"),
        ("Policy.SeenTopics.(allocate in ", "a session's first PUBLISH"),
        ("Policy.TopicAliases.(allocate in ", "a session's first topic alias"),
        ("Wire.MQTTScanner.(collect in ", "a head that is cut between two reads; its memory is used again"),
        ("(extension in Policy):Policy.RecentTable< where A: ~Swift.Copyable>.(grow in ",
         "a table doubles for a port or remote that is new"),
        ("Engine.Shard.resolverPolled(", "name resolution: one look-up for each name dialled"),
        ("Engine.Shard.resolverTimePassed(", "name resolution"),
        ("Engine.Shard.nextLookup(", "name resolution"),
    ]

    static func isCold(_ name: String) -> Bool { cold.contains { matches(name, $0.name) } }

    /// Whether a function's name begins so, as it stands or for one type that it was made for.
    static func matches(_ name: String, _ beginning: String) -> Bool {
        if name.hasPrefix(beginning) { return true }
        guard name.hasPrefix("generic specialization <"), let of = name.range(of: "> of ") else { return false }
        return name[of.upperBound...].hasPrefix(beginning)
    }

    /// Objects in which every function is examined, reached or not.
    static let files: [String: [String]] = [
        "Engine": [
            "Shard+Turn", "Shard+Dispatch", "Shard+Receive", "Shard+Send", "Shard+Buffers", "Shard+Close", "Shard+Slots", "Statistics",
            "Shard+DatagramReceive", "Shard+DatagramSend", "Shard+DatagramQueue", "Shard+Spread", "SlotList",
        ],
        "Wire": ["FrameReader", "FrameHeader", "FrameSieve", "ByteKernel", "RelayFrame"],
        "Policy": ["RecentTable", "RelayLimiter", "RelayBindings"],
        "TCPBridge": ["TCPBridge+Forward", "BridgeCounters"],
        "TCPMux": ["TCPMux+Client"],
        "UDPRelay": ["UDPRelay+Client", "UDPRelay+Remote", "UDPRelay+Binding", "UDPRelay+Share", "RelayCounters"],
        "WebSocketProxy": ["WebSocketProxy+Forward", "WebSocketProxy+Inspect", "ProxyCounters"],
    ]

    /// Targets that are walked through.
    static let targets = [
        "CRing", "CSocket", "Ring", "Engine", "Wire", "HTTP", "Policy", "TCPBridge", "TCPMux", "UDPRelay",
        "WebSocketProxy", "SessionGateway", "Control",
    ]

    /// Functions of other targets that a message passes; if one of these is not reached, the walk is broken.
    static let landmarks = [
        "Engine.Shard.turn(", "Engine.Shard.submitTrains(", "Engine.Shard.concludeTrains(", "Engine.Shard.next(",
        "Engine.Shard.send(", "Engine.Shard.sendFramed(", "Engine.Shard.bytes(",
        "Engine.CounterBlock.add(", "TCPBridge.TCPBridge.handle(", "Wire.FrameReader.next(",
        "TCPMux.TCPMux.handle(", "TCPMux.TCPMux.clientBytes(", "Engine.Shard.append(", "static Wire.ByteKernel.unmask(",
        "static Wire.FrameHeader.encode(", "Ring.Ring.entry(", "ring_enter",
        "WebSocketProxy.WebSocketProxy.handle(", "WebSocketProxy.WebSocketProxy.pass(", "Wire.FrameSieve.next(",
        "WebSocketProxy.WebSocketProxy.inspect(", "Wire.FrameSieve.collect(", "Policy.MQTTInspector.client(",
        "Policy.MQTTInspector.broker(",
        "Policy.MQTTInspector.judgeRare(", "Policy.TopicTable.publishRights(",
        "UDPRelay.UDPRelay.handle(", "UDPRelay.UDPRelay.clientBytes(", "UDPRelay.UDPRelay.(collect in ", "UDPRelay.UDPRelay.(select in ",
        "UDPRelay.UDPRelay.(spread in ", "UDPRelay.UDPRelay.(copy in ", "UDPRelay.UDPRelay.(openSocket in ", "UDPRelay.UDPRelay.refused(",
        "static Wire.RelayFrame.decode(", "static Wire.RelayFrame.encodeMessage(", "Policy.RelayDestinations.Rules.permits(",
        "Policy.RelayLimiter.admitToRemote(", "Policy.RelayLimiter.admitToClient(", "Policy.RelayBindings.bind(",
        "Policy.RelayBindings.sent(", "Policy.RelayBindings.admits(", "Policy.RelayInboundFilter.sent(",
        "Policy.RelayInboundFilter.admits(",
        "(extension in Policy):Policy.RecentTable< where A: ~Swift.Copyable>.insert(",
        "(extension in Policy):Policy.RecentTable< where A: ~Swift.Copyable>.remove(",
    ]

    /// What the compiler makes for values that are copied through existentials, or of types unknown to it; nothing on the data path is.
    static func isWitness(_ name: String) -> Bool { name.contains("witness ") || name.hasPrefix("type metadata ") }

    /// Forbidden symbols that these functions refer to.
    static func faults(_ code: MachineCode, _ indices: some Sequence<Int>) -> [String] {
        indices.flatMap { index in
            let function = code.functions[index]
            return function.references.filter(isForbidden).sorted().map { "\(function.object): \(function.name) refers to \($0)" }
        }.sorted()
    }
}

/// The machine code of the release build's data path refers to no function that allocates or counts references.
@Suite("Data path")
struct DataPathTests {
    static let canRun = ReleaseBuild.isUsable && Tool.exists("objdump")

    @Test("no retain, release, allocation or exclusivity check", .enabled(if: canRun, "needs a current release build and objdump"))
    func symbols() throws {
        let code = try MachineCode(objects: DataPath.targets.flatMap { try ReleaseBuild.objects(of: $0) })
        let walk = code.reachable(from: DataPath.root, isCold: DataPath.isCold)
        let names = walk.inside.map { code.functions[$0].name }
        for landmark in DataPath.landmarks {
            #expect(names.contains { DataPath.matches($0, landmark) }, "\(landmark) is not reached from \(DataPath.root)")
        }
        expectNone(DataPath.faults(code, walk.inside))
        let edges = walk.edge.map { code.functions[$0].name }
        for cold in DataPath.cold {
            #expect(edges.contains { DataPath.matches($0, cold.name) }, "\(cold.name) is listed as cold, and never reached: remove it")
        }
        // The cold ones do count references and allocate: were they walked through, the gate would see it.
        let everything = code.reachable(from: DataPath.root) { _ in false }
        #expect(DataPath.faults(code, everything.inside).count > 100)
        print("Data path: \(walk.inside.count) functions reached, \(walk.edge.count) cold ones left out")
    }

    @Test("nor in any function of the data path's files", .enabled(if: canRun, "needs a current release build and objdump"))
    func files() throws {
        for (target, files) in DataPath.files {
            let wanted = Set(files.map { "\($0).swift.o" })
            let objects = try ReleaseBuild.objects(of: target).filter { wanted.contains($0.lastPathComponent) }
            #expect(objects.count == files.count, "\(target) has an object for each of \(files)")
            let code = try MachineCode(objects: objects)
            #expect(code.functions.count >= files.count)
            let examined = code.functions.indices.filter { index in
                let name = code.functions[index].name
                return !DataPath.isWitness(name) && !DataPath.isCold(name)
            }
            expectNone(DataPath.faults(code, examined))
        }
    }

    /// A listing as objdump prints it, with a call that needs a relocation, one that does not, and one in a branch.
    private static let listing = """

        Example.swift.o:     file format elf64-x86-64

        Disassembly of section .text.run:

        0000000000000000 <run>:
           0:\tpush   %rbp
           1:\tcall   6 <run+0x6>
        \t\t\t2: R_X86_64_PLT32\tnext-0x4
           6:\tjne    12 <run+0x12>
           8:\tcall   d <run+0xd>
        \t\t\t9: R_X86_64_PLT32\t.text.rare-0x4

        0000000000000000 <next>:
           0:\tjmp    40 <deep>

        0000000000000040 <deep>:
          40:\tmov    0x0(%rip),%rax
        \t\t\t43: R_X86_64_REX_GOTPCRELX\tswift_retain-0x4

        0000000000000080 <rare>:
          80:\tcall   85 <rare+0x5>
        \t\t\t81: R_X86_64_PLT32\tswift_allocObject-0x4

        """

    @Test("a violation is found where it is reached, and only there")
    func negative() {
        var code = MachineCode()
        code.add(listing: Self.listing, object: "Example.swift.o")
        #expect(code.functions.map(\.symbol) == ["run", "next", "deep", "rare"])
        let all = code.reachable(from: "run") { _ in false }
        #expect(DataPath.faults(code, all.inside).count == 2)
        let warm = code.reachable(from: "run") { $0 == "rare" }
        #expect(DataPath.faults(code, warm.inside) == ["Example.swift.o: deep refers to swift_retain"])
        #expect(warm.edge.map { code.functions[$0].symbol } == ["rare"])
        let next = code.reachable(from: "next") { $0 == "deep" }
        #expect(DataPath.faults(code, next.inside) == [])
        #expect(code.reachable(from: "absent") { _ in false }.inside == [])
    }
}
