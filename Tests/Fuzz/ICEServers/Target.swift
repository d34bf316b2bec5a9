import Policy
import Wire

/// Any text as the list of ICE servers and as the variables: the answer is JSON, and reads as the list it came from.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzICEServers(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: Unicode.UTF8.self)
    var input = ICEServers.Input()
    input.json = text
    check(input)
    input.json = ""
    input.stunURLs = text
    input.turnURLs = text
    input.turnUsername = text
    input.turnCredential = text
    check(input)
    return 0
}

private func check(_ input: ICEServers.Input) {
    for withREST in [false, true] {
        guard let servers = try? ICEServers(input, withREST: withREST) else { continue }
        let made = TURNCredential(TURNCredential.Settings(secret: [1]), nowSeconds: 1, random: [2])
        for answer in [servers.json(), servers.json(turn: made)] {
            guard let list = JSONReader.read(Array(answer.utf8).span)?["iceServers"], case .array(let elements) = list else {
                preconditionFailure("no JSON")
            }
            guard !elements.isEmpty else { continue }
            // The list alone, read again.
            var again = ICEServers.Input()
            again.json = String(answer.dropFirst("{\"iceServers\":".count).dropLast(2))
            guard let second = try? ICEServers(again, withREST: withREST) else { preconditionFailure("the answer is a list") }
            precondition(second.json() == answer)
        }
    }
}
