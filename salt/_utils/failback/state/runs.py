"""The record of each run, kept on both nodes beside its journal and its backup."""

import os
import re
import secrets
import time

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import files

VERSION = 1

#: What a run's id looks like; also what keeps one from being a path.
ID = re.compile(r"[0-9]{8}T[0-9]{6}-[a-z]+-[A-Za-z0-9_.-]+-[0-9a-f]{4}")


def new_id(operation, pair):
    """An id that sorts by time and says what it was: ``20261122T183000-recover-salt-4f2a``."""
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    return f"{moment}-{operation}-{pair}-{secrets.token_hex(2)}"


def operation(run):
    """What a run is, by its id: ``recover``."""
    return run.split("-")[1]


def moved_tag(pair, run):
    """The tag of the events in which a node says how far the files of a run are."""
    return f"failback/{pair}/{run}/pre-sync/moved"


def require_id(run):
    """Raise ``Refused`` for anything that is not the id of a run."""
    if not isinstance(run, str) or not ID.fullmatch(run) or ".." in run:
        raise Refused(
            f"{run!r} is not the id of a run; `salt-run pair.history` lists them, such as "
            f"20261122T183000-recover-salt-4f2a."
        )


class Runs:
    """
    What this node has kept of the runs of one pair.

    member
        :py:class:`failback.pair.Member`.
    """

    def __init__(self, member):
        self._member = member

    @property
    def folder(self):
        """The folder with one folder a run."""
        return self._member.paths.runs(self._member.pair)

    def write(self, run, record):
        """
        Write a run's record.

        record
            ``operation``, ``started``, ``finished`` and ``result`` (both None while it runs), ``verdict``,
            ``sentence``, ``steps`` (a list of ``{"step", "result", "comment", "seconds"}``), ``master`` and
            ``user``.
        """
        require_id(run)
        files.make_folder(self._member.run_folder(run))
        files.write_json(
            self._member.run_folder(run) / "run.json",
            {**record, "version": VERSION, "run": run, "pair": self._member.pair},
        )

    def note(self, operation, reason, sentence):
        """
        Keep in the history what happened on this node with no orchestration.

        operation
            ``takeover`` or ``stepdown``.

        reason
            Why it happened.

        sentence
            What has come of it.
        """
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        record = {
            "operation": operation,
            "started": moment,
            "finished": moment,
            "result": "succeeded",
            "verdict": None,
            "sentence": sentence,
            "reason": reason,
            "steps": [],
            "master": None,
            "user": "watch",
        }
        self.write(new_id(operation, self._member.pair), record)

    def read(self, run):
        """One run's record, or None."""
        require_id(run)
        return files.read_json(self._member.run_folder(run) / "run.json", f"the record of {run}", VERSION)

    def history(self):
        """All records of a pair, oldest first; one that cannot be read says so in its ``sentence``."""
        found = []
        try:
            ids = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return found
        for run in ids:
            if not ID.fullmatch(run):
                continue
            try:
                record = self.read(run)
            except FailbackError as error:
                record = {
                    "run": run,
                    "pair": self._member.pair,
                    "result": "unreadable",
                    "sentence": str(error),
                }
            if record:
                record["backup"] = (self._member.run_folder(run) / "backup").is_dir()
                found.append(record)
        return found

    def uncompared(self, run):
        """
        The run that brought this node home, when its end has not been compared with the other node yet.

        run
            The run in this node's ledger, or None.

        Returns the run or None. Until then lsyncd must not run here: its first pass deletes on the other node
        what this one lacks. A record that cannot be read proves no comparison.
        """
        if run is None or not ID.fullmatch(run):
            return None
        try:
            record = files.read_json(
                self._member.run_folder(run) / "last-pass.json", f"the final sync of {run}", VERSION
            )
        except Unreadable:
            return run
        return run if record is not None and not record.get("compared") else None
