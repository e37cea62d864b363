"""
How long a node has not been ready, and when that is told: once, and once that it is ready again. Pure.

    spell, kind = unready.judged(spell, readiness.STANDS_BY, findings, busy=False, now=now, after=600)
    if kind: …

What comes and goes within a minute is one spell: a disk that is full every other look tells of itself.
"""

from __future__ import annotations

import dataclasses

from failback.decisions import events
from failback.decisions import readiness

#: Seconds after which it is told, where the configuration, written by an earlier release, says nothing.
AFTER = 600.0

#: Seconds for which a node must be ready before its spell is over.
WELL_FOR = 60.0

#: What ``about`` of a finding means, where its sentence is not for everybody: that may name files of users.
MEANS = {
    "watch": "its watch does not run, or hangs",
    "address": "a foreign host answers for an address",
    "path": "a path cannot be written",
    "room": "a path has no room left",
    "services": "an active service cannot start",
    "in_step": "it is not known to be in step",
    "rsync": "lsyncd does not carry everything",
    "ssh": "the other node does not answer over SSH",
    "inotify": "files cannot be watched for changes",
}


@dataclasses.dataclass(frozen=True)
class Spell:
    """
    A time in which a node is not ready.

    role
        What the node is for the pair: ``readiness.SERVES`` or ``readiness.STANDS_BY``.

    since
        When it began, by a clock that nobody sets.

    about
        Of what was found last: ``about`` of each, sorted.

    well_since
        Since when nothing is found any more, or None.

    told
        Whether it was told.
    """

    role: str
    since: float
    about: tuple = ()
    well_since: float | None = None
    told: bool = False


def judged(before, role, findings, busy, now, after):
    """
    Go on with a spell, begin one, or end it.

    before
        The :py:class:`Spell` so far, or None.

    role
        As in it; None for a node that takes no part: nothing is known of its readiness, and nothing told.

    findings
        What is not ready, of :py:func:`failback.decisions.readiness.alone`.

    busy
        Whether a run is at work. What it has stopped is no trouble, and its end is told.

    now
        By the clock of ``since``.

    after
        Seconds of a spell after which it is told.

    Returns ``(spell, kind)``: the spell now, or None; and what to tell of, one of ``events.NOT_READY`` and
    ``events.READY_AGAIN``, or None.
    """
    if before and (before.role != role or before.since > now):
        # A node that serves now is another matter, and so is a clock of another boot.
        before = None
    if role is None:
        return None, None
    if not findings:
        return _well(before, now)
    if busy and not (before and before.told):
        return None, None
    about = tuple(sorted({one.about for one in findings}))
    spell = dataclasses.replace(before or Spell(role, now), about=about, well_since=None)
    if spell.told or busy or now - spell.since < after:
        return spell, None
    return dataclasses.replace(spell, told=True), events.NOT_READY


def _well(before, now):
    if before is None:
        return None, None
    since = now if before.well_since is None else before.well_since
    if now - since < WELL_FOR:
        return dataclasses.replace(before, well_since=since), None
    return None, events.READY_AGAIN if before.told else None


def sentence(kind, config, spell, now, findings):
    """
    What is told to people.

    kind
        ``events.NOT_READY`` or ``events.READY_AGAIN``.

    config
        The node's configuration of the pair.

    spell
        The :py:class:`Spell`, or that which has ended.

    now
        By the clock of its ``since``.

    findings
        As for :py:func:`judged`.
    """
    node, pair, lasted = config["node"], config["name"], duration(now - spell.since)
    does = f"serves {pair}" if spell.role == readiness.SERVES else f"stands by in {pair}"
    if kind == events.READY_AGAIN:
        return f"{node}, which {does}, is ready again. It was not for {lasted}."
    worst_first = sorted(findings, key=lambda one: not one.stops)
    return (
        f"{node}, which {does}, has not been ready for {lasted}: "
        f"{' '.join(one.sentence for one in worst_first)}"
    )


def duration(seconds):
    """Seconds, or minutes from two on: ``75 s``, ``10 minutes``."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds // 60:.0f} minutes"


def meaning(about):
    """What is not ready, without a name that is not for everybody."""
    return ", ".join(MEANS.get(one, one) for one in about)
