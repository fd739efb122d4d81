"""What happens in each story. README.md beside the captures says what to look at."""

import contextlib
import socket
import struct
import subprocess
import time

import crafted
import services
from services import connect, udp

WEB = "198.51.100.80"
VIDEO = "198.51.100.81"
RESOLVER = "198.51.100.53"


def say(client, *lines):
    """Sends each line and waits for the same back."""
    for line in lines:
        client.sendall(line)
        read_exactly(client, len(line))


def read_exactly(client, length):
    data = b""
    while len(data) < length:
        more = client.recv(length - len(data))
        if not more:
            raise ConnectionError("the other side closed early")
        data += more
    return data


def ask(client, data, server):
    """One datagram there and one back."""
    client.settimeout(5)
    client.sendto(data, server)
    return client.recvfrom(65536)


def ask_again(client, data, server):
    """The same, for a datagram whose first tries only teach the senders how much the way carries."""
    client.settimeout(0.1)
    for _ in range(4):
        client.sendto(data, server)
        with contextlib.suppress(TimeoutError):
            return client.recvfrom(65536)
    raise TimeoutError("no answer")


def reset(client):
    """Closes with a RST instead of a FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def home_router(lab, record):
    laptop, phone, tv = lab.inside("laptop", 10), lab.inside("phone", 11), lab.inside("tv", 12)
    web, video, resolver = lab.outside("web", WEB), lab.outside("video", VIDEO), lab.outside("resolver", RESOLVER)
    stranger = lab.outside("stranger", "192.0.2.66")
    services.web(web, WEB)
    services.tcp(video, VIDEO, 443, services.echo)
    services.dns(resolver, RESOLVER)
    with record():
        laptop.run(f"dig +short -b 192.168.1.10#40053 @{RESOLVER} www.example.com")
        laptop.run(f"curl -sS -o /dev/null --local-port 40080 --resolve www.example.com:80:{WEB} http://www.example.com/80")
        phone.run(f"dig +short -b 192.168.1.11#41053 @{RESOLVER} www.example.com AAAA")
        phone.run(f"curl -sS -o /dev/null --local-port 41080 --resolve www.example.com:80:{WEB} http://www.example.com/20")
        stream = connect(tv, ("192.168.1.12", 42443), (VIDEO, 443))
        say(stream, b"hello", b"x" * 600)
        tv.run(f"ping -q -c 3 -i 0.2 -e 12 {WEB}")
        laptop.run("ping -q -c 1 -e 10 192.168.1.1")
        # Refused at the border: mail by a reset, QUIC by an ICMP error.
        phone.run(f"nc -z -w 2 -p 41025 {WEB} 25", ok=(1,))
        udp(phone, "192.168.1.11", 41443).sendto(b"initial", (WEB, 443))
        # A connection that only the laptop remembers.
        crafted.send(laptop, [crafted.tcp("192.168.1.10", WEB, (40022, 22), crafted.FIN | crafted.ACK)])
        # From outside: a ping is answered; a connection attempt and two odd probes are not.
        stranger.run("ping -q -c 1 -e 66 203.0.113.1")
        stranger.run("nc -z -w 1 -p 6622 203.0.113.1 22", ok=(1,))
        probes = (crafted.FIN | crafted.PSH | crafted.URG, 0)
        crafted.send(stranger, [crafted.tcp("192.0.2.66", "203.0.113.1", (6623, 23), flags) for flags in probes])
        say(stream, b"y" * 600)


def same_port(lab, record):
    laptop, phone = lab.inside("laptop", 10), lab.inside("phone", 11)
    web, video = lab.outside("web", WEB), lab.outside("video", VIDEO)
    for host, address in ((web, WEB), (video, VIDEO)):
        services.tcp(host, address, 80, services.echo)
        for port in (500, 5004):
            services.echo_udp(host, address, port)
    open_to_the_end = []

    def talk(host, port, server):
        client = connect(host, (host.addresses[0], port), (server, 80))
        say(client, b"hello from " + host.name.encode())
        open_to_the_end.append(client)

    with record():
        talk(laptop, 40000, WEB)
        talk(phone, 40000, WEB)  # taken: another port
        talk(phone, 40000, VIDEO)  # the other port again, though nothing is in the way there
        talk(laptop, 40000, VIDEO)
        talk(laptop, 40001, WEB)
        talk(phone, 40001, VIDEO)  # another server: no clash
        for port in (5004, 500):
            for host in (laptop, phone):
                ask(udp(host, host.addresses[0], port), b"hello from " + host.name.encode(), (WEB, port))
        for host in (laptop, phone):
            host.run(f"ping -q -c 1 -e 77 {WEB}")


def port_forward(lab, record):
    laptop, nas, console = lab.inside("laptop", 10), lab.inside("nas", 20), lab.inside("console", 21)
    visitor, friend = lab.outside("visitor", "192.0.2.66"), lab.outside("friend", "192.0.2.77")
    services.web(nas, "192.168.1.20")
    services.tcp(nas, "192.168.1.20", 22, services.echo)
    services.echo_udp(console, "192.168.1.21", 27016)
    services.echo_udp(friend, "192.0.2.77", 27016)
    with record():
        visitor.run("curl -sS -o /dev/null --local-port 6680 http://203.0.113.1:8080/30")
        shell = connect(visitor, ("192.0.2.66", 6622), ("203.0.113.1", 2222))
        say(shell, b"ls\n", b"uptime\n")
        laptop.run("curl -sS -o /dev/null --local-port 40080 http://203.0.113.1:8080/10")  # hairpin
        visitor.run("nc -z -w 2 -p 6643 203.0.113.1 8443", ok=(1,))  # forwarded, but nobody listens
        ask(udp(visitor, "192.0.2.66", 6616), b"join", ("203.0.113.1", 27016))
        ask(udp(console, "192.168.1.21", 27017), b"host", ("192.0.2.77", 27016))
        # The router is a hop on the way to its own address.
        visitor.run("traceroute -n -q 1 -N 1 -T -p 8080 --sport=6681 203.0.113.1")
        visitor.run("nc -z -w 1 -p 6699 203.0.113.1 9999", ok=(1,))  # not forwarded: the router itself refuses
        say(shell, b"exit\n")


def redirect_proxy(lab, record):
    laptop, phone = lab.inside("laptop", 10), lab.inside("phone", 11)
    web, resolver = lab.outside("web", WEB), lab.outside("resolver", RESOLVER)
    services.web(web, WEB)
    services.dns(resolver, RESOLVER)
    services.transparent_proxy(lab.router, 3128, first_own_port=50001)
    services.dns_forwarder(lab.router, "0.0.0.0", RESOLVER)
    with record():
        laptop.run("dig +short -b 192.168.1.10#40053 @192.0.2.53 www.example.com")  # no such server: the router answers for it
        laptop.run(f"curl -sS -o /dev/null --local-port 40080 http://{WEB}/20")
        phone.run(f"curl -sS -o /dev/null --local-port 41080 http://{WEB}/5")
        lab.router.run(f"ping -q -c 1 -e 1 {WEB}")
        laptop.run("nc -z -w 1 -p 40022 192.168.1.1 22", ok=(1,))  # dropped: no answer


def traceroute(lab, record):
    laptop = lab.inside("laptop", 10)
    core = lab.outside("core", "192.0.2.1")
    edge = lab.outside("edge", "192.0.2.2", behind=core)
    web = lab.outside("web", WEB, behind=edge)
    services.tcp(web, WEB, 80, services.echo)
    with record():
        laptop.run(f"traceroute -n -q 2 --sport=40000 {WEB}")
        laptop.run(f"traceroute -n -q 1 -N 1 -I {WEB}")
        laptop.run(f"traceroute -n -q 1 -N 1 -T -p 80 {WEB}")
        laptop.run(f"nc -u -w 1 -p 40009 {WEB} 9", stdin="anybody?\n", ok=(0, 1))
        # An error about a connection that never was.
        unknown = crafted.ipv4("203.0.113.1", WEB, 17, crafted.udp("203.0.113.1", WEB, (40010, 9), b""))
        crafted.send(edge, [crafted.unreachable("192.0.2.2", "203.0.113.1", crafted.with_header_checksum(unknown))])


def syn_again(lab, record):
    laptop, web = lab.inside("laptop", 10), lab.outside("web", WEB)
    services.tcp(web, WEB, 80, services.echo)
    with record():
        for port, sequences in ((40001, (1_000_000_000, 2_000_000_000)), (40002, (2_000_000_000, 1_000_000_000))):
            # The first SYN gets lost behind the router; the laptop's kernel knows neither and resets what is answered.
            for sequence, ttl in zip(sequences, (2, 64)):
                crafted.send(laptop, [crafted.tcp("192.168.1.10", WEB, (port, 80), crafted.SYN, sequence, ttl=ttl)])


def ipv6_masquerade(lab, record):
    web6, resolver6 = "2001:db8:100::80", "2001:db8:100::53"
    laptop, phone = lab.inside("laptop", 10), lab.inside("phone", 11)
    core = lab.outside("core", "192.0.2.1", "2001:db8:2::1")
    web = lab.outside("web", WEB, web6, behind=core)
    resolver = lab.outside("resolver", RESOLVER, resolver6, behind=core)
    services.web(web, web6)
    services.tcp(web, web6, 443, services.echo)
    services.dns(resolver, resolver6)
    with record():
        laptop.run(f"dig +short -b fd00:1::10#40053 @{resolver6} www.example.com AAAA")
        laptop.run(f"curl -sS -o /dev/null --local-port 40080 http://[{web6}]/20")
        phone.run(f"ping -q -c 2 -i 0.2 -e 11 {web6}")
        phone.run("ping -q -c 1 -e 12 fd00:1::1")
        laptop.run(f"nc -u -w 1 -p 40009 {web6} 9", stdin="anybody?\n", ok=(0, 1))
        laptop.run(f"traceroute -n -q 1 -N 1 {web6}")
        streams = [connect(host, (host.addresses[1], 40443), (web6, 443)) for host in (laptop, phone)]
        for stream in streams:
            say(stream, b"hello")


def mid_stream(lab, record):
    laptop, phone, tv = lab.inside("laptop", 10), lab.inside("phone", 11), lab.inside("tv", 12)
    web = lab.outside("web", WEB)
    server_ends = []

    def talk(client):
        server_ends.append(client)
        with contextlib.suppress(OSError):
            services.echo(client)

    services.tcp(web, WEB, 22, talk)
    recording = record()
    speaks, listens, leaves = (
        connect(host, (host.addresses[0], port), (WEB, 22)) for host, port in ((laptop, 40022), (phone, 41022), (tv, 42022))
    )
    for client in (speaks, listens, leaves):
        say(client, b"before")
    lab.router.run("conntrack -F")
    with recording:
        # The client goes on first: nobody notices anything.
        say(speaks, b"after", b"and on")
        # The server goes on first: its segment finds no connection and is for the router itself, which refuses it.
        server_ends[1].send(b"news")
        time.sleep(0.05)
        with contextlib.suppress(OSError):
            listens.sendall(b"hello?")
        time.sleep(0.05)
        # The client leaves: a FIN opens no connection, is not translated, and shows the private address to the provider.
        leaves.shutdown(socket.SHUT_WR)
        time.sleep(0.3)  # one retransmission
        tv.ip("link set eth0 down")


def fragments(lab, record):
    laptop, phone = lab.inside("laptop", 10), lab.inside("phone", 11)
    web6, narrow6 = "2001:db8:100::80", "2001:db8:100::81"
    web = lab.outside("web", WEB, web6)
    narrow = lab.outside("narrow", VIDEO, narrow6, mtu=1280)
    for host, address in ((web, WEB), (narrow, VIDEO), (web, web6), (narrow, narrow6)):
        services.echo_udp(host, address, 7)
    services.web(web, WEB)
    with record():
        data = bytes(range(250)) * 12
        client = udp(laptop, "192.168.1.10", 40007)
        ask(client, data, (WEB, 7))
        ask(client, data, (VIDEO, 7))
        phone.run(f"ping -q -c 1 -s 2000 -e 11 {WEB}")
        # Must not be cut: one byte too many is answered by an error, the size that fits passes.
        phone.run(f"ping -q -c 1 -s 1472 -M do -e 12 -W 1 {WEB}", ok=(1,))
        phone.run(f"ping -q -c 1 -s 1464 -M do -e 13 {WEB}")
        # IPv6 is not cut on the way: every router whose line is too narrow answers "packet too big", until the size is right.
        client6 = udp(laptop, "fd00:1::10", 40007)
        for server in (web6, narrow6):
            ask_again(client6, data, (server, 7))
        # Last fragment first.
        datagram = crafted.udp("192.168.1.11", WEB, (41007, 7), data[:1200])
        with udp(phone, "192.168.1.11", 41007) as receiver:
            crafted.send(phone, reversed(crafted.fragments("192.168.1.11", WEB, datagram, 0x1234, 400)))
            receiver.settimeout(5)
            receiver.recvfrom(65536)
        # One fragment never comes: nothing leaves.
        datagram = crafted.udp("192.168.1.11", WEB, (41008, 7), data[:1200])
        crafted.send(phone, crafted.fragments("192.168.1.11", WEB, datagram, 0x1235, 400)[:2])


def half_closed(lab, record):
    laptop = lab.inside("laptop", 10)
    web = lab.outside("web", WEB)

    def answer_after_the_end(client):
        while client.recv(65536):
            pass
        for _ in range(3):
            client.sendall(b"still talking\n")
            time.sleep(0.05)
        kept.append(client)

    def end_at_once(client):
        client.sendall(b"that is all\n")
        client.shutdown(socket.SHUT_WR)
        kept.append(client)

    def refuse_the_request(client):
        client.recv(65536)
        reset(client)

    kept = []
    for port, talk in ((7, services.echo), (1001, answer_after_the_end), (1002, end_at_once), (1003, refuse_the_request)):
        services.tcp(web, WEB, port, talk)

    def client_to(port, own=None):
        return connect(laptop, ("192.168.1.10", own or 40000 + port), (WEB, port))

    with record():
        # Both sides close, one after the other.
        whole = client_to(7)
        say(whole, b"hello")
        whole.shutdown(socket.SHUT_WR)
        whole.recv(1)
        # The client has said all it wants; the server goes on.
        client = client_to(1001)
        client.sendall(b"tell me more")
        client.shutdown(socket.SHUT_WR)
        read_exactly(client, 42)
        # The server has said all it wants; the client goes on.
        client2 = client_to(1002)
        read_exactly(client2, 12)
        client2.recv(1)
        client2.sendall(b"but I have not")
        # Reset by the server, by the client, and at once.
        client3 = client_to(1003)
        client3.sendall(b"please")
        with contextlib.suppress(ConnectionResetError):
            client3.recv(1)
        client4 = client_to(7, own=41007)
        say(client4, b"hello")
        reset(client4)
        laptop.run(f"nc -z -w 2 -p 41004 {WEB} 1004", ok=(1,))
        # The same ports again, right after the client's own reset.
        client5 = client_to(7, own=41007)
        say(client5, b"hello again")


def udp_stream(lab, record):
    laptop, phone, tv = lab.inside("laptop", 10), lab.inside("phone", 11), lab.inside("tv", 12)
    web, resolver, slow = lab.outside("web", WEB), lab.outside("resolver", RESOLVER), lab.outside("slow", "198.51.100.54")
    services.echo_udp(web, WEB, 5004)
    services.dns(resolver, RESOLVER)
    services.dns(slow, "198.51.100.54", delay=2.5)
    with record():
        laptop.run(f"dig +short -b 192.168.1.10#40053 @{RESOLVER} www.example.com")
        log = udp(tv, "192.168.1.12", 42514)
        slow_query = phone.start("dig +short +tries=1 -b 192.168.1.11#41053 @198.51.100.54 www.example.com",
                                 stdout=subprocess.DEVNULL)
        call = udp(phone, "192.168.1.11", 41004)
        for word in range(10):
            ask(call, b"voice %d" % word, (WEB, 5004))
            if word % 4 == 0:
                log.sendto(b"<13>tv: still on", (WEB, 514))
            time.sleep(0.3)
        slow_query.wait(timeout=5)


# Name of the files: (story, what its lab needs).
ALL = {
    "home-router": (home_router, {}),
    "same-port": (same_port, {}),
    "port-forward": (port_forward, {}),
    "redirect-proxy": (redirect_proxy, {}),
    "traceroute": (traceroute, {}),
    "syn-again": (syn_again, {}),
    "ipv6-masquerade": (ipv6_masquerade, {"ipv6": True}),
    "mid-stream": (mid_stream, {}),
    "fragments": (fragments, {"ipv6": True, "wan_mtu": 1492}),
    "half-closed": (half_closed, {}),
    "udp-stream": (udp_stream, {}),
}
