"""
Running rsync against the peer's daemon over SSH: the command lines, and one pass of it.

An exit code other than 0 is never success here. 24 (files vanished while they were read) means that another
pass is needed, and so does a first 23: rsync asks a file for the default ACL of the folder that it has just
replaced by it. Any other code raises with rsync's own words, and so does 23 after a second pass.
"""

import collections
import contextlib
import dataclasses
import fcntl
import os
import re
import select
import subprocess
import threading
import time

from failback import errors
from failback.decisions import addressing
from failback.host import files
from failback.host import notation
from failback.host import system
from failback.peer import answers
from failback.recovery import itemize
from failback.replication import replicated

VANISHED = 24
#: Some files or attributes were not carried over.
PARTIAL = 23
#: What was to be deleted beyond ``max_delete`` is still there.
TOO_MANY_DELETIONS = 25
#: Protocol incompatibility. So rsync 3.5.0 ends at times, too, when one of several names of a file vanishes.
PROTOCOL = 2
#: rsync(1): protocol, socket I/O, protocol data stream, lost its connection to the daemon or shell.
CONNECTION_FAILED = (PROTOCOL, 10, 12, 255)

_STATISTICS = re.compile(rb"^Number of files: ([\d,.]+)")
_PRETENDED = re.compile(
    rb'rsync: \[generator\] stat ".*" failed: '
    rb"(Too many levels of symbolic links \(40\)|Not a directory \(20\))$"
    rb"|rsync error: some files/attrs were not transferred"
)
_STOPPED_DELETING = "Deletions stopped due to --max-delete limit"
_KEPT_WORDS = 30
#: Bytes that wait to be read at most (fcntl(2): root may have as much), and for how long, in ms.
_PIPE = 1 << 20
_SET_PIPE_SIZE = getattr(fcntl, "F_SETPIPE_SZ", 1031)  # it has a name since Python 3.10
_GATHER = 30


@dataclasses.dataclass(frozen=True)
class Peer:
    """
    The node that data comes from, and how to reach it.

    host
        Address or name for SSH.

    remote_shell
        Value of rsync's ``-e``: see :py:func:`failback.replication.replicated.ssh_command`.

    root
        Folder that stands for ``/`` on *this* node (tests).

    program
        The rsync to run here.

    timeout
        Seconds without any data after which rsync gives up.
    """

    host: str
    remote_shell: str
    root: str = "/"
    program: str = "rsync"
    timeout: int = 300

    def module(self, item):
        """An item on the peer, as rsync's command line names it."""
        return f"{addressing.in_brackets(self.host)}::{item.module}/"

    def folder(self, item):
        """Where an item lies on this node, without a slash at the end: empty for ``/``."""
        return item.under(self.root).rstrip("/")

    def top(self, item):
        """The same as a path to open, in bytes."""
        return os.fsencode(self.folder(item)) or b"/"


@dataclasses.dataclass
class Outcome:
    """
    What one run of rsync ended with: exit code, files on the source, its messages.

    only_pretended
        Whether it has complained of nothing but names below what it would have replaced by a folder, had it
        been no dry run: see :py:func:`looked_well`.
    """

    code: int = 0
    source_files: int = 0
    words: list = dataclasses.field(default_factory=list)
    only_pretended: bool = True

    @property
    def is_beyond_max_delete(self):
        """Whether it has stopped deleting. Its code is another one where something else was wrong as well."""
        return self.code == TOO_MANY_DELETIONS or any(_STOPPED_DELETING in one for one in self.words)


def pull_command(peer, item, dry_run=False, backup=None, named=True, max_delete=None):
    """
    The argument list that pulls one item from the peer.

    peer
        :py:class:`Peer`.

    item
        :py:class:`failback.replication.replicated.Item`.

    dry_run
        Only say what would be done.

    backup
        Folder into which everything overwritten or deleted is moved; absolute.

    named
        Whether rsync says what it does, name by name. Where it carries many small files, that takes a tenth
        of its time and more.

    max_delete
        Files that it may delete; ``None`` for any number.
    """
    command = [
        peer.program,
        *(replicated.OPTIONS if dry_run else replicated.CARRYING),
        *replicated.filters(item),
        *([itemize.FORMAT] if named else []),
        "--stats",
        f"--timeout={peer.timeout}",
        "-e",
        peer.remote_shell,
        "--mkpath",
    ]
    if dry_run:
        command.append("--dry-run")
    if max_delete is not None:
        command.append(f"--max-delete={int(max_delete)}")
    if backup is not None:
        command += ["--backup", f"--backup-dir={backup}"]
    return [*command, peer.module(item), f"{peer.folder(item)}/"]


def named_pull_command(peer, item, names_file, backup=None, max_delete=None):
    """
    The argument list that pulls only the names given, and deletes those that the peer no longer
    has.

    names_file
        File of names relative to the item's root, each followed by a zero byte; ``-`` for
        :py:meth:`Pass.feed`. A folder in it stands for itself, not for its content; one that the peer
        does not have is deleted with its content.

    max_delete
        As for :py:func:`pull_command`.
    """
    command = [peer.program, *[option for option in replicated.OPTIONS if option != "--delete"]]
    command += [
        "--no-recursive",
        f"--files-from={names_file}",
        "--from0",
        "--no-implied-dirs",
        "--delete-missing-args",
        # A folder that is not empty is replaced too: by nothing, or by a file of that name.
        "--force",
        itemize.FORMAT,
        f"--timeout={peer.timeout}",
        "-e",
        peer.remote_shell,
    ]
    if max_delete is not None:
        command.append(f"--max-delete={int(max_delete)}")
    if backup is not None:
        command += ["--backup", f"--backup-dir={backup}"]
    return [*command, peer.module(item), f"{peer.folder(item)}/"]


def environment():
    """The environment rsync runs in: the C locale, which makes its output reversible; times in UTC."""
    path = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    return {"PATH": path, "LC_ALL": "C", "TZ": "UTC"}


class Pass:
    """
    One running rsync, read line by line in constant memory::

        with Pass(command) as entries:
            for entry in entries:
                ...
        entries.outcome.code

    command
        Argument list with :py:data:`failback.recovery.itemize.FORMAT` in it.

    lock
        Open file descriptor whose lock rsync keeps as long as it lives, even if this process dies.

    deadline
        Value of ``time.monotonic()`` at which rsync is ended; ``None`` for never.

    fed
        Whether it waits for the names that :py:meth:`feed` gives it. Its connection and the peer's
        rsync are there by then.

    Leaving the block waits for rsync's end, or ends it if the block raised.
    """

    def __init__(self, command, lock=None, deadline=None, fed=False):
        self.command = command
        self._deadline = deadline
        self._fed = fed
        self._timer = None
        self.outcome = Outcome()
        self._lock = lock
        self._process = None
        self._errors = collections.deque(maxlen=_KEPT_WORDS)

    def __enter__(self):
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE if self._fed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment(),
                pass_fds=() if self._lock is None else (self._lock,),
            )
        except OSError as error:
            raise errors.Unavailable(
                f"{self.command[0]} cannot be started: {error.strerror}. Nothing was synced. "
                "Install rsync on this node, then run again."
            ) from error
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        self._limit()
        return self

    def feed(self, names, deadline=None):
        """
        Give it the names it waits for, each without its zero byte.

        deadline
            As for the class; counted from here.
        """
        self._deadline = deadline
        self._limit()
        # On its own, for rsync may want to be read before it has taken all of them.
        threading.Thread(target=self._give, args=(names,), daemon=True).start()

    def _give(self, names):
        with contextlib.suppress(OSError), self._process.stdin as stream:
            stream.write(b"".join(name + b"\0" for name in names))

    def _limit(self):
        if self._deadline is not None:
            left = max(0.0, self._deadline - time.monotonic())
            self._timer = threading.Timer(left, self._end)
            self._timer.daemon = True
            self._timer.start()

    def __iter__(self):
        for line in self._lines():
            entry = itemize.parsed(line)
            if entry is not None:
                yield entry
                continue
            statistics = _STATISTICS.match(line)
            if statistics:
                digits = re.sub(rb"[,.]", b"", statistics.group(1))
                self.outcome.source_files = int(digits)
            elif line.startswith((b"IO error", b"cannot delete", b"skipping")):
                self._errors.append(line)

    def _lines(self):
        """
        What rsync says, line by line and many at a time.

        It flushes each line by itself. Whoever wakes up for every one of them takes from it, where cores
        are few, more time than reading them does.
        """
        stream = self._process.stdout.fileno()
        with contextlib.suppress(OSError):
            fcntl.fcntl(stream, _SET_PIPE_SIZE, _PIPE)
        ended = select.poll()
        # Not for what can be read: for the other end's being closed, of which poll(2) tells unasked.
        ended.register(stream, 0)
        rest = b""
        while True:
            ended.poll(_GATHER)
            data = os.read(stream, _PIPE)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            yield from lines
        if rest:
            yield rest

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self._process.terminate()
        if self._fed and kind is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process.stdout.close()
        self.outcome.code = self._process.wait()
        if self._timer is not None:
            self._timer.cancel()
        self._reader.join()
        self._process.stderr.close()
        self.outcome.words = [
            notation.readable(notation.unescaped(line)) for line in self._errors if line.strip()
        ]
        return False

    def written(self):
        """Bytes that it has written into files so far, and a little more; 0 once it has ended."""
        return system.written_by(self._process.pid)

    def end(self):
        """End it now; whoever reads its entries finds that they have ended."""
        self._process.terminate()

    def _end(self):
        self._errors.append(b"not ended in the time it was given, so it was stopped")
        self.end()

    def _read_errors(self):
        for line in self._process.stderr:
            self._errors.append(line.rstrip(b"\n"))
            if line.strip() and not _PRETENDED.match(line):
                self.outcome.only_pretended = False


def looked_well(outcome):
    """
    Whether a dry run has ended well: with 0 or 24, or with a 23 that only a dry run ends with.

    Where a link or a file here is going to be a folder, rsync asks for the hard links below it although, in a
    dry run, the folder is not there. A link that leads to itself, or a file, is no way to them.
    """
    return outcome.code in (0, VANISHED) or (outcome.code == PARTIAL and outcome.only_pretended)


def require_success(outcome, item, accept=(0,)):
    """
    Raise :py:class:`failback.errors.Unavailable` unless rsync ended well.

    accept
        Exit codes that are no error here; 0, and 24 where another pass follows.
    """
    if outcome.code in accept:
        return
    words = "\n".join(f"  {line}" for line in outcome.words) or "  (rsync said nothing)"
    words += answers.advice(words, "the other node")
    raise errors.Unavailable(
        f"rsync of {item.path} from the peer ended with exit code {outcome.code}, so the path is "
        f"not in step, and what was overwritten up to then is in the run's backup. rsync said:\n"
        f"{words}\nFix this, then run the same orchestration again: it continues."
    )


def lock(path, wait=60.0):
    """
    Take the lock of an item, so that a pass that outlived its caller ends before the next begins.

    path
        File to lock; created.

    wait
        Seconds to wait for the holder.

    Returns an open file object; closing it (and the end of the rsync that shares it) releases the
    lock.
    """
    handle = open(path, "ab", opener=files.private)  # noqa: SIM115 (returned open)
    taken = threading.Event()
    problem = []

    def take():
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            problem.append(error)
        taken.set()

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle
    except BlockingIOError:
        pass
    threading.Thread(target=take, daemon=True).start()
    if not taken.wait(wait) or problem:
        raise errors.Refused(
            f"An earlier rsync into this path still runs after {wait:.0f} seconds (it holds "
            f"{path}). Two of them at once would mix their backups. Wait for it to end, or end it, "
            f"then run again. To see it: fuser -v {path}"
        )
    return handle
