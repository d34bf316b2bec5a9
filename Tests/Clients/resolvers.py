"""Resolvers for the DNS cases: one that does as it is told, and unbound and dnsdist from Debian, told nothing of the outside."""
import http.server
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time

from harness import Skip, eventually


def wire_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def query(name, kind=1, identifier=0x1234, flags=0x0100, extra=b"", counts=(1, 0, 0, 0), cls=1):
    return struct.pack(">6H", identifier, flags, *counts) + wire_name(name) + struct.pack(">2H", kind, cls) + extra


def question_end(message):
    place = 12
    while message[place]:
        place += 1 + message[place]
    return place + 5


def record(kind, seconds, data, name=b"\xc0\x0c"):
    return name + struct.pack(">2HIH", kind, 1, seconds, len(data)) + data


def answer(message, *records, flags=0x8180, authority=(), identifier=None, question=None):
    """The answer to a query, with these records."""
    head = message[:2] if identifier is None else struct.pack(">H", identifier)
    asked = message[12:question_end(message)] if question is None else question
    return head + struct.pack(">5H", flags, 1, len(records), len(authority), 0) + asked + b"".join(records) + b"".join(authority)


def address(message, text="192.0.2.1", seconds=300):
    return answer(message, record(1, seconds, socket.inet_aton(text)))


class Scripted:
    """Answers over UDP and TCP on one port, and DoH over plain HTTP on another, with what `reply(message, how)` returns:
    bytes, a list of datagrams, or None for silence. `asked` holds every (how, message)."""

    def __init__(self, context, reply=lambda message, how: address(message), keep_alive=True, certificate=None):
        self.reply, self.asked, self.closed = reply, [], False
        self.requests, self.connections = [], 0
        self.stream = socket.create_server(("127.0.0.1", 0))
        self.port = self.stream.getsockname()[1]
        self.datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagram.bind(("127.0.0.1", self.port))
        self.web = self.web_server(keep_alive)
        self.scheme = "https" if certificate else "http"
        if certificate:
            secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            secure.load_cert_chain(*certificate)
            self.web.socket = secure.wrap_socket(self.web.socket, server_side=True)
        for target in (self.serve_datagrams, self.serve_streams, self.web.serve_forever):
            threading.Thread(target=target, daemon=True).start()
        context.defer(self.close)

    @property
    def entry(self):
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.web.server_address[1]}/dns-query"

    def close(self):
        self.closed = True
        for one in (self.stream, self.datagram):
            one.close()
        self.web.shutdown()
        self.web.server_close()

    def serve_datagrams(self):
        while not self.closed:
            try:
                message, peer = self.datagram.recvfrom(65535)
            except OSError:
                return
            self.asked.append(("udp", message))
            self.ports = getattr(self, "ports", []) + [peer[1]]
            threading.Thread(target=self.send_datagrams, args=(message, peer), daemon=True).start()

    def send_datagrams(self, message, peer):
        reply = self.reply(message, "udp")
        for datagram in reply if isinstance(reply, list) else [reply]:
            if datagram is not None and not self.closed:
                self.datagram.sendto(datagram, peer)

    def serve_streams(self):
        while not self.closed:
            try:
                client, _ = self.stream.accept()
            except OSError:
                return
            threading.Thread(target=self.serve_stream, args=(client,), daemon=True).start()

    def serve_stream(self, client):
        with client, client.makefile("rb") as reader:
            while (head := reader.read(2)) and len(head) == 2:
                message = reader.read(struct.unpack(">H", head)[0])
                self.asked.append(("tcp", message))
                reply = self.reply(message, "tcp")
                if reply is None:
                    return
                # In pieces, as a stream may bring it.
                framed = struct.pack(">H", len(reply)) + reply
                try:
                    for start in range(0, len(framed), 100):
                        client.sendall(framed[start:start + 100])
                except OSError:
                    return  # it did not want to hear the rest

    def web_server(self, keep_alive):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1" if keep_alive else "HTTP/1.0"

            def setup(self):
                outer.connections += 1
                super().setup()

            def do_POST(self):
                message = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append(("doh", message))
                outer.requests.append(dict(self.headers))
                reply = outer.reply(message, "doh")
                status, kind, body = reply if isinstance(reply, tuple) else (200, "application/dns-message", reply)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                if isinstance(body, list):
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for piece in body:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.write(b"0\r\n\r\n")
                    return
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

        server = Server(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        return server

    def count(self, how=None):
        return sum(1 for kind, _ in self.asked if how in (None, kind))


def certificate(folder, name):
    """A certificate signed by itself, for a name or an address. Returns its file and its key's."""
    pair = folder / f"{name}.crt", folder / f"{name}.key"
    kind = "IP" if name[0].isdigit() else "DNS"
    subprocess.run([executable("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=test", "-addext", f"subjectAltName={kind}:{name}", "-out", pair[0], "-keyout", pair[1]],
                   check=True, capture_output=True)
    return pair


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def executable(name):
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    if not path:
        raise Skip(f"{name} is not installed")
    return path


def await_answer(port, name):
    """Waits until a resolver answers over UDP."""
    def ask():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.3)
            try:
                probe.sendto(query(name), ("127.0.0.1", port))
                return probe.recv(4096)
            except OSError:
                return None
    return eventually(ask, f"the resolver on port {port} answers", 15)


LOCAL_ZONE = """
  local-zone: "example.test." static
  local-data: "a.example.test. 300 IN A 192.0.2.1"
  local-data: "six.example.test. 300 IN AAAA 2001:db8::1"
  local-data: "alias.example.test. 300 IN CNAME a.example.test."
  local-data: "mail.example.test. 300 IN MX 10 a.example.test."
"""


def unbound(context):
    """unbound with a zone of its own; it asks nobody. Returns its port (UDP and TCP)."""
    program, port = executable("unbound"), free_port()
    many = "".join(f'  local-data: "many.example.test. 300 IN A 198.51.100.{number}"\n' for number in range(1, 200))
    configuration = context.folder / "unbound.conf"
    configuration.write_text(f"""server:
  interface: 127.0.0.1
  port: {port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{context.folder}"
  pidfile: ""
  use-syslog: no
  logfile: "{context.folder}/unbound.log"
  do-ip6: no
  access-control: 127.0.0.0/8 allow
  module-config: "iterator"
  max-udp-size: 1232
  root-hints: ""
{LOCAL_ZONE}{many}
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{free_port()}
remote-control:
  control-enable: no
""")
    context.process([program, "-d", "-c", configuration], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_answer(port, "a.example.test")
    return port


def dnsdist(context, upstream):
    """dnsdist in front of a resolver, answering DoH over plain HTTP. Returns its URL."""
    program, port = executable("dnsdist"), free_port()
    configuration = context.folder / "dnsdist.conf"
    # The security poll would ask a name outside, and so would the health check, which setUp() switches off.
    configuration.write_text(f"""setSecurityPollSuffix("")
setLocal("127.0.0.1:{free_port()}")
newServer("127.0.0.1:{upstream}"):setUp()
addDOHLocal("127.0.0.1:{port}", nil, nil, "/dns-query", {{reusePort=true}})
setACL("127.0.0.0/8")
""")
    context.process([program, "--supervised", "--disable-syslog", "-C", configuration], stdin=subprocess.DEVNULL,
                    stdout=open(context.folder / "dnsdist.log", "wb"), stderr=subprocess.STDOUT)

    def listening():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    eventually(listening, "dnsdist listens", 15)
    time.sleep(0.2)
    return f"http://127.0.0.1:{port}/dns-query"
