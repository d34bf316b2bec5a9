"""What is measured: how each system is started in front of a target, and how the load reaches it."""

import os
import re
import resource
import shutil
import subprocess
import sys

import processes
import tokens

PERF = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENVOY = os.path.join(PERF, "results", "work", "envoy", "envoy", "_bin", "envoy")


class System:
    """A forwarder. `websocket_target`: it passes WebSocket traffic on, so that the target speaks it. `is_own`: it is Sluice."""

    websocket_target = False
    is_own = False

    def __init__(self, name, description):
        self.name, self.description = name, description

    def missing(self):
        """Why it cannot run here, or None."""
        return None

    def version(self):
        return ""

    def begin(self, place, target_port):
        """Starts it; returns (process or None, url, further arguments of the load)."""
        raise NotImplementedError


class Direct(System):
    """No forwarder: the load connects to the target. The base that added latency is counted from."""

    def begin(self, place, target_port):
        return None, f"tcp://127.0.0.1:{target_port}", []


class Floor(System):
    """sluice-floor with the given flags, raw TCP on both sides."""

    def __init__(self, name, description, flags):
        super().__init__(name, description)
        self.flags = flags

    def missing(self):
        return None if os.access(binary("sluice-floor"), os.X_OK) else "sluice-floor is not built"

    def begin(self, place, target_port):
        child = processes.start([binary("sluice-floor"), "--port", "0", "--target", f"127.0.0.1:{target_port}"] + self.flags,
                                place.server_core, place.log(self.name), capture=True)
        line = child.stdout.readline()
        if not line.startswith("listening "):
            raise RuntimeError("sluice-floor did not start")
        scheme = "ws" if self.websocket_target else "tcp"
        return child, f"{scheme}://127.0.0.1:{int(line.split()[1])}", []


class OpaqueFloor(Floor):
    """The floor under WebSocket traffic that the target answers: the same bytes as the WebSocket proxies carry."""

    websocket_target = True


class SecureFloor(OpaqueFloor):
    """The same, with clients that speak TLS: OpenSSL's work on records and nothing else."""

    def begin(self, place, target_port):
        certificate, key = certificate_pair(place)
        self.flags = self.flags[:4] + ["--certificate", certificate, "--key", key]
        child, url, more = super().begin(place, target_port)
        return child, url.replace("ws://", "wss://"), more


class Sluice(System):
    """The gateway: WebSocket from the client, raw TCP to the target, on /tcp."""

    is_own = True

    def missing(self):
        return None if os.access(binary("sluice"), os.X_OK) else "sluice is not built"

    def version(self):
        return first_line([binary("sluice"), "version"])

    def begin(self, place, target_port):
        port = processes.free_port()
        # Sockets, not connections: one towards the client and one towards the target.
        configuration = place.sluice_configuration or place.file(
            "sluice.yaml", "shards: 1\nlimits:\n  connections_per_shard: 32768\n")
        environment = dict(os.environ, PORT=str(port), HOST="127.0.0.1", TCP_ALLOW_PRIVATE_IPS="1", LOG_LEVEL="warn",
                           TCP_PROXY_MAX_CONNECTIONS="100000", SESSION_SECRET="perf")
        child = processes.start([binary("sluice"), "serve", "--config", configuration], place.server_core,
                                place.log(self.name), environment)
        processes.await_health(port, child)
        return child, f"ws://127.0.0.1:{port}/tcp?v=1&host=127.0.0.1&port={target_port}", ["--session"]


class Multiplexed(Sluice):
    """The gateway on /tcp-mux: so many WebSockets with so many streams each, or pings without a stream."""

    def __init__(self, name, description, load):
        super().__init__(name, description)
        self.load = load

    def begin(self, place, target_port):
        child, url, more = super().begin(place, target_port)
        return child, url.replace("/tcp?", "/tcp-mux?"), more + self.load


class SluiceDNS(System):
    """The gateway's DNS over HTTPS with a local upstream."""

    is_own = True

    def missing(self):
        return None if os.access(binary("sluice"), os.X_OK) else "sluice is not built"

    def begin(self, place, target_port):
        upstream, upstream_port = start_resolver(place)
        port = processes.free_port()
        environment = dict(os.environ, PORT=str(port), HOST="127.0.0.1", LOG_LEVEL="warn", SESSION_SECRET="perf", DNS_QPS_PER_IP="0",
                           DNS_UPSTREAMS=f"127.0.0.1:{upstream_port}")
        child = processes.start([binary("sluice"), "serve", "--config", place.file("sluice-dns.yaml", "shards: 1\n")], place.server_core,
                                place.log(self.name), environment)
        processes.await_health(port, child)
        child.companions = [upstream]
        return child, f"http://127.0.0.1:{port}/dns-query", ["--session"]


class SluiceTLS(Sluice):
    """The gateway on /tcp behind its own TLS."""

    def begin(self, place, target_port):
        certificate, key = certificate_pair(place)
        port = processes.free_port()
        configuration = place.file("sluice-tls.yaml", "shards: 1\nlimits:\n  connections_per_shard: 32768\n")
        environment = dict(os.environ, PORT=str(port), HOST="127.0.0.1", TCP_ALLOW_PRIVATE_IPS="1", LOG_LEVEL="warn",
                           TCP_PROXY_MAX_CONNECTIONS="100000", SESSION_SECRET="perf", TLS_ENABLED="1", TLS_CERT_PATH=certificate,
                           TLS_KEY_PATH=key)
        child = processes.start([binary("sluice"), "serve", "--config", configuration], place.server_core,
                                place.log(self.name), environment)
        processes.await_port(port, child)
        return child, f"wss://127.0.0.1:{port}/tcp?v=1&host=127.0.0.1&port={target_port}", ["--session"]


class SluiceProxy(Sluice):
    """The gateway's JWT proxy on an opaque route: WebSocket in, WebSocket out. `cold`: no token comes twice; its algorithm."""

    websocket_target = True

    def __init__(self, name, description, cold=None, route="protocol: raw"):
        super().__init__(name, description)
        self.cold, self.route = cold, route

    def missing(self):
        return super().missing() or tokens.MISSING

    def begin(self, place, target_port):
        material = tokens.material(place)
        port = processes.free_port()
        # One client of one address is all there is: what keeps such clients out is off.
        configuration = place.sluice_configuration or place.file(self.name + ".yaml", f"""
shards: 1
limits: {{ connections_per_shard: 32768 }}
jwt:
  limits: {{ connections_per_ip: 0, handshakes_per_ip: 10000, handshakes_per_second: 0, failures_per_minute: 0, sessions_per_subject: 0,
            verifications_per_second: 1000000 }}
  providers:
    - {{ name: perf, issuer: "{tokens.ISSUER}", audiences: [{tokens.AUDIENCE}], algorithms: [RS256, ES256], jwks_file: {material["keys.json"]} }}
  routes:
    - {{ name: perf, prefix: /ws, {self.route}, upstreams: [{{ url: "ws://127.0.0.1:{target_port}" }}] }}
""")
        environment = dict(os.environ, PORT=str(port), HOST="127.0.0.1", LOG_LEVEL="warn", SESSION_SECRET="perf")
        child = processes.start([binary("sluice"), "serve", "--config", configuration], place.server_core,
                                place.log(self.name), environment)
        processes.await_health(port, child)
        if self.cold:
            return child, f"ws://127.0.0.1:{port}/ws", ["--header-file", material[self.cold]]
        with open(material["RS256"], encoding="ascii") as file:
            return child, f"ws://127.0.0.1:{port}/ws", ["--header", file.readline().strip()]


# Twenty filters, half of them below the first level of the topics that are published to; the last is theirs.
TOPIC_RULES = ([f"bench/line-{number}/+/state/#" for number in range(10)] + [f"office/{number}/+/up/#" for number in range(9)] + ["bench/+/up"])
TOPIC_ROUTE = ("protocol: mqtt, authz: { mode: rules, rules: ["
               + ", ".join(f'{{ publish: ["{name}"], subscribe: ["{name}"] }}' for name in TOPIC_RULES) + "] }")


class DatagramFloor(Floor):
    """sluice-floor in its datagram mode: bare frames on TCP, one UDP socket for each connection."""

    def __init__(self, name, description, trains, datagrams=54):
        super().__init__(name, description, [])
        self.trains, self.datagrams = trains, datagrams

    def begin(self, place, target_port):
        bulk = place.row.frame > 64
        # Large reads for bulk, many small buffers for messages of one frame; answers in trains need room for one.
        self.flags = ["udp", "--frame", str(place.row.frame)] + (["--segments"] if self.trains else [])
        if bulk:
            # Whole datagrams in a buffer, so that a read that fills one leaves in full trains.
            self.flags += ["--mode", "oneshot", "--buffer", str(self.datagrams * place.row.frame), "--ring", "4", "--pool", "64"]
        child, url, more = super().begin(place, target_port)
        return child, url, more + ["--udp", f"127.0.0.1:{target_port}"]


class SluiceDatagrams(Sluice):
    """The gateway on /udp: WebSocket from the client, UDP to the target."""

    def begin(self, place, target_port):
        port = processes.free_port()
        configuration = place.sluice_configuration or place.file("sluice-udp.yaml", "shards: 1\n")
        environment = dict(os.environ, PORT=str(port), HOST="127.0.0.1", LOG_LEVEL="warn", SESSION_SECRET="perf", AUTH_MODE="none",
                           DESTINATION_POLICY_PRESET="dev")
        child = processes.start([binary("sluice"), "serve", "--config", configuration], place.server_core,
                                place.log(self.name), environment)
        processes.await_health(port, child)
        child.metrics_port = port
        return child, f"ws://127.0.0.1:{port}/udp", ["--udp", f"127.0.0.1:{target_port}"]


class Proxy(System):
    """A program from elsewhere with a generated configuration."""

    def __init__(self, name, description, program, websocket_target, version_flag):
        super().__init__(name, description)
        self.program, self.websocket_target, self.version_flag = program, websocket_target, version_flag

    def path(self):
        return self.program if os.path.isabs(self.program) else shutil.which(
            self.program, path=os.environ.get("PATH", "") + ":/usr/sbin")

    def missing(self):
        path = self.path()
        return None if path and os.access(path, os.X_OK) else f"{self.name} is not installed"

    def version(self):
        return first_line([self.path(), self.version_flag])

    def arguments(self, place, port, target_port):
        raise NotImplementedError

    def begin(self, place, target_port):
        port = processes.free_port()
        child = processes.start(self.arguments(place, port, target_port), place.server_core, place.log(self.name))
        processes.await_port(port, child)
        return child, f"ws://127.0.0.1:{port}/", []


class Nginx(Proxy):
    secure = False

    def arguments(self, place, port, target_port):
        folder = place.folder(self.name)
        listen = f"127.0.0.1:{port} backlog=4096"
        security = ""
        if self.secure:
            certificate, key = certificate_pair(place)
            listen += " ssl"
            security = (f"ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; ssl_ecdh_curve X25519; "
                        "ssl_session_tickets off; ssl_session_cache off;")
        # Buffers of 16 KiB on both sides, as HAProxy has them; nginx's own 1 KiB from the client would decide the bulk rows.
        text = f"""
worker_processes 1; daemon off; pid {folder}/pid; error_log stderr warn; worker_rlimit_nofile 65536;
events {{ worker_connections 40000; multi_accept on; }}
http {{
    access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder}; client_header_buffer_size 16k; proxy_buffer_size 16k;
    proxy_buffers 8 16k; proxy_busy_buffers_size 32k;
    server {{
        listen {listen}; {security}
        location / {{
            proxy_pass http://127.0.0.1:{target_port}; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
            proxy_read_timeout 1h; proxy_send_timeout 1h;
        }}
    }}
}}
"""
        return [self.path(), "-c", place.file(self.name + ".conf", text), "-p", folder, "-e", "stderr"]


class HAProxy(Proxy):
    secure = False

    def arguments(self, place, port, target_port):
        security = ""
        if self.secure:
            certificate, key = certificate_pair(place)
            both = place.file("haproxy.pem", open(certificate, encoding="ascii").read() + open(key, encoding="ascii").read())
            security = f"ssl crt {both} ssl-min-ver TLSv1.3 curves X25519 no-tls-tickets"
        # It refuses to start when its limit of connections could need more descriptors than it may have.
        most = min(30000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 100) // 2)
        text = f"""
global
    nbthread 1
    maxconn {most}
defaults
    mode http
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
listen forward
    bind 127.0.0.1:{port} backlog 4096 {security}
    server target 127.0.0.1:{target_port}
"""
        return [self.path(), "-db", "-f", place.file(self.name + ".cfg", text)]


class SecureNginx(Nginx):
    secure = True

    def begin(self, place, target_port):
        child, url, more = super().begin(place, target_port)
        return child, url.replace("ws://", "wss://"), more


class SecureHAProxy(HAProxy):
    secure = True

    def begin(self, place, target_port):
        child, url, more = super().begin(place, target_port)
        return child, url.replace("ws://", "wss://"), more


class Coturn(Proxy):
    """coturn without credentials, one relay thread; the client speaks TURN over TCP or over UDP."""

    def __init__(self, transport):
        super().__init__(f"coturn-{transport}", f"coturn, TURN over {transport.upper()} with ChannelData, one relay thread", "turnserver",
                         False, "--version")
        self.transport = transport

    def version(self):
        # It prints its version last, behind what it found out about the machine.
        lines = output([self.path(), self.version_flag])
        return "coturn " + lines[-1].strip() if lines else ""

    def begin(self, place, target_port):
        child, url, _ = super().begin(place, target_port)
        return child, url.replace("ws://", f"turn-{self.transport}://").rstrip("/"), ["--udp", f"127.0.0.1:{target_port}"]

    def arguments(self, place, port, target_port):
        folder = place.folder(self.name)
        return [self.path(), "-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", str(port), "--no-auth",
                "--realm", "perf", "--allow-loopback-peers", "--relay-threads", "1", "--no-tls", "--no-dtls", "--no-cli",
                "--log-file", "stdout", "--userdb", f"{folder}/users", "--pidfile", f"{folder}/pid"]


class Dnsdist(Proxy):
    """DNS over HTTPS/1.1 in plain text, answers from its packet cache."""

    def begin(self, place, target_port):
        self.upstream, self.upstream_port = start_resolver(place)
        child, url, more = super().begin(place, target_port)
        child.companions = [self.upstream]
        return child, url.replace("ws://", "http://") + "dns-query", more

    def arguments(self, place, port, target_port):
        text = f"""
setLocal("127.0.0.1:{processes.free_port()}")
addDOHLocal("127.0.0.1:{port}", nil, nil, "/dns-query")
newServer({{address="127.0.0.1:{self.upstream_port}", healthCheckMode="up"}})
getPool(""):setCache(newPacketCache(10000))
setSecurityPollSuffix("")
"""
        return [self.path(), "--supervised", "--disable-syslog", "-C", place.file("dnsdist.conf", text)]


class Websockify(Proxy):
    def version(self):
        return first_line(["dpkg-query", "-W", "-f", "websockify ${Version}\n", "websockify"])

    def arguments(self, place, port, target_port):
        return [self.path(), f"127.0.0.1:{port}", f"127.0.0.1:{target_port}"]


class Envoy(Proxy):
    def version(self):
        found = re.search(r"/(\d+\.\d+\.\d+)/", " ".join(output([self.path(), "--version"])))
        return "envoy " + (found.group(1) if found else "of unknown version")

    def arguments(self, place, port, target_port):
        text = f"""
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: perf
          stream_idle_timeout: 0s
          upgrade_configs: [ {{ upgrade_type: websocket }} ]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [ {{ match: {{ prefix: "/" }}, route: {{ cluster: target, timeout: 0s }} }} ]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: target
    type: STATIC
    circuit_breakers: {{ thresholds: [ {{ max_connections: 40000, max_requests: 40000, max_pending_requests: 40000 }} ] }}
    load_assignment:
      cluster_name: target
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {target_port} }} }} }}
"""
        return [self.path(), "-c", place.file("envoy.yaml", text), "--concurrency", "1", "--log-level", "error",
                "--disable-hot-restart", "--use-dynamic-base-id"]


def start_resolver(place):
    """A resolver that answers every query with one address and a TTL of an hour; its process and port."""
    child = processes.start([sys.executable, os.path.join(PERF, "table", "resolver.py")], place.load_core, place.log("resolver"), capture=True)
    return child, int(child.stdout.readline())


def certificate_pair(place):
    """A certificate of this machine's own for 127.0.0.1 with a P-256 key, the same for all; paths of both files."""
    certificate, key = (os.path.join(place.root, name) for name in ("perf.crt", "perf.key"))
    if not os.path.exists(certificate):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return certificate, key


def binary(name):
    return os.path.join(os.environ.get("SLUICE_BIN", os.path.join(os.path.dirname(PERF), ".build", "release")), name)


def output(arguments):
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
        return done.stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return []


def first_line(arguments):
    return next((line.strip() for line in output(arguments) if line.strip()), "")


def multishot(name, buffer, ring, pool):
    return Floor(name, f"floor, multishot receive, {buffer // 1024} KiB buffers",
                 ["--buffer", str(buffer), "--ring", str(ring), "--pool", str(pool)])


def oneshot(name, buffer):
    return Floor(name, f"floor, one receive at a time, {buffer // 1024} KiB buffers", ["--mode", "oneshot", "--buffer", str(buffer)])


SYSTEMS = {system.name: system for system in [
    Direct("direct", "no forwarder: load and target connected"),
    Sluice("sluice", "the gateway on /tcp: WebSocket in, TCP out"),
    multishot("floor-4k", 4096, 256, 4096),
    multishot("floor-16k", 16384, 256, 1024),
    multishot("floor-64k", 65536, 16, 256),
    multishot("floor-128k", 131072, 8, 128),
    multishot("floor-256k", 262144, 8, 64),
    multishot("floor-512k", 524288, 8, 32),
    oneshot("floor-64k-single", 65536),
    oneshot("floor-256k-single", 262144),
    OpaqueFloor("floor-ws", "floor, 4 KiB buffers, WebSocket traffic passed on unread", []),
    OpaqueFloor("floor-ws-16k", "the same, 16 KiB buffers", ["--buffer", "16384", "--ring", "256", "--pool", "1024"]),
    OpaqueFloor("floor-ws-64k", "the same, 64 KiB buffers", ["--buffer", "65536", "--ring", "16", "--pool", "256"]),
    OpaqueFloor("floor-ws-256k", "the same, 256 KiB buffers", ["--buffer", "262144", "--ring", "8", "--pool", "64"]),
    Floor("epoll", "epoll forwarder, 64 KiB buffer", ["--epoll"]),
    Floor("epoll-256k", "epoll forwarder, 256 KiB buffer", ["--epoll", "--buffer", "262144"]),
    Nginx("nginx", "nginx as WebSocket proxy, one worker", "nginx", True, "-v"),
    HAProxy("haproxy", "HAProxy as WebSocket proxy, one thread", "haproxy", True, "-v"),
    Envoy("envoy", "Envoy as WebSocket proxy, concurrency 1", ENVOY, True, "--version"),
    Multiplexed("mux-1x16", "the gateway on /tcp-mux: one WebSocket with 16 streams", ["--connections", "1", "--mux", "16"]),
    Multiplexed("mux-4x16", "the gateway on /tcp-mux: four WebSockets with 16 streams each", ["--connections", "4", "--mux", "16"]),
    Multiplexed("mux-ping", "the gateway on /tcp-mux: a WebSocket without streams", ["--mux-ping"]),
    SluiceDNS("sluice-dns", "the gateway's DNS over HTTPS, in plain text, one shard"),
    Dnsdist("dnsdist", "dnsdist's DNS over HTTPS, in plain text, with its packet cache", "dnsdist", False, "--version"),
    SecureFloor("floor-tls-4k", "floor, 4 KiB buffers, TLS towards clients, WebSocket traffic passed on unread",
                ["--buffer", "4096", "--pool", "8192"]),
    SecureFloor("floor-tls-16k", "the same, 16 KiB buffers", ["--buffer", "16384", "--pool", "8192"]),
    SluiceTLS("sluice-tls", "the gateway on /tcp with its own TLS: WebSocket in, TCP out"),
    SecureNginx("nginx-tls", "nginx terminating TLS in front of a WebSocket target, one worker", "nginx", True, "-v"),
    SecureHAProxy("haproxy-tls", "HAProxy terminating TLS in front of a WebSocket target, one thread", "haproxy", True, "-v"),
    SluiceProxy("sluice-jwt", "the gateway's JWT proxy, opaque route, one token of RS256: WebSocket in, WebSocket out"),
    SluiceProxy("sluice-jwt-rs256", "the same, no token twice: every set-up verifies RS256 (2048 bit)", "RS256"),
    SluiceProxy("sluice-jwt-es256", "the same, no token twice: every set-up verifies ES256", "ES256"),
    SluiceProxy("sluice-mqtt", "the JWT proxy, a route that judges topics by 20 rules", route=TOPIC_ROUTE),
    SluiceProxy("sluice-mqtt-opaque", "the JWT proxy, an MQTT route that judges nothing behind CONNECT", route="protocol: mqtt"),
    SluiceDatagrams("sluice-udp", "the gateway on /udp: WebSocket in, UDP out"),
    DatagramFloor("udp-floor", "datagram floor, one send and one receive for each datagram", False),
    DatagramFloor("udp-floor-train", "datagram floor, trains of datagrams (UDP_SEGMENT out, UDP_GRO in)", True),
    DatagramFloor("udp-floor-train-4", "the same, four trains in a buffer (bulk out)", True, 4 * 54),
    DatagramFloor("udp-floor-train-8", "the same, eight trains in a buffer (bulk out)", True, 8 * 54),
    Coturn("tcp"), Coturn("udp"),
    Websockify("websockify", "websockify: WebSocket in, TCP out", "websockify", False, "--version"),
]}
