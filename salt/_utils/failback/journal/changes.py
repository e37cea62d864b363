"""
What has changed in a replicated path since a moment: so that the final sync need not look at all of it.

A handover's final sync runs while nobody serves, and most of its time goes into looking at files that
are equal. A journal notes every change that the kernel reports (inotify) from before the last pass of the
pre-sync begins, and then names what the final sync has to compare::

    with Journal(item) as journal:
        journal.mark()              # a pass begins: what changed before is its business
        ...
        journal.changes()           # Changes(names=[b"pki", b"pki/minions", b"pki/minions/web"], why=None)

**More names than necessary do no harm**, for each is compared with what the serving node has: equal,
newer, or gone. A name too few does. So whatever the journal cannot know for certain makes it say why
it is incomplete, and the final sync looks at everything:

- the kernel's queue ran over, or it gives no more watches;
- the folder was moved away or mounted over, or a file system was mounted or unmounted below it;
- it lies on a file system that other hosts can write to: inotify does not see them;
- a file got a second name, and the first is not known (a hard link is carried over by all its names);
- a file of its file system is open or mapped in a process through a mount that is not to be seen;
- so many names that looking at everything is as fast.

The kernel reports no change that a program makes through a memory mapping. Such a file is named for as
long as it is mapped, and its closing is reported, by whatever path and from whatever container a process has
it (:py:mod:`failback.journal.held`). To find it, every process has to be asked, and on a node with a thousand
of them that takes longer than the whole final sync: :py:func:`look_closely` does it while somebody still
serves.
"""

import collections
import contextlib
import dataclasses
import errno
import os
import stat

from failback.journal import held
from failback.journal import inotify
from failback.replication import replicated
from failback.replication import sources

#: More names than this, and a full pass is not much slower, and uses less memory.
MANY = 50_000

#: File systems that no other host writes to.
LOCAL = frozenset(
    ("bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "ramfs")
    + ("reiserfs", "squashfs", "tmpfs", "ufs", "vfat", "xfs", "zfs")
)

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_STRUCTURE = inotify.CREATE | inotify.DELETE | inotify.MOVED_FROM | inotify.MOVED_TO
_APPEARED = inotify.CREATE | inotify.MOVED_TO
_OF_A_FOLDER = inotify.CHANGES | inotify.ONLY_DIRECTORY
_OF_A_FILE = inotify.MODIFY | inotify.ATTRIB | inotify.CLOSE_WRITE | inotify.DO_NOT_FOLLOW
# How many folders to watch before events are read, so that the queue does not run over meanwhile.
_BATCH = 200


@dataclasses.dataclass(frozen=True)
class Changes:
    """
    What may have changed.

    names
        Bytes, relative to the item's root, in no order; ``.`` is the root. A folder's name stands for
        the folder itself.

    folders
        Those of the names that are new folders, or lie in one, or are new under that name. What the
        other node has directly in them has to be compared too.

    why
        None, or why the journal is incomplete; then the names mean nothing.
    """

    names: frozenset = frozenset()
    folders: frozenset = frozenset()
    why: "str | None" = None


@dataclasses.dataclass
class _Links:
    """The names of one file that has several."""

    names: set
    #: Whether each of its names in the path is known.
    complete: bool


class Journal:
    """
    The journal of one replicated path. Opening it takes as long as looking at each entry once.

    item
        :py:class:`failback.replication.replicated.Item`.

    root
        Folder that stands for ``/`` (tests).

    many
        More names than this make it incomplete.
    """

    def __init__(self, item, root="/", many=MANY):
        self.item = item
        self._top = os.fsencode(item.under(root)).rstrip(b"/") or b"/"
        self._many = many
        self._matches = replicated.matching(item)
        self._inotify = None
        self._begin()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Let go of all watches."""
        if self._inotify is not None:
            self._inotify.close()

    def fileno(self):
        """The descriptor that select waits for; then :py:meth:`drain`."""
        return self._inotify.fileno()

    def mark(self):
        """
        A pass begins now, and is going to see everything that has changed up to here.

        A journal that was incomplete begins anew.
        """
        self.drain()
        self._names.clear()
        self._whole.clear()
        self._held = None
        if self._lost:
            self._begin()

    def note_openings(self):
        """From now on each file that is opened counts as changed. For :py:func:`look_closely`."""
        self._closely = inotify.OPEN
        for folder in list(self._folders.values()):
            self._watch_again(folder, _OF_A_FOLDER | (inotify.DO_NOT_FOLLOW if folder else 0))
        for number, key in list(self._linked.items()):
            for name in self._links[key].names:
                if self._watch_again(name, _OF_A_FILE) == number:
                    break

    def hold(self, paths):
        """Files that count as changed until the next mark, if they are of this item: ``held.Held``."""
        self._held = paths

    @property
    def looks_closely(self):
        """Whether :py:meth:`changes` can do without asking every process."""
        return self._held is not None

    def _watch_again(self, name, mask):
        try:
            return self._inotify.watch(self._path(name), mask | self._closely)
        except inotify.Full as error:
            self._lose(str(error))
        except OSError as error:
            if error.errno not in _GONE:
                self._lose(f"{os.fsdecode(self._path(name))!r} cannot be watched: {error.strerror}")
        return None

    def note(self, names):
        """Count names as changed."""
        self._names.update(names)
        if len(self._names) > self._many:
            self._lose(f"more than {self._many} files have changed")

    def changes(self, also=(), mapped=None):
        """
        What has changed since the mark, the changes of this very moment included.

        also
            Names that are to be compared anyway, because the other node's copy has changed.

        mapped
            What :py:func:`failback.journal.held.mapped_files` returns, for who asks several journals; not
            looked at when :py:func:`look_closely` was called.

        Returns :py:class:`Changes`.
        """
        self.drain()
        why = self._lost or self._elsewhere()
        if why:
            return Changes(why=why)
        names, folders = self._names.union(also), set()
        for folder in self._whole:
            if not _inside(folder, self._whole):
                self._look_below(folder, names, folders)
        if self.looks_closely:
            mapped = self._held
        names.update(self._mapped(held.mapped_files() if mapped is None else mapped))
        names = self._reachable(names)
        why = self._with_all_links(names) or self._lost
        if len(names) > self._many:
            why = f"more than {self._many} files have changed"
        if why:
            return Changes(why=why)
        return Changes(frozenset(names), frozenset(folders))

    def drain(self):
        """Read what the kernel has noticed up to now."""
        for event in self._inotify.events():
            self._take(event)
        self._watch_waiting()

    def _begin(self):
        self.close()
        self._lost = None
        self._held = None
        self._closely = 0
        self._folders = {}
        self._linked = {}
        self._links = {}
        self._names = set()
        self._whole = set()
        self._waiting = collections.deque()
        self._inotify = inotify.Inotify()
        self._identity = _identity(self._top)
        self._mounts = mounts_of(self._top)
        self._grounds = _grounds(self._top, self._mounts)
        strange = sorted({mount["type"] for mount in self._mounts} - LOCAL)
        if self._identity is None:
            self._lose(f"{self.item.root} is not there")
        elif strange:
            self._lose(f"other hosts may write to its file system ({', '.join(strange)})")
        else:
            self._waiting.append(b"")
            self._watch_waiting()
        for links in self._links.values():
            links.complete = True

    def _lose(self, why):
        if self._lost is None:
            self._lost = why
        self._names.clear()
        self._whole.clear()
        self._waiting.clear()

    def _elsewhere(self):
        if _identity(self._top) != self._identity:
            return f"{self.item.root} is not the folder any more that it was"
        if mounts_of(self._top) != self._mounts:
            return f"a file system was mounted or unmounted in {self.item.root}"
        return None

    def _own(self, folder, name):
        """Whether a name directly in a watched folder belongs to the item."""
        if folder or self.item.pattern is None:
            return True
        belongs = belonging(self.item, name, self._matches)
        if belongs is None:
            self._lose(f"{os.fsdecode(name)!r} may or may not match {self.item.pattern}")
        return belongs

    def _take(self, event):
        if event.mask & inotify.OVERFLOW:
            self._lose("the kernel's queue of changes ran over (sysctl fs.inotify.max_queued_events)")
        elif event.mask & inotify.UNMOUNT:
            self._lose(f"a file system in {self.item.root} was unmounted")
        elif event.mask & inotify.IGNORED:
            self._folders.pop(event.watch, None)
            self._linked.pop(event.watch, None)
        elif self._lost is None and event.watch in self._linked:
            self._names.update(self._links[self._linked[event.watch]].names)
        elif self._lost is None and event.watch in self._folders:
            self._note(self._folders[event.watch], event.mask, event.name)
        if len(self._names) > self._many:
            self._lose(f"more than {self._many} files have changed")

    def _note(self, folder, mask, name):
        if mask & inotify.OPEN and mask & inotify.IS_DIRECTORY:
            return
        if not name:
            if folder or self.item.pattern is None:
                self._names.add(folder or b".")
            return
        if not self._own(folder, name):
            return
        path = _joined(folder, name)
        self._names.add(path)
        if mask & _STRUCTURE and (folder or self.item.pattern is None):
            # The folder's own time has changed with it.
            self._names.add(folder or b".")
        if not mask & _APPEARED:
            return
        if mask & inotify.IS_DIRECTORY:
            # What happened in it before it could be watched is not known; nor what the other node has
            # under this name.
            self._whole.add(path)
            self._waiting.append(path)
            self._watch_waiting(events=False)
        else:
            with contextlib.suppress(OSError):
                self._know_links(path, os.lstat(self._path(path)))

    def _watch_waiting(self, events=True):
        """Watch the folders that wait for it, and those in them; read events on the way."""
        count = 0
        while self._waiting and self._lost is None:
            self._watch(self._waiting.popleft())
            count += 1
            if events and count % _BATCH == 0:
                for event in self._inotify.events():
                    self._take(event)

    def _watch(self, folder):
        # First the watch, then the look: what appears in between is seen twice, not never.
        mask = _OF_A_FOLDER | (inotify.DO_NOT_FOLLOW if folder else 0)
        try:
            self._folders[self._inotify.watch(self._path(folder), mask | self._closely)] = folder
            with os.scandir(self._path(folder)) as found:
                for entry in found:
                    if not self._own(folder, entry.name):
                        continue
                    path = _joined(folder, entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        self._waiting.append(path)
                    else:
                        with contextlib.suppress(FileNotFoundError):
                            self._know_links(path, entry.stat(follow_symlinks=False))
        except inotify.Full as error:
            self._lose(str(error))
        except OSError as error:
            if error.errno not in _GONE:
                self._lose(f"{os.fsdecode(self._path(folder))!r} cannot be watched: {error.strerror}")

    def _know_links(self, path, status):
        """A file with several names is watched itself: a change under any of them is one of all."""
        if status.st_nlink < 2:
            return
        key = (status.st_dev, status.st_ino)
        if key not in self._links:
            self._links[key] = _Links(set(), complete=False)
            try:
                self._linked[self._inotify.watch(self._path(path), _OF_A_FILE | self._closely)] = key
            except inotify.Full as error:
                self._lose(str(error))
                return
            except OSError as error:
                if error.errno not in _GONE:
                    raise
        self._links[key].names.add(path)

    def _with_all_links(self, names):
        """Add the other names of those that have several. Returns why that cannot be done, or None."""
        several = {}
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(self._path(name))
                if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                    key = (status.st_dev, status.st_ino)
                    several.setdefault(key, (status.st_nlink, set()))[1].add(name)
        for key, (count, found) in several.items():
            known = self._links.get(key)
            if known is not None:
                found |= known.names
            if known is not None and known.complete:
                names |= found
            elif sum(_identity(self._path(name), follow=False) == key for name in found) < count:
                return f"{os.fsdecode(min(found))!r} has other names that are not known"
            else:
                names |= found
        return None

    def _mapped(self, files):
        """The names of those files that are of this item, by whatever path they were opened."""
        for file in files:
            if file.identity in self._links:
                # By a name outside of the item, maybe; or by one that is gone.
                yield from self._links[file.identity].names
            elif file.inside is None:
                if self._may_hold(file):
                    self._lose(f"{os.fsdecode(file.path)!r} {file.why}")
                    return
            else:
                for name in _named_in(self._grounds, file):
                    if self._own(b"", name.split(b"/")[0]):
                        yield name

    def _may_hold(self, file):
        """Whether a file may lie on a file system of the item; its place there is not known."""
        if file.device is not None:
            return file.device in {ground.device for ground in self._grounds}
        major, minor = os.major(file.identity[0]), os.minor(file.identity[0])
        # The files of these may have a number that is not that of the file system, without a device.
        own_numbers = major == 0 and any(mount["type"] in ("btrfs", "overlay") for mount in self._mounts)
        return own_numbers or f"{major}:{minor}" in {ground.device for ground in self._grounds}

    def _look_below(self, folder, names, folders):
        """Name a folder and everything in it, up to more than too many."""
        waiting = [folder]
        while waiting and len(names) <= self._many:
            name = waiting.pop()
            names.add(name)
            try:
                with os.scandir(self._path(name)) as found:
                    folders.add(name)
                    for entry in found:
                        path = _joined(name, entry.name)
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(path)
                        else:
                            names.add(path)
            except OSError as error:
                if error.errno not in _GONE:
                    raise

    def _reachable(self, names):
        """
        The names without those whose folder is gone or has become something else; that one is named.

        Below what has become a symbolic link, rsync would carry over, or delete, what it points to.
        """
        real = {}
        found = set()
        for name in names:
            at = name.find(b"/")
            while at >= 0:
                folder = name[:at]
                if folder not in real:
                    real[folder] = self._is_folder(folder)
                if not real[folder]:
                    name = folder
                    break
                at = name.find(b"/", at + 1)
            found.add(name)
        return found

    def _is_folder(self, name):
        try:
            return stat.S_ISDIR(os.lstat(self._path(name)).st_mode)
        except OSError:
            return False

    def _path(self, name):
        return _joined(self._top, name) if name else self._top


def belonging(item, name, matches=None):
    """
    Whether a name belongs to an item; the name's first component decides.

    name
        Bytes, relative to the item's root.

    matches
        What :py:func:`failback.replication.replicated.matching` returns, for who asks often.

    Returns True, False, or None where rsync's own matching, by bytes, may say something else.
    """
    if item.pattern is None:
        return True
    first = os.fsdecode(name.split(b"/")[0])
    if not first.isascii() and ("?" in item.pattern or "[" in item.pattern):
        return None
    return (matches or replicated.matching(item))(first)


def directly_in(top, folder):
    """The names, relative to ``top``, of what lies directly in a folder; a list of bytes."""
    try:
        return [_joined(folder, name) for name in os.listdir(_joined(top, folder))]
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return []


def look_closely(journals):
    """
    Note each file that is opened from now on, and those that a process can write to or has mapped.

    A file must be open to be mapped, so until its next mark a journal need not ask every process any more
    when it is asked for changes. Each file that is merely read meanwhile costs a name: call it late.
    """
    for one in journals:
        one.note_openings()
    # After the watches: what is opened in between is seen twice, not never. And in this order: who maps a
    # file and closes it after the first look had it open then.
    found = [*held.open_files(), *held.mapped_files()]
    for one in journals:
        one.hold(found)


def mounts_of(top, mountinfo="/proc/self/mountinfo"):
    """The mount that a folder lies on, and those below the folder; as ``sources.parsed_mounts``."""
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as handle:
        mounts = sources.parsed_mounts(handle.read())
    top = os.fsdecode(os.path.realpath(top))
    own = sources.file_system(top, mounts)
    inside = top.rstrip("/") + "/"
    return [mount for mount in mounts if mount is own or mount["mount"].startswith(inside)]


@dataclasses.dataclass(frozen=True)
class _Ground:
    """A folder of a file system that is a part of the item."""

    #: As mountinfo has it.
    device: str
    #: Its path in the file system, without a slash at the end.
    inside: bytes
    #: Its name in the item, empty for the top.
    name: bytes


def _grounds(top, mounts):
    top = os.path.realpath(top).rstrip(b"/")
    found = []
    for mount in mounts:
        point, root = (os.fsencode(mount[key]).rstrip(b"/") for key in ("mount", "root"))
        if point.startswith(top + b"/"):
            found.append(_Ground(mount["device"], root, point[len(top) + 1 :]))
        else:
            found.append(_Ground(mount["device"], root + top[len(point) :], b""))
    return found


def _named_in(grounds, file):
    """The names in the item of a file whose place in its file system is known."""
    for ground in grounds:
        if ground.device != file.device:
            continue
        if file.inside == ground.inside and ground.name:
            yield ground.name
        elif file.inside.startswith(ground.inside + b"/"):
            yield _joined(ground.name, file.inside[len(ground.inside) + 1 :])


def _inside(name, folders):
    """Whether a folder lies in another one of them."""
    parent = os.path.dirname(name)
    while parent:
        if parent in folders:
            return True
        parent = os.path.dirname(parent)
    return False


def _identity(path, follow=True):
    try:
        status = os.stat(path, follow_symlinks=follow)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _joined(folder, name):
    return folder + b"/" + name if folder and folder != b"/" else (b"/" if folder else b"") + name
