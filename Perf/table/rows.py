"""The rows of the table: what the load does, and which figure counts."""

from dataclasses import dataclass, field

PEERS = ["nginx", "haproxy", "envoy", "websockify"]
SMALL = ["floor-4k", "floor-16k", "floor-ws"]
BULK = ["floor-16k", "floor-64k", "floor-128k", "floor-256k", "floor-512k", "floor-64k-single", "floor-256k-single"]


@dataclass
class Row:
    name: str
    title: str
    service: str                 # of the target: echo, sink or source
    load: list                   # arguments of sluice-load
    metric: str                  # field of its result
    unit: str
    scale: float = 1.0           # multiplied with the field
    floors: list = field(default_factory=lambda: list(SMALL))
    others: list = field(default_factory=lambda: ["epoll"] + PEERS)
    higher_is_better: bool = False
    added_over: str = ""         # subtract the median of this system
    fresh: bool = False          # start every system anew for every round
    most_rounds: int = 1000
    own: str = "sluice"          # the system the row is about
    also: list = field(default_factory=list)  # (field, label, unit, scale) shown beside the metric
    frame: int = 0               # payload of a datagram towards the target

    def expand(self, names):
        """The systems of this row among those asked for: `floor` stands for its candidates, `epoll` for its two sizes."""
        chosen = (["direct"] if self.added_over else []) + [self.own] + self.floors + self.others
        if not names:
            return chosen
        return [name for name in chosen if name in names or name == self.added_over
                or ("floor" in names and name in self.floors) or ("epoll" in names and name.startswith("epoll"))]


RATE = ("messages_per_second", "messages/s", "", 1)
SHARE = ("server_cpu_share", "server core busy", "%", 100)
DATAGRAMS = ("datagrams_per_second", "datagrams/s", "", 1)
PACKETS = ("datagrams_per_cpu_second", "datagrams/CPU second", "", 1)
MEDIAN = ("latency_us.p50", "p50", "µs", 1)
TAIL = ("latency_us.p99", "p99", "µs", 1)


def _bulk(direction, connections):
    upload = direction == "upload"
    return Row(
        f"{'up' if upload else 'down'}{connections}",
        f"Bulk, 64 KiB messages {'client → target' if upload else 'target → client'}, {connections} connection{'s' * (connections > 1)}: "
        "server CPU per GiB",
        "sink" if upload else "source", ["--mode", direction, "--connections", str(connections), "--size", "65536"],
        "server_cpu_us_per_gib", "ms/GiB", 0.001, floors=list(BULK), others=["epoll", "epoll-256k"] + PEERS,
        also=[("mebibytes_per_second", "MiB/s", "", 1), SHARE])


def _dns_query(name):
    """A query for the addresses of a name, with id 0 as RFC 8484 advises, as hexadecimal digits."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return (bytes.fromhex("000001000001000000000000") + labels + bytes.fromhex("0000010001")).hex()


def _mux(name, title, service, load, metric, unit, scale, own):
    """Streams over WebSockets, beside as many WebSockets of /tcp, which the row's ratio refers to."""
    return Row(name, title, service, load, metric, unit, scale, floors=["sluice"], others=[], own=own,
               also=[RATE, ("mebibytes_per_second", "MiB/s", "", 1), SHARE])


def _udp(name, title, service, load, metric, frame, also, floors=()):
    """Datagrams through a relay: /udp, a forwarder of frames that know no header, and TURN."""
    return Row(name, title, service, load, metric, "µs", floors=["udp-floor", "udp-floor-train", *floors], others=["coturn-tcp", "coturn-udp"],
               own="sluice-udp", also=also, frame=frame)


TLS_FLOORS = ["floor-tls-4k", "floor-tls-16k"]


def _tls(name, title, service, load, metric, unit, scale=1.0, floors=(), **more):
    return Row(name, title, service, load, metric, unit, scale, floors=list(floors), others=["nginx-tls", "haproxy-tls"],
               own="sluice-tls", **more)


def _publish(name, title, service, load, **more):
    """PUBLISH packets through a route that judges topics, beside the same through one that does not, which the row's ratio refers to."""
    return Row(name, "JWT proxy, PUBLISH of 100 B at QoS 0, " + title + ": server CPU per message", service, load + ["--size", "100"],
               "server_cpu_us_per_message", "µs", floors=["sluice-mqtt-opaque"], others=[], own="sluice-mqtt", **more)


def _proxy(name, title, service, load, metric, unit, scale=1.0, floors=("floor-ws", "floor-ws-16k"), others=("nginx", "haproxy"), **more):
    """WebSocket to WebSocket: the JWT proxy, WebSocket proxies without tokens, and forwarders that parse nothing."""
    return Row(name, title, service, load, metric, unit, scale, floors=list(floors), others=list(others), own="sluice-jwt", **more)


WEBSOCKET_BULK = ["floor-ws", "floor-ws-16k", "floor-ws-64k", "floor-ws-256k"]


ROWS = {row.name: row for row in [
    Row("echo64", "Echo of 64 B over 64 connections, one in flight each: server CPU per message", "echo",
        ["--connections", "64", "--size", "64", "--depth", "1"], "server_cpu_us_per_message", "µs",
        also=[RATE, SHARE, MEDIAN, TAIL]),
    Row("echo1k", "Echo of 1 KiB over 64 connections, 16 in flight each: server CPU per message", "echo",
        ["--connections", "64", "--size", "1024", "--depth", "16"], "server_cpu_us_per_message", "µs",
        floors=["floor-4k", "floor-16k", "floor-64k", "floor-ws"], also=[RATE, SHARE, MEDIAN, TAIL]),
    _bulk("upload", 1), _bulk("upload", 8), _bulk("download", 1), _bulk("download", 8),
    Row("latency", "One connection, 64 B echo: median latency added over a direct connection", "echo",
        ["--connections", "1", "--size", "64", "--depth", "1"], "latency_us.p50", "µs", added_over="direct",
        also=[TAIL, ("server_cpu_us_per_message", "CPU per message", "µs", 1)]),
    Row("idle", "10,000 idle WebSockets: growth of the server's resident memory per connection", "echo",
        ["--idle", "10000", "--size", "64"], "resident_bytes_per_connection", "B", floors=[], others=["nginx", "haproxy", "envoy"],
        fresh=True, most_rounds=3,
        also=[("resident_bytes_per_connection_second_half", "second half", "B", 1),
              ("resident_bytes_empty", "without a connection", "MiB", 1 / 1048576), SHARE]),
    Row("connect", "Accept to 101: WebSocket handshakes per second, 32 at a time", "echo",
        ["--connect-rate", "--connections", "32"], "handshakes_per_second", "/s", floors=["floor-ws"],
        others=["nginx", "haproxy", "envoy"], higher_is_better=True,
        also=[("server_cpu_us_per_handshake", "server CPU per handshake", "µs", 1), SHARE, TAIL, ("failures", "failures", "", 1)]),
    _mux("mux-echo1k", "Echo of 1 KiB over 16 streams of one WebSocket, 16 in flight each, beside 16 WebSockets of /tcp: CPU per message",
         "echo", ["--connections", "16", "--size", "1024", "--depth", "16"], "server_cpu_us_per_message", "µs", 1.0, "mux-1x16"),
    _mux("mux-echo64", "Echo of 64 B over 64 streams of four WebSockets, one in flight each, beside 64 WebSockets of /tcp: CPU per message",
         "echo", ["--connections", "64", "--size", "64", "--depth", "1"], "server_cpu_us_per_message", "µs", 1.0, "mux-4x16"),
    _mux("mux-up", "Bulk, 64 KiB messages client → target over 16 streams of one WebSocket, beside 16 WebSockets of /tcp: CPU per GiB",
         "sink", ["--mode", "upload", "--connections", "16", "--size", "65527"], "server_cpu_us_per_gib", "ms/GiB", 0.001, "mux-1x16"),
    _mux("mux-down", "Bulk, 64 KiB messages target → client over 16 streams of one WebSocket, beside 16 WebSockets of /tcp: CPU per GiB",
         "source", ["--mode", "download", "--connections", "16", "--size", "65527"], "server_cpu_us_per_gib", "ms/GiB", 0.001, "mux-1x16"),
    Row("idle-mux", "10,000 idle WebSockets of /tcp-mux without streams: growth of the server's resident memory per connection", "echo",
        ["--idle", "10000", "--size", "64"], "resident_bytes_per_connection", "B", floors=[], others=[], own="mux-ping", fresh=True,
        most_rounds=3, also=[("resident_bytes_per_connection_second_half", "second half", "B", 1), SHARE]),
    Row("doh", "DNS over HTTPS/1.1, answers from the cache, 64 connections that stay open: server CPU per answer", "echo",
        ["--request", "POST", "--content-type", "application/dns-message", "--body", _dns_query("www.example.com"), "--connections", "64",
         "--least-answer", "49"], "server_cpu_us_per_request", "µs", floors=[], others=["dnsdist"], own="sluice-dns",
        also=[("requests_per_second", "answers/s", "", 1), SHARE, MEDIAN, TAIL]),
    _udp("udp-echo64", "Datagrams, echo of 64 B over 64 sessions, one in flight each: server CPU per echo", "udp-echo",
         ["--connections", "64", "--size", "64", "--depth", "1"], "server_cpu_us_per_message", 64, [RATE, SHARE, MEDIAN, TAIL]),
    _udp("udp-out", "Datagrams of 1,200 B client → remote, 8 sessions: server CPU per datagram that arrived", "udp-sink",
         ["--connections", "8", "--size", "1200", "--mode", "upload", "--arrivals"], "server_cpu_us_per_datagram", 1200,
         [DATAGRAMS, PACKETS, SHARE], ["udp-floor-train-4", "udp-floor-train-8"]),
    _udp("udp-in", "Datagrams of 1,200 B remote → client in bursts of 54, 8 sessions: server CPU per datagram delivered", "udp-burst",
         ["--connections", "8", "--size", "1200", "--burst", "54"], "server_cpu_us_per_datagram", 4,
         [DATAGRAMS, PACKETS, SHARE, ("datagrams_lost", "lost", "", 1)]),
    _tls("tls-echo64", "TLS 1.3, echo of 64 B over 64 connections, one in flight each: server CPU per message", "echo",
         ["--connections", "64", "--size", "64", "--depth", "1"], "server_cpu_us_per_message", "µs", floors=TLS_FLOORS,
         also=[RATE, SHARE, MEDIAN, TAIL]),
    _tls("tls-echo1k", "TLS 1.3, echo of 1 KiB over 64 connections, 16 in flight each: server CPU per message", "echo",
         ["--connections", "64", "--size", "1024", "--depth", "16"], "server_cpu_us_per_message", "µs", floors=TLS_FLOORS,
         also=[RATE, SHARE, MEDIAN, TAIL]),
    _tls("tls-up8", "TLS 1.3, bulk, 64 KiB messages client → target, 8 connections: server CPU per GiB", "sink",
         ["--mode", "upload", "--connections", "8", "--size", "65536"], "server_cpu_us_per_gib", "ms/GiB", 0.001,
         also=[("mebibytes_per_second", "MiB/s", "", 1), SHARE]),
    _tls("tls-down8", "TLS 1.3, bulk, 64 KiB messages target → client, 8 connections: server CPU per GiB", "source",
         ["--mode", "download", "--connections", "8", "--size", "65536"], "server_cpu_us_per_gib", "ms/GiB", 0.001,
         also=[("mebibytes_per_second", "MiB/s", "", 1), SHARE]),
    _tls("tls-connect", "TLS 1.3, full handshakes (ECDSA P-256, X25519) to 101, 32 at a time: server CPU per handshake", "echo",
         ["--connect-rate", "--connections", "32"], "server_cpu_us_per_handshake", "µs",
         also=[("handshakes_per_second", "handshakes/s", "", 1), SHARE, TAIL, ("failures", "failures", "", 1)]),
    _proxy("proxy-echo64", "JWT proxy, echo of 64 B over 64 connections, one in flight each: server CPU per message", "echo",
           ["--connections", "64", "--size", "64", "--depth", "1"], "server_cpu_us_per_message", "µs", also=[RATE, SHARE, MEDIAN, TAIL]),
    _proxy("proxy-up", "JWT proxy, one stream of 1 MiB messages client → upstream: server CPU per GiB", "sink",
           ["--mode", "upload", "--connections", "1", "--size", "1048576"], "server_cpu_us_per_gib", "ms/GiB", 0.001, floors=WEBSOCKET_BULK,
           also=[("mebibytes_per_second", "MiB/s", "", 1), SHARE]),
    _proxy("proxy-down", "JWT proxy, one stream of 1 MiB messages upstream → client: server CPU per GiB", "bulk",
           ["--mode", "download", "--connections", "1", "--size", "1048576"], "server_cpu_us_per_gib", "ms/GiB", 0.001, floors=WEBSOCKET_BULK,
           also=[("mebibytes_per_second", "MiB/s", "", 1), SHARE]),
    _proxy("proxy-setup", "JWT proxy, accept to 101 with the upstream's upgrade, 32 at a time: server CPU per set-up", "echo",
           ["--connect-rate", "--connections", "32"], "server_cpu_us_per_handshake", "µs", floors=["floor-ws"],
           others=["sluice-jwt-rs256", "sluice-jwt-es256", "nginx", "haproxy"], fresh=True,
           also=[("handshakes_per_second", "set-ups/s", "", 1), SHARE, TAIL, ("failures", "failures", "", 1)]),
    _publish("proxy-mqtt", "64 sessions with one topic each, sent back, 16 in flight each", "mqtt",
             ["--connections", "64", "--depth", "16", "--mqtt", "1"], also=[RATE, SHARE, MEDIAN, TAIL]),
    _publish("proxy-mqtt-up", "8 sessions with one topic each, to a sink", "mqttsink",
             ["--connections", "8", "--mode", "upload", "--mqtt", "1"], also=[RATE, SHARE]),
    _publish("proxy-mqtt-topics", "8 sessions with 1,000 topics each, to a sink", "mqttsink",
             ["--connections", "8", "--mode", "upload", "--mqtt", "1000"], also=[RATE, SHARE]),
]}
