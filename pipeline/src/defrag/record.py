#!/usr/bin/env python3
"""Records what the kernel of this machine makes of random fragments: the truth that `kernel.txt` keeps.

    record.py SEED CASES > kernel.txt        (as root; makes and removes two network namespaces)

One line a case: what the fragments are in words; the fragments, as IP packets in hexadecimal, after `<`; what left the
router, in order, after `>`. The router forwards between two veths, with a rule that needs connection tracking, and checks
no transport checksums, for random pieces of random protocols have none.
"""
import os, random, select, socket, struct, subprocess, sys

HOST, ROUTER = "frag-host", "frag-router"
LAN, WAN = "02:00:00:00:01:01", "02:00:00:00:02:01"
HOST_LAN, HOST_WAN = "02:00:00:00:01:02", "02:00:00:00:02:02"
S4, D4, S6, D6 = "192.168.1.10", "203.0.113.10", "2001:db8:1::10", "2001:db8:2::10"


def run(command, **more):
    subprocess.run(command, shell=True, check=True, **more)


def up():
    r = f"ip -n {ROUTER}"
    run(f"ip netns add {HOST}; ip netns add {ROUTER}")
    for name, peer, mac, peer_mac in ("lan0", "la", LAN, HOST_LAN), ("wan0", "wa", WAN, HOST_WAN):
        run(f"{r} link add {name} address {mac} type veth peer name {peer} address {peer_mac} netns {HOST}")
        run(f"ip netns exec {HOST} sysctl -qw net.ipv6.conf.{peer}.disable_ipv6=1")
        run(f"{r} link set {name} up; ip -n {HOST} link set {peer} up")
    run(f"ip netns exec {ROUTER} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    run(f"{r} addr add 192.168.1.1/24 dev lan0; {r} addr add 203.0.113.1/24 dev wan0")
    run(f"{r} addr add 2001:db8:1::1/64 dev lan0 nodad; {r} addr add 2001:db8:2::1/64 dev wan0 nodad")
    for address in D4, D6:
        run(f"{r} neigh add {address} lladdr {HOST_WAN} dev wan0 nud permanent")
    rules = "table inet t {\n chain c {\n  type filter hook forward priority 0;\n  ct state established accept\n }\n}\n"
    run(f"ip netns exec {ROUTER} nft -f -", input=rules.encode())
    settings = "nf_conntrack_checksum=0 net.netfilter.nf_conntrack_frag6_timeout=5 net.ipv4.ipfrag_time=5"
    run(f"ip netns exec {ROUTER} sysctl -qw net.netfilter.{settings}")


def down():
    for name in HOST, ROUTER:
        subprocess.run(f"ip netns del {name}", shell=True, stderr=subprocess.DEVNULL)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(payload, protocol, id, offset, more, df, ttl, tos, options):
    field = df << 14 | more << 13 | offset // 8
    length = 20 + len(options) + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, tos, length, id, field, ttl, protocol, 0)
    head += socket.inet_aton(S4) + socket.inet_aton(D4) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(payload, next_header, id, offset, more, hops, traffic_class, before):
    body = before + struct.pack("!BBHI", next_header, 0, offset | more, id) + payload
    head = struct.pack("!IHBB", 6 << 28 | traffic_class << 20, len(body), 60 if before else 44, hops)
    return head + socket.inet_pton(socket.AF_INET6, S6) + socket.inet_pton(socket.AF_INET6, D6) + body


def pieces(rnd):
    """A datagram in random pieces, in random order, with random things wrong."""
    count = rnd.randint(2, 6)
    ends = [8 * cut for cut in sorted(rnd.sample(range(1, 12), count - 1))] + [rnd.choice([88, 96, 97, 100, 104])]
    starts = [0] + ends[:-1]
    list_ = [[start, end, int(end != ends[-1])] for start, end in zip(starts, ends)]
    if rnd.random() < 0.6:
        rnd.shuffle(list_)
    for _ in range(rnd.choice([0, 0, 0, 1, 1, 2, 3])):
        kind, piece = rnd.random(), list(rnd.choice(list_))
        if kind < 0.3:
            start = 8 * rnd.randrange(12)
            piece = [start, start + rnd.choice([8, 16, 24, 32]), rnd.choice([0, 1, 1])]
        elif kind < 0.5:
            piece[1] = max(piece[0], piece[1] + rnd.choice([-8, 8, -4, 4, -3]))
        elif kind < 0.6:
            piece[2] ^= 1
        list_.insert(rnd.randrange(len(list_) + 1), piece)
    return list_


def case(rnd, number):
    v6, protocol = rnd.random() < 0.5, rnd.choice([17, 17, 17, 6, 99])
    ecn, df, before, hops = (rnd.random() < odds for odds in (0.2, 0.3, 0.15, 0.2))
    data = struct.pack("!HHHH", 1000, 2000, 4000, 0) + bytes(i * 7 & 255 for i in range(8, 200))
    packets, words = [], []
    for start, end, more in pieces(rnd):
        tos = rnd.choice([0, 1, 2, 3]) if ecn else 0
        ttl = rnd.choice([64, 50, 33]) if hops else 64
        payload = data[start:end]
        if v6:
            options = bytes([44, 0, 1, 4, 0, 0, 0, 0]) if before and rnd.random() < 0.8 else b""
            packets.append(ipv6(payload, protocol, 0x10000 + number, start, more, ttl, tos, options))
        else:
            options = bytes([0x94, 4, 0, 0]) if before and start == 0 else b""
            flag = rnd.choice([0, 1]) if df else 0
            packets.append(ipv4(payload, protocol, 0x1000 + number, start, more, flag, ttl, tos, options))
        words.append(f"{start}-{end}{'M' if more else ''}")
    return f"IPv{6 if v6 else 4} protocol {protocol}: {' '.join(words)}", packets


def inside_host(seed, cases):
    rnd = random.Random(seed)
    sockets = []
    for name in "la", "wa":
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        s.bind((name, 3))
        sockets.append(s)
    lan, wan = sockets
    link = bytes.fromhex((LAN + HOST_LAN).replace(":", ""))
    print(f"# seed {seed}, Linux {os.uname().release.split('-')[0]}")
    for number in range(cases):
        words, packets = case(rnd, number)
        for packet in packets:
            lan.send(link + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet)
        out = []
        while select.select([wan], [], [], 0.015)[0]:
            frame, address = wan.recvfrom(65535)
            neighbours = frame[12:14] == b"\x86\xdd" and frame[20] in (0, 58)
            if address[2] != 4 and frame[12:14] in (b"\x08\x00", b"\x86\xdd") and not neighbours:
                out.append(frame[14:].hex())
        print(words, "<", " ".join(p.hex() for p in packets), ">", " ".join(out))


if __name__ == "__main__":
    if sys.argv[1] == "inside":
        inside_host(int(sys.argv[2]), int(sys.argv[3]))
    else:
        try:
            down()
            up()
            run(f"ip netns exec {HOST} {sys.executable} {__file__} inside {sys.argv[1]} {sys.argv[2]}")
        finally:
            down()
