import Policy
import Wire

private let location: KeyLocation = {
    guard let location = KeyLocation("https://id.example/keys") else { fatalError("not a URL") }
    return location
}()

private func keys() -> ProviderKeys {
    var sources = KeySources()
    sources.origins = [.url(location)]
    sources.keyGraceSeconds = 60
    return ProviderKeys(provider: TokenProvider(name: "fuzz"), sources: sources, seed: 1)
}

/// Any text as a key set, as the file of one, and as a PEM key; and any header fields.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzKeySet(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = Array(UnsafeBufferPointer(start: start, count: count))
    let document = try? KeySetDocument(json: bytes)
    if let document {
        precondition(document.entries.allSatisfy { $0.key.kind != .secret }, "secrets are not fetched")
        precondition(document.privateCount <= document.skippedCount)
    }
    _ = try? KeySetDocument(json: bytes, allowsSecrets: true)
    if let key = try? VerificationKey(pem: bytes) { precondition(key.bits >= 253) }
    fetch(bytes, document)
    var restored = keys()
    if restored.restore(source: 0, bytes, nowMilliseconds: 0, wallSeconds: 1_800_000_000) { _ = restored.update() }
    return 0
}

/// The set comes first, or after another one; whatever it is, the keys that were there stay until a usable set replaces them.
private func fetch(_ bytes: [UInt8], _ document: KeySetDocument?) {
    var keys = keys()
    guard let first = keys.poll(nowMilliseconds: 0).first else { fatalError("a source wants to be fetched at once") }
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    let fields = ["Cache-Control", "ETag", "Last-Modified"].map { KeyFetch.Field(name: $0, value: text) }
    let result = keys.answer(first, KeyResponse(status: 200, fields: fields, body: bytes), nowMilliseconds: 5)
    _ = keys.update()
    precondition((result == .loaded) == keys.isReady && (document != nil || !keys.isReady))
    guard result == .loaded, let deadline = keys.deadlineMilliseconds(nowMilliseconds: 5) else { return }
    precondition((5 + 43_200...5 + 528_000).contains(deadline))
    guard let file = keys.persisted(nowMilliseconds: 6, wallSeconds: 1_800_000_000).first?.file else { fatalError("nothing to persist") }
    var other = ProviderKeys(provider: keys.provider, sources: settings(), seed: 2)
    precondition(other.restore(source: 0, file, nowMilliseconds: 0, wallSeconds: 1_800_000_001))
    precondition(other.update()?.entries.count == keys.keySet.entries.count)
    guard let second = keys.poll(nowMilliseconds: deadline).first else { fatalError("the next fetch is due") }
    precondition(keys.answer(second, KeyResponse(status: 200, body: [0x5B]), nowMilliseconds: deadline) == .malformed && keys.isReady)
}

private func settings() -> KeySources {
    var sources = KeySources()
    sources.origins = [.url(location)]
    return sources
}
