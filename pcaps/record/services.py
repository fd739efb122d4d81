"""The servers of the stories. Each runs in a thread of its own and ends with the recording."""

import contextlib
import http.server
import ipaddress
import socket
import socketserver
import struct
import threading
import time

SO_ORIGINAL_DST = 80

# What the small name server knows. Everything else does not exist.
NAMES = {
    "www.example.com": ("198.51.100.80", "2001:db8:100::80"),
    "video.example.net": ("198.51.100.81", "2001:db8:100::81"),
}


def background(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


def udp(host, address, port):
    """A datagram socket of a host."""
    with host:
        server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, port))
    return server


def listener(host, address, port):
    with host:
        server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(16)
    return server


def connect(host, source, destination):
    """A TCP connection of a host from a known port."""
    with host:
        client = socket.socket(socket.AF_INET6 if ":" in destination[0] else socket.AF_INET, socket.SOCK_STREAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.settimeout(10)
    client.bind(source)
    client.connect(destination)
    return client


def echo_udp(host, address, port):
    """Sends every datagram back."""
    server = udp(host, address, port)

    def serve():
        while True:
            data, peer = server.recvfrom(65536)
            server.sendto(data, peer)

    background(serve)


def tcp(host, address, port, talk):
    """Hands every accepted connection to `talk`."""
    server = listener(host, address, port)

    def serve():
        while True:
            client, _ = server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            background(talk, client)

    background(serve)


def echo(client):
    """Sends everything back, closes when the other side does."""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            client.sendall(data)
        client.close()


class Web(http.server.BaseHTTPRequestHandler):
    """Answers with as many lines as the path says (`/40`)."""

    protocol_version = "HTTP/1.1"
    server_version = "web"
    sys_version = ""

    def do_GET(self):
        count = int(self.path.strip("/"))
        body = b"".join(b"%04d the quick brown fox jumps over the lazy dog, and over the router\n" % line for line in range(count))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class WebServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True

    def __init__(self, server):
        super().__init__(server.getsockname(), Web, bind_and_activate=False)
        self.socket.close()
        self.socket = server


def web(host, address, port=80):
    background(WebServer(listener(host, address, port)).serve_forever)


def answer_dns(query):
    """The answer to a DNS query for an A or AAAA record."""
    end, labels = 12, []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]].decode())
        end += query[end] + 1
    kind = struct.unpack_from(">H", query, end + 1)[0]
    question = query[12 : end + 5]
    known = NAMES.get(".".join(labels).lower())
    record = b""
    if known and kind in (1, 28):
        data = ipaddress.ip_address(known[0 if kind == 1 else 1]).packed
        record = struct.pack(">HHHIH", 0xC00C, kind, 1, 300, len(data)) + data
    flags = 0x8580 if known else 0x8583
    return query[:2] + struct.pack(">HHHHH", flags, 1, 1 if record else 0, 0, 0) + question + record


def dns(host, address, port=53, delay=0.0):
    server = udp(host, address, port)

    def serve():
        while True:
            query, peer = server.recvfrom(4096)
            time.sleep(delay)
            server.sendto(answer_dns(query), peer)

    background(serve)


def dns_forwarder(router, address, upstream, port=53, own_port=5300):
    """The router's own resolver: asks `upstream` from one port of its own."""
    server = udp(router, address, port)
    own = udp(router, "0.0.0.0", own_port)

    def serve():
        while True:
            query, peer = server.recvfrom(4096)
            own.sendto(query, (upstream, 53))
            server.sendto(own.recvfrom(4096)[0], peer)

    background(serve)


def transparent_proxy(router, port, first_own_port):
    """A proxy to which the router redirects: it asks the kernel where the client wanted to go, and goes there itself."""
    own_port = iter(range(first_own_port, first_own_port + 100))

    def talk(client):
        raw = client.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        destination = (socket.inet_ntoa(raw[4:8]), struct.unpack_from(">H", raw, 2)[0])
        server = connect(router, ("0.0.0.0", next(own_port)), destination)

        def copy(source, target):
            try:
                while data := source.recv(1400):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        background(copy, server, client)
        copy(client, server)

    tcp(router, "0.0.0.0", port, talk)
