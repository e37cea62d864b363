"""
A network segment of our own: hosts are network namespaces, joined by a bridge in one more.

Nothing touches the machine's own network. Every host has the interface ``eth0``, an own IPv4 and
IPv6 address, and does not forward packets (a former holder that did would hide an outage).
"""

import contextlib
import ctypes
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

LIBRARY = pathlib.Path(__file__).resolve().parents[2] / "salt" / "_utils"

_NEW_NETWORK = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def eventually(fact, limit, what):
    """Wait until a fact is true, or fail after a limit in seconds. Returns the fact."""
    end = time.monotonic() + limit
    while True:
        found = fact()
        if found:
            return found
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        time.sleep(0.02)


class Segment:
    """The bridge and its hosts, as a context manager that removes all of it."""

    count = 0

    def __init__(self, *hosts):
        Segment.count += 1
        self.prefix = f"fb{os.getpid()}n{Segment.count}"
        self.hosts = hosts

    def __enter__(self):
        try:
            ip("netns", "add", self.name("switch"))
            ip("-n", self.name("switch"), "link", "add", "br0", "type", "bridge")
            ip("-n", self.name("switch"), "link", "set", "br0", "up")
            for number, host in enumerate(self.hosts, 11):
                self._add(host, number)
            for host in self.hosts:
                eventually(lambda one=host: self.ready(one), 10, f"{host} has its addresses")
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def _add(self, host, number):
        name = self.name(host)
        ip("netns", "add", name)
        with self.inside(host):
            setting("net/ipv4/ip_forward", 0)
            # The kernel's own duplicate-address detection takes two seconds a test, for nothing.
            setting("net/ipv6/conf/all/accept_dad", 0)
            setting("net/ipv6/conf/default/accept_dad", 0)
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", host, "netns",
           self.name("switch"))  # fmt: skip
        ip("-n", self.name("switch"), "link", "set", host, "master", "br0", "up")
        ip("-n", name, "addr", "add", f"10.99.0.{number}/24", "dev", "eth0")
        ip("-n", name, "addr", "add", f"fd99::{number}/64", "dev", "eth0", "nodad")
        ip("-n", name, "link", "set", "eth0", "up")

    def name(self, host):
        """The namespace of a host."""
        return f"{self.prefix}{host}"

    def ready(self, host):
        """Whether the host is past its own duplicate-address detection."""
        found = self.addresses(host)
        return any(one["scope"] == "link" for one in found) and not any(one.get("tentative") for one in found)

    def remove(self):
        """Remove the hosts, their interfaces with them."""
        for host in ("switch", *self.hosts):
            command = ["ip", "netns", "del", self.name(host)]
            subprocess.run(command, capture_output=True, check=False)

    @contextlib.contextmanager
    def inside(self, host):
        """The calling thread's network is that of the host."""
        there = pathlib.Path("/run/netns", self.name(host))
        with open("/proc/thread-self/ns/net") as home, open(there) as entered:
            _enter(entered)
            try:
                yield
            finally:
                _enter(home)

    def ip(self, host, *words):
        """Run ``ip`` in a host's network."""
        return ip("-n", self.name(host), *words)

    def addresses(self, host, interface="eth0"):
        """What ``ip address`` shows of an interface: list of dictionaries."""
        shown = json.loads(self.ip(host, "-j", "address", "show", "dev", interface))
        return [one for link in shown for one in link.get("addr_info", ())]

    def address(self, host, address, interface="eth0"):
        """What ``ip address`` shows of one address; None if the host does not hold it."""
        for one in self.addresses(host, interface):
            if one["local"] == address:
                return one
        return None

    def mac(self, host):
        """The hardware address of a host's eth0."""
        return json.loads(self.ip(host, "-j", "link", "show", "dev", "eth0"))[0]["address"]

    def neighbour(self, host, address):
        """The hardware address that a host would send to, as its own table has it; or None."""
        for one in json.loads(self.ip(host, "-j", "neigh", "show", address, "dev", "eth0") or "[]"):
            return one.get("lladdr")
        return None

    def ping(self, host, address):
        """Whether an address answers a host: a port on which nobody listens refuses."""
        with self.inside(host):
            try:
                # The kernel asks three times, once a second, who has the address.
                socket.create_connection((address, 9), timeout=4).close()
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return True

    def unplug(self, host):
        """Cut the host's cable: it loses its carrier."""
        self.ip("switch", "link", "set", host, "down")

    def plug(self, host):
        """The cable is back."""
        self.ip("switch", "link", "set", host, "up")

    def lose(self, host):
        """The switch drops every packet from and to the host, which keeps its carrier."""
        self._port(host, "0")

    def carry(self, host):
        """The switch forwards again."""
        self._port(host, "3")

    def _port(self, host, state):
        subprocess.run(
            ["ip", "netns", "exec", self.name("switch"), "bridge", "link", "set", "dev", host,
             "state", state],
            check=True,
        )  # fmt: skip

    def python(self, host, script, *words, stdout=subprocess.PIPE):
        """Start a Python script in a host's network, with the package on its path."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name(host), sys.executable, "-u", str(script), *words],
            env={**os.environ, "PYTHONPATH": str(LIBRARY)},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
        )


def setting(name, value):
    """Set a sysctl of the network that the calling thread is in."""
    pathlib.Path("/proc/sys", name).write_text(str(value))


def ip(*words):
    """Run ``ip`` and return what it prints."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def _enter(namespace):
    if _libc.setns(namespace.fileno(), _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
