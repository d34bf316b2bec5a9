import Policy
import Testing

/// No forged token is accepted, by the verifier or through a gate that has good tokens in its memory.
@Suite struct ForgeryTests {
    @Test("the attempts are many, and the token they start from is good")
    func table() {
        #expect(Forgery.all.count >= 60)
        #expect(Set(Forgery.all.map(\.name)).count == Forgery.all.count)
        #expect(Issuer.refusal(Issuer.token(claims: Issuer.claims())) == nil)
        print("Forging: \(Forgery.all.count) attempts")
    }

    @Test("refused, and for the right reason", arguments: Forgery.all)
    func refused(forged: ForgedToken) {
        let refusal = Issuer.refusal(forged.token, provider: forged.provider, keys: forged.keys)
        #expect(refusal != nil)
        if let code = forged.code { #expect(refusal?.code == code) }
    }

    @Test("refused again by a gate that knows good tokens, each time it is asked")
    func remembered() {
        var gate = Issuer.gate()
        let good = Issuer.token(claims: Issuer.claims())
        for round in 0..<3 {
            for forged in Forgery.all where forged.provider == Issuer.provider() && forged.keys.entries.count == Issuer.keys.count {
                if case .accepted = Issuer.judge(&gate, forged.token) { Issue.record("\(forged.name) was accepted in round \(round)") }
            }
            guard case .accepted(_, let fromCache) = Issuer.judge(&gate, good) else {
                Issue.record("the good token was refused")
                return
            }
            #expect(fromCache == (round > 0))
        }
        #expect(gate.cachedCount == 1)
    }

    @Test("nothing a forger writes finds a remembered token")
    func poisoning() {
        var gate = Issuer.gate()
        let good = Issuer.token(claims: Issuer.claims())
        _ = Issuer.judge(&gate, good)
        let parts = good.split(separator: ".").map(String.init)
        // The same sub and jti, as honest tokens have them, or neither, as a lazy cache would put in the same place.
        let nameless = ["sub": Issuer.absent, "jti": Issuer.absent]
        _ = Issuer.judge(&gate, Issuer.token(claims: Issuer.claims(nameless)))
        let roles = #"{"roles":["admin"]}"#
        for claims in [Issuer.claims(["realm_access": roles]), Issuer.claims(nameless.merging(["realm_access": roles]) { $1 })] {
            for signature in [parts[2], "AAAA", Issuer.base64URL([UInt8](repeating: 0, count: 256))] {
                let forged = parts[0] + "." + Issuer.base64URL(claims) + "." + signature
                guard case .refused(let refusal, _) = Issuer.judge(&gate, forged) else {
                    Issue.record("a forged token was accepted")
                    continue
                }
                #expect(refusal == .signature)
            }
        }
        #expect(gate.cachedCount == 1)
    }

    @Test("a PEM text with a private key, a certificate or nothing is no key")
    func pemTexts() {
        func problem(_ text: String) -> VerificationKey.Problem? {
            do throws(VerificationKey.Problem) {
                _ = try VerificationKey(pem: Array(text.utf8))
                return nil
            } catch {
                return error
            }
        }
        #expect(problem(IssuerKey.p256.publicPEM) == nil && problem("text in front\n" + IssuerKey.rsa.publicPEM) == nil)
        #expect(problem(IssuerKey.rsa.privatePEM) == .isPrivate && problem(IssuerKey.ed25519.privatePEM) == .isPrivate)
        #expect(problem(IssuerKey.weakRSA.publicPEM) == .size)
        #expect(problem(Issuer.pem(IssuerKey.rsa.publicDER, "CERTIFICATE")) == .kind)
        #expect(problem(Issuer.pem(IssuerKey.rsa.publicDER + [0], "PUBLIC KEY")) == .unreadable)
        #expect(problem(Issuer.pem(IssuerKey.rsa.publicDER.dropLast(), "PUBLIC KEY")) == .unreadable)
        #expect(problem("") == .unreadable && problem("-----BEGIN PUBLIC KEY-----") == .unreadable)
        #expect(problem(String(repeating: "A", count: 20_000)) == .unreadable)
    }
}
