"""
A user who works against root: a program of his that changes names below a folder as fast as it can.

::

    with Attacker(folder, "swap") as attacker:
        ...                      # what root does meanwhile
    assert attacker.rounds       # it really was at work
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

#: Of the user; nobody on a machine has it.
UID = 54321

#: Each round of each way is one attack. ``victim`` is the folder outside.
PROGRAM = r"""
import ctypes, itertools, os, sys

way, folder, victim, counter = sys.argv[1:]
os.chdir(folder)
libc = ctypes.CDLL(None, use_errno=True)


def exchange(one, other):
    # renameat2(2), RENAME_EXCHANGE: there is no moment at which a name is missing
    libc.renameat2(-100, one, -100, other, 2)


def swap(number):
    exchange(b"d", b"way-out")


def hard_link(number):
    for name in ("d/deep/file", "d/deep/mode"):
        try:
            os.link(os.path.join(victim, "secret"), name + ".new")
            os.rename(name + ".new", name)
        except OSError:
            pass


def fifo(number):
    try:
        if number % 2:
            os.mkfifo("d/deep/pipe")
            os.rename("d/deep/pipe", "d/deep/file")
        else:
            open("d/deep/plain", "w").close()
            os.rename("d/deep/plain", "d/deep/file")
    except OSError:
        pass


def fill(number):
    try:
        with open("d/fills", "ab", buffering=0) as file:
            while file.write(bytes(65536)):
                pass
    except OSError:
        os.truncate("d/fills", 0)


def everything(number):
    (swap, hard_link, fifo)[number % 3](number)


try:
    os.symlink(victim, "way-out")
except FileExistsError:
    pass
count = os.open(counter, os.O_WRONLY)
print("ready", flush=True)
for number in itertools.count(1):
    globals()[way](number)
    os.pwrite(count, b"%020d" % number, 0)
"""


class Attacker:
    """
    The program at work, in a process of its own. A context manager.

    folder
        In which it changes names; his, see :py:func:`give`.

    way
        ``swap`` (a folder and a link to ``victim`` change places), ``hard_link``, ``fifo``, ``everything`` of
        these; or ``fill`` (the file system has no room, and has some again).

    victim
        Folder outside, which he may not enter by his own rights.
    """

    def __init__(self, folder, way, victim):
        self._counter = pathlib.Path(f"{folder}.rounds")
        self._counter.write_text("0")
        os.chown(self._counter, UID, UID)
        self._command = [sys.executable, "-I", "-c", PROGRAM, way, str(folder), str(victim)]
        self._process = None
        self.rounds = 0

    def __enter__(self):
        words = [*self._command, str(self._counter)]
        rights = {"user": UID, "group": UID, "extra_groups": []}
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, **rights)
        assert self._process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self.rounds = int(self._counter.read_text())


@contextlib.contextmanager
def workplace():
    """A folder that every user gets into, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        yield pathlib.Path(folder)


def give(folder):
    """Make a folder and all that is in it the attacker's."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, UID, UID, follow_symlinks=False)


def victim(folder):
    """A folder of root's with a file that is nobody's business: what stands for ``/etc``."""
    folder.mkdir(parents=True)
    (folder / "deep").mkdir()
    for name in ("secret", "deep/secret", "deep/file", "deep/mode", "deep/new"):
        (folder / name).write_text("SECRET OF ROOT\n")
        (folder / name).chmod(0o600)
    folder.chmod(0o711)
    (folder / "deep").chmod(0o711)
    return folder


def state(folder):
    """All of a folder that an attack could change."""
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path)] = (facts.st_mode, facts.st_uid, facts.st_gid, facts.st_mtime_ns, content)
    return found
