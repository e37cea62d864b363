"""
What the watch tells beside what it does: an operator's pause begins and ends, a run has died.

A pause ends by itself, so whoever is to tell of that has to run then. The pause of a run is not told: how the
run ends is.
"""

import contextlib
import time

from failback.decisions import events
from failback.errors import FailbackError
from failback.host import files
from failback.notify import tell
from failback.state import pause as pauses


class Pauses:
    """
    An operator's pauses of one pair's watch on this node, as they were told.

    member
        :py:class:`failback.pair.Member`.

    What was told is kept in ``/run``: a watch that starts anew tells of a pause's end, and not of its
    beginning once more.
    """

    def __init__(self, member):
        self._member = member
        self._file = member.volatile / "paused.json"
        self._told = self._read()

    def look(self, written):
        """
        Tell what has changed.

        written
            The pauses as they were written; see ``failback.state.pause.Pause.written``.
        """
        own = [one for one in written if one.get("run") is None]
        if not own and self._told is None:
            return
        longest = pauses.longest(own)
        if longest is None or longest["until"] <= time.time():
            if self._told is not None:
                self._note(None)
                said = f"The pause of the watch of {self._member.pair} on {self._member.node} is over"
                tell.tell(self._member, events.PAUSE_ENDED, f"{said}: it takes over again if it has to.")
            return
        # By what was written, which does not move when somebody sets the clock.
        seen = {"pauses": sorted(str(one["until"]) for one in own)}
        if seen != self._told:
            self._note(seen)
            self._tell_begun(longest)

    def _tell_begun(self, pause):
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(pause["until"]))
        by = f" by {pause['user']}" if pause.get("user") else ""
        said = (
            f"The watch of {self._member.pair} on {self._member.node} is paused until {until}{by}: "
            f"{pause.get('reason')}. It takes nothing until then."
        )
        more = {"reason": pause.get("reason"), "user": pause.get("user"), "until": pause["until"]}
        tell.tell(self._member, events.PAUSE_BEGUN, said, **more)

    def _read(self):
        with contextlib.suppress(FailbackError):
            found = files.read_json(self._file, "which pause was told")
            return {"pauses": found.get("pauses")} if found else None
        return None

    def _note(self, seen):
        self._told = seen
        # A full /run: it is told once more when the watch starts anew.
        with contextlib.suppress(OSError):
            if seen is None:
                self._file.unlink(missing_ok=True)
            else:
                files.write_json(self._file, seen)


def run_died(member, run):
    """A run has died without closing, and its pause with it: nobody else tells how it has ended."""
    said = f"Run {run} has died: its process is gone, and it never closed. Fix the cause, then run it again."
    tell.tell(member, events.RUN_FAILED, f"{said} Look first: salt-run pair.status {member.pair}", run=run)
