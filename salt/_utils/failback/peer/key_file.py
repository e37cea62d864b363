"""
The file of authorized keys in which highstate keeps the other node's key, between two marks.

An account's is in a folder that is a user's, and root writes there: no step from the home on goes through a
link (``failback.host.beneath``), and the new content is put beside the file and takes its name. Root's own
may be a link, as on some distributions: who may put one there is root.
"""

import contextlib
import os
import pathlib
import pwd
import stat

from failback.decisions import roles
from failback.errors import Refused
from failback.host import beneath
from failback.host import files

BEGIN = "# failback: begin (managed by Salt)"
END = "# failback: end"

#: sshd reads such a file at each login, and somebody else's could be of any size.
_LARGEST = 1 << 20

#: ``(mode of the file, mode of a folder that is made)``. Root makes an account's too: sshd takes that, and
#: reads it as the account.
_OF_ROOT = (0o600, 0o700)
_OF_AN_ACCOUNT = (0o644, 0o755)


def of_account(account):
    """The file in which sshd looks up the keys of an account other than root, as it is by default."""
    try:
        home = pwd.getpwnam(account).pw_dir
    except KeyError:
        home = f"/home/{account}"
    return f"{home}/.ssh/authorized_keys"


def has_block(file, account):
    """
    Whether a file of keys may have our block.

    True also for one that root does not read, such as a link in an account's home: :func:`remove` says so.
    """
    try:
        with _opened(file, account) as (folder, name):
            found = _read(folder, name, file, account) if folder is not None else None
    except Refused:
        return True
    return found is not None and BEGIN in found.text


def write(file, account, lines, test=False):
    """
    Make the file of keys have these lines between the marks, and its mode.

    file, account
        The file, and whose keys are in it. ``root``, or an account in whose home it is.

    lines
        Text, one key a line; all else in the file stays.

    test
        Say what would change, and change nothing.

    Returns what changed: ``{"keys": {"old", "new"}, "mode": {"old", "new"}}``, old is None for a file that
    was not there; empty where all is well. Raises ``Refused`` where root would follow a link of a user's,
    would write to something that is no file, or would show a file to those who may not read it.
    """
    mode, _ = _modes(account)
    with _opened(file, account, make=not test) as (folder, name):
        found = _read(folder, name, file, account) if folder is not None else None
        changes = _changes(found, lines, mode, file)
        if changes and found is not None:
            _require_ours_to_show(found, folder, file, account, mode)
        if changes and not test:
            _put(folder, name, replaced(found.text if found else "", lines, file), found, mode)
    return changes


def remove(file, account, test=False):
    """
    Let no key of a peer be between the marks; the mode, and all else in the file, stay.

    See :func:`write`. A file that is not there, or has no block, is left alone.
    """
    with _opened(file, account) as (folder, name):
        found = _read(folder, name, file, account) if folder is not None else None
        old = block(found.text, file) if found else None
        if old and not test:
            _put(folder, name, replaced(found.text, "", file), found, found.mode)
        return {"keys": {"old": old, "new": ""}} if old else {}


def block(text, file="A file of keys"):
    """What is between the marks, without empty lines; None where there are none. Pure. Raises ``Refused``."""
    _, inside, _ = _parts(text, file)
    return None if inside is None else "\n".join(line for line in inside if line.strip())


def replaced(text, lines, file="A file of keys"):
    """The text with these lines between the marks, at its end if it has none. Pure. Raises ``Refused``."""
    before, _, after = _parts(text, file)
    inside = [line for line in lines.split("\n") if line.strip()]
    return "\n".join([*before, BEGIN, *inside, END, *after]) + "\n"


def _parts(text, file):
    """The lines before the marks, between them (None where there are none), and after them."""
    before, inside, after = [], None, []
    is_open = False
    for line in text.removesuffix("\n").split("\n") if text else ():
        if is_open:
            is_open = END not in line
            inside += [line] if is_open else []
        elif BEGIN in line:
            # A second block, which somebody has copied, becomes part of the first.
            is_open, inside = True, inside or []
        else:
            (before if inside is None else after).append(line)
    if is_open:
        raise Refused(
            f"{file} has a line `{BEGIN}` and after it no `{END}`, so it is not clear what is ours. Nothing "
            f"was changed: remove that line, and the keys below it with far-end, then run this again."
        )
    return before, inside, after


def _changes(found, lines, mode, file):
    changes = {}
    old = block(found.text, file) if found else None
    new = "\n".join(line for line in lines.split("\n") if line.strip())
    if old != new:
        changes["keys"] = {"old": old, "new": new}
    if found is None or found.mode != mode:
        changes["mode"] = {"old": f"{found.mode:04o}" if found else None, "new": f"{mode:04o}"}
    return changes


class _Found:
    """A file of keys as it is: its text, its ``os.stat`` and its mode."""

    def __init__(self, text, status):
        self.text, self.status = text, status
        self.mode = stat.S_IMODE(status.st_mode)


def _modes(account):
    return _OF_ROOT if account == roles.ROOT else _OF_AN_ACCOUNT


@contextlib.contextmanager
def _opened(file, account, make=False):
    """The folder of a file, open, and the file's name in it, bytes; ``(None, name)`` without the folder."""
    _, mode = _modes(account)
    if account == roles.ROOT:
        # By way of links: they are root's own.
        file = os.path.realpath(file)
        top, below = os.path.dirname(file), b""
    else:
        # What is above a home is the administrator's.
        top = str(pathlib.Path(file).parents[2])
        below = os.fsencode(os.path.dirname(os.path.relpath(file, top)))
    name = os.fsencode(os.path.basename(file))
    if make:
        files.make_folder(top, mode)
    with contextlib.ExitStack() as stack:
        try:
            tree = stack.enter_context(beneath.Tree(top))
            if make:
                _make_folders(tree, below, mode)
            folder = stack.enter_context(tree.folder(below))
        except FileNotFoundError:
            folder = None
        except beneath.InTheWay as error:
            raise _in_the_way(file, account, error.strerror) from error
        yield folder, name


def _in_the_way(file, account, why):
    return Refused(
        f"{file}, the keys of {account}: {why}. Whoever put it there would choose which file root writes to. "
        f"Nothing was changed there: put an ordinary folder or file in its place, then run this again."
    )


def _make_folders(tree, name, mode):
    """Those that are missing, root's own, with the mode whatever the umask is."""
    part = b""
    for one in name.split(b"/") if name else ():
        part = os.path.join(part, one)
        if tree.exists(part):
            continue
        tree.make_folders(part)
        with tree.folder(part) as folder:
            # Still the one that was made, and not one that somebody has put in its place.
            if os.fstat(folder).st_uid == os.geteuid() and not os.listdir(folder):
                os.fchmod(folder, mode)


def _read(folder, name, file, account):
    """The file as it is, or None if there is none. Raises ``Refused`` for what is no ordinary file."""
    try:
        # Not to be read yet: of a pipe, or a device, that alone could be too much.
        looked = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(looked)
        if stat.S_ISLNK(status.st_mode):
            raise _in_the_way(file, account, "it is a link")
        if not stat.S_ISREG(status.st_mode):
            raise _in_the_way(file, account, "it is no ordinary file")
        if status.st_size > _LARGEST:
            raise Refused(
                f"{file} has {status.st_size} bytes, more than a list of keys. Nothing was changed there: "
                f"look at what it is, then run this again."
            )
        with open(beneath.through(looked), "rb", buffering=0) as handle:
            data = handle.read(_LARGEST)
    finally:
        os.close(looked)
    # Whatever others have written in it stays as it is, byte by byte.
    return _Found(data.decode(errors="surrogateescape"), status)


def _require_ours_to_show(found, folder, file, account, mode):
    """
    An account may have given a file of somebody else's that name, by a hard link or a rename.

    Its content would then be readable by all.
    """
    if account == roles.ROOT:
        return
    above = os.fstat(folder)
    if above.st_uid == 0 and not above.st_mode & 0o022:
        return
    if found.status.st_nlink > 1:
        raise _in_the_way(file, account, "it has another name as well, a hard link")
    owner = found.status.st_uid
    shows_more = bool(mode & ~found.mode & 0o044)
    if owner not in _owners(account, above) and (owner != 0 or shows_more):
        raise _in_the_way(file, account, f"it is a file of uid {owner}, whose content would be shown to all")


def _owners(account, above):
    """Uids of those whose own file it may be: of the account, and of the folder's owner; never root's."""
    found = {above.st_uid}
    with contextlib.suppress(KeyError):
        found.add(pwd.getpwnam(account).pw_uid)
    return found - {0}


def _put(folder, name, text, found, mode):
    """New content under the name of the old one, in an open folder: all of it, or the old one stays."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    temporary, made = beneath.new_name(lambda one: os.open(one, flags, 0o600, dir_fd=folder))
    try:
        with open(made, "wb") as handle:
            handle.write(text.encode(errors="surrogateescape"))
            handle.flush()
            now = os.fstat(made)
            owner = (found.status.st_uid, found.status.st_gid) if found else (now.st_uid, now.st_gid)
            # Only what differs: some file systems give all their files one owner and one mode.
            if (now.st_uid, now.st_gid) != owner:
                os.fchown(made, *owner)
            if stat.S_IMODE(now.st_mode) != mode:
                os.fchmod(made, mode)
            os.fsync(made)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        raise
