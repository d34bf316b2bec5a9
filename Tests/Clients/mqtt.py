"""Packets of MQTT as bytes, for cases that compare them: written from the specifications of OASIS, without a library."""
import struct

CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 8, 9, 13, 14


def variable(number):
    """A length in groups of seven bits."""
    data = b""
    while True:
        number, low = number >> 7, number & 127
        data += bytes([low | (0x80 if number else 0)])
        if not number:
            return data


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(value)) + value


def packet(kind, body, flags=0):
    return bytes([kind << 4 | flags]) + variable(len(body)) + body


def user_property(name, value):
    return b"\x26" + text(name) + text(value)


def connect(level=4, client_id="c", clean=True, will=None, username=None, password=None, properties=b"", will_properties=b"", keep_alive=60,
            flags=None):
    """CONNECT. `will` is a topic, a payload, a quality and whether it is retained; `flags` lies about the rest."""
    found = (2 if clean else 0) | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    if will:
        found |= 4 | will[2] << 3 | (0x20 if will[3] else 0)
    body = text("MQIsdp" if level == 3 else "MQTT") + bytes([level, found if flags is None else flags]) + struct.pack(">H", keep_alive)
    if level == 5:
        body += variable(len(properties)) + properties
    body += text(client_id)
    if will:
        if level == 5:
            body += variable(len(will_properties)) + will_properties
        body += text(will[0]) + text(will[1])
    for value in (username, password):
        if value is not None:
            body += text(value)
    return packet(1, body)


def subscribe(identifier, topic, quality=1, level=4):
    return packet(SUBSCRIBE, struct.pack(">H", identifier) + (b"\0" if level == 5 else b"") + text(topic) + bytes([quality]), 2)


def publish(topic, payload, identifier=None, level=4):
    """PUBLISH of quality 1 when there is an identifier, else 0."""
    body = text(topic) + (struct.pack(">H", identifier) if identifier else b"") + (b"\0" if level == 5 else b"") + payload
    return packet(PUBLISH, body, 2 if identifier else 0)


def take(buffer):
    """The first whole packet of a buffer, which it is taken out of: kind with flags, and body; None when there is none yet."""
    length, at = 0, 1
    while True:
        if at >= len(buffer):
            return None
        length |= (buffer[at] & 127) << 7 * (at - 1)
        at += 1
        if buffer[at - 1] < 128:
            break
    if len(buffer) < at + length:
        return None
    found = buffer[0], bytes(buffer[at:at + length])
    del buffer[:at + length]
    return found
