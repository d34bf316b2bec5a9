"""A resolver for measuring: every question gets one address and a TTL of an hour. Prints its UDP port."""

import socket


def main():
    place = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    place.bind(("127.0.0.1", 0))
    print(place.getsockname()[1], flush=True)
    while True:
        query, peer = place.recvfrom(4096)
        end = 12
        while end < len(query) and query[end]:
            end += query[end] + 1
        question = query[12:end + 5]
        head = query[:2] + bytes([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0])
        place.sendto(head + question + bytes([0xC0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 1]), peer)


main()
