"""
What everybody on a node may know of its pairs: ``/run/failback/facts-<pair>.json``, noted every few seconds.

The ledger and all else that a node keeps is for root alone; a monitoring plug-in is not root. So the keeper,
which runs on both nodes of each pair, notes what is secret to nobody. The lists of files stay out of it.
"""

import collections
import contextlib
import os
import threading
import time

from failback import report
from failback.decisions import health
from failback.decisions import readiness
from failback.decisions import silence
from failback.errors import FailbackError
from failback.host import files
from failback.host import system
from failback.monitoring import lags
from failback.state import configuration
from failback.state import proofs
from failback.state import runs

#: Seconds from the end of one look to the next.
EVERY = 10.0

#: What to do about a damaged file of facts.
ADVICE = "Remove it: the keeper writes it anew within ten seconds."


def begin(member):
    """
    Note the facts of a pair from now on, in a thread: whatever it waits for, nobody waits for it.

    member
        :py:class:`failback.pair.Member`.
    """
    threading.Thread(target=_go_on, args=(member,), name="failback-facts", daemon=True).start()


def _go_on(member):
    waiting, said = threading.Event(), None
    history = lags.Lags(member)
    while True:
        problem = None
        try:
            history.note(note(member).get("lag"), time.time(), system.boottime())
        except Exception as error:  # looked at again soon; the plug-in says that nothing is noted
            problem = f"The facts of {member.pair} are not noted: {type(error).__name__}: {error}"
        if problem and member.pair not in configuration.names(member.paths):
            return  # no pair of this node any more
        if problem and problem != said:
            system.log(problem, system.ERR)
        said = problem
        waiting.wait(EVERY)


def note(member):
    """
    Look at a pair once, and note what everybody may know. Raises ``FailbackError`` and ``OSError``.

    member
        :py:class:`failback.pair.Member`.

    Returns those of ``failback.decisions.health.FIGURES`` that are known.
    """
    said = report.report(member)
    figures = {**_figures(said), **proofs.ages(member)}
    found = health.facts(
        member.config,
        said,
        _newest(member),
        _operations(member),
        _crons(member),
        figures,
    )
    found["boottime"] = system.boottime()
    folder = member.paths.public
    files.make_folder(folder)
    # What lies in it is for root alone, but for these facts and what the watches say of themselves.
    os.chmod(folder, 0o755)
    files.write_json(folder / f"facts-{member.pair}.json", found, mode=0o644)
    return figures


class Noted:
    """
    What was noted on a node; nobody need be root to read it.

    paths
        ``Paths`` of the node.
    """

    def __init__(self, paths):
        self._folder = paths.public

    def read(self, pair=None):
        """
        The facts of a pair or of all pairs.

        Returns ``(found, watches)``: by pair ``(facts, seconds since they were noted)``, and by cron name
        what that watch says of itself. Raises ``FailbackError`` for a file that cannot be read.
        """
        found = {}
        for place in sorted(self._folder.glob(f"facts-{pair or '*'}.json")):
            known = files.read_json(place, "what was noted of a pair", health.VERSION, ADVICE)
            if known:
                found[known["pair"]] = (known, system.boottime() - known["boottime"])
        watches = {}
        for known, _ in found.values():
            for cron in known["watches"]:
                with contextlib.suppress(FailbackError):
                    place = self._folder / f"watch-{cron}.json"
                    watches[cron] = files.read_json(place, "what the watch says")
        return found, watches


def _figures(said):
    """Those of ``health.FIGURES`` that are known."""
    own = said["ledger"]
    admitted = bool(own and own["boot_id"] == said["boot_id"])
    found = {"lag": readiness.lag(said, readiness.role_of(own, said["node"], admitted))}
    return {name: value for name, value in found.items() if value is not None}


def _crons(member):
    return {
        one["watch"]["cron"]
        for one in member.config["floating_ips"]
        if silence.covers(one["watch"]["on"], member.role)
    }


def _names(member):
    with contextlib.suppress(FileNotFoundError):
        return sorted(one for one in os.listdir(member.runs.folder) if runs.ID.fullmatch(one))
    return []


def _newest(member):
    names = _names(member)
    if not names:
        return None
    try:
        return member.runs.read(names[-1])
    except FailbackError as error:
        return {"run": names[-1], "result": "unreadable", "sentence": str(error)}


def _operations(member):
    return dict(collections.Counter(runs.operation(one) for one in _names(member)))
