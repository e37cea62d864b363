"""What this machine can do, each found out by trying it.

The tests skip what cannot run here by these sentences, and ``lab.doctor`` names the remedies.
"""

import contextlib
import errno
import functools
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile

#: Numbers from linux/capability.h: what a lab needs of root's powers.
CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "MKNOD": 27,
}
#: nfnetlink.h and nf_tables.h: asks which generation the rules have.
NETLINK_NETFILTER, NFT_MSG_GETGEN = 12, (10 << 8) | 16


#: How the reason of a skip begins that is the machine's fault: ``REQUIRE=all`` makes it a failure.
LACKING = "this machine: "


#: In the environment: names of what whoever has started this has tried already, with success. A machine that
#: is busy with just that would take too long for some of the trials.
TRIED = "FAILBACK_TRIED"


class Lacks(RuntimeError):
    """The machine lacks something; the message says what, in words that follow "needs root, but"."""


@functools.cache
def lacks(need):
    """
    Why a test cannot run here: a sentence, or None if it can.

    need
        A name of ``TRIALS``, or the name of a program.
    """
    if need in os.environ.get(TRIED, "").split():
        return None
    if need not in TRIALS:
        return None if shutil.which(need, path=SEARCHED) else f"{need} is not installed"
    try:
        TRIALS[need]()
    except Lacks as problem:
        return str(problem)
    return None


#: Also what lies outside an ordinary user's PATH.
SEARCHED = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def missing_capabilities():
    """Names of the capabilities that a lab needs and this process does not have."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
            return tuple(name for name, bit in CAPABILITIES.items() if not effective >> bit & 1)
    return tuple(CAPABILITIES)


def root():
    """Raise ``Lacks`` unless this is root."""
    if os.geteuid() != 0:
        raise Lacks("this is not root")


def mounts():
    """Raise ``Lacks`` unless something can be mounted, in a namespace and for all to see."""
    root()
    if "SYS_ADMIN" in missing_capabilities():
        raise Lacks("the capability SYS_ADMIN is missing, so nothing can be mounted")
    with folder() as place:
        _tried(["unshare", "--mount", "--", "mount", "-t", "tmpfs", "none", place], "nothing can be mounted")


def network():
    """Raise ``Lacks`` unless network namespaces with veth and bridges can be made."""
    mounts()
    if "NET_ADMIN" in missing_capabilities():
        raise Lacks("the capability NET_ADMIN is missing, so no network can be made")
    if lacks("ip"):
        raise Lacks(lacks("ip"))
    for kind, words in (
        ("bridge", ["fb0", "type", "bridge"]),
        ("veth", ["fb0", "type", "veth", "peer", "name", "fb1"]),
    ):
        _tried(["unshare", "--net", "--", "ip", "link", "add", *words], f"the kernel makes no {kind}")


def overlay(below="/var/lib"):
    """Raise ``Lacks`` unless an overlay can be mounted over the file system of a folder."""
    mounts()
    with folder(below) as place:
        for name in ("lower", "upper", "work", "root"):
            pathlib.Path(place, name).mkdir()
        layers = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
        _tried(
            ["unshare", "--mount", "--", "mount", "-t", "overlay", "none"]
            + ["-o", f"redirect_dir=on,{layers}", f"{place}/root"],
            f"no overlay can be mounted over a folder of {below}",
        )


def cgroups():
    """Raise ``Lacks`` unless control groups can be made in every hierarchy."""
    from lab import cgroups as groups

    root()
    places = groups.hierarchies()
    if not places:
        raise Lacks("no control groups are mounted")
    for hierarchy in places:
        # Not below the labs' own group: a lab that goes away removes that one with its last member.
        group = hierarchy / f"failback-doctor-{os.getpid()}"
        try:
            group.mkdir()
            group.rmdir()
        except OSError as problem:
            raise Lacks(f"no control group can be made in {hierarchy} ({problem.strerror})") from None


def attributes():
    """Raise ``Lacks`` unless extended attributes of root's own kind can be set, as a backup keeps them."""
    root()
    with folder() as place:
        try:
            os.setxattr(place, "trusted.failback-doctor", b"1")
        except OSError as problem:
            raise Lacks(f"trusted extended attributes cannot be set ({problem.strerror})") from None


def nftables():
    """Raise ``Lacks`` if the kernel has no nftables; what may not be asked counts as there."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as asked:
            asked.settimeout(2)
            request = struct.pack("=IHHIIBBH", 20, NFT_MSG_GETGEN, 1, 1, 0, 0, 0, 0)
            asked.send(request)
            answer = asked.recv(8192)
    except socket.timeout:
        raise Lacks("the kernel does not answer for nftables") from None
    except OSError as problem:
        raise Lacks(f"the kernel has no nftables ({problem.strerror})") from None
    _, kind = struct.unpack_from("=IH", answer)
    code = -struct.unpack_from("=i", answer, 16)[0] if kind == 2 else 0
    if code not in (0, errno.EPERM):
        raise Lacks(f"the kernel has no nftables ({os.strerror(code)})")


def kvm():
    """Raise ``Lacks`` unless virtual machines can use the processor's help."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        there = os.path.exists("/dev/kvm")
        raise Lacks("/dev/kvm cannot be opened" if there else "there is no /dev/kvm")


def lab():
    """Raise ``Lacks`` unless the smallest lab can be booted."""
    from lab import doctor

    problem = doctor.reason("salt")
    if problem:
        raise Lacks(f"it cannot boot a lab ({problem})")


TRIALS = {
    "root": root,
    "mounts": mounts,
    "network": network,
    "attributes": attributes,
    "overlay": overlay,
    "cgroups": cgroups,
    "nftables": nftables,
    "kvm": kvm,
    "lab": lab,
}


def memory():
    """Megabytes that programs can still get: the kernel's word, and the limit of this control group."""
    with open("/proc/meminfo") as handle:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in handle}
    free = sizes["MemAvailable"] // 1024
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            left = int(pathlib.Path(limit).read_text()) - int(pathlib.Path(used).read_text())
            free = min(free, left >> 20)
    return free


def disk(folder):
    """Megabytes that are free where a folder lies, or will lie."""
    place = pathlib.Path(folder)
    while not os.path.exists(place):
        place = place.parent
    return shutil.disk_usage(place).free >> 20


def cores():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def debian():
    """``(id, version)`` of the machine's distribution, as os-release has them."""
    try:
        lines = pathlib.Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return "unknown", ""
    words = dict(line.split("=", 1) for line in lines if "=" in line)
    return words.get("ID", "unknown").strip('"'), words.get("VERSION_ID", "").strip('"')


@contextlib.contextmanager
def folder(below=None):
    """A folder for a trial, gone afterwards."""
    try:
        place = tempfile.mkdtemp(prefix="failback-doctor-", dir=below)
    except OSError as problem:
        raise Lacks(f"{below or tempfile.gettempdir()} cannot be written ({problem.strerror})") from None
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _tried(command, problem):
    """Run a command that changes nothing outside its own namespace; its failure is the reason."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Lacks(f"{problem} ({error})") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise Lacks(f"{problem} ({said[-1] if said else f'exit status {done.returncode}'})")
