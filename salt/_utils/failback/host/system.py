"""Facts of the running system."""

import contextlib
import hashlib
import os
import pathlib
import subprocess
import syslog
import time

from failback.errors import Unavailable
from failback.host import notation

BOOT_ID = pathlib.Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = pathlib.Path("/etc/machine-id")
#: The folder of the package that this file belongs to, all wings of it.
PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def boot_id():
    """The kernel's random identity of this boot (random(4)); another after each reboot."""
    return BOOT_ID.read_text().strip()


def machine_id():
    """
    The identity of this installation, the same after each reboot; empty if it has none.

    machine-id(5) and the host's name: copies of a virtual machine that share the first differ in the second.
    """
    try:
        return f"{MACHINE_ID.read_text().strip()}/{os.uname().nodename}"
    except OSError:
        return ""


def boottime():
    """Seconds since boot, suspended time included; not moved by a wrong wall clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def clocks():
    """The clocks of this moment, for ``clock_step``: ``wall``, ``boottime`` and ``boot_id``."""
    return {"wall": time.time(), "boottime": boottime(), "boot_id": boot_id()}


def clock_step(then):
    """
    By how many seconds this node's wall clock was set ahead since a moment; negative: back.

    then
        What ``clocks`` returned at that moment. Of an earlier boot, or not understood, it tells nothing: 0.
    """
    wall, since_boot = then.get("wall"), then.get("boottime")
    numbers = all(isinstance(one, (int, float)) for one in (wall, since_boot))
    if not numbers or then.get("boot_id") != boot_id():
        return 0.0
    return (time.time() - boottime()) - (wall - since_boot)


def process_started(pid):
    """
    When a process started, in clock ticks since boot (proc(5), stat field 22), or None.

    Together with the pid it names one process for good, although pids are used again.
    """
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the command in parentheses, may itself hold spaces and parentheses.
    return int(text.rpartition(")")[2].split()[19])


def children(pid):
    """The folders below ``/proc`` of the processes that one has started and not yet collected."""
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # The second field of stat, in parentheses, may hold anything (proc(5)).
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    yield folder


def written_by(pid):
    """
    Bytes that a process and its forks have written so far, into files or pipes (proc(5), ``io``).

    What it has started with other arguments, as rsync does ssh, does not count. 0 for one that has ended.
    """
    own = pathlib.Path(f"/proc/{pid}")
    written = 0
    with contextlib.suppress(OSError):
        arguments = (own / "cmdline").read_bytes()
        for folder in (own, *children(pid)):
            with contextlib.suppress(OSError):
                if (folder / "cmdline").read_bytes() == arguments:
                    fields = dict(line.split(": ") for line in (folder / "io").read_text().splitlines())
                    written += int(fields["wchar"])
    return written


def package_digest(folder):
    """
    SHA-256 over the places and contents of all ``*.py`` below a folder: are two copies the same?

    A place is the path below the folder, so a file that is in another wing makes another digest.
    """
    folder = pathlib.Path(folder)
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    digest = hashlib.sha256()
    for name in sorted(names):
        content = names[name].read_bytes()
        # With its length, a content cannot pass for the next file.
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def run(argv, timeout, what, stdin=None, env=None, accept=(0,)):
    """
    Run a program to its end and return its standard output.

    argv
        Argument list; no shell is involved.

    timeout
        Seconds after which it is killed.

    what
        What it does, for the sentence of an error: ``push the repository``.

    accept
        Exit statuses that are no failure.

    Raises ``Unavailable`` when it cannot start, fails, or does not end in time.
    """
    done = _finished(argv, timeout, what, stdin, env)
    if done.returncode not in accept:
        said = notation.printable((done.stderr or done.stdout).strip()[-800:])
        raise Unavailable(f"Cannot {what}: exit status {done.returncode}, {said or 'nothing said'}.")
    return done.stdout


def start_detached(argv):
    """Start a program that goes on by itself; what it has to say goes to the system's log."""
    subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=True,
    )


def wait_for_started():
    """Wait until every program that this one has started has ended. Each has a limit of its own."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def exit_status(argv, timeout, what):
    """
    Run a program whose exit status is its answer.

    argv, timeout, what
        As for :func:`run`.

    Returns ``(exit status, what it said)``. Raises ``Unavailable`` when it cannot start or does not end
    in time.
    """
    done = _finished(argv, timeout, what)
    return done.returncode, notation.printable((done.stderr or done.stdout).strip()[-800:])


def _finished(argv, timeout, what, stdin=None, env=None):
    try:
        return subprocess.run(
            argv,
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            text=True,
            errors="surrogateescape",
            check=False,
            env={**os.environ, **env} if env else None,
        )
    except FileNotFoundError as error:
        raise Unavailable(f"Cannot {what}: the program {argv[0]} is not installed.") from error
    except OSError as error:
        raise Unavailable(f"Cannot {what}: {argv[0]}: {error}.") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"Cannot {what}: no end within {timeout} seconds.") from error


#: Priorities of the system's log: what happened as planned, what somebody should look at, what has failed.
NOTICE, WARNING, ERR = syslog.LOG_NOTICE, syslog.LOG_WARNING, syslog.LOG_ERR


def log(sentence, priority=NOTICE):
    """One line in the system's log, as ``failback``."""
    syslog.openlog("failback", 0, syslog.LOG_DAEMON)
    # One line and printable: a name in it may be a user's.
    syslog.syslog(priority, " ".join(notation.printable(sentence).splitlines()))


def sync_file_systems(folders):
    """
    Write what the file systems of some folders still hold in memory to the disk (syncfs(2)).

    A ledger that names this node the newest must not be on the disk before the data are. Folders that
    do not exist are left out, and of those on one device all but the first. Raises ``Unavailable`` when a
    disk could not take it.
    """
    # Not at the top: most commands have no use for it, and it takes longer to load than they run.
    import ctypes

    library, done = ctypes.CDLL(None, use_errno=True), set()
    for folder in folders:
        try:
            # A file, too: one can be mounted over another.
            opened = os.open(folder, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        try:
            device = os.fstat(opened).st_dev
            if device in done:
                continue
            done.add(device)
            if library.syncfs(opened):
                number = ctypes.get_errno()
                raise Unavailable(f"{folder} could not be written to the disk: {os.strerror(number)}.")
        finally:
            os.close(opened)
