"""The tables of hostile requests and frames, each row against a running gateway. See table.py."""
import services
import table_body  # noqa: F401  (fills the table)
import table_frames
import table_gateway  # noqa: F401
import table_head  # noqa: F401
import table_upgrade
from harness import Failure, case, check, eventually
from table import Table, attempt

SERVERS = {
    "plain": {"PUBLIC_BASE_URL": "http://gateway.example/base", "ALLOWED_ORIGINS": "https://app.example"},
    "relay": {"ALLOWED_ORIGINS": "https://app.example", "UDP_RELAY_BASE_URL": "http://relay.example"},
    "open": {"ALLOWED_ORIGINS": "*,null"},
    "upgrade": {"PUBLIC_BASE_URL": "http://gateway.example/base", "ALLOWED_ORIGINS": "https://app.example", "TRUST_PROXY": "1",
                "TCP_BLOCKED_CLIENT_IPS": "192.0.2.9", "TCP_ALLOWED_PORTS": "", "TCP_PROXY_MAX_MESSAGE_BYTES": "65536"},
}
# Failed rows listed in the report; the rest is counted.
LISTED_FAILURES = 40


class Servers:
    """The gateways the rows need, and what each held before."""

    def __init__(self, context):
        self.context, self.servers, self.before = context, {}, {}

    def get(self, kind):
        if kind not in self.servers:
            server = self.context.server(TCP_PROXY_MAX_CONNECTIONS=10_000, **SERVERS[kind])
            server.request("GET", "/healthz")
            self.before[kind] = (server.settled_descriptors(), server.gauges())
            self.servers[kind] = server
        return self.servers[kind]

    def settle(self):
        """Every gateway runs on and holds what it held before."""
        for kind, server in self.servers.items():
            descriptors, gauges = self.before[kind]
            check(server.process.poll() is None, f"the gateway `{kind}` runs on")
            eventually(lambda: server.descriptors() == descriptors, f"`{kind}`: descriptors return to {descriptors}", 10)
            eventually(lambda: server.gauges() == gauges, f"`{kind}`: gauges return to {gauges}", 10)
            records = [record for record in server.records() if record.get("level", 0) >= 50]
            check(not records, f"`{kind}`: no error in the log", records[:3])


def run_rows(context, rows):
    """Tries rows, whole and in pieces, and reports all that fail."""
    servers, failures = Servers(context), []
    for row in rows:
        for cut in (False, True):
            try:
                attempt(servers.get(row.server), row, cut)
            except (Failure, EOFError, OSError) as failure:
                failures.append(str(failure) if isinstance(failure, Failure) else f"{row.group}: {row.name}: {failure!r}")
                break
    if failures:
        raise Failure(f"{len(failures)} of {len(rows)} rows:\n" + "\n".join(failures[:LISTED_FAILURES]))
    servers.settle()
    return len(rows)


@case("table-http")
def http(context):
    count = run_rows(context, Table.rows)
    groups = {row.group for row in Table.rows}
    context.note(f"{count} named requests in {len(groups)} groups, each whole and in pieces, each with a request behind it")


@case("table-upgrade")
def upgrade(context):
    servers = Servers(context)
    server, port = servers.get("upgrade"), services.start(context, "echo")
    count = table_upgrade.run(server, port)
    servers.settle()
    context.note(f"{count} named upgrade requests")


@case("table-frames")
def frames(context):
    servers = Servers(context)
    server, port = servers.get("upgrade"), services.start(context, "echo")
    count = table_frames.run(server, port)
    servers.settle()
    context.note(f"{count} named sequences of frames, each whole and in pieces")
