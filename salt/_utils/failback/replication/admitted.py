"""
The short way for the other node's next rsync: the last answer, while all that it was made from is the same.

lsyncd comes several times a second. To judge anew whether it may write, and where, takes several times as
long as to start rsync, most of it for Python to load what it needs. The judgement depends on a few files
alone: so they are kept, byte by byte, beside the answer, and compared. If anything in them is another, the
long way is gone (:py:mod:`failback.replication.admission`). What is compared:

- the pair's configuration, the ledger, the record of where the paths lie, the mounts, the names of disks;
- each folder: where its name leads, and which one that is; each path: what kind of thing it is;
- the release that gave the answer.

A "no" is never kept. This module imports nothing of the package, so that it loads in a millisecond.
"""

# The module ``signal`` is this one with names for its numbers, and takes longer to load than all the others.
import _signal as signals
import fcntl
import marshal
import os

#: What the other node asks for.
COMMAND = "rsync --server --daemon ."

MOUNTS = "/proc/self/mountinfo"
UUIDS = "/dev/disk/by-uuid"
RELEASE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

#: The least number of an open folder in the daemon, above those that it uses itself.
FIRST = 100

#: What rsync(1) says of a pass that has carried a part.
PARTIAL = 23
#: Exit codes of a pass that lsyncd takes for done: all of it, and all that had not vanished.
DONE = (0, 24)


class Changed(Exception):
    """Something is not as it was when the answer was given."""


def again(pair, root="/"):
    """
    Be an rsync daemon as the last time, if nothing has changed since.

    pair
        Name of the pair, as the caller was given it.

    root
        Folder that stands for ``/`` (tests).

    Returns its exit status; None, with nothing done, when the long way has to be gone.
    """
    volatile = os.path.join(root, "run/failback", pair)
    try:
        with open(os.path.join(volatile, "rsyncd-write.admitted"), "rb") as handle:
            answer = marshal.load(handle)
        # Before the ledger is read: who changes it in between ends this process.
        announcement = announce(volatile)
        if answer["facts"] != facts(root, pair, answer["paths"], answer["folders"]):
            raise Changed
        below = [os.open(point, os.O_PATH) for point in answer["below"]]
        for folder, number in zip(answer["folders"], answer["numbers"]):
            opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
            status = os.fstat(opened)
            if opened >= FIRST or (status.st_dev, status.st_ino) != answer["facts"]["folders"][folder][1:]:
                raise Changed
            os.dup2(opened, number)
        # Once more: what was mounted before the folders were opened is not what they are.
        if _read(MOUNTS) != answer["facts"]["mounts"]:
            raise Changed
    except (Changed, OSError, ValueError, EOFError, TypeError, KeyError):
        return None
    status = run(volatile, answer["text"])
    if status in DONE and _read(MOUNTS) != answer["facts"]["mounts"]:
        # Seldom, so it may take its time: is it about these folders?
        from failback.replication import sources

        roots = [real for real, _, _ in answer["facts"]["folders"].values()]
        texts = (os.fsdecode(text) for text in (answer["facts"]["mounts"], _read(MOUNTS)))
        before, after = (sources.mounts_about(text, roots) for text in texts)
        status = status if before == after else PARTIAL
    for opened in below:
        os.close(opened)
    os.unlink(announcement)
    return status


def facts(root, pair, paths, folders):
    """
    All that the answer is made from, as a dict of plain values.

    paths, folders
        Of the replicated paths, the names in the pillar and the folders that they lie in.
    """
    return {
        "release": RELEASE,
        "configuration": _read(os.path.join(root, "etc/failback/pairs", pair + ".json")),
        "ledger": _read(os.path.join(root, "var/lib/failback", pair, "ledger.json")),
        "sources": _read(os.path.join(root, "var/lib/failback", pair, "sources.json")),
        "mounts": _read(MOUNTS),
        "disks": _disks(),
        "kinds": {path: _kind(os.path.join(root, path.lstrip("/"))) for path in paths},
        "folders": {folder: _place(folder) for folder in folders},
    }


def keep(volatile, answer):
    """Keep an answer for :py:func:`again`; see there for what is in it."""
    temporary = os.path.join(volatile, f".rsyncd-write.admitted.{os.getpid()}")
    _write(temporary, marshal.dumps(answer))
    os.replace(temporary, os.path.join(volatile, "rsyncd-write.admitted"))


def announce(volatile):
    """As :py:func:`failback.replication.incoming.announce`, in the folder that it made. Returns the file."""
    pid = os.getpid()
    started = _read("/proc/self/stat").rpartition(b")")[2].split()[19]
    final = os.path.join(volatile, "incoming", str(pid))
    temporary = os.path.join(volatile, "incoming", f".{pid}.again")
    _write(temporary, started)
    os.replace(temporary, final)
    return final


def run(volatile, text):
    """
    Run rsync's daemon on this process' input and output until it ends; returns its exit status.

    volatile
        The pair's folder below ``/run``.

    text
        Its configuration, ``bytes``. In a file of its own, because it names open folders of this process by
        their numbers: another process may have another order.
    """
    configuration = os.path.join(volatile, f"rsyncd-{os.getpid()}.conf")
    _write(configuration, text)
    words = ["rsync", "--server", "--daemon", f"--config={configuration}", "."]
    child = os.fork()
    if child == 0:
        try:
            os.execv("/usr/bin/rsync", words)
        finally:
            os._exit(127)
    # Whoever ends it tells the whole group. This process is the one that was announced, so it ends last. Not
    # before the fork: what this process is told then would be told to nobody.
    signals.signal(signals.SIGTERM, lambda *_: None)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.unlink(configuration)
    return status if status >= 0 else 128 - status


def for_a_child(opened):
    """The number of a copy of an open folder that a child process inherits."""
    return fcntl.fcntl(opened, fcntl.F_DUPFD, FIRST)


def _read(path):
    try:
        with open(path, "rb", buffering=0) as handle:
            return handle.readall()
    except FileNotFoundError:
        return None


def _write(path, data):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(data)


def _disks():
    try:
        return sorted((name, os.readlink(f"{UUIDS}/{name}")) for name in os.listdir(UUIDS))
    except OSError:
        return None


def _kind(path):
    try:
        return os.lstat(path).st_mode & 0o170000
    except OSError:
        return None


def _place(folder):
    status = os.stat(folder)
    return os.path.realpath(folder), status.st_dev, status.st_ino
