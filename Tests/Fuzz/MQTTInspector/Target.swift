import Policy
import Wire

/// The first byte chooses the version and what becomes of refusals, the second how both streams are cut, the third where the client's
/// ends and the broker's begins. However they are cut the same goes on, and nothing the client may not do reaches the broker.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMQTTInspector(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    guard count >= 3 else { return 0 }
    let bytes = Array(UnsafeBufferPointer(start: start + 3, count: count - 3))
    let shape = Shape(
        version: start[0] & 1 == 0 ? .v5 : .v311, denial: start[0] & 2 == 0 ? .drop : .disconnect, room: start[0] & 4 == 0 ? 114 : 3)
    let place = bytes.count * Int(start[2]) / 255
    let (client, broker) = (Array(bytes[..<place]), Array(bytes[place...]))
    let whole = run(shape, client, broker, cut: max(bytes.count, 1))
    for cut in [1, Int(start[1]) % 61 + 1] {
        let other = run(shape, client, broker, cut: cut)
        precondition(other.toBroker == whole.toBroker && other.fault == whole.fault && other.denied == whole.denied)
        // Where answers stand depends on what had come by then; how many there are does not. The last may wait.
        precondition(whole.fault != nil || other.toClient.count + other.waiting == whole.toClient.count + whole.waiting)
    }
    check(whole.toBroker, shape)
    return 0
}

private struct Shape {
    let version: MQTTVersion
    let denial: TopicSettings.Denial
    let room: Int
}

private struct Outcome {
    var toBroker: [UInt8] = []
    var toClient: [UInt8] = []
    /// Bytes that wait for the end of a packet of the broker.
    var waiting = 0
    var fault: MQTTFault?
    var denied: [UInt64] = []
}

private let rights: TopicRights = {
    var settings = TopicSettings(modes: .rules)
    settings.rules = [
        TopicRule(publish: ["a/#", "+/b", "$x/+"].map(template), subscribe: ["a/#", "+/b", "$x/+"].map(template)),
    ]
    return TopicRights(settings, TopicIdentity(claims: .null, username: "u", clientID: "c"))
}()

private func template(_ text: String) -> TopicTemplate {
    guard let template = try? TopicTemplate(text) else { preconditionFailure("a filter of ours") }
    return template
}

private func run(_ shape: Shape, _ client: [UInt8], _ broker: [UInt8], cut: Int) -> Outcome {
    var inspector = MQTTInspector(MQTTInspection(
        version: shape.version, rights: rights, denial: shape.denial, maximumPacketBytes: 1500, maximumSubscriptions: 5))
    defer { inspector.release() }
    var outcome = Outcome()
    var ended = false
    func feed(_ bytes: [UInt8], fromClient: Bool) {
        var rest = bytes[...]
        while !rest.isEmpty, outcome.fault == nil, !ended {
            let piece = rest.prefix(cut)
            rest = rest.dropFirst(cut)
            var area = [UInt8](repeating: 0xEE, count: shape.room) + piece
            var output: [UInt8] = []
            area.withUnsafeMutableBytes { memory in
                let base = memory.baseAddress! + shape.room
                var cursor = 0
                var run = MQTTRun(start: 0, floor: -shape.room)
                walking: while true {
                    let stop = fromClient
                        ? inspector.client(base, &cursor, piece.count, &run)
                        : inspector.broker(base, &cursor, piece.count, &run, stopsAtBoundary: false)
                    switch stop {
                    case .end, .boundary: break walking
                    case .insert(let bytes):
                        precondition(run.count == 0)
                        output += bytes
                    case .answers:
                        output += UnsafeRawBufferPointer(start: base + run.start, count: run.count)
                        output += inspector.answers
                        inspector.clearAnswers()
                        run = MQTTRun(start: cursor, floor: -shape.room)
                    case .fault(let fault):
                        outcome.fault = fault
                        break walking
                    case .denied:
                        ended = true
                        break walking
                    }
                }
                precondition(run.start >= -shape.room && run.end <= piece.count && cursor <= piece.count)
                output += UnsafeRawBufferPointer(start: base + run.start, count: run.count)
            }
            if fromClient { outcome.toBroker += output } else { outcome.toClient += output }
            precondition(inspector.answers.count <= client.count)
            if inspector.hasAnswers, inspector.mayAnswer {
                outcome.toClient += inspector.answers
                inspector.clearAnswers()
            }
        }
    }
    feed(shape.version == .v5 ? [0x20, 6, 0, 0, 3, 0x22, 0, 4] : [0x20, 2, 0, 0], fromClient: false)
    feed(client, fromClient: true)
    outcome.denied = [inspector.deniedPublishes, inspector.deniedSubscriptions]
    feed(broker, fromClient: false)
    outcome.waiting = inspector.answers.count
    return outcome
}

/// Reads what went on with a scanner of its own: every topic and filter in it is allowed.
private func check(_ bytes: [UInt8], _ shape: Shape) {
    var scanner = MQTTScanner(.fromClient, shape.version, maximumPacketBytes: 1500)
    defer { scanner.release() }
    var topics: [UInt16: [UInt8]] = [:]
    bytes.withUnsafeBytes { raw in
        guard let base = raw.baseAddress else { return }
        var cursor = 0
        while true {
            switch scanner.next(base, &cursor, raw.count) {
            case .needMore: return
            case .failed: preconditionFailure("what went on is malformed")
            case .body: break
            case .packet(let head):
                if head.type == .publish {
                    var topic = Array(head.topicBytes)
                    if head.topicAlias != 0 {
                        if topic.isEmpty { topic = topics[head.topicAlias] ?? [] }
                        topics[head.topicAlias] = topic
                    }
                    precondition(rights.table.publish(topic.span, qos: head.qos, isRetained: head.isRetained) == .allowed)
                }
                if head.type == .subscribe {
                    let packet = Array(head.bytes)
                    guard let list = MQTTFilterList(packet.span, shape.version) else { preconditionFailure("malformed, and went on") }
                    list.forEach(packet.span) { _, entry in
                        precondition(rights.table.subscribe(packet[entry.filter].span, qos: entry.options & 3) == .allowed)
                    }
                }
            }
        }
    }
}
