"""Packets that no ordinary program sends: leftovers of forgotten connections, scans, fragments in an unusual order."""

import socket
import struct

from tap import checksum

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def inverted(total):
    return ~total & 0xFFFF


def ipv4(source, destination, protocol, payload, identification=0, fragment=0, ttl=64):
    """`fragment` is the whole field: flags and offset. The kernel fills in length and header checksum."""
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), identification, fragment, ttl, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(destination)) + payload


def pseudo(source, destination, protocol, length):
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack(">HH", protocol, length)


def tcp(source, destination, ports, flags, sequence=1000, acknowledged=0, ttl=64):
    header = struct.pack(">HHIIBBHHH", *ports, sequence, acknowledged, 0x50, flags, 1024, 0, 0)
    total = inverted(checksum(pseudo(source, destination, 6, 20) + header))
    return ipv4(source, destination, 6, header[:16] + struct.pack(">H", total) + header[18:], identification=1, ttl=ttl)


def udp(source, destination, ports, data):
    """The datagram alone, without IP header."""
    header = struct.pack(">HHHH", *ports, 8 + len(data), 0)
    total = inverted(checksum(pseudo(source, destination, 17, 8 + len(data)) + header + data)) or 0xFFFF
    return header[:6] + struct.pack(">H", total) + data


def unreachable(source, destination, quoted):
    """An ICMP error: port unreachable about the quoted packet."""
    body = struct.pack(">BBHI", 3, 3, 0, 0) + quoted[:28]
    return ipv4(source, destination, 1, body[:2] + struct.pack(">H", inverted(checksum(body))) + body[4:], identification=1)


def with_header_checksum(packet):
    return packet[:10] + struct.pack(">H", inverted(checksum(packet[:10] + b"\0\0" + packet[12:20]))) + packet[12:]


def fragments(source, destination, datagram, identification, size):
    """An IPv4 datagram in fragments whose payload is `size` bytes (a multiple of 8)."""
    return [
        ipv4(source, destination, 17, datagram[at : at + size], identification, at // 8 | 0x2000 * (at + size < len(datagram)))
        for at in range(0, len(datagram), size)
    ]


def send(host, packets):
    with host:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for packet in packets:
        raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
    raw.close()
