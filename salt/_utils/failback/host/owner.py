"""
Programs that a user steers run as that user: who owns a repository, and how git becomes its owner.

A repository names programs, in its configuration and as hooks. Whoever may write there chooses what git runs,
so git runs with his rights and in an environment that has nothing of root's::

    user = owner.of_repository("/srv/git/site.git")
    owner.run(user, ["git", "--git-dir", "/srv/git/site.git", "for-each-ref"], 30, "read the references")
"""

import dataclasses
import os
import pwd
import select
import signal
import stat
import subprocess
import threading
import time

from failback.decisions import ownership
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import notation

#: Bytes that are kept of what a program says. It may say more; who steers it must not fill root's memory.
KEPT = 4 << 20

#: Links that are followed on the way to a repository, as by the kernel (path_resolution(7)).
_LINKS = 40

#: Seconds for the last words of a program that has ended: a child of it may have its output open for ever.
_LAST_WORDS = 1.0
#: Seconds between two looks at what is not kept: a program that floods waits for its pipe, and the node's
#: processors are there for its services.
_UNHURRIED = 0.05

_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclasses.dataclass(frozen=True)
class User:
    """Somebody as whom a program runs: his ids, all of his groups, name and home."""

    uid: int
    gid: int
    groups: tuple
    name: str
    home: str

    def environment(self):
        """All that a program of his finds in its environment."""
        return {
            "PATH": _PATH if self.uid else f"/usr/local/sbin:/usr/sbin:/sbin:{_PATH}",
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "LC_ALL": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
        }

    def popen_options(self):
        """The arguments with which ``subprocess.Popen`` starts a program as this user."""
        options = {"env": self.environment(), "cwd": "/", "start_new_session": True}
        if os.geteuid() != self.uid:
            options.update(user=self.uid, group=self.gid, extra_groups=list(self.groups))
        return options


def user(uid, gid):
    """
    Somebody by his number.

    gid
        His group if the system does not know him.
    """
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(uid, gid, (gid,), str(uid), "/nonexistent")
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(uid, entry.pw_gid, groups, entry.pw_name, entry.pw_dir)


def of_repository(path, receiving=False, node="this node"):
    """
    The user as whom git runs in a bare repository: its owner.

    receiving
        Whether something is to be written there.

    node
        What to call this node in a sentence.

    Raises ``Refused`` if somebody else could choose what git runs, or git could not write there; and
    ``Unavailable`` if there is no such folder.
    """
    try:
        above, inside, gid = _looked(path)
    except OSError as error:
        raise Unavailable(
            f"The repository {path} on {node} cannot be looked at: {error.strerror}."
        ) from error
    problem = ownership.repository_problem(above, inside, receiving)
    if problem:
        found, danger, command = problem
        raise Refused(
            f"The repository {path} on {node} is left alone: {found}, so {danger}. Run there: {command}"
        )
    return user(above[-1].uid, gid)


def become(somebody, argv):
    """Turn this process into a program that runs as a user, with standard input, output and error alone."""
    if os.geteuid() != somebody.uid:
        os.setgroups(list(somebody.groups))
        os.setresgid(somebody.gid, somebody.gid, somebody.gid)
        os.setresuid(somebody.uid, somebody.uid, somebody.uid)
    os.chdir("/")
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.execve(argv[0], argv, somebody.environment())


def run(somebody, argv, limit, what, pass_fds=(), started=None, stdin=None, environment=None):
    """
    Run a program as a user, to its end.

    argv
        Argument list.

    limit
        Seconds after which it is killed.

    what
        What it does, for the sentence of an error: ``push the repository``.

    pass_fds
        Open files that it inherits beside the standard ones.

    started
        Called without arguments once it runs.

    stdin
        Open file that it reads; nothing by default.

    environment
        Variables that it finds beside those of every program of that user.

    Returns ``(exit status, standard output, standard error)``, of each at most ``KEPT`` bytes.
    Raises ``Unavailable`` if it cannot start or does not end in time.
    """
    options = somebody.popen_options()
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            **{**options, "env": {**options["env"], **(environment or {})}},
        )
    except FileNotFoundError as error:
        raise Unavailable(f"Cannot {what}: the program {argv[0]} is not installed.") from error
    except OSError as error:
        raise Unavailable(f"Cannot {what}: {argv[0]}: {error}.") from error
    if started:
        started()
    readers = [Reader(process.stdout), Reader(process.stderr)]
    try:
        ended = _ended(process.pid, limit)
    finally:
        # All that it has left behind in its group, too: nobody waits for that any more. As long as the
        # process was not waited for, its number names no other group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    end = time.monotonic() + _LAST_WORDS
    texts = [one.text(max(0.0, end - time.monotonic())) for one in readers]
    if not ended:
        raise Unavailable(f"Cannot {what}: no end within {limit} seconds.")
    return process.returncode, *texts


def _ended(pid, limit):
    """Whether a child ends within so many seconds; it is still to be waited for."""
    watched = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        return bool(poll.poll(limit * 1000))
    finally:
        os.close(watched)


class Reader:
    """
    Reads a pipe to its end, and keeps the first of it.

    stream
        Binary; closed at its end.
    """

    def __init__(self, stream):
        self._stream = stream
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        with self._stream as stream:
            while data := os.read(stream.fileno(), 1 << 16):
                self._kept += data[: max(0, KEPT - len(self._kept))]
                if len(self._kept) >= KEPT:
                    time.sleep(_UNHURRIED)

    def text(self, wait):
        """What has come by now, if need be after a wait of so many seconds for its end."""
        self._thread.join(wait)
        return bytes(self._kept).decode("utf-8", "surrogateescape")


def said(text, limit=800):
    """The end of what a program has said, as one printable line: a user may have written it."""
    line = " ".join(text.split())[-limit:]
    return notation.readable(os.fsencode(line)) or "nothing said"


def _looked(path):
    """
    What :py:func:`failback.decisions.ownership.repository_problem` wants to know, and the folder's group.

    Each step is taken from the open folder before it, so that what is judged is what is entered.
    """
    above, folder = entered(path)
    try:
        gid = os.fstat(folder).st_gid
        # By the name that was entered, as what is above: by a link it may have been given another.
        inside = list(_inside(folder, above[-1].path.rstrip("/")))
    finally:
        os.close(folder)
    return above, inside, gid


def entered(path):
    """
    Enter a folder step by step, each from the open one before it.

    Returns the folders and links on the way, as ``ownership.Entry``, the folder itself last; and that, open.
    """
    here = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    trail = [("/", here)]
    above = [_entry("/", os.fstat(here))]
    left = [part for part in path.split("/") if part not in ("", ".")]
    links = 0
    try:
        while left:
            name = left.pop(0)
            if name == "..":
                # Of the folders that were really entered, as the kernel does.
                if len(trail) > 1:
                    os.close(trail.pop()[1])
                continue
            where = os.path.join(trail[-1][0], name)
            status = os.stat(name, dir_fd=trail[-1][1], follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _LINKS:
                    raise OSError(40, "too many links", where)
                above.append(_entry(where, status))
                target = os.readlink(name, dir_fd=trail[-1][1])
                if target.startswith("/"):
                    while len(trail) > 1:
                        os.close(trail.pop()[1])
                left = [part for part in target.split("/") if part not in ("", ".")] + left
                continue
            opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=trail[-1][1])
            trail.append((where, opened))
            above.append(_entry(where, os.fstat(opened)))
        if above[-1].path != trail[-1][0]:
            # The way ended with "..".
            above.append(_entry(trail[-1][0], os.fstat(trail[-1][1])))
        return above, os.dup(trail[-1][1])
    finally:
        for _, opened in trail:
            os.close(opened)


#: Folders of a repository, and whether what is in them is looked at as well, or the folders alone.
_LOOKED_INTO = {"hooks": True, "objects": False, "refs": False}


def _inside(folder, path):
    with os.scandir(folder) as entries:
        for one in entries:
            status = one.stat(follow_symlinks=False)
            place = f"{path}/{one.name}"
            yield _entry(place, status)
            if one.name not in _LOOKED_INTO or not stat.S_ISDIR(status.st_mode):
                continue
            opened = os.open(one.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                with os.scandir(opened) as below:
                    for other in below:
                        if _LOOKED_INTO[one.name] or other.is_dir(follow_symlinks=False):
                            yield _entry(f"{place}/{other.name}", other.stat(follow_symlinks=False))
            finally:
                os.close(opened)


def _entry(path, status):
    kind = "link" if stat.S_ISLNK(status.st_mode) else "folder" if stat.S_ISDIR(status.st_mode) else "file"
    return ownership.Entry(path, status.st_uid, stat.S_IMODE(status.st_mode), kind)
