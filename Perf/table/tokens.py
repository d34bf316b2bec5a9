"""JSON Web Tokens for the rows of the JWT proxy: one key of each kind, its key set, and as many tokens as a round may use up."""

import base64
import json
import os
import time

try:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
    MISSING = None
except ImportError as error:
    MISSING = f"tokens cannot be signed: {error}"

ISSUER, AUDIENCE = "https://issuer.perf", "perf"
# More than the tokens a shard remembers (16,384), and than a round uses up: none is met again while it is remembered.
COUNT = 20_000


def _text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value, length=None):
    return _text(value.to_bytes(length or (value.bit_length() + 7) // 8, "big"))


class Signer:
    """A key of its own, made anew for each run."""

    def __init__(self, algorithm):
        self.algorithm = algorithm
        self.key = rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())

    def entry(self):
        numbers = self.key.public_key().public_numbers()
        entry = {"kid": self.algorithm, "use": "sig", "alg": self.algorithm}
        if self.algorithm == "RS256":
            return {**entry, "kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        return {**entry, "kty": "EC", "crv": "P-256", "x": _number(numbers.x, 32), "y": _number(numbers.y, 32)}

    def token(self, number):
        now = int(time.time())
        head = {"alg": self.algorithm, "typ": "JWT", "kid": self.algorithm}
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": f"user-{number}", "jti": f"{number}", "iat": now, "exp": now + 86400,
                  "scope": "openid profile", "realm_access": {"roles": ["user", "device"]}}
        signed = ".".join(_text(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
        if self.algorithm == "RS256":
            signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            r, s = utils.decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return signed + "." + _text(signature)


def material(place):
    """Makes keys and tokens once for a run; paths of the key set, and of the files of header fields by algorithm."""
    paths = {name: os.path.join(place.root, name) for name in ("keys.json", "RS256", "ES256")}
    if not os.path.exists(paths["keys.json"]):
        signers = [Signer(algorithm) for algorithm in ("RS256", "ES256")]
        for signer in signers:
            place.file(signer.algorithm, "".join(f"Authorization: Bearer {signer.token(number)}\n" for number in range(COUNT)))
        place.file("keys.json", json.dumps({"keys": [signer.entry() for signer in signers]}))
    return paths
