"""Records the stories named on the command line, or all of them, into the folder above this one."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import lab
import stories
import tap

FOLDER = pathlib.Path(__file__).resolve().parent.parent
LARGEST = 60_000


class Recording:
    """One story of one lab. Inside `with recording:` everything that passes the router is kept."""

    def __init__(self, the_lab, name, sysctls):
        self.lab, self.name, self.sysctls = the_lab, name, sysctls
        self.router = the_lab.router
        for key, value in sysctls.items():
            self.router.sysctl(f"net/netfilter/{key}", value)
        self.router.run(f"nft -f {FOLDER / name}.nft")
        self.router.run("nft -f -", stdin=tap.LOG_RULES)

    def __enter__(self):
        self.events = self.router.start(
            f"conntrack -E -o timestamp -b {16 << 20}", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.wait_for_listener()
        with self.router:
            self.tap = tap.Tap()

    def wait_for_listener(self):
        """Events are made only while someone listens: nothing may pass before."""
        for _ in range(500):
            for line in self.router.run("cat /proc/net/netlink").splitlines()[1:]:
                _, protocol, _, groups, *_ = line.split()
                if protocol == "12" and int(groups, 16) & 7:
                    return
            time.sleep(0.01)
        raise lab.Failed("conntrack -E does not listen")

    def __exit__(self, kind, *_):
        if kind:
            return
        time.sleep(0.3)  # the last delayed acknowledgement
        before = time.time_ns()
        listing = self.router.run("conntrack -L")
        listed_at = time.time_ns()
        frames, logged = self.tap.read()
        self.events.send_signal(signal.SIGINT)
        events, complaints = self.events.communicate(timeout=10)
        if "overrun" in complaints or "ENOBUFS" in complaints:
            raise lab.Failed(f"conntrack -E lost events: {complaints}")

        local = tap.local_frames(frames, logged)
        seen = [frame for frame in tap.merge(frames, local) if frame.interface == "local" or not tap.is_noise(tap.ip_of(frame.bytes))]
        if seen and seen[-1].time > before:
            raise lab.Failed("packets passed while the table was listed")
        arrived = [frame for frame in seen if not frame.outgoing]
        emitted = [frame for frame in seen if frame.outgoing]
        self.check(arrived, emitted)

        interfaces = ["lan0", "wan0"]
        self.write("pcapng", tap.pcapng(arrived, interfaces + ["local"] * bool(local), 1))
        self.write("emitted.pcapng", tap.pcapng(emitted, interfaces, 2))
        self.write("toml", self.lab.topology().encode())
        self.write("list", listing.encode())
        self.write("events", events.encode())
        self.write("meta.toml", self.meta(listed_at).encode())
        print(f"{self.name}: {len(arrived)} arrived ({len(local)} from the router itself), {len(emitted)} emitted, "
              f"{len(events.splitlines())} events, {len(listing.splitlines())} connections at the end")

    def check(self, arrived, emitted):
        for frame in arrived + emitted:
            packet = tap.Ip(frame.bytes) if frame.interface == "local" else tap.ip_of(frame.bytes)
            if packet.wrong():
                raise lab.Failed(f"a wrong checksum on {frame.interface}")
        times = [frame.time for frame in arrived]
        if times != sorted(times):
            raise lab.Failed("arrivals whose times go backwards")

    def meta(self, listed_at):
        version = re.match(r"[0-9.]+", os.uname().release).group()
        conntrack = re.search(r"v(\S+)", lab.run("conntrack", "--version")).group(1)
        nft = re.search(r"v(\S+)", lab.run("nft", "--version")).group(1)
        lines = [f'kernel = "{version}"', f'conntrack = "{conntrack}"', f'nft = "{nft}"',
                 f"listed_at = {listed_at // 10**9}.{listed_at % 10**9:09d}", "", "[sysctl]"]
        return "\n".join(lines + [f"{key} = {value}" for key, value in self.sysctls.items()]) + "\n"

    def write(self, suffix, data):
        path = FOLDER / f"{self.name}.{suffix}"
        path.write_bytes(data)
        if len(data) > LARGEST:
            print(f"{self.name}: {path.name} has {len(data)} bytes, more than {LARGEST}", file=sys.stderr)


def main(names):
    unknown = [name for name in names if name not in stories.ALL]
    if unknown:
        print(f"record: no story is named {unknown[0]}; there are: {', '.join(stories.ALL)}", file=sys.stderr)
        return 2
    # On one processor every packet is carried through the router before the next one comes: what was recorded first came first.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name in names or stories.ALL:
        story, options = stories.ALL[name]
        with lab.Lab(**options) as the_lab:
            story(the_lab, lambda **sysctls: Recording(the_lab, name, {"nf_conntrack_acct": 1} | sysctls))
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            sys.exit(main(sys.argv[1:]))
        except (lab.Failed, tap.Lost) as error:
            print(f"record: {error}", file=sys.stderr)
            sys.exit(1)
