"""Small files that must be whole or not be there at all."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import tempfile

from failback.errors import Unreadable


def make_folder(path, mode=0o700):
    """Create a folder of ours, and those above it that are missing, for root alone."""
    path = pathlib.Path(path)
    if not path.is_dir():
        # mkdir(parents=True) would make those above with the default mode.
        make_folder(path.parent, mode)
        path.mkdir(mode=mode, exist_ok=True)


def write_atomically(path, data, mode=0o600):
    """
    Replace a file by new content that survives a power failure, or leave the old one.

    Temporary file in the same folder, fsync, rename, fsync of the folder: a reader sees the old
    content or the new one, never half of it.

    path
        File to write; its folder is made when it is missing.

    data
        Text or bytes.

    mode
        Permissions of the file.
    """
    with Prepared(path, data, mode) as prepared:
        prepared.put()


class Prepared:
    """
    :py:func:`write_atomically` in two parts: what takes longest is done when this is made.

    A context manager; what was not :py:meth:`put` by its end leaves no trace.
    """

    def __init__(self, path, data, mode=0o600):
        self.path = pathlib.Path(path)
        make_folder(self.path.parent)
        data = data.encode() if isinstance(data, str) else data
        descriptor, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        self._temporary = temporary
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fchmod(handle.fileno(), mode)
                os.fsync(handle.fileno())
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def put(self):
        """Replace the file, once."""
        os.replace(self._temporary, self.path)
        self._temporary = None
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self):
        """Remove what was prepared and not put."""
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary)
            self._temporary = None


def write_json(path, value, mode=0o600):
    """Write a value as indented JSON, atomically."""
    write_atomically(path, as_json(value), mode)


def as_json(value):
    """The text of a JSON file of this package."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


#: What to do about a damaged file that the other node has as well.
ADVICE = (
    "Look at it, and when the other node's one is right, move it aside and run the orchestration that "
    "`salt-run pair.status` names."
)


def read_json(path, what, version=None, advice=None):
    """
    Read a JSON object that this package wrote.

    path
        The file.

    what
        What to call it in an error, such as ``the ledger of salt``.

    version
        Highest value of its ``version`` key that this program understands.

    advice
        What to do about a damaged one, a sentence.

    Returns the dict, or None when there is no file. Raises ``Unreadable`` for anything else.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path}, {what}, cannot be read: {error}.") from error
    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("it is not a JSON object")
    except ValueError as error:
        raise Unreadable(
            f"{path}, {what}, is damaged ({len(text)} bytes: {error}), so it proves nothing. "
            f"{advice or ADVICE}"
        ) from error
    found = value.get("version")
    if version is not None and (not isinstance(found, int) or found > version):
        raise Unreadable(
            f"{path}, {what}, has format version {found!r}; this program knows up to {version}. A newer "
            f"Failback wrote it: bring this node to the same release with highstate, do not edit it."
        )
    return value


@contextlib.contextmanager
def locked(path):
    """Serialise writers of a pair's state on this node (flock on a file that is never removed)."""
    path = pathlib.Path(path)
    make_folder(path.parent)
    with open(path, "ab") as handle:
        os.fchmod(handle.fileno(), 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked_at_once(path):
    """:func:`locked` without waiting: a context with True, or with False if somebody else has the lock."""
    path = pathlib.Path(path)
    make_folder(path.parent)
    with open(path, "ab") as handle:
        os.fchmod(handle.fileno(), 0o600)
        yield lock_now(handle)


def lock_now(handle):
    """Lock an open file (flock) for as long as it is open. Returns False if somebody else has the lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def private(path, flags):
    """An opener for ``open``: what it makes is for its owner alone."""
    return os.open(path, flags, 0o600)
