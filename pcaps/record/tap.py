"""What passes the router, in the exact order in which it passed.

Two kernel queues are filled while a story runs and read when it is over, so nothing here can be too slow:

- a packet socket sees every frame that arrives at or leaves an interface, with the kernel's own nanoseconds. It copies each frame
  into a ring there and then: the queue of an ordinary packet socket shares its bytes with the packet on its way, and shows fragments
  as they were rewritten later;
- nfnetlink_log sees every packet before connection tracking at the prerouting and output hooks. Its output packets are what the
  router's own stack sent; they have no time of their own, but stand between the arrivals that the packet socket saw too.
"""

import collections
import errno
import mmap
import socket
import struct

PREROUTING = 0  # netfilter's number of the hook; what else is logged was at output
OTHERHOST, OUTGOING = 3, 4  # packet types of a packet socket
ETHERNET, RAW = 1, 101  # link types of a capture

SOL_PACKET, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION = 263, 5, 6, 10
TPACKET_V2 = 1
BLOCK, BLOCKS, SLOT = 1 << 20, 16, 1 << 11  # a slot holds one frame of an Ethernet
TP_STATUS_USER = 1

SO_RCVBUFFORCE = 33
QUEUE = 64 << 20

NETLINK_NETFILTER = 12
LOG_GROUP = 7
LOG_CONFIG = 4 << 8 | 1

# Loaded beside the story's own rules, at priorities where neither defragmentation nor tracking has happened.
# What `reject` makes carries the connection of the packet it answers already, and is left out.
LOG_RULES = f"""
table inet recorder {{
    chain arrived {{
        type filter hook prerouting priority -450
        log group {LOG_GROUP}
    }}
    chain sent {{
        type filter hook output priority -310
        ct state invalid log group {LOG_GROUP}
    }}
}}
"""

Frame = collections.namedtuple("Frame", "time interface outgoing bytes")
Logged = collections.namedtuple("Logged", "hook bytes")


class Lost(Exception):
    """A queue overflowed, or the two of them contradict each other."""


class Tap:
    """Opened inside the router's namespace."""

    def __init__(self):
        self.frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.frames.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
        self.frames.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack("=IIII", BLOCK, BLOCKS, SLOT, BLOCK * BLOCKS // SLOT))
        self.ring = mmap.mmap(self.frames.fileno(), BLOCK * BLOCKS, mmap.MAP_SHARED)
        self.names = dict(socket.if_nameindex())
        self.log = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.log.bind((0, 0))
        self.log.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, QUEUE)
        self.configure(1, struct.pack("B", 1))  # bind the group
        self.configure(2, struct.pack(">IBx", 0xFFFF, 2))  # whole packets
        self.configure(5, struct.pack(">I", 1))  # one packet a message, at once
        self.configure(6, struct.pack(">H", 1))  # numbered

    def configure(self, kind, value):
        attribute = struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
        body = struct.pack(">BBH", 0, 0, LOG_GROUP) + attribute
        self.log.send(struct.pack("=IHHII", 16 + len(body), LOG_CONFIG, 0x5, 1, 0) + body)  # REQUEST | ACK
        answer = self.log.recv(4096)
        code = struct.unpack_from("=i", answer, 16)[0]
        if code:
            raise OSError(-code, "nfnetlink_log")

    def read(self):
        """Everything since the tap was opened: (frames, logged), both in order."""
        frames, logged = self.read_frames(), self.read_log()
        self.ring.close()
        self.frames.close()
        self.log.close()
        return frames, logged

    def read_frames(self):
        frames = []
        for slot in range(0, len(self.ring), SLOT):
            status, length, kept, start, _, seconds, nanoseconds = struct.unpack_from("=IIIHHII", self.ring, slot)
            if not status & TP_STATUS_USER:
                break
            index, _, kind = struct.unpack_from("=iHB", self.ring, slot + 36)
            interface = self.names[index]
            if kept != length or kind == OTHERHOST or interface == "lo":
                raise Lost(f"a frame on {interface} that the topology does not expect (type {kind}, {length} bytes)")
            data = self.ring[slot + start : slot + start + kept]
            frames.append(Frame(seconds * 10**9 + nanoseconds, interface, kind == OUTGOING, data))
        dropped = struct.unpack("=II", self.frames.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        if dropped or len(frames) == len(self.ring) // SLOT:
            raise Lost(f"the ring of the packet socket is too small: {dropped} frames dropped")
        return frames

    def read_log(self):
        logged = []
        while True:
            try:
                buffer = self.log.recv(1 << 18, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return logged
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    raise Lost("nfnetlink_log dropped packets") from error
                raise
            while len(buffer) >= 16:
                length, kind = struct.unpack_from("=IH", buffer)
                if kind == 4 << 8:
                    attributes = parse_attributes(buffer[20:length])
                    if struct.unpack(">I", attributes[12])[0] != len(logged):
                        raise Lost(f"nfnetlink_log dropped a packet after number {len(logged)}")
                    logged.append(Logged(attributes[1][2], attributes[9]))
                buffer = buffer[(length + 3) & ~3 :]


def parse_attributes(data):
    attributes = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        attributes[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return attributes


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) & ~1])) + (data[-1] << 8 if len(data) & 1 else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Ip:
    """As much of an IP packet as the recorder must know."""

    CHECKSUM_AT = {6: 16, 17: 6, 1: 2, 58: 2}

    def __init__(self, data):
        self.version = data[0] >> 4
        if self.version == 4:
            size = (data[0] & 15) * 4
            self.data = data[: struct.unpack_from(">H", data, 2)[0]]
            self.protocol, fragment = data[9], struct.unpack_from(">H", data, 6)[0]
            self.fragment = fragment & 0x3FFF != 0
            addresses = data[12:20]
        else:
            size = 40
            self.data = data[: 40 + struct.unpack_from(">H", data, 4)[0]]
            self.protocol, self.fragment = data[6], False
            addresses = data[8:40]
            while self.protocol in (0, 43, 44, 60):
                self.fragment |= self.protocol == 44
                self.protocol, extra = data[size], 8 if self.protocol == 44 else data[size + 1] * 8 + 8
                size += extra
        self.header = size
        self.payload = self.data[size:]
        self.pseudo = addresses + struct.pack(">II", len(self.payload), self.protocol)
        if (self.version, self.protocol) == (4, 1):
            self.pseudo = b""

    @property
    def icmp(self):
        """Type and code."""
        is_icmp = self.protocol in (1, 58) and not self.fragment and len(self.payload) > 1
        return (self.payload[0], self.payload[1]) if is_icmp else None

    def wrong(self):
        """Whether a checksum is wrong."""
        if self.version == 4 and checksum(self.data[: self.header]) != 0xFFFF:
            return True
        at = self.CHECKSUM_AT.get(self.protocol)
        if at is None or self.fragment or self.protocol == 17 and self.payload[6:8] == b"\0\0":
            return False
        return checksum(self.pseudo + self.payload) != 0xFFFF

    def completed(self):
        """The packet with its checksum. At the output hook the sum has only the pseudo header, the rest follows at the interface."""
        at = self.CHECKSUM_AT.get(self.protocol)
        if not self.wrong() or at is None or self.payload[at : at + 2] != struct.pack(">H", checksum(self.pseudo)):
            return self.data
        value = ~checksum(self.pseudo + self.payload[:at] + b"\0\0" + self.payload[at + 2 :]) & 0xFFFF
        if self.protocol == 17:
            value = value or 0xFFFF
        at += self.header
        return self.data[:at] + struct.pack(">H", value) + self.data[at + 2 :]


def ip_of(frame):
    """The IP packet of an Ethernet frame, or None."""
    return Ip(frame[14:]) if frame[12:14] in (b"\x08\x00", b"\x86\xdd") else None


def is_noise(packet):
    """Neighbour discovery, router discovery, multicast membership: the upkeep of a link."""
    return packet is None or packet.version == 6 and packet.protocol == 58 and packet.icmp and (
        130 <= packet.icmp[0] <= 137 or packet.icmp[0] == 143
    )


def is_of_the_router(packet):
    """Errors that a router answers with while it forwards, and that a replay must make by itself: time exceeded, no route or no
    neighbour, too big, prohibited. A closed local port or an unknown protocol is the local stack's word and no such error."""
    if packet.icmp is None:
        return False
    kind, code = packet.icmp
    if packet.version == 4:
        return kind == 11 or kind == 3 and code not in (2, 3)
    return kind in (2, 3) or kind == 1 and code != 4


def local_frames(frames, logged):
    """The packets of the router's own stack, each placed between the arrivals where it was sent.

    Its time is that of the frame that left for it. The place is checked twice: what prerouting logged must be what arrived,
    in the same order.
    """
    local = []
    position = 0  # in frames, behind the last arrival that was logged
    start = 0
    for entry in logged:
        if entry.hook == PREROUTING:
            while position < len(frames):
                frame = frames[position]
                position += 1
                if not frame.outgoing and frame.bytes[14 : 14 + len(entry.bytes)] == entry.bytes:
                    break
            else:
                raise Lost("a packet at prerouting that did not arrive, or in another order")
            start = max(start, position)
            continue
        packet = Ip(entry.bytes)
        if is_noise(packet) or is_of_the_router(packet):
            continue
        start = max(start, position)
        for index in range(start, len(frames)):
            frame = frames[index]
            left = ip_of(frame.bytes)
            if frame.outgoing and left and left.protocol == packet.protocol and same_but_addresses(left, packet):
                local.append((index, Frame(frame.time, "local", False, packet.completed())))
                start = index + 1
                break
        else:
            raise Lost("a packet of the router's own that never left: its time is unknown")
    return local


def same_but_addresses(left, right):
    """Whether two packets are one, before and after NAT: same length and identification, same bytes where NAT writes nothing."""
    if left.version != right.version or len(left.data) != len(right.data):
        return False
    if left.version == 4 and left.data[4:6] != right.data[4:6]:
        return False
    for part in {6: (slice(4, 16), slice(20, None)), 17: (slice(8, None),)}.get(left.protocol, ()):
        if left.payload[part] != right.payload[part]:
            return False
    return True


def merge(frames, local):
    """All frames in one row. A packet of the router's own stands before the frame that left for it."""
    row = list(enumerate(frames)) + [(index - 0.5, frame) for index, frame in local]
    return [frame for _, frame in sorted(row, key=lambda pair: pair[0])]


def block(kind, body):
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def option(code, value):
    return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def pcapng(frames, interfaces, direction):
    """A capture file: nanoseconds, named interfaces, nothing about the machine it was made on.

    `direction` is what the packets' flags say: 1 inbound, 2 outbound. What the router's own stack sent has none."""
    out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    for name in interfaces:
        link = RAW if name == "local" else ETHERNET
        out += block(1, struct.pack("<HHI", link, 0, 262144) + option(2, name.encode()) + option(9, b"\x09") + option(0, b""))
    for frame in frames:
        length, interface = len(frame.bytes), interfaces.index(frame.interface)
        header = struct.pack("<IIIII", interface, frame.time >> 32, frame.time & 0xFFFFFFFF, length, length)
        flags = b"" if frame.interface == "local" else option(2, struct.pack("<I", direction)) + option(0, b"")
        out += block(6, header + frame.bytes + b"\0" * (-length % 4) + flags)
    return out
