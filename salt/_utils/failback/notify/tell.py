"""
An event is handed to a process of its own, which nobody waits for.

::

    tell.tell(member, events.TAKEOVER, "salt2 is active in salt, generation 5", reason="…")

Whoever changes hands must neither wait for a hook nor fail because of one: this takes as long as starting a
program, and raises nothing. Where there is no hook, not even that is done.
"""

import contextlib
import json
import os
import time

from failback.decisions import events
from failback.errors import FailbackError
from failback.host import system


def tell(member, kind, sentence, **more):
    """
    Tell of an event, if the pillar wants it told and there is a hook.

    member
        :py:class:`failback.pair.Member`.

    kind, sentence, more
        As for :py:func:`failback.decisions.events.event`.

    Returns whether somebody is told.
    """
    try:
        if not events.is_wanted(member.config, kind) or not _somebody_listens(member):
            return False
        own = None
        with contextlib.suppress(FailbackError):
            own = member.ledger.read()
        told = events.event(kind, member.config, time.time(), sentence, own, **more)
        system.start_detached([str(member.paths.program), "tell", member.pair, json.dumps(told)])
    except Exception as error:  # a hook is never worth a takeover
        system.log(f"{member.pair}: nobody is told of {kind}: {error}", system.ERR)
        return False
    return True


def _somebody_listens(member):
    try:
        return bool(os.listdir(member.paths.hooks))
    except FileNotFoundError:
        return False
