"""
The releases of the library on a node: a folder each, named by its content, and one link to the one in force.

.. code-block:: text

    /usr/local/lib/failback/releases/6f1c…/failback/…
    /usr/local/lib/failback/releases/a94b…/failback/…
    /usr/local/lib/failback/current -> releases/a94b…

The link is swapped when all of a release is on the disk. So whatever starts finds one release, whole, even if
highstate was killed. What runs already goes on with its own, which stays for a while.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile
import time

from failback.host import files
from failback.host import system

#: How many releases stay: what runs for hours, a journal or a watch amid a takeover, may still load modules
#: of an earlier one.
KEPT = 3

#: Where the program has its byte code; see ``salt/pair/files/failback``.
BYTE_CODE = "var/cache/failback"


def digest(paths):
    """The digest of the release in force, by its files and not by its name; None if there is none."""
    package = paths.release / "failback"
    return system.package_digest(package) if package.is_dir() else None


def install(source, paths):
    """
    Put a release in force.

    source
        The folder of a package ``failback``.

    Returns its digest. Raises ``OSError``; then the release before is still in force.
    """
    wanted = system.package_digest(source)
    releases = paths.library / "releases"
    for folder in (paths.library, releases):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for leftover in [*releases.glob(".new-*"), *paths.library.glob(".link-*")]:
        _remove(leftover)
    target = _whole(releases, wanted) or _write(source, releases, wanted)
    os.utime(target)
    _point(paths.release, target)
    _prune(releases, target, paths)
    return wanted


def retire_flat(paths, limit=20.0):
    """
    Remove the library of releases that had no folder of their own: one folder, replaced file by file.

    A watch that still runs from it would fail at the next module that it loads. So it is made to start anew
    first, as it does when its files change.

    limit
        Seconds to wait for that.

    Returns the names of the watches that have not started anew in time; then the folder stays.
    """
    flat = paths.library / "failback"
    began, end = time.time(), time.monotonic() + limit
    (flat / "__init__.py").touch()
    late = _running_since_before(began, paths)
    while late and time.monotonic() < end:
        time.sleep(0.2)
        late = _running_since_before(began, paths)
    if not late:
        _remove(flat)
        _remove(paths.root / BYTE_CODE / flat.relative_to(paths.root))
    return late


def _running_since_before(moment, paths):
    """The names of the watches that run now and say that they have started before a moment."""
    names = []
    for status in sorted((paths.root / "run/failback").glob("watch-*.json")):
        name = status.stem[len("watch-") :]
        found = files.read_json(status, f"the status of the watch {name}") or {}
        runs = system.process_started(found.get("pid") or 0) is not None
        if runs and not found.get("since", 0) >= moment:
            names.append(name)
    return names


def _whole(releases, wanted):
    """A release that is there already and has not been damaged, or None."""
    for folder in releases.glob(f"{wanted[:16]}*"):
        if system.package_digest(folder / "failback") == wanted:
            return folder
    return None


def _write(source, releases, wanted):
    """Write a release, all of it on the disk, under a name that nothing has. Returns its folder."""
    new = pathlib.Path(tempfile.mkdtemp(prefix=".new-", dir=releases))
    new.chmod(0o755)
    source = pathlib.Path(source)
    for path in [source, *sorted(source.rglob("*"))]:
        copy = new / "failback" / path.relative_to(source)
        if path.is_dir() and path.name != "__pycache__":
            copy.mkdir(mode=0o755)
            copy.chmod(0o755)
        elif path.suffix == ".py":
            _copy(path, copy)
    for folder in [each for each in new.rglob("*") if each.is_dir()] + [new]:
        _sync(folder)
    names = (f"{wanted[:16]}{end}" for end in ("", *(f".{number}" for number in range(2, 1000))))
    target = next(releases / name for name in names if not (releases / name).exists())
    new.rename(target)
    _sync(releases)
    return target


def _copy(path, copy):
    with open(copy, "wb") as handle:
        handle.write(path.read_bytes())
        os.fchmod(handle.fileno(), 0o644)
        handle.flush()
        os.fsync(handle.fileno())


def _point(link, target):
    """Let a link lead to a folder beside or below it, in one step."""
    relative = os.path.relpath(target, link.parent)
    if os.path.islink(link) and os.readlink(link) == relative:
        return
    new = link.with_name(f".link-{os.getpid()}")
    new.symlink_to(relative)
    os.replace(new, link)
    _sync(link.parent)


def _prune(releases, current, paths):
    """Remove all but the newest releases, and their byte code."""
    found = [each for each in releases.iterdir() if each != current]
    found.sort(key=lambda each: each.stat().st_mtime, reverse=True)
    for folder in found[KEPT - 1 :]:
        _remove(folder)
        _remove(paths.root / BYTE_CODE / folder.relative_to(paths.root))


def _remove(path):
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync(folder):
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
