"""The rows of the tables of hostile requests, and how one row is tried.

Theory of operation
  row       name, bytes, the answers they must get, the reason (a section of an RFC, or a table of the specification)
  canary    behind the bytes of every row stands one more request, recognised by its X-Request-Id. `OPEN`: it is answered,
            so the connection is in step. `CLOSED`: it is not, nothing behind a refused request is interpreted.
            `TAKEN`: it belongs to a body or a head that never ends, so it is not answered either, and nothing else is
  end       the client then closes its side: the gateway answers what is complete and closes, so no row waits for time
  twice     each row goes out in one piece and, when it is short, byte by byte: the outcome may not depend on the cut
"""
import dataclasses
import select
import socket

from harness import check, equal
from rawsocket import Peer

OPEN, CLOSED, TAKEN = "open", "closed", "taken"
CANARY_ID = b"the-canary"
CANARY = b"GET /version?canary HTTP/1.1\r\nHost: canary\r\nX-Request-Id: " + CANARY_ID + b"\r\n\r\n"
# Longer rows go out in pieces of this size instead of byte by byte.
BYTEWISE_BYTES, PIECE_BYTES = 600, 1021


@dataclasses.dataclass
class Answer:
    """One expected answer: its status, and what else must hold."""
    status: int
    body: object = None        # bytes the body must contain, or None
    fields: dict = dataclasses.field(default_factory=dict)   # lower-case name: exact value, or None for absent

    def judge(self, name, status, fields, body):
        equal(status, self.status, f"{name}: status ({body[:120]!r})")
        if self.body is not None:
            check(self.body in body, f"{name}: the body holds {self.body!r}", body)
        for field, value in self.fields.items():
            equal(fields.get(field), value, f"{name}: field {field}")


@dataclasses.dataclass
class Row:
    group: str
    name: str
    data: bytes
    answers: list
    end: str
    why: str
    server: str = "plain"


class Table:
    """Rows of one group; names are unique over all tables."""
    rows, names = [], set()

    def __init__(self, group, server="plain"):
        self.group, self.server = group, server

    def row(self, name, data, answers, end, why):
        if name in Table.names:
            raise ValueError("two rows are called " + name)
        Table.names.add(name)
        answers = answers if isinstance(answers, list) else [answers]
        answers = [answer if isinstance(answer, Answer) else Answer(answer) for answer in answers]
        Table.rows.append(Row(self.group, name, data, answers, end, why, self.server))

    def refused(self, name, data, why, status=400, body=None):
        """One refusal, then nothing."""
        self.row(name, data, Answer(status, body), CLOSED, why)

    def served(self, name, data, why, *answers):
        """Answered, and the connection goes on."""
        self.row(name, data, list(answers) or [200], OPEN, why)


def request(method=b"GET", target=b"/healthz", *lines, version=b"HTTP/1.1", host=b"a", body=b""):
    """A request from its parts; the parts are sent as they are."""
    head = method + b" " + target + b" " + version + b"\r\n"
    if host is not None:
        head += b"Host: " + host + b"\r\n"
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def pieces(data, cut):
    if not cut:
        return [data]
    size = 1 if len(data) <= BYTEWISE_BYTES else PIECE_BYTES
    return [data[index:index + size] for index in range(0, len(data), size)]


def deliver(connection, data):
    """Sends what the other side takes; it may answer and close before the end."""
    try:
        for piece in data:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def exchange(connection, data):
    """Sends pieces, closes the sending side and reads everything to the end of the stream."""
    peer = Peer(connection)
    sent = False
    total = b"".join(data)
    if len(total) > 65536:
        # More than the socket buffers hold: read while sending, so that an early answer is not lost in a reset.
        connection.setblocking(False)
        view = memoryview(total)
        while len(view):
            readable, writable, _ = select.select([connection], [connection], [], 10)
            if readable:
                try:
                    received = connection.recv(65536)
                except ConnectionResetError:
                    break
                if not received:
                    break
                peer.buffer += received
                continue
            if not writable:
                break
            try:
                view = view[connection.send(view[:65536]):]
            except OSError:
                break
        connection.settimeout(10)
        data, sent = [], True
    deliver(connection, data)
    try:
        while peer.fill():
            pass
    except ConnectionResetError:
        check(sent or peer.buffer, "an answer before the reset")
    return peer


def answers(peer, methods):
    """Takes the stream apart into (status, fields, body); `methods` tells answers to HEAD."""
    found = []
    while peer.buffer:
        status, _, headers, _ = peer.head()
        fields = {name.lower(): value for name, value in headers}
        if status == 100:
            found.append((status, fields, b""))
            continue
        count = len([one for one in found if one[0] != 100])
        headless = status in (101, 204, 304) or (count < len(methods) and methods[count] == b"HEAD")
        found.append((status, fields, b"" if headless else peer.take(int(fields.get("content-length", "0")))))
        if status == 101:
            break
    return found


def attempt(server, row, cut):
    connection = server.connect()
    try:
        peer = exchange(connection, pieces(row.data + CANARY, cut))
        heads = [line.split(b" ", 1)[0] for line in row.data.split(b"\n") if b" HTTP/1." in line]
        found = answers(peer, heads)
    finally:
        connection.close()
    label = f"{row.group}: {row.name} ({row.why})" + (" in pieces" if cut else "")
    statuses = [status for status, _, _ in found]
    wanted = [answer.status for answer in row.answers]
    if row.end == OPEN:
        wanted.append(200)
    equal(statuses, wanted, f"{label}: statuses; {[body[:80] for _, _, body in found]!r}")
    for answer, (status, fields, body) in zip(row.answers, found):
        answer.judge(label, status, fields, body)
    canaries = [fields.get("x-request-id") == CANARY_ID.decode() for _, fields, _ in found]
    equal(canaries, [False] * len(row.answers) + [True] * (row.end == OPEN), f"{label}: which answer is the canary's")
    if row.end == CLOSED and found and found[-1][0] != 101:
        equal(found[-1][1].get("connection"), "close", f"{label}: the last answer says that it is")
