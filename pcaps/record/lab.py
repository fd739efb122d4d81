"""A home router and its surroundings, made of network namespaces.

Every host is a namespace. Inside hosts hang on one switch behind the router's lan0; outside hosts form a tree behind the provider's
router at wan0. Whatever would put noise into a capture is off: neighbours are static, so there is neither ARP nor neighbour discovery;
no interface has a link-local address; every link computes its own checksums and cuts its own segments, as a wire would show them.
"""

import ctypes
import ipaddress
import os
import pathlib
import subprocess

NAMESPACES = "uct-rec-"
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
HOME = os.open("/proc/self/ns/net", os.O_RDONLY)

OFFLOADS = "rx off tx off sg off tso off gso off gro off".split()

LAN = ("192.168.1.1/24", "fd00:1::1/64")
WAN = ("203.0.113.1/24", "2001:db8:113::1/64")
ISP = ("203.0.113.254", "2001:db8:113::fe")


class Failed(Exception):
    """A recording that cannot be kept, and why."""


def run(*command):
    """Run a command to its end and return what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def enter(namespace):
    """Move the calling thread into a network namespace."""
    if LIBC.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def mac_of(address):
    """A MAC that shows its owner's IPv4 address: 192.168.1.10 has 02:00:c0:a8:01:0a."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x00" + ipaddress.IPv4Address(address).packed)


def bare(address):
    return address.split("/")[0]


def single(address):
    """The route to one host."""
    return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"


class Host:
    """One namespace. Sockets made inside `with host:` belong to it, and keep belonging to it after the block."""

    def __init__(self, name, addresses):
        self.name = name
        self.addresses = addresses  # without prefix, IPv4 first
        self.namespace = NAMESPACES + name
        self.parent = None  # the router of an outside host
        self.device = None  # and that router's device towards it
        self.processes = []
        run("ip", "netns", "add", self.namespace)
        self.handle = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        ipv6 = "0" if len(addresses) > 1 else "1"
        for key, value in {
            "ipv4/conf/all/rp_filter": 0,
            "ipv4/conf/default/rp_filter": 0,
            "ipv6/conf/all/disable_ipv6": ipv6,
            "ipv6/conf/default/disable_ipv6": ipv6,
            "ipv6/conf/default/addr_gen_mode": 1,
            "ipv6/conf/default/accept_dad": 0,
            "ipv6/conf/default/accept_ra": 0,
            "ipv6/conf/default/router_solicitations": 0,
        }.items():
            self.sysctl("net/" + key, value)
        self.ip("link set lo up")

    @property
    def mac(self):
        return mac_of(self.addresses[0])

    def __enter__(self):
        enter(self.handle)
        return self

    def __exit__(self, *_):
        enter(HOME)

    def sysctl(self, key, value):
        with self:
            pathlib.Path("/proc/sys", key).write_text(f"{value}\n")

    def forward(self):
        self.sysctl("net/ipv4/ip_forward", 1)
        self.sysctl("net/ipv6/conf/all/forwarding", 1)

    def ip(self, words):
        run("ip", "-n", self.namespace, *words.split())

    def up(self, device, mac, addresses, mtu=1500):
        """Bring up one end of a cable."""
        self.ip(f"link set {device} address {mac} mtu {mtu}")
        with self:
            run("ethtool", "-K", device, *OFFLOADS)
        self.ip(f"link set {device} up")
        for address in addresses:
            self.ip(f"address add {address} dev {device}" + (" nodad" if ":" in address else ""))

    def knows(self, device, mac, addresses):
        for address in addresses:
            self.ip(f"neighbor replace {bare(address)} lladdr {mac} nud permanent dev {device}")

    def run(self, command, ok=(0,), stdin=None):
        """Run a real client to its end. Its exit code must be one of `ok`: a story that went another way is not kept."""
        words = ["ip", "netns", "exec", self.namespace, *command.split()]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, input=stdin)
        if done.returncode not in ok:
            raise Failed(f"{self.name}: {command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, command, **options):
        """Start a client that runs beside the story."""
        process = subprocess.Popen(["ip", "netns", "exec", self.namespace, *command.split()], **options)
        self.processes.append(process)
        return process

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        os.close(self.handle)
        run("ip", "netns", "delete", self.namespace)


class Lab:
    """The router between a LAN and an outside. `with Lab() as lab:` takes everything away again."""

    def __init__(self, ipv6=False, wan_mtu=1500):
        self.families = 2 if ipv6 else 1
        self.hosts = []
        self.inside_hosts = []
        self.neighbors = []
        self.wan_mtu = wan_mtu
        # What an interrupted recording left behind.
        for line in run("ip", "netns", "list").splitlines():
            if line.startswith(NAMESPACES):
                run("ip", "netns", "delete", line.split()[0])

        self.lan, self.wan = LAN[: self.families], WAN[: self.families]
        self.router = self.host("router", [bare(address) for address in self.lan])
        self.router.forward()
        self.switch = self.host("switch", ["0.0.0.0"])
        self.switch.ip("link add br0 type bridge stp_state 0 mcast_snooping 0")
        for family in ("ip", "ip6"):
            self.switch.sysctl(f"net/bridge/bridge-nf-call-{family}tables", 0)
        self.switch.ip("link set br0 up")
        self.plug(self.router, "lan0")
        self.router.up("lan0", mac_of(bare(self.lan[0])), self.lan)

        self.isp = self.host("isp", ISP[: self.families])
        self.isp.forward()
        self.cable(self.router, "wan0", self.isp, "home0")
        self.router.up("wan0", mac_of(bare(self.wan[0])), self.wan, wan_mtu)
        prefixed = [f"{address}/{wan.split('/')[1]}" for address, wan in zip(self.isp.addresses, self.wan)]
        self.isp.up("home0", self.isp.mac, prefixed, wan_mtu)
        self.isp.knows("home0", mac_of(bare(self.wan[0])), self.wan)
        self.neighbor("wan0", self.isp)
        for address in self.isp.addresses:
            self.router.ip(f"route add default via {address} dev wan0")
        for device in ("lan0", "wan0"):
            # The router's own TCP hands over single segments: every packet at its hooks is one packet on the wire.
            self.router.ip(f"link set {device} gso_max_segs 1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for host in reversed(self.hosts):
            host.close()

    def host(self, name, addresses):
        host = Host(name, addresses)
        self.hosts.append(host)
        return host

    def cable(self, near, near_device, far, far_device):
        run("ip", "link", "add", near_device, "netns", near.namespace, "type", "veth",
            "peer", "name", far_device, "netns", far.namespace)

    def plug(self, host, device):
        """A cable from an inside host to the switch, which knows for good who hangs on which port."""
        port = f"port-{host.name}"
        self.cable(host, device, self.switch, port)
        self.switch.ip(f"link set {port} master br0")
        self.switch.up(port, "02:00:00:00:00:%02x" % len(self.hosts), [])
        run("bridge", "-n", self.switch.namespace, "fdb", "replace", host.mac, "dev", port, "master", "static")

    def neighbor(self, device, host):
        self.router.knows(device, host.mac, host.addresses)
        self.neighbors += [(address, host.mac, device) for address in host.addresses]

    def inside(self, name, number):
        """A host of the LAN: 192.168.1.NUMBER, and fd00:1::NUMBER in a lab with IPv6."""
        host = self.host(name, [f"192.168.1.{number}", f"fd00:1::{number}"][: self.families])
        self.plug(host, "eth0")
        host.up("eth0", host.mac, [f"{address}/{lan.split('/')[1]}" for address, lan in zip(host.addresses, self.lan)])
        host.knows("eth0", self.router.mac, self.lan)
        for other in self.inside_hosts:
            host.knows("eth0", other.mac, other.addresses)
            other.knows("eth0", host.mac, host.addresses)
        self.inside_hosts.append(host)
        self.neighbor("lan0", host)
        for address in self.lan:
            host.ip(f"route add default via {bare(address)} dev eth0")
        return host

    def outside(self, name, *addresses, behind=None, mtu=1500):
        """A host of the Internet, reached through the provider's router or through the router `behind`."""
        host = self.host(name, list(addresses))
        host.parent, host.device = behind or self.isp, f"to-{name}"
        host.parent.forward()
        self.cable(host, "eth0", host.parent, host.device)
        host.up("eth0", host.mac, [single(address) for address in addresses], mtu)
        host.parent.up(host.device, host.parent.mac, [], mtu)
        host.knows("eth0", host.parent.mac, host.parent.addresses)
        host.parent.knows(host.device, host.mac, addresses)
        for address, gateway in zip(addresses, host.parent.addresses):
            host.ip(f"route add {single(gateway)} dev eth0")
            host.ip(f"route add default via {gateway} dev eth0")
        # Every router on the way learns the new host.
        hop = host
        while hop.parent:
            for address, via in zip(addresses, hop.addresses):
                hop.parent.ip(f"route add {single(address)} dev {hop.device}" + ("" if hop is host else f" via {via}"))
            hop = hop.parent
        return host

    def topology(self):
        """The router as `uct replay --topology` reads it."""
        lines = []
        for name, addresses, mtu in (("lan0", self.lan, 1500), ("wan0", self.wan, self.wan_mtu)):
            quoted = ", ".join(f'"{address}"' for address in addresses)
            lines += ["[[interface]]", f'name = "{name}"', f"addresses = [{quoted}]", f'mac = "{mac_of(bare(addresses[0]))}"',
                      f"mtu = {mtu}", ""]
        for address in self.isp.addresses:
            to = "::/0" if ":" in address else "0.0.0.0/0"
            lines += ["[[route]]", f'to = "{to}"', f'via = "{address}"', 'dev = "wan0"', ""]
        for address, mac, device in self.neighbors:
            lines += ["[[neighbor]]", f'address = "{address}"', f'mac = "{mac}"', f'dev = "{device}"', ""]
        return "\n".join(lines)
