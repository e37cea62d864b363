"""
A run on this node: the lock of the pair, the pause of its watch, and the record that is kept of it.

Functions of the module ``pair``, by its virtual name. ``pause`` and ``resume`` are meant to be called by
hand, the others by orchestrations.

.. code-block:: bash

    salt 'salt*' pair.pause salt 600 'work on the switch'
"""

import logging
import time

from salt.exceptions import CommandExecutionError

import salt_errors
from failback.decisions import events
from failback.errors import FailbackError
from failback.notify import tell
from failback.pair import Member
from failback.recovery import reverse_rsync as data
from failback.replication import sources as source_facts
from failback.state import configuration
from failback.state import lock as locks
from failback.state import pause as pauses
from salt_node import member as _member
from salt_node import paths as _paths

__virtualname__ = "pair"

log = logging.getLogger(__name__)


def __virtual__():
    return __virtualname__


@salt_errors.translated
def lock(pair, run, operation, owner, seconds, dead_runs=()):
    """
    Take a pair for a run on this node, or renew what the run has.

    pair
        Name of the pair.

    run, operation
        Id of the run, and what it is: ``recover``.

    owner
        The process that orchestrates; see ``failback.state.lock.acquire``.

    seconds
        How long the lock holds without being renewed.

    dead_runs
        Runs that the other node has proved dead.

    Returns the lock. Raises ``CommandExecutionError``, naming the run that owns the lock.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.lock salt 20261122T183000-recover-salt-4f2a recover '{master: salt2_master}' 60
    """
    member = Member(pair, _paths())
    taken = member.lock.acquire(run, operation, owner, float(seconds), tuple(dead_runs))
    if taken["taken_over"]:
        # What a dead run has paused would stay paused for as long as its step might have taken.
        member.pause.clear(taken["taken_over"])
    return taken


@salt_errors.translated
def renew(pair, run, seconds, pause=False, step=None):
    """
    Prolong the lock of a run on this node; the living run asks for it several times a minute.

    pair
        Name of the pair.

    run
        Id of the run; nothing is renewed for one that does not own the lock.

    seconds
        How long it holds from now on.

    pause
        Pause the watch as well, for as long as the lock holds, or prolong that.

    step
        What the run is at, ``{"name": "static", "seconds": 12.0}``; ``pair.status`` shows it.

    Returns True, or False when the run does not have the pair: nothing was changed then.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.renew salt 20261122T183000-recover-salt-4f2a 60
    """
    member = Member(pair, _paths())
    renewed = member.lock.renew(run, float(seconds), step)
    if renewed and pause:
        member.pause.set(min(float(seconds), pauses.LONGEST), f"run {run}", run)
    return renewed


def owner_has_ended(owner):
    """
    Say whether this node can prove that the process which orchestrated a run is gone.

    owner
        Which process it is: a dict of ``machine``, ``boot_id``, ``pid`` and ``started`` (clock ticks since
        boot), as the run's lock has it. Only the machine on which that process ran can prove it.

    Returns True or False.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.owner_has_ended '{machine: 4f2a, boot_id: 77c1, pid: 4711, started: 12345}'
    """
    return locks.owner_has_ended(owner)


@salt_errors.translated
def unlock(pair, run):
    """
    Give a pair back. Returns True when this run had it.

    pair
        Name of the pair.

    run
        Id of the run; the lock of another one stays.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.unlock salt 20261122T183000-recover-salt-4f2a
    """
    return Member(pair, _paths()).lock.release(run)


@salt_errors.translated
def pause(pair, seconds, reason, user=None):
    """
    Pause the watch of a pair on this node; it resumes by itself.

    pair
        Name of the pair.

    seconds
        For how long.

    reason
        Shown by ``pair.status``.

    user
        Who asks, as the caller says.

    It stands beside that of a run, and neither shortens nor ends the other. Returns the pause: ``until``
    (seconds since the epoch), ``reason``, ``run`` (None) and ``user``.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.pause salt 600 'switch maintenance'
    """
    return _member(pair).pause.set(seconds, reason, user=user)


def hold(pair, seconds, reason):
    """
    The former name of ``pair.pause``, for one release.

    pair
        Name of the pair.

    seconds
        For how long, in seconds.

    reason
        Shown by ``pair.status``.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.hold salt 600 'switch maintenance'
    """
    log.warning("pair.hold is called pair.pause now; the next release does not know the old name.")
    return pause(pair, seconds, reason)


@salt_errors.translated
def resume(pair):
    """
    End all pauses of the watch. Returns True when there was one.

    pair
        Name of the pair.

    Refused while a run owns the lock, for it may be in the middle of a handover; a run ends its pause itself.

    CLI Example:

    .. code-block:: bash

        salt 'salt2' pair.resume salt
    """
    member = Member(pair, _paths())
    found = member.lock.read()
    if found and found["state"] == "held":
        raise CommandExecutionError(locks.refusal(pair, found))
    return member.pause.clear()


@salt_errors.translated
def open_run(pair, run, record):
    """
    Begin the record of a run on this node.

    pair
        Name of the pair.

    run
        Id of the run.

    record
        Dict; see ``failback.state.runs``.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.open_run salt 20261122T183000-recover-salt-4f2a '{operation: recover}'
    """
    Member(pair, _paths()).runs.write(run, record)
    return True


@salt_errors.translated
def close_run(pair, run, record, sources=None):
    """
    End a run on this node: its record is written, its pause and its lock are given back.

    pair
        Name of the pair.

    run
        Id of the run that owns the lock.

    record
        What is written of it, a dict; see ``failback.state.runs``. A key ``told_by`` names the node whose
        hooks are told how the run ended: one of the two, so that nobody hears it twice. It is not kept.

    sources
        After a success, what the other node reports of its paths: a later reverse rsync from other
        file systems is refused.

    Returns True.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.close_run salt 20261122T183000-recover-salt-4f2a '{result: succeeded}'
    """
    member = Member(pair, _paths())
    teller = record.get("told_by")
    record = {key: value for key, value in record.items() if key != "told_by"}
    member.runs.write(run, record)
    if sources is not None:
        source_facts.record(member, sources)
        data.prune(member, (run,))
    member.pause.clear(run)
    member.lock.release(run)
    if teller is not None:
        _tell_end(member, teller, run, record)
    return True


def _tell_end(member, teller, run, record):
    try:
        if teller != member.node:
            return
    except FailbackError:
        return  # nothing of the run depends on it, and the report says what is wrong with the file
    succeeded = record.get("result") == "succeeded"
    said = f"Run {run} {record.get('result')}. {record.get('sentence') or ''}".strip()
    kind = events.RUN_SUCCEEDED if succeeded else events.RUN_FAILED
    more = {key: record.get(key) for key in ("operation", "user", "master", "started", "finished")}
    tell.tell(member, kind, said, run=run, **more)


@salt_errors.translated
def history(pair=None):
    """
    List the runs that this node remembers, oldest first.

    pair
        Name of the pair.

    Returns a list of records, see ``failback.state.runs``; that of the run which has the lock here has
    ``lock``, with ``state`` (``held``, ``expired`` or ``dead``), and ``step`` and ``seconds``, what it is at
    and for how long.

    CLI Example:

    .. code-block:: bash

        salt 'salt1' pair.history salt
    """
    paths = _paths()
    chosen = [pair] if pair else configuration.names(paths)
    return [record for one in chosen for record in _history(Member(one, paths))]


def _history(member):
    records = member.runs.history()
    try:
        found = member.lock.read()
    except FailbackError:
        # What it says is in the report; the records are of use all the same.
        found = None
    for record in records:
        if found and record["run"] == found["run"]:
            step = found.get("step") or {}
            seconds = max(0, round(time.time() - step["began"])) if step else None
            record["lock"] = {"state": found["state"], "step": step.get("name"), "seconds": seconds}
    return records
