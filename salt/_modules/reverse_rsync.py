"""
Bring the replicated paths of a pair home, from the node that served them.

lsyncd carries them from primary to secondary. When the secondary has served, they must come back
before the primary may serve again: that is the reverse rsync. Nothing it overwrites or deletes is
lost.

.. code-block:: bash

    salt salt1 reverse_rsync.preview salt
    salt salt1 reverse_rsync.synced salt 20261122T183000-recover-salt-4f2a
    salt salt1 reverse_rsync.restored salt 20261122T183000-recover-salt-4f2a new_run=… test=True

An operator uses ``orch.recover``, ``salt-run pair.plan`` and ``salt-run pair.undo``, which call
these functions on the node that has come back. Names of files in all results are in the notation of
``failback.host.notation``: bytes that are not printable UTF-8 are written as ``\\#ooo``.
"""

from salt.exceptions import CommandExecutionError
from salt.exceptions import SaltInvocationError

import salt_errors
from failback.decisions import conflicts
from failback.journal import service
from failback.recovery import reverse_rsync as library
from failback.recovery.reverse_rsync import ReverseRsync
from failback.state import runs
from salt_node import member as _member

__virtualname__ = "reverse_rsync"


def __virtual__():
    return __virtualname__


def _remote_shell():
    # For tests: a program in place of ssh.
    return __opts__.get("failback_remote_shell")


def _reverse_rsync(pair, run=None, method=ReverseRsync, takeover=None, **details):
    """The sync that the functions here are about, made of what Salt has carried."""
    return method(_member(pair), run, remote_shell=_remote_shell(), takeover=_moments(takeover), **details)


def _journals(pair, run):
    # For tests: where no SSH is, nobody on the other node could keep one.
    return None if _remote_shell() else service.Both(_member(pair), run)


def _teller(pair, run):
    """The function that tells the run's master how far the files are, or None where there is no master."""
    # From another thread, which has no context of the loader: a function of it brings its own along.
    send, tag = __salt__.get("event.send"), runs.moved_tag(pair, run)
    if send is None or __opts__.get("file_client") == "local":
        return None
    return lambda done, whole, per_second: send(
        tag, {"done": done, "whole": whole, "per_second": round(per_second)}
    )


def _limits(max_delete, max_change_percent):
    return {
        "max_delete": _number("max_delete", max_delete),
        "max_change_percent": _number("max_change_percent", max_change_percent),
    }


def _number(name, value):
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise SaltInvocationError(f"{name} must be a number, not {value!r}")
    if value is not None and value < 0:
        raise SaltInvocationError(f"{name} must not be negative, but is {value}")
    return value


def _moments(takeover):
    """``[here, there]``, perhaps with ``in_step``, as Salt has carried it; one number: the clocks agree."""
    if takeover is None:
        return None
    several = isinstance(takeover, (list, tuple)) and len(takeover) in (2, 3)
    moments = takeover if several else [takeover] * 2
    return conflicts.Takeover(*(_number("takeover", one) for one in moments))


@salt_errors.translated
def preview(pair, sources=None, names=200, takeover=None):
    """
    Show what a reverse rsync would do on this node. Changes nothing.

    pair
        Name of the pair.

    sources
        What the serving node reports of its paths (key ``sources`` of ``pair.report``). It is asked
        if this is not given and a path is missing here.

    names
        How many paths of each kind to return; the full list is in the file that ``list`` names.

    takeover
        When the serving node took over, in seconds since the epoch: on this node's clock, or a list of that
        and of what the serving node's own clock said. Files changed here since then, and shortly before,
        are conflicts.

    Returns a list of dicts, one a path: ``path``, ``source``; the counts ``created``,
    ``overwritten``, ``deleted``, ``attributes``, ``conflicts``, ``total_files`` (here), ``source_files``;
    ``bytes`` (coming in), ``kept_bytes`` (going into the backup); ``names`` (paths of each kind),
    ``conflict_names`` (path to reason), ``truncated``, ``list``; ``digest`` of the set of deleted paths;
    ``seconds``.
    Raises ``CommandExecutionError`` if rsync did not end well.

    CLI Example:

    .. code-block:: bash

        salt salt1 reverse_rsync.preview salt
    """
    _number("names", names)
    return _reverse_rsync(pair, sources=sources, takeover=takeover).preview(names=names)


@salt_errors.translated
def refusals(
    pair,
    previews,
    sources=None,
    max_delete=None,
    max_change_percent=None,
    operation="recover",
    overrides=None,
    words=None,
):
    """
    Say what speaks against a sync: limits, sources that are not what they were, no room for the
    backup.

    pair
        Name of the pair.

    previews
        What ``preview`` returned.

    sources
        What the serving node reports of its paths.

    max_delete
        Files that may be deleted, in all paths together; the pair's if not given.

    max_change_percent
        Share of a path's files that may be overwritten or deleted, in percent; the pair's if not
        given.

    operation
        ``recover``, ``failover`` or ``boot``: what the previews were made for; the answer names commands.

    overrides
        Dict of what the operator has given beside the pair, such as ``winner`` and ``reason``, likewise.

    words
        The former name of ``overrides``, from a master of the release before.

    Returns a list of sentences, empty if nothing speaks against it.

    CLI Example:

    .. code-block:: bash

        salt salt1 reverse_rsync.refusals salt '[]'
    """
    overrides = {**(overrides or words or {}), **_limits(max_delete, max_change_percent)}
    return _reverse_rsync(pair, sources=sources, operation=operation, overrides=overrides).refusals(previews)


@salt_errors.translated
def checked(
    pair,
    sources=None,
    max_delete=None,
    max_change_percent=None,
    names=200,
    takeover=None,
    run=None,
    operation="recover",
    overrides=None,
    words=None,
):
    """
    Preview, and fail if anything speaks against the sync. Changes no file of the pair.

    pair
        Name of the pair.

    sources
        What the serving node reports of its paths (key ``sources`` of ``pair.report``).

    max_delete
        Files that may be deleted, in all paths together; the pair's if not given.

    max_change_percent
        Share of a path's files that may be overwritten or deleted, in percent; the pair's if not given.

    names
        How many paths of each kind to return; the full list is in the file that ``list`` names.

    takeover
        When the serving node took over, in seconds since the epoch: on this node's clock, or a list of that
        and of what the serving node's own clock said.

    run
        Id of the run that owns the lock, if its handover comes next with no sync in between: from here on
        both nodes note what changes.

    operation
        ``recover``, ``failover`` or ``boot``: what the preview is made for; a refusal names commands.

    overrides
        Dict of what the operator has given beside the pair, such as ``winner`` and ``reason``, likewise.

    words
        The former name of ``overrides``, from a master of the release before.

    Returns what ``preview`` returns. Raises ``CommandExecutionError`` with all reasons, one a line.

    CLI Example:

    .. code-block:: bash

        salt salt1 reverse_rsync.checked salt max_delete=500
    """
    _number("names", names)
    if run is not None:
        runs.require_id(run)
    reverse = _reverse_rsync(
        pair,
        sources=sources,
        takeover=takeover,
        operation=operation,
        overrides={**(overrides or words or {}), **_limits(max_delete, max_change_percent)},
        journals=None if run is None else _journals(pair, run),
    )
    previews = reverse.preview(names=names)
    found = reverse.refusals(previews)
    if found:
        raise CommandExecutionError("\n".join(found))
    return previews


@salt_errors.translated
def synced(pair, run, sources=None, max_delete=None, max_change_percent=None, takeover=None):
    """
    Bring this node's paths in step with the serving node, with a backup of all that is replaced.

    It is repeated until a pass is small. What a killed call had done is kept, and calling it again
    continues. Every five seconds the master's bus gets ``failback/<pair>/<run>/pre-sync/moved`` with
    ``done``, ``whole`` (bytes of the first pass) and ``per_second``.

    pair
        Name of the pair.

    run
        Id of the run that owns the lock.

    sources
        What the serving node reports of its paths (key ``sources`` of ``pair.report``).

    max_delete
        Files that may be deleted, in all paths together; the pair's if not given.

    max_change_percent
        Share of a path's files that may be overwritten or deleted, in percent; the pair's if not given.

    takeover
        When the serving node took over, in seconds since the epoch: on this node's clock, or a list of that
        and of what the serving node's own clock said.

    Returns a dict: ``changes`` (path to counts, empty if nothing changed), ``comment``, ``paths``
    (counts, names, passes of each), ``changed`` (paths), ``then`` (what is to be reloaded),
    ``settled`` (whether the last pass of every path was small), ``seconds``, ``journal`` (None, or why
    no journal of changes is kept for the handover). Raises
    ``CommandExecutionError`` with every reason before anything is changed, or with rsync's words.

    CLI Example:

    .. code-block:: bash

        salt salt1 reverse_rsync.synced salt 20261122T183000-recover-salt-4f2a
    """
    runs.require_id(run)
    return _reverse_rsync(
        pair,
        run,
        sources=sources,
        takeover=takeover,
        overrides=_limits(max_delete, max_change_percent),
        journals=_journals(pair, run),
        tell=_teller(pair, run),
    ).sync()


@salt_errors.translated
def compared(pair, run):
    """
    Compare both nodes after the handover: what differs must have been changed here since.

    pair
        Name of the pair.

    run
        Id of the run that did the handover.

    Returns a dict: ``files`` (compared), ``differences``, ``unexplained_count``, ``unexplained``
    (paths), ``truncated``.

    CLI Example:

    .. code-block:: bash

        salt salt1 reverse_rsync.compared salt 20261122T183000-recover-salt-4f2a
    """
    runs.require_id(run)
    return _reverse_rsync(pair, run, ReverseRsync.of_run).compare()


@salt_errors.translated
def restored(pair, run, new_run, paths=None, test=False, conflicts=False):
    """
    Put back what a run overwrote, deleted or changed on this node.

    pair
        Name of the pair.

    run
        Id of the run to take back.

    new_run
        Id of the run that keeps what this overwrites, so that it can be taken back the same way.

    paths
        One absolute path or a list of them; only these and what is below them is put back.

    test
        Only say what would be done.

    conflicts
        Only what the run has named as conflicts is put back; not together with ``paths``.

    Returns a dict: ``restored``, ``attributes``, ``created``, ``removed`` (counts), ``restored_names``,
    ``created_names`` (files that the run created: they are left alone), ``removed_names`` (the same if the
    run was itself an undo: they are moved to the new backup), ``truncated``, ``left``, ``left_names`` and
    ``left_because`` (what somebody was in the way of), ``paths`` (replicated paths that
    changed). Raises ``CommandExecutionError`` if the backup is not there or not as it was kept, if one of
    ``paths`` matches nothing in it, if this node does not serve the pair, or if ``new_run`` does not hold it.

    CLI Example:

    .. code-block:: bash

        salt salt1 reverse_rsync.restored salt 20261122T183000-recover-salt-4f2a \\
            20261122T190000-undo-salt-0c11 test=True
    """
    runs.require_id(run)
    runs.require_id(new_run)
    if isinstance(paths, str):
        paths = [paths]
    for path in paths or ():
        if not isinstance(path, str) or not path.startswith("/"):
            raise SaltInvocationError(f"paths must be absolute paths, not {path!r}")
    if paths and conflicts:
        raise SaltInvocationError("paths and conflicts exclude each other")
    return library.restore_run(
        _member(pair), run, new_run, paths, bool(test), conflicts_alone=bool(conflicts)
    )


@salt_errors.translated
def pruned(pair, spare=None):
    """
    Delete the backups of old runs; the pillar says how many are kept at least (``keep_backups``), and for how
    many days all are (``keep_days``). The record of a run stays.

    pair
        Name of the pair.

    spare
        Id of a run that is kept whatever its age.

    Returns the ids of the runs whose backups were deleted.

    CLI Example:

    .. code-block:: bash

        salt salt1 reverse_rsync.pruned salt
    """
    return library.prune(_member(pair), (spare,) if spare else ())
