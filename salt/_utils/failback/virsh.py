"""
Virtual machines on this host, through ``virsh``: what is true of them, and what is done to them.

``virsh`` is there wherever libvirt is, and speaks alike to all its releases; Salt 3008 has no module of
its own for it any more, and the binding of Python is not in Salt's own Python. Each call is an argument list
with a limit; a libvirt that hangs is an error, never an answer.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import secrets
import socket
import subprocess
import threading
import time

from failback import configuration
from failback import files
from failback import peer
from failback import system
from failback import virtual_machine
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable

URI = "qemu:///system"
#: Seconds for an answer of libvirt's that needs no guest.
ANSWER = 10
#: Seconds for a start: the emulator may have to fetch and clear a lot of memory.
START_LIMIT = 120
#: Seconds for a look at the shared storage: a file server that is gone answers never.
STORAGE_ANSWER = 5
#: What marks the shared storage, so that two hosts can tell whether it is the same.
MARK = ".failback-storage"
#: Folder in it in which virtlockd keeps a file for each disk.
LOCKSPACE = ".failback-locks"
#: The configuration of libvirt's driver of virtlockd.
LOCK_CONFIG = "etc/libvirt/qemu-lockd.conf"
#: Connects a process's standard input and output to libvirt's socket; ships with libvirt.
HELPER = "/usr/bin/virt-ssh-helper"


def call(*words, limit=ANSWER, what="ask libvirt"):
    """Run virsh and return what it prints. Raises ``Unavailable``."""
    # The words of messages and states are translated otherwise.
    return system.run(["virsh", "--quiet", "--connect", URI, *words], limit, what, env={"LC_ALL": "C"})


# --- what is true ------------------------------------------------------------------------------


def facts(config, paths):
    """
    What is true of the guests of a pair on this host now.

    Returns a dict of JSON types:

    ``node``, ``boot_id``
        Who says so, and its current boot.
    ``storage``, ``storage_error``
        The mark on the shared storage; why the storage cannot be used here, or None.
    ``locks_error``
        Why virtlockd would not guard a disk here, or None; not looked at without the storage.
    ``guests``
        For each guest: ``state`` (``running``, ``paused``, ``in shutdown``, ``crashed``, ``suspended``,
        ``off`` or ``undefined``), ``reason`` (libvirt's number), ``processes`` (ids of the emulator's),
        ``claimed`` (somebody is at it), ``saved`` (its memory is saved here), ``autostart``,
        ``definition`` (a digest), ``file`` (that of its file), ``problems`` (sentences).

    Raises ``FailbackError`` when libvirt does not answer: then nothing is known.
    """
    names = {guest: virtual_machine.domain(config, guest) for guest in config["vms"]}
    # Before the states: who claims a guest after this look will ask this host's peer, and find its claim.
    claims = {guest: claimed(config["name"], guest, paths) for guest in names}
    states = parse_states(call("domstats", "--state", "--nowait", what="ask libvirt for the guests' states"))
    saved = set(call("list", "--all", "--with-managed-save", "--name").split())
    autostart = set(call("list", "--all", "--autostart", "--name").split())
    processes = emulators(names.values())
    storage, storage_error = storage_mark(config, paths)
    found = {}
    for guest, name in names.items():
        state, reason = states.get(name, (virtual_machine.UNDEFINED, 0))
        definition, problems = None, []
        if name in states:
            text = known_definition(name)
            definition = virtual_machine.definition_digest(text)
            # Links are followed on storage that answers.
            resolved = os.path.normpath if storage_error else os.path.realpath
            problems = virtual_machine.problems(text, config["virtualization"]["storage"], resolved)
        found[guest] = {
            "state": state,
            "reason": reason,
            "processes": processes.get(name, []),
            "claimed": claims[guest],
            "saved": name in saved,
            "autostart": name in autostart,
            "definition": definition,
            "file": _file_digest(name, paths),
            "problems": problems,
        }
    return {
        "node": config["node"],
        "boot_id": system.boot_id(),
        "storage": storage,
        "storage_error": storage_error,
        "locks_error": None if storage_error else locks_error(config, paths),
        "guests": found,
    }


def parse_states(text):
    """
    What ``virsh domstats --state`` printed, as ``{domain: (state, reason)}``. Pure.

    The numbers are libvirt's own and never change their meaning; unlike the words, they are not translated.
    """
    found, name = {}, None
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("Domain: '") and line.endswith("'"):
            name = line[len("Domain: '") : -1]
            found[name] = {}
        elif "=" in line and name is not None:
            key, _, value = line.partition("=")
            found[name][key] = int(value) if value.isdigit() else value
    return {
        name: (
            virtual_machine.ACTIVE.get(one.get("state.state"), virtual_machine.OFF),
            one.get("state.reason", 0),
        )
        for name, one in found.items()
    }


def known_definition(name):
    """The definition that libvirt would start a domain by, as XML with all secrets."""
    return call("dumpxml", "--inactive", "--security-info", "--domain", name)


def _file_digest(name, paths):
    try:
        return virtual_machine.definition_digest(definition_file(name, paths).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, FailbackError):
        return "unreadable"


def definition_file(name, paths):
    """Where libvirt keeps the definition of a domain."""
    return paths.root / "etc/libvirt/qemu" / f"{name}.xml"


def emulators(names, proc="/proc"):
    """
    The processes of domains on this host, whether libvirt knows them or not: ``{domain: [pid, …]}``.

    libvirt names the guest on the emulator's command line, ``-name guest=<domain>,…``.
    """
    wanted = {f"guest={name}".encode(): name for name in names}
    found = {}
    for place in pathlib.Path(proc).iterdir():
        if not place.name.isdigit():
            continue
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        for before, word in zip(words, words[1:]):
            name = wanted.get(word.split(b",")[0]) if before == b"-name" else None
            if name:
                found.setdefault(name, []).append(int(place.name))
    return found


def running(config):
    """The guests of a pair that have a process on this host, by the kernel's word alone."""
    names = {virtual_machine.domain(config, guest): guest for guest in config["vms"]}
    found = emulators(names) if names else {}
    return [guest for name, guest in names.items() if name in found]


def storage_mark(config, paths):
    """
    The mark of the shared storage as ``(mark, None)``, or ``(None, sentence)`` when it cannot be used here.

    A folder on the node's own file system is no shared storage: it is what is left when it is not mounted.
    """
    storage = config["virtualization"]["storage"]
    folder = paths.root / storage.lstrip("/")
    node = config["node"]
    try:
        if not mounted(folder, paths):
            return None, f"{storage} is not mounted on {node}, so no guest can run there."
        found = json.loads((folder / MARK).read_text())
        return found["mark"], None
    except FileNotFoundError:
        return None, (
            f"{storage} on {node} is missing, or bears no mark ({MARK}). Is the right storage mounted? "
            f"Highstate marks a new one: salt {node} state.apply pair.virtual_machines"
        )
    except (OSError, ValueError, KeyError, TypeError, Unavailable) as error:
        return None, f"{storage} on {node} cannot be read: {str(error).rstrip('.')}."


def mounted(folder, paths):
    """
    Whether a folder lies on another file system than the node's own.

    Raises ``OSError``, and ``Unavailable`` when there is no answer.
    """
    # By a process that can be killed: a look at the storage of a file server that is gone does not come back.
    system.exit_status(["stat", str(folder)], STORAGE_ANSWER, f"look at {folder}")
    return os.stat(folder).st_dev != os.stat(paths.root).st_dev


def missing_marks(config, paths):
    """What ``mark_storage`` would make, a list of paths. Raises ``Refused`` as it does."""
    folder = _require_storage(config, paths)
    return [str(folder / name) for name in (LOCKSPACE, MARK) if not (folder / name).exists()]


def storage_gone(config, paths):
    """Why the storage that both hosts share is not to be had on this one, as a sentence, or None."""
    storage = config["virtualization"]["storage"]
    try:
        if mounted(paths.root / storage.lstrip("/"), paths):
            return None
        why = "is not mounted"
    except FileNotFoundError:
        why = "is missing"
    except (OSError, Unavailable) as error:
        why = f"cannot be read ({str(error).rstrip('.')})"
    return (
        f"{storage} {why} on {config['node']}, so no guest can run there. Mount the storage that both hosts "
        "share, then run highstate again."
    )


def _require_storage(config, paths):
    gone = storage_gone(config, paths)
    if gone:
        raise Refused(gone)
    return paths.root / config["virtualization"]["storage"].lstrip("/")


def mark_storage(config, paths):
    """
    Mark the shared storage, once for all hosts, and make the folder of the locks.

    Returns what was made, a list of paths. Raises ``Refused`` when it is not mounted here: what is made on
    the node's own disk in its stead would guard nothing.
    """
    folder = _require_storage(config, paths)
    made = []
    if not (folder / LOCKSPACE).is_dir():
        (folder / LOCKSPACE).mkdir(mode=0o700, exist_ok=True)
        made.append(str(folder / LOCKSPACE))
    try:
        # "x": of two hosts that come here at once one makes it, and both read it.
        with open(folder / MARK, "x") as handle:
            handle.write(json.dumps({"version": 1, "mark": secrets.token_hex(8)}) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        made.append(str(folder / MARK))
    except FileExistsError:
        pass
    return made


def autostarted(config):
    """The guests that libvirt would start at boot."""
    names = {virtual_machine.domain(config, guest): guest for guest in config["vms"]}
    listed = call("list", "--all", "--autostart", "--name").split()
    return [names[name] for name in listed if name in names]


def no_autostart(config):
    """Have none of them started at boot. Returns those that were."""
    found = autostarted(config)
    for guest in found:
        call("autostart", "--disable", "--domain", virtual_machine.domain(config, guest))
    return found


def lockspace(config):
    """The folder in which virtlockd of all hosts keeps its locks."""
    return os.path.join(config["virtualization"]["storage"], LOCKSPACE)


def lock_config(config):
    """The text of libvirt's configuration of virtlockd (qemu-lockd.conf)."""
    return (
        "# Managed by Salt (pair.virtual_machines): a disk is written to by one host at a time.\n"
        "auto_disk_leases = 1\n"
        "require_lease_for_disks = 1\n"
        f'file_lockspace_dir = "{lockspace(config)}"\n'
    )


def locks_error(config, paths):
    """Why virtlockd would not guard a disk here, as a sentence, or None."""
    node = config["node"]
    mend = f"Run: salt {node} state.apply pair.virtual_machines"
    try:
        set_up = (paths.root / LOCK_CONFIG).read_text().strip() == lock_config(config).strip()
        lines = (paths.root / "etc/libvirt/qemu.conf").read_text().splitlines()
    except OSError as error:
        return f"virtlockd is not set up on {node}: {error}. {mend}"
    settings = [line.split("#")[0].replace(" ", "") for line in lines]
    if not set_up or 'lock_manager="lockd"' not in settings:
        return f"virtlockd is not set up on {node}, so nothing but this program guards the disks. {mend}"
    if not (paths.root / lockspace(config).lstrip("/")).is_dir():
        return f"{lockspace(config)} is missing on {node}, so virtlockd can lock nothing. {mend}"
    return None


# --- the claim: one host at a time is at a guest -------------------------------------------------


def _claim_file(pair, guest, paths):
    return paths.volatile(pair) / f"guest-{guest}.claim"


def claimed(pair, guest, paths):
    """Whether a process on this host is just starting, moving or stopping a guest."""
    try:
        with open(_claim_file(pair, guest, paths), "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def claim(pair, guest, paths, limit=2.0):
    """
    Be the one on this host that is at a guest. The kernel ends the claim with the process.

    Each host claims a guest *before* it asks the other one, and says of a claimed guest that somebody is
    at it: of two hosts that begin at once at least one sees the other's claim, whatever the timing.
    Raises ``Refused``.
    """
    place = _claim_file(pair, guest, paths)
    files.make_folder(place.parent)
    with open(place, "ab") as handle:
        end = time.monotonic() + limit
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                # For an instant it may be somebody who only looks.
                if time.monotonic() >= end:
                    raise Refused(
                        f"{guest} is just being started, moved or stopped on this host. Wait, then run "
                        "this again."
                    ) from error
            time.sleep(0.02)
        yield


# --- what is done ------------------------------------------------------------------------------


def ask_peer(config, paths):
    """What the other host says of the guests now, over SSH. Raises ``FailbackError``."""
    other = configuration.peer(config)["id"]
    text = peer.ask(config, paths, "guests", timeout=30)
    try:
        found = json.loads(text)
        if found["node"] != other or set(found["guests"]) != set(config["vms"]):
            raise ValueError("it is not about the guests of this pair")
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{other} gave no answer about the guests: {error}.") from error
    return found


def learn(config, paths):
    """
    Let libvirt know the definitions that have changed on the disk. A running guest is not disturbed.

    Returns the guests whose definition was news. Raises ``Unavailable`` when libvirt refuses some, after all
    others are known.
    """
    learned, refused = [], []
    for guest in config["vms"]:
        name = virtual_machine.domain(config, guest)
        place = definition_file(name, paths)
        there = _file_digest(name, paths)
        if there is None:
            continue
        try:
            known = virtual_machine.definition_digest(known_definition(name))
        except Unavailable:
            known = None
        if known == there:
            continue
        try:
            call("define", "--file", str(place), what=f"let libvirt know {place}")
            learned.append(guest)
        except Unavailable as error:
            refused.append(str(error))
    if refused:
        raise Unavailable(" ".join(refused))
    return learned


def start(name):
    """Start a domain. Raises ``Unavailable``, with virtlockd's word if another host has its disk."""
    call("start", "--domain", name, limit=START_LIMIT, what=f"start {name}")


def resume(name):
    """Let a paused domain go on. Raises ``Unavailable``."""
    call("resume", "--domain", name, limit=START_LIMIT, what=f"resume {name}")


def state(name):
    """State and reason of one domain, as in ``parse_states``."""
    text = call(
        "domstats", "--state", "--nowait", "--domain", name, what=f"ask libvirt for the state of {name}"
    )
    return parse_states(text)[name]


def shut_down(name, limit):
    """
    Ask a guest to shut down, and wait until it is off.

    limit
        Seconds.

    Raises ``Unavailable`` when it runs still: nobody pulls its plug but a person.
    """
    end = time.monotonic() + limit
    asked = 0.0
    while True:
        found, _ = state(name)
        if found == virtual_machine.OFF:
            return
        now = time.monotonic()
        if now >= end:
            raise Unavailable(
                f"{name} was asked to shut down and is {found} after {limit:g} s. It was left alone; shut it "
                f"down from inside, or end it: virsh destroy {name}"
            )
        if now - asked >= 10:
            # A guest that is still starting misses the first time.
            call("shutdown", "--domain", name, what=f"shut {name} down")
            asked = now
        time.sleep(0.2)


def migrate(config, name, run, paths, limit):
    """
    Migrate a running domain live to the other host, through the pair's own SSH connection.

    limit
        Seconds; then it is aborted, and the guest runs on here.

    Raises ``Unavailable``; where the guest runs then must be looked at.
    """
    other = configuration.peer(config)["id"]
    with _tunnel(config, run, paths) as place:
        words = ["migrate", "--live", "--p2p", "--tunnelled", "--auto-converge"]
        # libvirt cannot tell whether a folder is shared unless it knows the kind of its file system. Both
        # hosts have shown the same mark on it, which is better than knowing the kind.
        words += ["--unsafe", "--domain", name, "--desturi", f"qemu+unix:///system?socket={place}"]
        try:
            call(*words, limit=limit, what=f"migrate {name} to {other}")
        except Unavailable:
            # A job that goes on would move it after we have said that we failed. With none there is
            # nothing to abort.
            with contextlib.suppress(Unavailable):
                call("domjobabort", "--domain", name)
            raise


@contextlib.contextmanager
def _tunnel(config, run, paths):
    """A socket on this host behind which the other host's libvirt answers, over SSH."""
    folder = paths.volatile(config["name"])
    files.make_folder(folder)
    place = folder / f"libvirt-{run[-4:]}.sock"
    place.unlink(missing_ok=True)
    command = [*peer.ssh(config, paths, "-T"), "--", "libvirt", run]
    children = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    children.append(
                        subprocess.Popen(
                            command, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL
                        )
                    )

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield place
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            place.unlink(missing_ok=True)
            for child in children:
                child.terminate()
                child.wait()


def serve_libvirt(config):
    """Become a connection to this host's libvirt, on standard input and output (the far end)."""
    if not config["vms"]:
        raise Refused(f"{config['name']} has no virtual machines.")
    os.execv(HELPER, [HELPER, URI])
