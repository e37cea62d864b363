"""One host of a lab: its disk, its power switch, its cables, and a way to run things in it.

The disk is an overlay over the image: it survives a loss of power, as a disk does; /run and /tmp
do not.
"""

import contextlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import time

from lab import cache
from lab import cgroups
from lab import network
from lab import sites

STATE = pathlib.Path("/run/failback-lab")
NSPAWN = pathlib.Path("/run/systemd/nspawn/propagate")
DISKS = pathlib.Path("/var/lib/failback-lab")
#: Below a lab's disks; no host has this name.
SHARED = "shared-folders"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
}


def find(lab, name):
    """The host of a lab that exists (its site is noted in its state folder)."""
    description = sites.recall(STATE / lab)
    for machine in description.machines:
        if machine.name == name:
            return Host(lab, description, machine)
    names = ", ".join(machine.name for machine in description.machines)
    raise LookupError(f"Lab {lab} has no host {name!r}; it has {names}.")


class HostOff(RuntimeError):
    """Something was to run in a host that is not running."""


class Host:
    """One host. Nothing is kept in memory: any process may hold a Host of the same lab."""

    def __init__(self, lab, description, machine):
        self.lab = lab
        self.description = description
        self.machine = machine
        self.name = machine.name
        self.group = f"{lab}/hosts/{machine.name}"
        self.keeper_group = f"{lab}/keepers/{machine.name}"
        self.state = STATE / lab / machine.name
        self.disk = DISKS / lab / machine.name
        self.root = self.disk / "root"
        self.machine_name = f"{lab}-{machine.name}"  # nspawn's own word; must differ between labs

    def __repr__(self):
        return f"<Host {self.name} of lab {self.lab}>"

    def address(self, interface=None):
        """The fixed IPv4 address, e.g. ``10.0.0.11``."""
        return self.description.address(self.machine, interface)

    def mac(self, interface="eth0"):
        """The MAC of an interface of the running host."""
        return self.run(["cat", f"/sys/class/net/{interface}/address"]).stdout.strip()

    # --- what is in it

    def run(self, argv, check=True, timeout=60, input=None, text=True):
        """Run a program in the host to its end.

        argv
            List of arguments; the program is looked up in the host.

        check
            Raise ``Failed`` (a ``CalledProcessError`` whose message has the output) if it fails.

        timeout
            Seconds; then it is killed and ``subprocess.TimeoutExpired`` raised. None: no limit.

        input
            str or bytes for its standard input; else /dev/null.

        text
            Output as str (bytes that are not UTF-8 survive as surrogates), or as bytes.

        Returns a ``subprocess.CompletedProcess``.
        """
        if isinstance(input, str):
            input = os.fsencode(input)
        process = self.spawn(argv, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE)
        try:
            output, errors = process.communicate(input, timeout)
        except BaseException:
            # nsenter's child has the same process group: it goes too.
            kill_session(process)
            process.communicate()
            raise
        if text:
            output, errors = os.fsdecode(output), os.fsdecode(errors)
        done = subprocess.CompletedProcess(argv, process.returncode, output, errors)
        if check and done.returncode:
            raise Failed(self.name, done)
        return done

    def spawn(self, argv, **options):
        """Start a program in the host; returns the ``subprocess.Popen`` (of nsenter around it).

        Standard output and error are pipes unless options say otherwise.
        """
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        settings |= {"stderr": subprocess.PIPE, "start_new_session": True, "env": ENVIRONMENT}
        return subprocess.Popen(self.entering(argv), **(settings | options))

    def entering(self, argv):
        """The argument list that runs ``argv`` in the host, from the machine."""
        pid = self.init()
        if pid is None:
            raise HostOff(f"{self.name} is not running, so {argv[0]} cannot run in it.")
        arguments = ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"]
        arguments += ["--", *(str(each) for each in argv)]
        try:
            groups = cgroups.neighbours(pid)
        except (ProcessLookupError, FileNotFoundError):
            raise HostOff(f"{self.name} has gone off, so {argv[0]} cannot run in it.") from None
        return cgroups.entering(groups, arguments)

    def beside(self, argv):
        """
        The argument list that runs ``argv``, a program of the machine, in the host's network only.

        It stands in none of the host's groups, so that it goes on while the host is frozen.
        """
        pid = self.init()
        if pid is None:
            raise HostOff(f"{self.name} is not running, so it has no network.")
        return ["nsenter", f"--net=/proc/{pid}/ns/net", *argv]

    def lifetimes(self):
        """The IPv4 addresses that its kernel has, each with the seconds for which it is kept."""
        try:
            links = json.loads(cache.call(self.beside(["ip", "-j", "-4", "addr"])))
        except (HostOff, RuntimeError):  # it is off, or goes off at this moment
            return {}
        return {one["local"]: one["valid_life_time"] for link in links for one in link.get("addr_info", [])}

    def read(self, path):
        """A file's content as str; also when the host is off (its disk is there)."""
        return os.fsdecode(self.read_bytes(path))

    def read_bytes(self, path):
        """A file's content as bytes; also when the host is off."""
        return self._on_disk(["cat", "--", str(path)])

    def write(self, path, data, mode=0o644):
        """Write a file (str or bytes), making its folder; also when the host is off."""
        data = os.fsencode(data) if isinstance(data, str) else data
        script = 'mkdir -p -- "$(dirname -- "$1")" && cat > "$1" && chmod "$2" -- "$1"'
        self._on_disk(["/bin/sh", "-c", script, "write", str(path), f"{mode:o}"], data)

    def _on_disk(self, argv, data=None):
        if self.running:
            return self.run(argv, input=data, text=False).stdout
        # Never through self.root directly: a link in there could lead out of it.
        done = subprocess.run(
            ["chroot", str(self.root), *argv],
            input=data or b"",
            capture_output=True,
            env=ENVIRONMENT,
        )
        if done.returncode:
            raise FileNotFoundError(f"{self.name} (off): {os.fsdecode(done.stderr).strip()}")
        return done.stdout

    # --- its power switch

    def init(self):
        """The machine's process id of the host's init, or None if the host is not running."""
        for pid in sorted(cgroups.seen(self.group)):
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            for line in status.splitlines():
                if line.startswith("NSpid:"):
                    numbers = line.split()[1:]
                    if len(numbers) > 1 and numbers[-1] == "1" and not _is_zombie(status):
                        return pid
        return None

    @property
    def running(self):
        """Whether the host has an init now. In a reboot this is False for a moment."""
        return self.init() is not None

    @property
    def switched_on(self):
        """Whether the power is on: also True in a reboot."""
        return bool(cgroups.members(self.keeper_group))

    def power_on(self, wait=True, limit=120):
        """Start the host from its disk; with ``wait`` until it has booted. Nothing if it is on."""
        if not self.switched_on:
            # Left over if the keeper itself was killed; it would be in the way.
            cgroups.empty(self.group)
            self.state.mkdir(parents=True, exist_ok=True)
            command = ["setsid", "--fork"]
            command += network.entering(self.lab, ["python3", "-m", "lab.keeper", self.lab, self.name])
            # It enters its group before it forks: when this returns, the power is on.
            command = cgroups.entering(cgroups.entrance(self.keeper_group), command)
            with (self.state / "keeper.log").open("wb") as log:
                subprocess.run(
                    command,
                    check=True,
                    cwd=cache.CHECKOUT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=ENVIRONMENT | {"PYTHONDONTWRITEBYTECODE": "1"},
                )
        if wait:
            self.wait_booted(limit)

    def power_off(self):
        """The loss of power: from one moment to the next nothing runs and nothing answers."""
        cgroups.empty(self.keeper_group)  # first, so that nobody starts it again
        self._silence()
        pid = self.init()
        if pid is not None:
            cgroups.kill(self.group, pid)
        try:
            # With its init gone the kernel ends the rest; nspawn then tidies up and ends too.
            until(lambda: not cgroups.members(self.group), 5, f"{self.name} to be off")
        except TimeoutError:
            cgroups.empty(self.group)
        self.mark_off()

    def shut_down(self, limit=120):
        """An orderly end from inside."""
        self.run(["systemctl", "--no-block", "poweroff"])
        until(lambda: not self.switched_on, limit, f"{self.name} to shut down")

    def reboot(self, wait=True, limit=120):
        """An orderly reboot from inside; with ``wait`` until it has booted again."""
        before = self.boot_id()
        self.run(["systemctl", "--no-block", "reboot"])
        if wait:
            until(
                lambda: self._boot_id_or_none() not in (None, before),
                limit,
                f"{self.name} to reboot",
            )
            self.wait_booted(limit)

    def wait_booted(self, limit=120):
        """Until systemd says that the boot is complete and sshd listens; returns systemd's word.

        Raises TimeoutError after ``limit`` seconds, with what was found last and what failed.
        """
        found = {"state": "no init"}

        def booted():
            if not self.switched_on:
                raise HostOff(f"{self.name} went off while it booted: {self._console_tail()}")
            try:
                found["state"] = self.run(
                    ["systemctl", "is-system-running"], check=False, timeout=10
                ).stdout.strip()
                if found["state"] not in ("running", "degraded"):
                    return False
                return bool(self.run(["ss", "-Hltn", "sport", "=", ":22"], timeout=10).stdout)
            except (HostOff, subprocess.SubprocessError):
                return False

        def what():
            return f"{self.name} to boot (systemd says {found['state']!r})"

        until(booted, limit, what, pause=0.1)
        return found["state"]

    def boot_id(self):
        """The kernel's id of this boot; another one after each reboot."""
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()

    def _boot_id_or_none(self):
        try:
            return self.boot_id()
        except (HostOff, subprocess.SubprocessError):
            return None

    def mark_off(self):
        """Used by the keeper: the host is off and nothing of it is left to kill."""
        cgroups.empty(self.group)

    def _keeper_log(self):
        try:
            return (self.state / "keeper.log").read_text()
        except FileNotFoundError:
            return ""

    def _console_tail(self):
        text = (self.state / "console.log").read_text(errors="replace")
        return self._keeper_log()[-500:] + text[-1500:]

    def freeze(self):
        """Nothing in the host runs while this lasts, and its kernel goes on answering. A context manager."""
        return cgroups.frozen(self.group)

    # --- its cables

    def cut(self, interface="eth0", silent=False):
        """Pull the cable of an interface. It stays pulled over reboots, until ``mend``.

        silent
            Cut behind the switch instead: the host still sees a link, but nothing comes through.
        """
        self._note_cut(interface, "silent" if silent else "pulled")
        self.plug_in([interface])

    def mend(self, interface="eth0"):
        """Undo ``cut``."""
        self._note_cut(interface, None)
        self.plug_in([interface])

    def keep_apart(self, apart=True, interface="eth0"):
        """Hosts that are kept apart do not hear each other, but everybody else; until the next ``cut``."""
        network.keep_apart(self.lab, self.name, interface, apart)

    def plug_in(self, interfaces=None):
        """Bring the outer ends of the interfaces into the state that cut and mend ask for."""
        cuts = self._cuts()
        for interface, name in self.machine.interfaces:
            if interfaces is not None and interface not in interfaces:
                continue
            try:
                if cuts.get(interface) == "silent":
                    network.isolate(self.lab, self.name, interface)
                else:
                    network.attach(self.lab, self.name, interface, name)
                if cuts.get(interface) == "pulled":
                    network.pull(self.lab, self.name, interface)
            except RuntimeError as error:
                # An interface goes with its host, and comes again with its next boot, which reads the note.
                if self.running and "Cannot find device" not in str(error):
                    raise

    def _silence(self):
        for interface, _ in self.machine.interfaces:
            with contextlib.suppress(RuntimeError):  # off already
                network.pull(self.lab, self.name, interface)

    def _cuts(self):
        try:
            return json.loads((self.state / "cuts.json").read_text())
        except FileNotFoundError:
            return {}

    def _note_cut(self, interface, how):
        if interface not in dict(self.machine.interfaces):
            raise LookupError(f"{self.name} has no interface {interface!r}.")
        cuts = self._cuts() | {interface: how}
        (self.state / "cuts.json").write_text(json.dumps({k: v for k, v in cuts.items() if v}))

    # --- its disk

    def shared_folders(self):
        """Folders of the machine that this host shares with others, by their place in the host."""
        return {place: DISKS / self.lab / SHARED / name for name, place in self.machine.shared}

    def make_disk(self, image, snapshot=None):
        """An overlay over the image; returns True if it is new and has yet to be filled.

        A new disk holds what must differ between hosts. Until ``keep_disk`` is called it counts as
        half made, and is made anew the next time.

        snapshot
            A folder of ``lab.snapshots``: a new disk begins as that one has it, and is complete.
        """
        self.state.mkdir(parents=True, exist_ok=True)
        fresh = not (self.disk / "kept").exists()
        if fresh:
            self._discard_disk()
        for name in ("upper", "work", "root"):
            (self.disk / name).mkdir(parents=True, exist_ok=True)
        if fresh and snapshot:
            (self.disk / "below").symlink_to(snapshot / "disks" / self.name)
            self.keep_disk()
            fresh = False
        if not os.path.ismount(self.root):
            below = self.disk / "below"
            lower = f"{below.resolve()}:{image}" if below.exists() else image
            layers = f"lowerdir={lower},upperdir={self.disk / 'upper'},workdir={self.disk / 'work'}"
            # Failback knows a disk again by this name: it is the same in a lab that begins from a snapshot.
            cache.call(
                ["mount", "-t", "overlay", f"failback-{self.name}"]
                + ["-o", f"redirect_dir=on,{layers}", self.root]
            )
        if not fresh:
            return False
        etc = self.root / "etc"
        # Not empty: an empty one makes systemd apply presets, which enable everything.
        (etc / "machine-id").write_text(secrets.token_hex(16) + "\n")
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(self.description.names())
        (etc / "network/interfaces").write_text(self._interfaces())
        cache.call(["ssh-keygen", "-q", "-A", "-f", self.root])
        return True

    def keep_disk(self):
        """The disk has all that belongs on it."""
        (self.disk / "kept").touch()

    def give_disk(self, folder):
        """Move what the host has written to its disk into a folder, as a layer for others; it is off."""
        while os.path.ismount(self.root):
            cache.call(["umount", self.root])
        folder.parent.mkdir(parents=True, exist_ok=True)
        cache.call(["mv", self.disk / "upper", folder])

    def bind_volumes(self, places):
        """From its next start on, folders of ``<disk>/volumes`` are seen in the host at these places.

        places
            Dict of a folder's name to the place. Whatever the machine has mounted there outlives a loss
            of power, and can be filled up or resized without the host's help: see lab/faults/volumes.py.
        """
        (self.disk / "volumes.json").write_text(json.dumps(places))

    def volumes(self):
        """The folders bound into the host, as a dict of their path on the machine to that in the host."""
        try:
            places = json.loads((self.disk / "volumes.json").read_text())
        except FileNotFoundError:
            return {}
        return {str(self.disk / "volumes" / name): place for name, place in places.items()}

    def _discard_disk(self):
        while os.path.ismount(self.root):
            cache.call(["umount", self.root])
        if self.disk.exists():
            shutil.rmtree(self.disk)

    def _interfaces(self):
        text = ["auto lo", "iface lo inet loopback"]
        for interface, name in self.machine.interfaces:
            net = self.description.network(name)
            bearer, above = interface, []
            if self.machine.bridge and interface == self.machine.interfaces[0][0]:
                # Not by bridge-utils, which wait for ports; and with the MAC of the interface for good.
                bearer = self.machine.bridge
                mac = f"$(cat /sys/class/net/{interface}/address)"
                above = [
                    f"    pre-up ip link add {bearer} address {mac} type bridge forward_delay 0",
                    f"    pre-up ip link set {interface} master {bearer} up",
                    f"    post-down ip link delete {bearer}",
                ]
            text += ["", f"auto {bearer}", f"iface {bearer} inet static", *above]
            text += [f"    address {net.address(self.machine.number)}"]
            text += [f"iface {bearer} inet6 static"]
            text += [f"    address {net.address6(self.machine.number)}", "    dad-attempts 0"]
        return "\n".join(text) + "\n"

    def remove(self):
        """Power off, unmount, forget the disk."""
        self.power_off()
        self._discard_disk()
        if self.state.exists():
            shutil.rmtree(self.state)
        with contextlib.suppress(OSError):
            (NSPAWN / self.machine_name).rmdir()


class Failed(subprocess.CalledProcessError):
    """A program in a host failed; the message shows what it wrote."""

    def __init__(self, host, done):
        super().__init__(done.returncode, done.args, done.stdout, done.stderr)
        self.host = host

    def __str__(self):
        def shown(output):
            text = os.fsdecode(output) if isinstance(output, bytes) else output
            return (text or "").strip()[-4000:]

        command = " ".join(str(argument) for argument in self.cmd)
        return (
            f"{self.host}: {command}: exit code {self.returncode}\n{shown(self.stdout)}\n{shown(self.stderr)}"
        )


def until(fact, limit, what, pause=0.1):
    """
    Wait until ``fact()`` is true; TimeoutError after ``limit`` s says what was waited for.

    pause
        Seconds between two looks. Most start a program in a host, which others need the processor for.
    """
    deadline = time.monotonic() + limit
    while True:
        result = fact()
        if result:
            return result
        if time.monotonic() > deadline:
            wanted = what() if callable(what) else what
            raise TimeoutError(f"Waited {limit} s for {wanted}.")
        time.sleep(pause)


def kill_session(process):
    """Kill a spawned program with everything in its process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _is_zombie(status):
    return "\nState:\tZ" in status
