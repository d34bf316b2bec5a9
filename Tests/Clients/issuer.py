"""An issuer of tokens under the control of a test, and an upstream that records: neither is written with the gateway's code."""
import base64
import http.server
import json
import re
import threading
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from harness import Failure

ISSUER = "https://issuer.test/realms/main"
# Runs of base64url that may be a payload or a signature.
WORDS = re.compile(rb"[A-Za-z0-9_-]{40,}")
AUDIENCE = "rabbitmq"


class Issuer:
    """Serves a key set; keys, delays and failures are the test's to choose."""

    def __init__(self, context, algorithm="RS256", name=ISSUER):
        self.algorithm, self.name = algorithm, name
        self.keys, self.requests = {}, []
        # Other documents by path.
        self.pages = {}
        self.status, self.delay, self.body, self.fields = 200, 0.0, None, {}
        self.current = None
        self.rotate("first")
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.requests.append((time.monotonic(), self.path))
                time.sleep(issuer.delay)
                body = issuer.pages.get(self.path) or (issuer.body if issuer.body is not None else issuer.document())
                try:
                    self.send_response(issuer.status)
                    self.send_header("Content-Type", "application/json")
                    for name, value in issuer.fields.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the gateway did not wait

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.context, self.parts = context, set()
        # Cleanups run in reverse order: by then the gateways that were started since have ended.
        context.defer(self.scan)
        context.defer(self.stop)

    def scan(self):
        """Fails when a part of a token that was made here is in what a gateway wrote (T34)."""
        for path in [*self.context.folder.glob("server-*.log"), *self.context.folder.glob("server-*.err")]:
            found = self.parts & set(WORDS.findall(path.read_bytes()))
            if found:
                raise Failure(f"a token's payload or signature is in {path}", min(found))

    def stop(self):
        """Nobody listens any more."""
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/certs"

    def rotate(self, key_id, publish=True):
        """Makes another key the one that signs."""
        kind = self.algorithm[:2]
        key = (rsa.generate_private_key(65537, 2048) if kind in ("RS", "PS") else
               ec.generate_private_key(ec.SECP256R1()) if kind == "ES" else ed25519.Ed25519PrivateKey.generate())
        self.keys[key_id] = [key, publish]
        self.current = key_id

    def document(self):
        keys = []
        for key_id, (key, is_published) in self.keys.items():
            if is_published:
                algorithm = jwt.get_algorithm_by_name(self.algorithm)
                entry = json.loads(algorithm.to_jwk(key.public_key()))
                entry.pop("key_ops", None)
                keys.append({**entry, "kid": key_id, "use": "sig"})
        return json.dumps({"keys": keys}).encode()

    def token(self, key_id=None, headers=None, without=(), **claims):
        now = int(time.time())
        body = {"iss": self.name, "aud": AUDIENCE, "sub": "alice", "jti": f"t-{now}-{len(self.requests)}", "iat": now, "exp": now + 300}
        body.update(claims)
        for name in without:
            body.pop(name)
        key_id = key_id or self.current
        token = jwt.encode(body, self.keys[key_id][0], algorithm=self.algorithm, headers={"kid": key_id, **(headers or {})})
        self.parts.update(token.encode().split(b".")[1:])
        return token


def forged(token, **claims):
    """A token with other claims and the former signature."""
    head, body, signature = token.split(".")
    decoded = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    decoded.update(claims)
    body = base64.urlsafe_b64encode(json.dumps(decoded).encode()).rstrip(b"=").decode()
    return ".".join((head, body, signature))


class Upstream:
    """A WebSocket service that echoes, and remembers who came. A text `close CODE REASON` closes; `greet` speaks first."""

    def __init__(self, context, greet=False, subprotocols=None):
        self.requests, self.messages, self.ends = [], [], []

        def handler(connection):
            self.requests.append(connection.request)
            try:
                if greet:
                    connection.send("hello")
                for message in connection:
                    self.messages.append(message)
                    if isinstance(message, str) and message.startswith("close "):
                        _, code, *reason = message.split(" ", 2)
                        connection.close(int(code), reason[0] if reason else "")
                        break
                    try:
                        connection.send(message)
                    except ConnectionClosed:
                        continue  # what came before the close is still to be read
            except ConnectionClosed:
                pass
            finally:
                self.ends.append((connection.close_code, connection.close_reason))

        self.server = serve(handler, "127.0.0.1", 0, subprotocols=subprotocols, compression=None)
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        context.defer(self.server.shutdown)

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/up"
