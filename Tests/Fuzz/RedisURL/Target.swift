import Policy

/// Any text as the store's URL: what is accepted can be dialled, and its description is accepted again and hides the password.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzRedisURL(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: Unicode.UTF8.self)
    guard let location = RedisLocation(text) else { return 0 }
    precondition(!location.host.isEmpty && location.port > 0 && location.database >= 0)
    guard let again = RedisLocation("\(location)") else { preconditionFailure("a description that is no URL") }
    precondition(again.host == location.host && again.port == location.port && again.database == location.database)
    precondition(again.isSecure == location.isSecure && again.password.isEmpty && again.user.isEmpty)
    return 0
}
