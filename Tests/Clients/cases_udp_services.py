"""Real UDP services behind /udp: unbound, chrony and DTLS of OpenSSL, whose clients know nothing of the relay."""
import re
import select
import shutil
import socket
import subprocess
import threading
import time

from cases_udp import open_udp
from harness import Skip, case, check, equal, eventually
from relay import Relay, frame2, parse
from resolvers import executable, query


def free_port(family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        return probe.getsockname()[1]


class Adapter:
    """A local UDP port that stands for a remote one: every datagram of a program goes through /udp, each of its sockets as a guest port."""

    def __init__(self, context, server, remote):
        self.client, self.remote = open_udp(server), remote
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.port, self.there, self.back = self.socket.getsockname()[1], 0, 0
        for target in (self.send, self.receive):
            threading.Thread(target=target, daemon=True).start()
        context.defer(self.close)

    def close(self):
        self.socket.close()
        self.client.close()

    def send(self):
        try:
            while True:
                data, peer = self.socket.recvfrom(1 << 16)
                self.there += 1
                self.client.send(frame2(peer[1], self.remote, data))
        except Exception:
            pass  # the case is over

    def receive(self):
        try:
            for frame in self.client:
                _, guest, remote, payload = parse(frame)
                if remote != self.remote:
                    continue
                self.back += 1
                self.socket.sendto(payload, ("127.0.0.1", guest))
        except Exception:
            pass


@case("udp_unbound")
def udp_unbound(context):
    """1,000 queries over IPv4 and 1,000 over IPv6, every one answered, with no resending."""
    program, port = executable("unbound"), free_port()
    configuration = context.folder / "unbound.conf"
    names = "".join(f'  local-data: "n{number}.example.test. 300 IN A 192.0.2.{number % 250}"\n' for number in range(1000))
    configuration.write_text(f"""server:
  interface: 127.0.0.1@{port}
  interface: ::1@{port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{context.folder}"
  pidfile: ""
  use-syslog: no
  so-rcvbuf: 4m
  logfile: "{context.folder}/unbound.log"
  access-control: 127.0.0.0/8 allow
  access-control: ::1 allow
  module-config: "iterator"
  root-hints: ""
  local-zone: "example.test." static
{names}
remote-control:
  control-enable: no
""")
    context.process([program, "-d", "-c", configuration], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Relay(context)
    with open_udp(server) as client:
        def answers():
            client.send(frame2(1, ("127.0.0.1", port), query("n0.example.test")))
            try:
                return client.recv(0.3)
            except TimeoutError:
                return None
        eventually(answers, "unbound answers", 10)
    for address in ("127.0.0.1", "::1"):
        with open_udp(server) as client:
            waiting, began = {}, time.monotonic()
            for number in range(1000):
                client.send(frame2(1000 + number % 100, (address, port), query(f"n{number}.example.test", identifier=number)))
                waiting[number] = bytes((192, 0, 2, number % 250))
                while len(waiting) > 50:
                    settle(client, waiting)
            while waiting:
                settle(client, waiting)
            context.note(f"1000 queries to unbound at {address}: all answered, {(time.monotonic() - began) * 1000:.0f} ms")


def settle(client, waiting):
    _, guest, _, message = parse(client.recv(5))
    number = int.from_bytes(message[:2], "big")
    equal(guest, 1000 + number % 100, "the guest port of an answer")
    check(message.endswith(waiting.pop(number)), f"the address of n{number}")


@case("udp_ntp", slow=True)
def udp_ntp(context):
    """chronyd asks another chronyd for the time through the relay: several exchanges of one association."""
    program, port = shutil.which("chronyd", path="/usr/sbin:/usr/bin:/sbin:/bin"), free_port()
    if not program:
        raise Skip("chronyd is not installed (Debian package chrony)")
    configuration = context.folder / "chrony.conf"
    configuration.write_text(f"port {port}\nallow 127.0.0.1\nbindaddress 127.0.0.1\nlocal stratum 8\ncmdport 0\nbindcmdaddress /\n"
                             f"pidfile {context.folder}/chronyd.pid\ndumpdir {context.folder}\n")
    server = context.process([program, "-d", "-x", "-U", "-u", "root", "-f", configuration],
                             stdout=(context.folder / "chronyd.log").open("wb"), stderr=subprocess.STDOUT)
    time.sleep(1)
    if server.poll() is not None:
        raise Skip("chronyd does not run here: " + (context.folder / "chronyd.log").read_text()[-200:])
    adapter = Adapter(context, Relay(context), ("127.0.0.1", port))
    found = subprocess.run(
        [program, "-d", "-x", "-U", "-u", "root", "-t", "20", "-Q", f"server 127.0.0.1 port {adapter.port} iburst maxsamples 4",
         "cmdport 0", "port 0", f"pidfile {context.folder}/client.pid", "bindcmdaddress /"],
        capture_output=True, text=True, timeout=40)
    text = found.stdout + found.stderr
    offset = re.search(r"wrong by (-?[0-9.]+) seconds", text)
    check(found.returncode == 0 and offset and abs(float(offset.group(1))) < 0.1, "the time", text[-500:])
    check(adapter.there >= 3 and adapter.back == adapter.there, "several exchanges", adapter.there, adapter.back)
    context.note(f"chronyd synchronised through /udp in {adapter.there} exchanges, offset {offset.group(1)} s")


@case("udp_dtls", slow=True)
def udp_dtls(context):
    """OpenSSL's DTLS: a handshake of several flights and bulk both ways, in a window, through the relay."""
    program, port = shutil.which("openssl"), free_port()
    if not program:
        raise Skip("openssl is not installed")
    key, certificate = context.folder / "key.pem", context.folder / "cert.pem"
    subprocess.run([program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                    certificate, "-subj", "/CN=test", "-days", "2"], check=True, capture_output=True)
    there = context.process([program, "s_server", "-dtls1_2", "-accept", f"127.0.0.1:{port}", "-key", key, "-cert", certificate, "-quiet",
                             "-mtu", "1150"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    # What OpenSSL reads from its input at once leaves as one datagram: several lines, when they are there.
    adapter = Adapter(context, Relay(context, MAX_DATAGRAM_PAYLOAD_BYTES=20_000), ("127.0.0.1", port))
    here = context.process([program, "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{adapter.port}", "-quiet", "-mtu", "1150"],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    lines = 3000
    for name, source, sink in (("to the server", here, there), ("to the client", there, here)):
        seconds = pump(lines, source.stdin, sink.stdout)
        context.note(f"{lines} records of 1 kB over DTLS through /udp {name}: {lines / seconds:.0f} records/s, none lost")


def pump(lines, source, sink):
    """Writes lines at one end and reads them at the other: nothing below DTLS repeats what is lost, so a window of 16 is under way."""
    line, began, arrived, buffer = bytes(33 + index % 50 for index in range(1000)), time.monotonic(), 0, b""
    for sent in range(1, lines + 1):
        source.write(line + b"\n")
        source.flush()
        while sent - arrived >= 16 or (sent == lines and arrived < lines):
            check(select.select([sink], [], [], 10)[0], "a line is missing", sent, arrived)
            buffer += sink.read1(1 << 16)
            *whole, buffer = buffer.split(b"\n")
            for one in whole:
                equal(one, line, "a line")
            arrived += len(whole)
    return time.monotonic() - began
