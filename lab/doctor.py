"""What this machine lacks for a lab, each with the remedy in one sentence.

    python3 -m lab doctor

``make doctor`` prints all of it. Everything that boots a lab calls ``require`` first, so that it refuses
with these sentences before anything is made.
"""

import os
import shutil
import subprocess
import typing

from lab import cache
from lab import environments
from lab import image
from lab import kinds
from lab import machine
from lab import sites
from lab.host import DISKS

#: The Debian that the lab was written on, and runs on every day.
KNOWN = "12"
#: Programs a lab calls, and the Debian package of each.
PROGRAMS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setsid": "util-linux",
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "git": "git",
    "ssh-keygen": "openssh-client",
    "rsync": "rsync",
    "sysctl": "procps",
    "chroot": "coreutils",
}
#: Megabytes of memory that must be free for the hosts of a site: estimates, on the safe side.
MEMORY = {"bench": 700, "salt": 1800, "faults": 1800, "vm": 2600, "dalma": 8000}
#: Megabytes of disk: an image, an environment of the tests, and what a lab's hosts write.
IMAGE_DISK = {"base": 900, "peers": 1500, "services": 3200}
ENVIRONMENT_DISK, LAB_DISK = 700, 1500
#: Why a machine that cannot mount or make namespaces is most often like that.
PRIVILEGES = "use a real or virtual machine, or a container that may do this (docker run --privileged)"


class Finding(typing.NamedTuple):
    """One thing: what is wrong with it (None: nothing), the remedy, and whether one can do without."""

    what: str
    problem: typing.Optional[str] = None
    remedy: str = ""
    optional: bool = False

    def __str__(self):
        if self.problem is None:
            return f"{self.what}: good"
        return f"{self.what}: {self.problem}. {self.remedy[0].upper()}{self.remedy[1:]}."


def findings(names=("salt",), registries=None):
    """
    A list of ``Finding``, one for each thing that labs need.

    names
        The sites that are to be up at once (names of ``lab.sites.SITES``).

    registries
        Whether to ask the package registries. By default only if something has to be made with them.
    """
    found = [_root(), _capabilities()]
    if not any(one.problem for one in found):  # else these would say the same again
        found.append(_tried("mounts", machine.mounts, PRIVILEGES))
        found.append(_tried("overlay", lambda: machine.overlay(_parent(DISKS)), _other_disk(DISKS)))
        found.append(_tried("network", machine.network, f"{PRIVILEGES}, on a kernel with veth and bridge"))
        found.append(_tried("control groups", machine.cgroups, "mount them read-write (/sys/fs/cgroup)"))
    found.append(_tried("nftables", machine.nftables, "load the module nf_tables", optional=True))
    found.append(
        _tried(
            "kvm",
            machine.kvm,
            "all virtual machines of the lab have an emulated processor; give it /dev/kvm to try KVM as well",
            optional=True,
        )
    )
    found += [_programs(), _memory(names), *_disks(names), _debian()]
    missing = to_make(names)
    able = not any(one.problem and not one.optional for one in found)
    if registries or (registries is None and missing and able):
        found += _registries(missing)
    return found


def require(*names):
    """Raise ``machine.Lacks`` with all that a lab of these sites lacks here; nothing is made or changed."""
    wrong = [one for one in findings(names or ("salt",)) if one.problem and not one.optional]
    if wrong:
        raise machine.Lacks(
            "This machine cannot boot a lab.\n" + "\n".join(f"  {one}" for one in wrong) + "\n"
            "`make doctor` shows all that was looked at."
        )


def reason(*names):
    """The same as one line for a test that is skipped, or None if a lab can be booted."""
    wrong = [one for one in findings(names or ("salt",)) if one.problem and not one.optional]
    return "; ".join(f"{one.what}: {one.problem}" for one in wrong) or None


def main():
    """Print every finding; returns an exit status: 1 if a lab cannot be booted."""
    found = findings(tuple(sites.SITES), registries=True)
    for one in found:
        mark = "" if one.problem is None else "note: " if one.optional else "LACKS "
        print(f"  {mark}{one}")
    wrong = [one for one in found if one.problem and not one.optional]
    print(f"==> {_counted(wrong)}")
    return 1 if wrong else 0


def _counted(wrong):
    if not wrong:
        return "This machine can boot a lab."
    return f"This machine cannot boot a lab: {', '.join(one.what for one in wrong)}."


def to_make(names):
    """What the cache does not have yet of what these sites need: a list of names."""
    images = sorted({sites.SITES[name].image for name in names})
    return [f"image-{name}" for name in images if not image.is_ready(name)] + [
        f"tests-{release}" for release in environments.RELEASES if not environments.is_ready(release)
    ]


def _tried(what, trial, remedy, optional=False):
    try:
        trial()
    except machine.Lacks as problem:
        return Finding(what, str(problem), remedy, optional)
    return Finding(what)


def _root():
    return _tried("root", machine.root, "run make as root, or with sudo")


def _capabilities():
    missing = machine.missing_capabilities()
    if not missing:
        return Finding("capabilities")
    return Finding("capabilities", f"{', '.join(missing)} missing", PRIVILEGES)


def _programs():
    missing = sorted({package for program, package in PROGRAMS.items() if machine.lacks(program)})
    if not missing:
        return Finding("programs")
    return Finding("programs", f"missing: {', '.join(missing)}", f"apt-get install {' '.join(missing)}")


def _memory(names):
    needed, free = MEMORY[max(names, key=MEMORY.get)], machine.memory()
    if free >= needed:
        return Finding("memory")
    site = max(names, key=MEMORY.get)
    return Finding(
        "memory",
        f"{free} MB are free, and the site {site} needs {needed} MB",
        "end what takes it, choose a smaller site (SITE=salt), or a machine with more",
    )


def _disks(names):
    missing = to_make(names)
    kinds_of = {sites.SITES[name].image: sites.SITES[name].kind for name in names}
    made = sum(IMAGE_DISK[kind] for name, kind in kinds_of.items() if f"image-{name}" in missing)
    made += ENVIRONMENT_DISK * len([one for one in missing if one.startswith("tests-")])
    for folder, needed in ((cache.place(), made), (DISKS, LAB_DISK)):
        free = machine.disk(folder)
        if free < needed:
            yield Finding(
                f"disk of {folder}", f"{free} MB are free, {needed} MB are needed", _other_disk(folder)
            )
        else:
            yield Finding(f"disk of {folder}")


def _other_disk(folder):
    if folder == DISKS:
        return f"mount a disk with ext4, xfs or btrfs and enough room on {folder}"
    return "free some, or set FAILBACK_CACHE to a folder on another disk"


def _parent(folder):
    while not os.path.exists(folder):
        folder = folder.parent
    return folder


def _debian():
    name, version = machine.debian()
    if (name, version) == ("debian", KNOWN):
        return Finding("Debian")
    remedy = f"use Debian {KNOWN}, where the lab is used every day"
    if name == "debian":
        return Finding("Debian", f"Debian {version or 'unstable'} has not been tried", remedy, optional=True)
    return Finding("Debian", f"this is {name} {version}, and the lab wants Debian's packages".strip(), remedy)


def _registries(missing):
    """Whether Debian's and Python's packages can be fetched."""
    for what, command, setting in (
        ("Debian's packages", _asks_debian(), "the network, a proxy in /etc/apt/apt.conf.d, FAILBACK_MIRROR"),
        ("Python's packages", _asks_pypi(), "the network, HTTPS_PROXY, or pip's index-url"),
    ):
        problem = _failure(command)
        needed = f"needed for {', '.join(missing)}" if missing else "nothing is missing now"
        yield Finding(
            what,
            problem and f"cannot be fetched ({problem}); {needed}",
            f"check {setting}",
            optional=not missing,
        )


def _asks_debian():
    """Fetches the list of one suite into a folder of its own; the machine's own lists stay as they are."""
    command = ["mmdebstrap", "--quiet", "--simulate", "--variant=essential", "--mode=root", kinds.DEBIAN, "-"]
    return command + ([environments.mirror()] if environments.mirror() else [])


def _asks_pypi():
    place = shutil.which("pip3") or shutil.which("pip")
    pip = [place] if place else [environments.PYTHON, "-m", "pip"]
    return [*pip, "--no-input", "download", "--quiet", "--no-deps", "--retries=0", "--timeout=10",
            "--no-cache-dir", "--dest", "FOLDER", "six"]  # fmt: skip


def _failure(command):
    """Why a command fails, or None."""
    with machine.folder() as place:
        command = [place if word == "FOLDER" else word for word in command]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
            )
        except subprocess.TimeoutExpired:
            return "no answer within 60 s"
        except OSError as problem:
            return str(problem)
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.strip().splitlines() if not line.startswith("WARNING")]
    return said[-1] if said else f"exit status {done.returncode}"
