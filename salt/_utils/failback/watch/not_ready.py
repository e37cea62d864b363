"""
A node that has not been ready for some time is told of by its lookout, once, and once more when it is ready.

How long that has lasted is kept in ``/run``: a lookout that starts anew, as after a release, neither forgets
it nor tells of it again.
"""

import contextlib
import dataclasses

from failback.decisions import events
from failback.decisions import unready
from failback.errors import FailbackError
from failback.host import files
from failback.host import system
from failback.notify import tell


class NotReady:
    """
    What is told of one pair on this node.

    member
        :py:class:`failback.pair.Member`.
    """

    def __init__(self, member):
        self._member = member
        self._file = member.volatile / "unready.json"
        self._spell = self._read()

    def look(self, role, findings):
        """
        Go on with what was found in one round of looks, and tell what is to be told.

        role, findings
            As for :py:func:`failback.decisions.unready.judged`.

        Returns the spell as ``{"since": seconds since boot, "about": [...], "told": bool}``, or None.
        """
        now, before = system.boottime(), self._spell
        after = (self._member.config.get("notify") or {}).get("not_ready_after", unready.AFTER)
        spell, kind = unready.judged(before, role, findings, self._busy(), now, after)
        if spell != before:
            # Before it is told: a lookout that dies in between must not tell again and again.
            self._note(spell)
        if kind:
            said = unready.sentence(kind, self._member.config, spell or before, now, findings)
            tell.tell(self._member, kind, said, **self._more(kind, findings))
        if spell is None:
            return None
        return {"since": spell.since, "about": list(spell.about), "told": spell.told}

    @staticmethod
    def _more(kind, findings):
        if kind == events.READY_AGAIN:
            return {}
        return {"about": sorted({one.about for one in findings})}

    def _busy(self):
        with contextlib.suppress(FailbackError):  # the verdict says that it cannot be read
            return (self._member.lock.read() or {}).get("state") == "held"
        return False

    def _read(self):
        with contextlib.suppress(FailbackError, TypeError, KeyError):
            found = files.read_json(self._file, "how long this node has not been ready")
            if found and found.pop("boot_id") == system.boot_id():
                return unready.Spell(**{**found, "about": tuple(found["about"])})
        return None

    def _note(self, spell):
        self._spell = spell
        # A full /run: a lookout that starts anew counts from then on.
        with contextlib.suppress(OSError):
            if spell is None:
                self._file.unlink(missing_ok=True)
            else:
                files.write_json(self._file, {"boot_id": system.boot_id(), **dataclasses.asdict(spell)})
