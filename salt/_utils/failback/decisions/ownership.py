"""
Whose program is run: a repository steers git by its configuration and its hooks, and git runs as its owner.

Pure: :py:mod:`failback.host.owner` looks at the files. See githooks(5) and git-config(1);
``safe.directory`` there asks for the owner of the folder alone.
"""

import dataclasses
import shlex

#: Where others may write to ``st_mode``.
_OTHERS = 0o022
_STICKY = 0o1000

#: What of a repository names programs: gitrepository-layout(5).
STEERING = ("config", "config.worktree", "commondir", "hooks")


@dataclasses.dataclass(frozen=True)
class Entry:
    """
    What was found of one name.

    path
        Absolute.

    uid
        Whose it is.

    mode
        Its permissions with the sticky bit.

    kind
        ``folder``, ``file`` or ``link`` (everybody may write to the mode of a link, and it says nothing).
    """

    path: str
    uid: int
    mode: int
    kind: str = "folder"


def others_may_write(entry):
    """May others than its owner write to it? An ACL shows in the group's bits (acl(5))."""
    return entry.kind != "link" and bool(entry.mode & _OTHERS)


def repository_problem(above, inside, receiving):
    """
    Why git must not run in a repository as its owner, or None.

    above
        :py:class:`Entry` of each folder and link on the way to it, from ``/``; last comes the repository.

    inside
        Of what is in it: its first level, what is in ``hooks``, and the folders of ``objects`` and ``refs``.

    receiving
        Whether something is to be written there.

    Returns ``(what was found, why that is dangerous, what to run)``, or None.
    """
    repository = above[-1]
    owner = repository.uid
    trusted = {0, owner}
    for entry in above[:-1]:
        if entry.uid not in trusted:
            return _found(
                f"{entry.path} on the way to it belongs to uid {entry.uid}",
                f"uid {entry.uid} could put another repository in its place, whose programs git would run "
                f"as uid {owner}",
                f"chown {'root' if owner == 0 else owner} {shlex.quote(entry.path)}",
            )
        # In a folder with the sticky bit a name is moved by its owner alone, and that is one of the trusted.
        if others_may_write(entry) and not entry.mode & _STICKY:
            return _found(
                f"others may write to {entry.path} on the way to it (mode {entry.mode & 0o7777:04o})",
                f"they could put another in its place, whose programs git would run as uid {owner}",
                f"chmod go-w {shlex.quote(entry.path)}",
            )
    everything = [repository, *(one for one in inside if owner == 0 or _steers(repository, one))]
    for entry in everything:
        foreign = entry.uid not in trusted
        if foreign or others_may_write(entry):
            place = shlex.quote(repository.path)
            return _found(
                f"{entry.path} belongs to uid {entry.uid}"
                if foreign
                else f"others may write to {entry.path} (mode {entry.mode & 0o7777:04o})",
                f"git would run what they write there as uid {owner}",
                f"chown -Rh {'<the user who is to own it>' if owner == 0 else owner}: {place} && "
                f"chmod -R go-w {place}",
            )
    if receiving:
        for entry in inside:
            if entry.kind == "folder" and entry.uid != owner:
                return _found(
                    f"{entry.path} in it belongs to uid {entry.uid}",
                    f"git runs as its owner, uid {owner}, and could not write there",
                    f"chown -Rh {owner}: {shlex.quote(repository.path)}",
                )
    return None


def _steers(repository, entry):
    """Whether what is in an entry can make git run a program."""
    first = entry.path[len(repository.path.rstrip("/")) + 1 :].partition("/")[0]
    return first in STEERING


def _found(found, danger, command):
    return found, danger, command
