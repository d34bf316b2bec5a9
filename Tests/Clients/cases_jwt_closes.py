"""The JWT proxy's sessions whose ends do not end alike: half-open connections, broken frames, Closes without an answer; and neighbours."""
import socket
import struct
import threading
import time

from cases_jwt import need
from cases_jwt_frames import closed, is_idle, pair
from cases_jwt_waiting import reset
from handshakes import Opened, Peer, session
from harness import Failure, case, check, equal, eventually
from rawsocket import BINARY, CLOSE, PING, TEXT, frame
from services import websocket_echo

# T15 says 100 ms; what is seen is noted, and this bounds it on a machine that is busy with much else.
SOON_SECONDS = 1.0
# The side that closed first waits so long for the answer of the other (section 16).
ANSWER_SECONDS = 5


class Watch:
    """Frames of a connection with the time of each, until it ends."""

    def __init__(self, peer):
        self.peer, self.frames, self.ended = peer, [], None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while True:
                found = self.peer.frame()
                self.frames.append((time.monotonic(), *found))
        except (Failure, OSError):
            self.ended = time.monotonic()

    def wait(self, text, seconds):
        self.thread.join(seconds)
        check(self.ended is not None, text + ": the connection is still open", self.frames)


def half_closed(peer):
    peer.socket.shutdown(socket.SHUT_WR)


def torn(peer):
    reset(peer.socket)


@case("jwt-closes-half")
def half(context):
    """T15: whatever an end does behind its Close, or instead of it, the other is told at once, both connections end, and nobody dials."""
    need()
    server, upstream, token = pair(context)
    sessions, longest, gone = 0, 0.0, closed(1014, "upstream unavailable")
    for ours in ("client", "upstream"):
        def begin():
            nonlocal sessions
            sessions += 1
            client, above = session(server, upstream, token=token())
            return ((client, above) if ours == "client" else (above, client)) + (ours == "client",)

        def told(second, began, payload, text):
            nonlocal longest
            seen = eventually(lambda: second.frames, text, SOON_SECONDS)[0]
            equal(seen[1:], (0x88, payload), text)
            longest = max(longest, seen[0] - began)

        # A Close, and then: nothing; FIN; RST. The other end answers.
        for payload in (closed(), closed(1000), closed(1011), closed(4000, "why")):
            for behind in (None, half_closed, torn):
                first, second, masked = begin()
                text = f"{payload!r} of the {ours}, then {behind and behind.__name__}"
                watch, began = Watch(second), time.monotonic()
                first.send(frame(CLOSE, payload, masked=masked))
                if behind:
                    behind(first)
                told(watch, began, payload, text)
                second.send(frame(CLOSE, payload, masked=not masked))
                watch.wait(text, SOON_SECONDS)
                if behind != torn:
                    equal(first.frame(), (0x88, payload), text + ": the answer")
                    check(first.ended(), text + ": its connection ends")
                first.close()
                second.close()
        # A Close that is never answered: the end that sent it gets its own back after five seconds, and both connections end.
        first, second, masked = begin()
        mute, waits, began = Watch(second), Watch(first), time.monotonic()
        first.send(frame(CLOSE, closed(4000, "why"), masked=masked))
        told(mute, began, closed(4000, "why"), f"a Close of the {ours}")
        waits.wait(f"a Close of the {ours} without an answer", ANSWER_SECONDS + 5)
        mute.wait(f"the end that does not answer the {ours}", ANSWER_SECONDS + 5)
        equal([found[1:] for found in waits.frames], [(0x88, closed(4000, "why"))], "its own Close comes back")
        check(ANSWER_SECONDS - 0.5 < waits.frames[0][0] - began < ANSWER_SECONDS + 1, "after five seconds", waits.frames[0][0] - began)
        first.close()
        second.close()
        # An answer with another code, and data that crossed with the Close: what crossed arrives, and the connections end.
        first, second, masked = begin()
        first.send(frame(TEXT, b"before", masked=masked) + frame(CLOSE, closed(1001), masked=masked) + frame(TEXT, b"behind", masked=masked))
        equal((second.frame(), second.frame()), ((0x81, b"before"), (0x88, closed(1001))), "nothing passes behind a Close")
        second.send(frame(BINARY, b"crossed", masked=not masked) + frame(CLOSE, closed(1000), masked=not masked))
        equal(first.frame(), (0x82, b"crossed"), "data that crossed")
        equal(first.frame()[0], 0x88, "the answer")
        check(first.ended() and second.ended(), "both end")
        # Nothing but FIN or RST, between frames and within one.
        for leave in (half_closed, torn):
            for stands in ("between", "behind", "within", "header"):
                first, second, masked = begin()
                data = {"between": b"", "behind": frame(BINARY, b"whole", masked=masked),
                        "within": frame(BINARY, b"half", length=100, masked=masked), "header": b"\x82"}[stands]
                text = f"{leave.__name__} of the {ours} {stands} a frame"
                if data:
                    first.send(data)
                    time.sleep(0.1)
                watch, began = Watch(second), time.monotonic()
                leave(first)
                watch_end = lambda: watch.frames and watch.frames[-1][1] == 0x88 or watch.ended
                eventually(watch_end, text + ": the other end is told", SOON_SECONDS)
                closes = [found[2] for found in watch.frames if found[1] == 0x88]
                if stands != "within":
                    equal(closes, [closed(1001) if ours == "client" else gone], text)
                    longest = max(longest, watch.frames[-1][0] - began)
                    second.send(frame(CLOSE, closes[0], masked=not masked))
                watch.wait(text, 4)
                if leave == half_closed:
                    try:
                        while first.socket.recv(65536):
                            pass
                    except ConnectionResetError:
                        pass
                first.close()
                second.close()
    eventually(lambda: is_idle(server), "no session is left", 15)
    equal(len(upstream.heads), sessions, "dials")
    context.note(f"{sessions} sessions; the other end was told within {longest * 1000:.0f} ms")


@case("jwt-closes-codes")
def codes(context):
    """16: codes that stand on the wire pass with their reason, codes that may not and reasons that are no text become 1002 or 1007."""
    need()
    server, upstream, token = pair(context)
    good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4401, 4999]
    bad = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
    sessions = 0
    for ours in ("client", "upstream"):
        for payload, expected in [(closed(code, "r"), closed(code, "r")) for code in good] + [(closed(code, "r"), closed(1002)) for code in bad] \
                + [(b"\x03", closed(1002)), (closed(1000) + b"\xff", closed(1007)), (closed(1000) + b"x" * 124, closed(1002))]:
            client, above = session(server, upstream, token=token())
            sessions += 1
            first, second, masked = (client, above, True) if ours == "client" else (above, client, False)
            first.send(frame(CLOSE, payload, masked=masked))
            seen = second.frame()
            if payload == expected:
                equal(seen, (0x88, payload), f"{payload[:4]!r} of the {ours}")
                second.send(frame(CLOSE, payload, masked=not masked))
                equal(first.frame(), (0x88, payload), f"the answer to {payload[:4]!r} of the {ours}")
            else:
                # To who sent it the fault itself; to the other end a code for a session that failed.
                equal(first.frame()[1][:2], expected, f"who sent {payload[:4]!r}: the {ours}")
                check(seen[0] == 0x88 and seen[1][:2] in (closed(1002), closed(1014), closed(1007)), f"{payload[:4]!r} is not passed on", seen)
            check(first.ended(), "its connection ends")
            client.close()
            above.close()
    eventually(lambda: is_idle(server), "no session is left", 15)
    equal(len(upstream.heads), sessions, "dials")


def quantile(times, part):
    return sorted(times)[int(len(times) * part)]


@case("jwt-slow-neighbours", slow=True)
def neighbours(context):
    """T17, B7: a receiver that stands still with 100 MiB in front of it, each way: neighbours on its shard are as fast as before."""
    need()
    other = "\n    - { name: echo, prefix: /echo, protocol: raw, upstreams: [{ url: 'ws://127.0.0.1:%d/' }] }" % websocket_echo(context)
    server, upstream, token = pair(context, other=other, receive_buffer=1 << 16)
    others = [Opened(server.port, "/echo", token()) for _ in range(50)]

    def measure(rounds=40):
        times = []
        for _ in range(rounds):
            for neighbour in others:
                began = time.monotonic()
                neighbour.send(b"x" * 128)
                equal(neighbour.receive(), (2, b"x" * 128), "a neighbour")
                times.append(time.monotonic() - began)
        return times

    measure(5)
    for name in ("client", "upstream"):
        client, above = session(server, upstream, token=token())
        source, sink = (client, above) if name == "client" else (above, client)
        source.socket.settimeout(120)
        alone = measure()
        before = server.resident_bytes()
        block = frame(BINARY, bytes(1 << 20), masked=name == "client")
        sent = [0]

        def write():
            for _ in range(100):
                source.send(block)
                sent[0] += 1
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        last = -1
        while sent[0] != last:
            last = sent[0]
            time.sleep(0.3)
        check(sent[0] < 50, "messages that were taken of a stalled session", sent[0])
        beside = measure()
        grown = server.resident_bytes() - before
        check(grown < 16 << 20, "memory for a stalled session", grown)
        # Medians and tails of both; the factor allows for a machine that does other things meanwhile.
        found = [(quantile(alone, part) * 1e6, quantile(beside, part) * 1e6) for part in (0.5, 0.99)]
        context.note(f"stalled {'upstream' if name == 'client' else 'client'}: us median {found[0][0]:.0f} / {found[0][1]:.0f}, "
                     f"99 % {found[1][0]:.0f} / {found[1][1]:.0f}; memory +{grown >> 10} KiB")
        check(found[1][1] < 3 * found[1][0] + 5000, "the neighbours' 99th percentile in microseconds", found)
        got = 0
        while got < 100:
            first, payload = sink.frame()
            check(first == 0x82 and len(payload) == 1 << 20 and not any(payload[:: 1 << 12]), "a message", first, len(payload))
            got += 1
        writer.join(60)
        equal(sent[0], 100, "everything was taken when it was read again")
        client.close()
        above.close()
    for neighbour in others:
        neighbour.close()
    eventually(lambda: is_idle(server), "no session is left", 15)
